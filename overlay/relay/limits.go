// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import "time"

// Kind says what a flow is for. It decides what it may carry.
type Kind uint8

// The kinds of flows.
const (
	Call  Kind = 1 + iota // a relayed call's media
	Link                  // a relayed link: signalling, few bytes a second
	Short                 // what a ring leaves where it passed; never asked for
	kinds = iota + 1
)

// String returns the kind in one word.
func (k Kind) String() string {
	switch k {
	case Call:
		return "call"
	case Link:
		return "link"
	case Short:
		return "short"
	}
	return "unknown"
}

// Limits is what a node gives to others. The zero value is the default, and
// what every equal node is expected to give; a negative number means none.
type Limits struct {
	Calls    int           // relayed calls at a time; 0 = 2
	Rate     int           // bit/s of all flows and both ways together; 0 = 1,000,000; negative = no relaying at all
	CallRate int           // bit/s one call may use each way while there is room; 0 = 256,000
	Links    int           // relayed links at a time; 0 = 32
	Short    int           // flows of rings on their way at a time; 0 = 8
	TwoHop   int           // of all those, flows with a second relay behind this one; 0 = 1
	Time     time.Duration // how long a call or link may last; 0 = 4 h, negative = for ever
}

const (
	defaultCalls    = 2         // design: no node carries more than 2 relayed calls
	defaultRate     = 1_000_000 // both calls at their peak, each way
	defaultCallRate = 256_000   // 40 kbit/s Opus with two copies, and video of a stamp's size
	defaultLinks    = 32        // the tail of the simulated load of signalling
	defaultShort    = 8
	defaultTwoHop   = 1
	defaultTime     = 4 * time.Hour

	// Promised rates, each way. With the default numbers of flows they add up
	// to 960 kbit/s, below the default total: so all can be kept.
	promisedCall  = 64_000 // 24 kbit/s Opus with one copy of each frame: 63.2
	promisedShort = 32_000 // plain Opus at 20 kbit/s with 20 ms frames
	promisedLink  = 3_000  // two probes and two QUIC pings a minute, a few rings

	peakShort  = 64_000
	peakLink   = 64_000 // a call on such a link needs that until it has relays of its own
	peakTwoHop = 64_000 // it costs two households; voice is enough
)

func number(n, zero int) int {
	if n == 0 {
		return zero
	}
	return max(n, 0)
}

// most returns how many flows of a kind there may be.
func (l Limits) most(k Kind) int {
	n := 0
	switch {
	case l.rate() == 0:
	case k == Call:
		n = number(l.Calls, defaultCalls)
	case k == Link:
		n = number(l.Links, defaultLinks)
	case k == Short:
		n = number(l.Short, defaultShort)
	}
	return min(n, MaxFlows/4)
}

func (l Limits) rate() int64 { return int64(number(l.Rate, defaultRate)) }
func (l Limits) twoHop() int { return number(l.TwoHop, defaultTwoHop) }

// time returns how long a flow may last, 0 meaning for ever.
func (l Limits) time() time.Duration {
	if l.Time == 0 {
		return defaultTime
	}
	return max(l.Time, 0)
}

// TotalRate is what NewForwarder wants to know, in bit/s.
func (l Limits) TotalRate() int64 { return l.rate() }

// rates returns what a flow is given.
func (l Limits) rates(k Kind, twoHop bool) Rates {
	var r Rates
	switch k {
	case Call:
		r = Rates{Promised: promisedCall, Peak: int64(number(l.CallRate, defaultCallRate))}
		r.Promised = min(r.Promised, r.Peak)
	case Link:
		r = Rates{Promised: promisedLink, Peak: peakLink}
	case Short:
		r = Rates{Promised: promisedShort, Peak: peakShort}
	}
	if twoHop {
		r.Peak = min(r.Peak, peakTwoHop)
		r.Promised = min(r.Promised, r.Peak)
	}
	return r
}

// perPeer and perPrefix are the shares that one neighbour, and all neighbours
// of one /24 or /48, may have of a kind's flows, as either end: what is left
// serves somebody else even when they are greedy. A neighbour hands on many
// people's rings, so it may hold half of the short ones.
func perPeer(k Kind, most int) int {
	if k == Link {
		return max(1, most/4)
	}
	return max(1, most/2)
}

func perPrefix(k Kind, most int) int {
	if k == Short {
		return max(1, most*3/4)
	}
	return max(1, most/2)
}
