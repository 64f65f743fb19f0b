// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"math"
	"slices"
	"time"
)

// deliveryScore is what the router keeps of a neighbour: how well messages
// arrive that were given to it, how quickly it takes them, and how many it
// may still bring.
//
// Messages with a lock and those without are counted apart, and the worse of
// the two counts: without a lock, a liar can answer in the target's place, and
// must not wash itself clean of rings it drops.
type deliveryScore struct {
	locked, open tally
	// shift is by how much the share of what this neighbour brought that was
	// proved differs from startWorth (see worth).
	shift    float32
	ackTime  float32 // smoothed seconds until a hop ACK; 0 = none seen
	ackVar   float32 // and their mean deviation
	silentAt float32 // seconds from birth to the last one that didn't come in time
	doubts   uint8   // that didn't come in a row
	waiting  uint8   // messages given to it without an ACK yet
	judged   uint8   // outcomes counted, up to 255
	in, back tokens  // what it brings: messages, replies
}

// tally is a decaying count of outcomes.
type tally struct{ good, all float32 }

const (
	// scoreWindow is how many outcomes a tally remembers: enough to tell 90 %
	// from 50 %, few enough that a node which begins to drop is seen in tens
	// of messages.
	scoreWindow = 32
	// A neighbour without history counts as one of which priorGood of
	// priorAll messages arrived: better than a doubtful one, and three lost
	// messages halve it.
	priorGood, priorAll = 1.5, 2
	// refusalWeight: refusing costs the sender a round trip, not the message,
	// and near a target honest nodes refuse all but the first copy.
	refusalWeight = 0.25
	// startWorth and worthStep: a source's worth begins in the middle and
	// follows about its last 16 messages.
	startWorth, worthStep = 0.5, 1.0 / 16
	// ackStep and varStep smooth hop ACK times and their deviation as TCP does
	// with round trips (RFC 6298 §2.3).
	ackStep, varStep = 1.0 / 8, 1.0 / 4
	// maxDoubts: the timeout doubles with each ACK missed in a row (RFC 6298
	// §5.5), twice.
	maxDoubts = 2
	// doubtLife is how long a neighbour that missed one is left to the last
	// among those that make progress: dead links are known by then.
	doubtLife = 10 * time.Second
	// demoteAfter outcomes, a neighbour under half the median is taken only
	// when nobody else makes progress.
	demoteAfter = 4
	// badAfter outcomes, it is worth replacing (bad).
	badAfter = 20
)

func (c *tally) add(weight float32, good bool) {
	keep := 1 - weight/scoreWindow
	c.good *= keep
	c.all = c.all*keep + weight
	if good {
		c.good += weight
	}
}

func (c *tally) value() float32 { return (c.good + priorGood) / (c.all + priorAll) }

func (s *deliveryScore) add(locked bool, weight float32, good bool) {
	if locked {
		s.locked.add(weight, good)
	} else {
		s.open.add(weight, good)
	}
	if s.judged < math.MaxUint8 {
		s.judged++
	}
}

// value estimates the share of messages that arrive, 0 to 1.
func (s *deliveryScore) value() float32 {
	switch {
	case s.open.all == 0:
		return s.locked.value()
	case s.locked.all == 0:
		return s.open.value()
	}
	return min(s.locked.value(), s.open.value())
}

// worth is the share of what this neighbour brought that was proved. Its
// messages weigh that much when they are lost behind somebody else: who sends
// what can't be delivered, to blacken a third node, loses its voice.
func (s *deliveryScore) worth() float32 { return startWorth + s.shift }

// brought counts the outcome of a message that this neighbour brought.
func (s *deliveryScore) brought(proved bool) {
	v := float32(-startWorth)
	if proved {
		v = 1 - startWorth
	}
	s.shift += (v - s.shift) * worthStep
}

// acked takes the time after which a hop ACK came. Each names its message, and a
// neighbour gets none twice, so also one that comes late is a sample: what Karn's
// rule (RFC 6298 §3) keeps out can't happen.
func (s *deliveryScore) acked(after time.Duration) {
	v := float32(after.Seconds())
	s.doubts = 0
	if s.ackTime == 0 {
		s.ackTime, s.ackVar = v, v/2
		return
	}
	s.ackVar += (max(v-s.ackTime, s.ackTime-v) - s.ackVar) * varStep
	s.ackTime += (v - s.ackTime) * ackStep
}

// silent counts a hop ACK that did not come in time.
func (s *deliveryScore) silent(now time.Duration) {
	s.silentAt = float32(now.Seconds())
	if s.doubts < maxDoubts {
		s.doubts++
	}
}

// doubtful reports whether nothing came since a hop ACK was missed: the
// neighbour may be dead, or have more to do than it can.
func (s *deliveryScore) doubtful(now time.Duration) bool {
	return s.doubts > 0 && float32(now.Seconds())-s.silentAt < float32(doubtLife.Seconds())
}

const (
	// unknownRTT stands for a round trip not measured yet: a slow one, as an
	// early timeout costs a needless detour.
	unknownRTT = 300 * time.Millisecond
	// maxTimeout bounds what a neighbour that delays its ACKs can make of its
	// timeout. Where half of all neighbours are slow, it is no lie: then the bound
	// is three of their round trips, up to slowTimeout. A network that has too much
	// to do would else take each ACK for lost, and send all of it again.
	maxTimeout  = time.Second
	slowTimeout = 5 * time.Second
)

// roundTrip is how long n takes to answer: its link's round trip or, when that
// is longer, what its ACKs take, for a node can be slow on a fast link.
func (n *neighbour) roundTrip() time.Duration {
	ack := time.Duration(n.score.ackTime * float32(time.Second))
	if rtt := max(n.rtt, ack); rtt > 0 {
		return rtt
	}
	return unknownRTT
}

// timeout is how long to wait for n's hop ACK: longer where they vary, and after
// those that did not come. typical is the one-way time of most neighbours.
func (n *neighbour) timeout(typical time.Duration) time.Duration {
	usual := n.roundTrip()*3/2 + 30*time.Millisecond
	varied := time.Duration((n.score.ackTime + 4*n.score.ackVar) * float32(time.Second))
	return min(max(usual, varied)<<n.score.doubts, max(maxTimeout, min(6*typical, slowTimeout)))
}

// standard is what the scores and round trips of a table are held against. It
// is renewed now and then: a median of 75 links costs more than a hop.
type standard struct {
	until   time.Duration
	bar     float32       // half the median score; 0 = too little known
	typical float32       // median one-way time, seconds
	slow    time.Duration // by how much ACKs take longer than their links, in the median
	depth   int           // bits shared with the last sibling: about log2(n) − 3
}

// oneWay is the typical one-way time.
func (s *standard) oneWay() time.Duration { return time.Duration(s.typical * float32(time.Second)) }

const (
	// standardLife is how long the medians hold.
	standardLife = 5 * time.Second
	// minJudged neighbours make a median.
	minJudged = 4
)

func (s *standard) renew(now time.Duration, list []*neighbour, own *ID) {
	if now < s.until {
		return
	}
	var scores, trips, slow [maxMedian]float32
	ns, nt, nl := 0, 0, 0
	for _, n := range list {
		if n.score.ackTime > 0 && n.rtt > 0 && nl < maxMedian {
			slow[nl] = max(0, n.score.ackTime-float32(n.rtt.Seconds()))
			nl++
		}
		if n.score.judged >= demoteAfter && ns < maxMedian {
			scores[ns] = n.score.value()
			ns++
		}
		if nt < maxMedian {
			trips[nt] = float32(n.roundTrip().Seconds()) / 2
			nt++
		}
	}
	slices.Sort(scores[:ns])
	slices.Sort(trips[:nt])
	slices.Sort(slow[:nl])
	s.until, s.bar, s.typical, s.slow = now+standardLife, 0, trips[nt/2], 0
	if nl >= minJudged {
		s.slow = time.Duration(slow[nl/2] * float32(time.Second))
	}
	if len(list) > 0 {
		s.depth = prefixLen(own, &list[min(len(list), siblings)-1].id)
	}
	if ns >= minJudged {
		s.bar = scores[ns/2] / 2
	}
}

// maxMedian bounds the sample of a median, above any table's size.
const maxMedian = 128

// demoted neighbours are taken only when nobody else makes progress.
func (s *standard) demoted(n *neighbour) bool {
	return n.score.judged >= demoteAfter && n.score.value() < s.bar
}

// bad reports whether n loses so much of what it is given that another link
// should take its place.
func (r *router) bad(n *neighbour) bool {
	return n.score.judged >= badAfter && n.score.value() < r.standard.bar
}
