// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

const (
	// A picture begins with 300 kb/s on the wire, as browsers' do, never takes
	// more than 2.5 Mb/s and never less than 50 kb/s.
	videoStart = 300000
	videoMost  = 2500000
	videoLeast = 50000
	// videoRelayed is the most while others carry the call: a relay gives it 256
	// kb/s, of which the voice may need 100, and what exceeds that is dropped
	// whatever it is. It begins there with videoStamp.
	videoRelayed = 140000
	videoStamp   = 80000

	// The queue grows when the delay has risen by videoRise ms, not by chance, and
	// is videoQueue ms above the empty one; one of videoDeep ms is too long even
	// when it stands still. All are below what makes the voice yield (rateQueue).
	videoRise  = 10
	videoQueue = 15
	videoDeep  = 80
	videoCalm  = 10
	// videoYield is the share of what arrives that is sent after a queue.
	videoYield = 0.85
	// videoSettle is how long a cut is given to show; videoHurry when the queue
	// grows by videoMore ms meanwhile.
	videoSettle = time.Second
	videoHurry  = 400 * time.Millisecond
	videoMore   = 60

	// videoGrow is the growth in a second, videoNear what it is in bits near to
	// where a queue grew last, and videoAhead how far the target may be ahead of
	// what is sent: a camera that is off tries nothing out.
	videoGrow  = 0.08
	videoNear  = 20000
	videoAhead = 1.5

	// Loss above videoLossy is an overflow, or hurts the voice all the same: half
	// of it is taken off. Below videoClean it says nothing. It is judged over at
	// least videoJudged packets.
	videoLossy  = 0.10
	videoClean  = 0.02
	videoJudged = 30

	// videoLog remembers sent packets until they are reported: two seconds of
	// 2.5 Mb/s. videoLate is how far behind the newest reported one a packet is
	// given up; every report tells of receiptAgain packets again.
	videoLog  = 512
	videoLate = 12

	// videoSpan is over how long it is counted what arrives, in videoParts.
	videoParts = 10
	videoPart  = 100 * time.Millisecond

	// videoOverhead is what a packet weighs beside its payload.
	videoOverhead = PacketOverhead
)

// VideoRate decides how much of a picture may be sent, from the peer's receipts
// (RFC 8888): a queue that grows makes it yield, earlier than the voice does,
// and so does loss that is no chance any more. It is pure; see NewVideoRate.
type VideoRate struct {
	log     [videoLog]videoSent
	begun   bool
	epoch   time.Time
	high    int64 // newest packet sent, extended
	path    int64 // newest sent by an earlier path
	decided int64
	stamp   uint32 // of the picture sent last
	theirs  uint32 // their clock at first
	timed   bool
	relayed bool

	trend   trend
	parts   [videoParts]int // bytes that arrived in each videoPart of their time
	part    int64           // number of the newest
	heardAt time.Duration

	missed, judged int // packets since the last judgement
	lossAt         time.Duration
	lost           float64

	target  float64
	ceiling float64 // where a queue grew last; 0 = nowhere yet
	cutAt   time.Duration
	cutQ    float64
	queue   float64
}

type videoSent struct {
	seq   int64 // never 0
	at    time.Duration
	size  int
	first bool // of its picture
	got   bool
	asked bool // for again: it did not come the first time
}

// NewVideoRate returns a VideoRate at the start of a call.
func NewVideoRate() *VideoRate { return &VideoRate{target: videoStart} }

// Sent notes a packet with its number, the timestamp of its picture, and the
// bytes of its payload. Packets sent again are not noted.
func (r *VideoRate) Sent(now time.Time, seq uint16, stamp uint32, payload int) {
	if !r.begun {
		r.begun, r.epoch = true, now
		r.high = int64(seq) - 1 + 1<<16
		r.decided = r.high
		r.stamp = stamp - 1
	}
	n := r.high + int64(int16(seq-uint16(r.high)))
	if n <= r.high-videoLog || n > r.high+maxDropout {
		return
	}
	first := stamp != r.stamp && n > r.high
	if n > r.high {
		r.high, r.stamp = n, stamp
	}
	r.log[n%videoLog] = videoSent{seq: n, at: now.Sub(r.epoch), size: payload + videoOverhead, first: first}
}

// Missed tells that the peer has asked for a packet again.
func (r *VideoRate) Missed(seq uint16) {
	n := r.high + int64(int16(seq-uint16(r.high)))
	if n > r.high || n <= r.high-videoLog {
		return
	}
	if s := &r.log[n%videoLog]; s.seq == n {
		s.asked = true
	}
}

// NewPath tells that packets take another way from now on, and whether others
// carry them.
func (r *VideoRate) NewPath(relayed bool) {
	r.trend.reset()
	r.path, r.ceiling = r.high, 0
	switch {
	case relayed && !r.relayed:
		r.target = min(r.target, videoStamp)
	case !relayed && r.relayed:
		r.target = max(r.target, videoStart)
	}
	r.relayed = relayed
}

func (r *VideoRate) most() float64 {
	if r.relayed {
		return videoRelayed
	}
	return videoMost
}

// Receipts takes in a report of the peer.
func (r *VideoRate) Receipts(now time.Time, rec *Receipts) {
	if !r.begun || rec.Len() == 0 {
		return
	}
	at := now.Sub(r.epoch)
	begin := r.high + int64(int16(rec.Begin-uint16(r.high)))
	end := begin + int64(rec.Len())
	if end > r.high+1 || begin < r.high-videoLog/2 {
		return // of packets never sent, or forgotten
	}
	fresh := 0
	for i := range rec.Len() {
		s := &r.log[(begin+int64(i))%videoLog]
		arrival, timed, received := rec.At(i)
		if s.seq != begin+int64(i) || !received || s.got {
			continue
		}
		s.got = true
		if !timed {
			continue
		}
		if !r.timed {
			r.timed, r.theirs = true, arrival
		}
		there := time.Duration(int32(arrival-r.theirs)) * time.Second / 65536
		r.arrived(there, s.size)
		fresh++
		// Only the first packet of a picture tells of the queue it found; the
		// others wait for it as well.
		if s.first && s.seq > r.path {
			r.trend.add(there, (there-s.at).Seconds()*1000, s.size)
		}
	}
	r.decide(begin, end-videoLate)
	if fresh == 0 {
		return
	}
	passed := min(at-r.heardAt, time.Second)
	r.heardAt = at
	r.steer(at, passed)
}

// arrived counts bytes by the receiver's clock.
func (r *VideoRate) arrived(there time.Duration, size int) {
	part := int64(there / videoPart)
	if part < r.part-videoParts || part < 0 {
		return
	}
	for r.part < part {
		r.part++
		r.parts[r.part%videoParts] = 0
		if part-r.part > videoParts {
			r.part = part - videoParts
		}
	}
	r.parts[part%videoParts] += size
}

// arriving returns the bits per second that came in the last second but the
// part that still fills.
func (r *VideoRate) arriving() float64 {
	sum, n := 0, 0
	for i := r.part - 1; i > r.part-videoParts && i >= 0; i-- {
		sum += r.parts[i%videoParts]
		n++
	}
	if n < videoParts/2 {
		return 0
	}
	return float64(sum) * 8 / (time.Duration(n) * videoPart).Seconds()
}

// decide settles the fate of packets below to. Of those that no report told of,
// nothing is known.
func (r *VideoRate) decide(begin, to int64) {
	r.decided = max(r.decided, begin-1)
	for r.decided+1 < to {
		r.decided++
		if s := &r.log[r.decided%videoLog]; s.seq == r.decided {
			r.judged++
			if !s.got || s.asked {
				r.missed++
			}
		}
	}
}

// steer moves the target.
func (r *VideoRate) steer(at, passed time.Duration) {
	r.queue = r.trend.queue()
	slope, rise, sure := r.trend.slope()
	growing := sure && rise > videoRise && r.queue > videoQueue
	standing := r.queue > videoDeep && !(sure && slope < 0)
	lossy := false
	if r.judged >= videoJudged && at-r.lossAt >= videoSettle/2 {
		r.lost = float64(r.missed) / float64(r.judged)
		r.judged, r.missed, r.lossAt = 0, 0, at
		lossy = r.lost > videoLossy
	}
	settled := r.cutAt == 0 || at-r.cutAt >= videoSettle
	switch {
	case growing || standing:
		if settled || at-r.cutAt >= videoHurry && r.queue > r.cutQ+videoMore {
			to := r.target
			if a := r.arriving(); a > 0 {
				to = min(to, a)
				r.ceiling = to
			}
			r.cut(at, to*videoYield)
		}
	case lossy && settled:
		r.cut(at, r.target*(1-r.lost/2))
	case sure && slope < 0 && r.queue > videoCalm: // draining
	case !settled, r.lost > videoClean && r.target >= videoStart:
	default:
		r.grow(passed)
	}
}

func (r *VideoRate) cut(at time.Duration, to float64) {
	r.cutAt, r.cutQ = at, r.queue
	r.target = max(to, videoLeast)
}

// grow tries out a little more.
func (r *VideoRate) grow(passed time.Duration) {
	most := r.most()
	if a := r.arriving(); r.target > a*videoAhead && r.target > videoStart {
		return
	}
	step := r.target * videoGrow
	if r.ceiling > 0 && r.target > r.ceiling*0.8 && r.target < r.ceiling*1.2 {
		step = min(step, videoNear)
	}
	r.target = min(r.target+step*passed.Seconds(), most)
	if r.target > r.ceiling*1.2 {
		r.ceiling = 0
	}
}

// Target returns how many bits per second may be on the wire.
func (r *VideoRate) Target() int { return int(r.target) }

// bitrateStep is the grain of what encoders are told: they should not hop.
const bitrateStep = 1.04

// Bitrate returns how many bits per second of payload that is, given what the
// encoder was told last.
func (r *VideoRate) Bitrate(last int) int {
	// Packets of a low rate are small, and their headers weigh more.
	payload := r.target - videoOverhead*8*max(r.target/8/(MaxVideoPayload+videoOverhead), 15)
	if b := int(payload); float64(b) > float64(last)*bitrateStep || b < last {
		return b
	}
	return last
}

// Stats fills in what the rate control knows.
func (r *VideoRate) Stats(s *VideoStats) {
	s.TargetBitrate = r.Target()
	s.FractionLost = r.lost
	s.SendQueue = time.Duration(r.queue * float64(time.Millisecond))
}
