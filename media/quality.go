// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"strings"
	"time"
)

const (
	// HistoryPoints is how many samples a Quality keeps: a minute of seconds,
	// as much as a sparkline shows.
	HistoryPoints = 60

	// Thresholds above or below which people begin to complain, as Twilio and
	// others warn at. ITU-T G.114 plans with 400 ms one way at most.
	warnRTT    = 400 * time.Millisecond
	warnJitter = 30 * time.Millisecond
	warnMOS    = 3.5
	warnLoss   = 0.03
	calmLoss   = 0.02

	// A warning begins when warnOf of the last warnIn samples are bad and ends
	// when at most calmOf are, so that it does not flicker; loss goes by its
	// mean over warnMean.
	warnOf, warnIn, calmOf = 3, 5, 1
	warnMean               = 7
)

// Warning is a set of what is wrong with a call's sound.
type Warning uint8

// What may be wrong.
const (
	HighRTT    Warning = 1 << iota // round trip above 400 ms
	HighJitter                     // above 30 ms
	HighLoss                       // more than 3 % of the packets on their way here
	LowMOS                         // below 3.5
)

// String names the warnings: "high-rtt high-loss"; "" for none.
func (w Warning) String() string {
	var names []string
	for i, name := range [...]string{"high-rtt", "high-jitter", "high-loss", "low-mos"} {
		if w&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// Sample is a call's sound in the time since the sample before.
type Sample struct {
	At         time.Time
	MOS        float64
	Loss       float64 // share of the packets on their way here
	RemoteLoss float64 // and of those to the peer, as it reports
	Concealed  float64 // share of the playout time
	RTT        time.Duration
	Jitter     time.Duration
	Buffer     time.Duration // wanted delay of the playout buffer
	Received   int           // bits per second of payload
}

// Quality follows a call's sound: a score each time, a history, warnings. It is
// pure; the zero value is ready.
type Quality struct {
	prev    Stats
	prevAt  time.Time
	ring    [HistoryPoints]Sample
	n       int // samples ever taken
	warning Warning
}

// Add scores s, takes a sample of it, and returns which warnings began and which
// ended with it. Call it each second or thereabouts.
func (q *Quality) Add(now time.Time, s *Stats) (began, ended Warning) {
	if s.PacketsReceived < q.prev.PacketsReceived || s.TotalSamplesReceived < q.prev.TotalSamplesReceived {
		q.prev = Stats{} // counters that began anew
	}
	s.Score(&q.prev)
	x := Sample{
		At: now, MOS: s.MOS, Concealed: s.Concealed, RemoteLoss: s.FractionLost,
		RTT: s.RoundTripTime, Jitter: s.Jitter, Buffer: s.JitterBufferTarget,
	}
	lost, came := s.PacketsLost-q.prev.PacketsLost, int64(s.PacketsReceived-q.prev.PacketsReceived)
	if lost > 0 && came >= 0 {
		x.Loss = float64(lost) / float64(lost+came)
	}
	if d := now.Sub(q.prevAt); !q.prevAt.IsZero() && d > 0 && s.BytesReceived >= q.prev.BytesReceived {
		x.Received = int(float64(s.BytesReceived-q.prev.BytesReceived) * 8 / d.Seconds())
	}
	q.prev, q.prevAt = *s, now
	q.ring[q.n%HistoryPoints] = x
	q.n++
	old := q.warning
	q.warn()
	return q.warning &^ old, old &^ q.warning
}

// warn brings the warnings up to date.
func (q *Quality) warn() {
	var rtt, jitter, mos int
	var loss float64
	n := min(q.n, warnMean)
	for i := range n {
		x := &q.ring[(q.n-1-i)%HistoryPoints]
		loss += x.Loss / float64(n)
		if i >= warnIn {
			continue
		}
		rtt += one(x.RTT > warnRTT)
		jitter += one(x.Jitter > warnJitter)
		mos += one(x.MOS < warnMOS)
	}
	q.set(HighRTT, rtt >= warnOf, rtt <= calmOf)
	q.set(HighJitter, jitter >= warnOf, jitter <= calmOf)
	q.set(LowMOS, mos >= warnOf, mos <= calmOf)
	q.set(HighLoss, n == warnMean && loss > warnLoss, loss < calmLoss)
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (q *Quality) set(w Warning, bad, calm bool) {
	switch {
	case bad:
		q.warning |= w
	case calm:
		q.warning &^= w
	}
}

// Warnings returns what is wrong now.
func (q *Quality) Warnings() Warning { return q.warning }

// Last returns the newest sample; false before the first.
func (q *Quality) Last() (x Sample, ok bool) {
	if q.n == 0 {
		return Sample{}, false
	}
	return q.ring[(q.n-1)%HistoryPoints], true
}

// History appends the last samples to dst, at most HistoryPoints, oldest first.
func (q *Quality) History(dst []Sample) []Sample {
	for i := max(q.n-HistoryPoints, 0); i < q.n; i++ {
		dst = append(dst, q.ring[i%HistoryPoints])
	}
	return dst
}
