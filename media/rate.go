// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"time"
)

const (
	// A call begins with room for 24 kb/s in 20 ms frames, and never takes more
	// than 100 kb/s, copies included, nor less than 12 kb/s in 60 ms frames.
	rateStart = 50000
	rateMost  = 100000
	rateLeast = 19500

	// The queue grows when the delay has risen by rateRise ms, not by chance, and
	// is rateQueue ms above the empty one. One of rateDeep ms is too long even
	// when it stands still, once it is rateLossy full: packets fall off its end.
	rateRise  = 10
	rateQueue = 20
	rateDeep  = 150
	// rateRest is how long nothing more is tried while a queue neither grows nor
	// drains.
	rateRest = 8 * time.Second
	// rateCalm is a queue as good as empty.
	rateCalm = 15

	// rateYield is the share of what arrives that is sent after a queue: less
	// than the link carries, so that the queue drains; rateDrain when it is deep.
	rateYield = 0.85
	rateDrain = 0.75
	// rateSettle is how long a cut is given to show; rateHurry when the queue
	// grows by rateMore ms meanwhile.
	rateSettle = time.Second
	rateHurry  = 400 * time.Millisecond
	rateMore   = 60
	// A queue that grows again after a cut, rateFruitless times although nothing
	// more was sent, is filled by others, a download for instance: giving way to
	// it wins nothing. The rate then goes back to where it was, at most to where
	// calls begin, and stays for rateForeign, unless more than rateShed of the
	// packets get lost by that.
	rateFruitless = 2
	rateForeign   = time.Minute
	rateShed      = 0.15
	rateNoForeign = time.Minute

	// rateGrow is the growth in a second, and rateNear what it is in bits when
	// near to where a queue grew last time. After a step up that failed it waits
	// for rateWait, twice as long each time.
	rateGrow    = 0.05
	rateBegin   = 0.1 // until a queue grew for the first time
	rateNear    = 1000
	rateWait    = 4 * time.Second
	rateWaitMax = time.Minute
	// rateUsed is how much of the target must be in use to grow it: silence
	// tries nothing out.
	rateUsed = 0.6
	// rateLone is the share of loss above which it may be a policer that drops
	// what exceeds a rate, without any queue: redundancy would feed it. What
	// arrives, and half as much again, is then the limit.
	rateLone     = 0.35
	rateLoneMost = 1.5

	// Advice that still fits is kept unless other advice is better by so many
	// points of R: by much while it is younger than planHold, by little once it
	// is older than planLong. Encoders should not hop.
	planHold   = 2 * time.Second
	planLong   = 8 * time.Second
	planMuch   = 6.0
	planBetter = 1.5
	planLittle = 0.3

	// rateSpare is how many bytes a variable bitrate may save up and then use at
	// once: some packets' worth.
	rateSpare = 2000

	// rateLog remembers sent packets until they are reported, 5 s of 10 ms each.
	rateLog = 512
	// rateLate is how far behind the newest reported packet one is given up.
	rateLate = 8
)

// Rate decides how much may be sent, in what frames and with how many copies,
// from the peer's receipts (RFC 8888). It follows the gradient of the one-way
// delay: a queue that grows makes it yield, loss alone never does. It is pure;
// see NewRate.
type Rate struct {
	log     [rateLog]sentPacket
	begun   bool
	epoch   time.Time
	high    int64   // newest packet sent, extended
	path    int64   // newest sent by an earlier path
	decided int64   // all up to here are known to have come or not
	fec     float64 // share of packets with in-band FEC
	spare   float64 // bytes of the target not used so far, at most rateSpare
	spareAt time.Duration
	heardAt time.Duration // last receipts
	theirs  uint32        // their clock at first
	timed   bool

	pattern Pattern
	trend   trend

	target  float64 // bits per second on the wire
	ceiling float64 // where a queue grew last; 0 = nowhere yet
	cutAt   time.Duration
	cutFrom float64 // target before the first cut of a row
	cutTo   float64 // and after the last
	cutQ    float64 // queue then, ms
	fruit   int     // times the queue grew again although the target had not
	upAt    time.Duration
	wait    time.Duration
	foreign time.Duration // until then the queue is others'
	never   time.Duration // until then that is not believed

	advice   Advice
	adviceAt time.Duration
	queue    float64
}

type sentPacket struct {
	seq  int64 // never 0
	at   time.Duration
	size int
	got  bool
}

// NewRate returns a Rate at the start of a call.
func NewRate() *Rate {
	return &Rate{target: rateStart, wait: rateWait, advice: DefaultAdvice()}
}

// Sent notes a packet with its number, the bytes of its RTP payload, and whether
// the sound in it carries in-band FEC.
func (r *Rate) Sent(now time.Time, seq uint16, payload int, fec bool) {
	if !r.begun {
		r.begun, r.epoch = true, now
		r.high = int64(seq) - 1 + 1<<16
		r.decided = r.high
	}
	at := now.Sub(r.epoch)
	n := r.high + int64(int16(seq-uint16(r.high)))
	if n <= r.high || n > r.high+maxDropout {
		return // our own packetizer counts by one
	}
	r.high = n
	size := payload + PacketOverhead
	r.log[n%rateLog] = sentPacket{seq: n, at: at, size: size}
	r.spare = min(r.saved(at), rateSpare) - float64(size)
	r.spareAt = at
	r.fec *= 0.98
	if fec {
		r.fec += 0.02
	}
}

// saved returns how many bytes the target has left over.
func (r *Rate) saved(at time.Duration) float64 {
	return r.spare + r.target/8*(at-r.spareAt).Seconds()
}

// Room returns how many bytes the payload of a packet may have to keep to the
// target. Sound goes out in any case; what is left is for copies.
func (r *Rate) Room(now time.Time) int {
	if !r.begun {
		return 0
	}
	return int(min(r.saved(now.Sub(r.epoch)), rateSpare)) - PacketOverhead
}

// sending returns the bits per second sent in the last second.
func (r *Rate) sending(at time.Duration) float64 {
	bytes := 0
	for n := r.high; n > r.high-rateLog; n-- {
		s := &r.log[n%rateLog]
		if s.seq != n || at-s.at > time.Second {
			break
		}
		bytes += s.size
	}
	// A call that has just begun has not sent for a second yet.
	span := min(max(at, time.Second/10), time.Second)
	return float64(bytes) * 8 / span.Seconds()
}

// NewPath tells that packets take another way from now on: what is known about
// queues does not hold for it.
func (r *Rate) NewPath() {
	r.trend.reset()
	r.path = r.high
}

// Receipts takes in a report of the peer.
func (r *Rate) Receipts(now time.Time, rec *Receipts) {
	if !r.begun || rec.Len() == 0 {
		return
	}
	at := now.Sub(r.epoch)
	begin := r.high + int64(int16(rec.Begin-uint16(r.high)))
	end := begin + int64(rec.Len())
	if end > r.high+1 || begin < r.high-rateLog/2 {
		return // of packets never sent, or forgotten
	}
	fresh := 0
	for i := range rec.Len() {
		s := &r.log[(begin+int64(i))%rateLog]
		arrival, timed, received := rec.At(i)
		if s.seq != begin+int64(i) || !received || s.got {
			continue
		}
		s.got = true
		if !timed || s.seq <= r.path {
			continue
		}
		if !r.timed {
			r.timed, r.theirs = true, arrival
		}
		there := time.Duration(int32(arrival-r.theirs)) * time.Second / 65536
		r.trend.add(there, (there-s.at).Seconds()*1000, s.size)
		fresh++
	}
	r.decide(begin, end-rateLate)
	if fresh == 0 {
		return
	}
	passed := min(at-r.heardAt, time.Second)
	r.heardAt = at
	r.steer(at, passed)
	r.advise(at)
}

// decide settles the fate of packets below to. Of those that no report told of,
// nothing is known.
func (r *Rate) decide(begin, to int64) {
	r.decided = max(r.decided, begin-1)
	for r.decided+1 < to {
		r.decided++
		if s := &r.log[r.decided%rateLog]; s.seq == r.decided {
			r.pattern.Add(!s.got)
		}
	}
}

// steer moves the target.
func (r *Rate) steer(at, passed time.Duration) {
	r.queue = r.trend.queue()
	slope, rise, sure := r.trend.slope()
	arriving, known := r.trend.rate()
	lost := r.pattern.Share()
	growing := sure && rise > rateRise && r.queue > rateQueue
	standing := r.queue > rateDeep && !(sure && slope < 0)
	if known && r.pattern.Sure() > rateLone {
		r.target = min(r.target, max(rateLoneMost*arriving, rateLeast))
	}
	if at < r.foreign {
		if lost > rateShed && r.queue > rateDeep {
			r.foreign, r.never = 0, at+rateNoForeign
		} else {
			return
		}
	}
	switch {
	case growing || standing:
		if r.cutAt == 0 || at-r.cutAt >= rateSettle || at-r.cutAt >= rateHurry && r.queue > r.cutQ+rateMore {
			r.cut(at, arriving, known, lost)
		}
	case sure && slope < 0 && r.queue > rateCalm: // draining
	case r.queue > rateDeep/2 && at-r.cutAt < rateRest: // it may take its time
	default:
		r.grow(at, passed)
	}
}

// cut yields to a queue.
func (r *Rate) cut(at time.Duration, arriving float64, known bool, lost float64) {
	switch {
	case r.cutAt == 0 || r.target > r.cutTo:
		r.fruit, r.cutFrom = 0, r.target
	case at-r.cutAt >= rateSettle:
		r.fruit++
	}
	if r.fruit >= rateFruitless && lost < rateShed && at >= r.never {
		r.foreign, r.fruit = at+rateForeign, 0
		r.target = max(r.target, min(r.cutFrom, rateStart))
		return
	}
	if r.upAt != 0 && at-r.upAt < r.wait {
		r.wait = min(2*r.wait, rateWaitMax)
	}
	share := rateYield
	if r.queue > rateDeep {
		share = rateDrain
	}
	to := r.target * share
	r.ceiling = r.target
	if known && r.sending(at) >= rateUsed*r.target {
		carried := arriving
		if r.queue < rateDeep { // what is missing did not fall off a full queue
			carried /= 1 - min(lost, 0.9)
		}
		to = min(to, carried*share)
		r.ceiling = carried
	}
	r.cutAt, r.cutQ = at, r.queue
	r.target = max(to, rateLeast)
	r.cutTo = r.target
}

// grow tries out a little more.
func (r *Rate) grow(at, passed time.Duration) {
	if r.cutAt != 0 && at-r.cutAt < r.wait || r.sending(at) < rateUsed*r.target {
		return
	}
	step := r.target * rateGrow
	if r.cutAt == 0 {
		step = r.target * rateBegin
	}
	if r.ceiling > 0 && r.target > r.ceiling*0.7 && r.target < r.ceiling*1.2 {
		step = rateNear
	}
	r.target = min(r.target+step*passed.Seconds(), rateMost)
	if r.ceiling > 0 && r.sending(at) >= r.ceiling*1.2 {
		r.ceiling, r.wait = 0, rateWait // the link has changed
	}
}

// advise chooses what to do with the target.
func (r *Rate) advise(at time.Duration) {
	share, burst, fec := r.pattern.Share(), r.pattern.Burst(), r.fec > 0.5
	a, bad := plan(r.target, share, burst, fec)
	if a == r.advice {
		return
	}
	now := planStep{bitrate: r.advice.Bitrate, frame: r.advice.FrameDuration}
	if now.cost(r.advice.RED.Len()) <= r.target {
		// It may stay; is another so much better?
		old := rated(r.advice, share, burst, fec)
		need := planBetter
		switch age := at - r.adviceAt; {
		case age < planHold:
			need = planMuch
		case age > planLong:
			need = planLittle
		}
		if old-bad < need {
			r.advice.FECLoss = a.FECLoss
			return
		}
	}
	next := planStep{bitrate: a.Bitrate, frame: a.FrameDuration}
	if now.cost(r.advice.RED.Len()) < next.cost(a.RED.Len()) {
		r.upAt = at
	}
	r.advice, r.adviceAt = a, at
}

// Advice returns what to send now.
func (r *Rate) Advice() Advice { return r.advice }

// Target returns how many bits per second may be on the wire.
func (r *Rate) Target() int { return int(r.target) }

// Loss returns the share of packets lost, and how many in a row.
func (r *Rate) Loss() (share, burst float64) { return r.pattern.Share(), r.pattern.Burst() }

// Queue returns how much longer packets take than they have to.
func (r *Rate) Queue() time.Duration { return time.Duration(r.queue * float64(time.Millisecond)) }

// Stats fills in what the rate control knows.
func (r *Rate) Stats(s *Stats) {
	s.TargetBitrate = r.Target()
	s.SendQueue = r.Queue()
	s.Advice = r.advice
	if r.pattern.Share() > 0 {
		s.LossBurst = r.pattern.Burst()
	}
}
