// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
)

// Class says how others can reach a node, as overlay/mesh tells it.
type Class uint8

// The classes, in the mesh's numbers.
const (
	ClassUnknown Class = iota
	ClassOpen
	ClassEasy
	ClassHard
	ClassBlocked // over TCP only
)

// Candidate is a node that could carry a call.
type Candidate struct {
	Node  identity.NodeID
	Addr  netip.Addr    // where it is; zero = unknown, or no matter
	Here  time.Duration // round trip from here to it; 0 = not measured
	There time.Duration // from it to the other side; 0 = not known
	Load  uint8         // percent, as it said last
	Class Class
	Fails int // how often it refused or broke lately
	Hops  int // relays on the way through it, this one included; 0 = 1
}

const (
	// unknownRTT stands for a round trip that nobody measured: worse than most
	// that are, so that a known way is taken first, and no worse than the
	// longest ways on Earth.
	unknownRTT = 250 * time.Millisecond

	// loadCost is what a full relay is worse than an empty one; failCost each
	// failure, up to maxFails of them; hopCost each further relay, for its
	// queue and its chance to break.
	loadCost = 40 * time.Millisecond
	failCost = 100 * time.Millisecond
	maxFails = 5
	hopCost  = 20 * time.Millisecond

	// hardCost is for a relay whose own way out may move (carrier NATs drop
	// every minute or so), tcpCost for one whose losses become delay.
	hardCost = 10 * time.Millisecond
	tcpCost  = 80 * time.Millisecond

	// sameCost is for the same /16 or /32 as the other relay: often one
	// provider, whose troubles they share.
	sameCost = 15 * time.Millisecond

	// slack is what candidates may be worse than the best and still count as
	// equal: then the less loaded one of two picked by lot is taken, so that a
	// crowd of callers does not fall upon one node.
	slack = 10 * time.Millisecond

	// stay is what another relay must be better by before one in use is left.
	stay = 30 * time.Millisecond
)

// Choose returns up to n of the candidates, the best first: different nodes,
// and from different networks (/24 or /48) as far as there are any. Those in
// use stay as long as they are candidates and nothing much better is. rng
// decides between equals; it need not be secret.
func Choose(candidates []Candidate, inUse []identity.NodeID, n int, rng *rand.Rand) []identity.NodeID {
	var chosen []Candidate
	for len(chosen) < n {
		c, ok := pick(candidates, inUse, chosen, rng)
		if !ok {
			break
		}
		chosen = append(chosen, c)
	}
	nodes := make([]identity.NodeID, len(chosen))
	for i, c := range chosen {
		nodes[i] = c.Node
	}
	return nodes
}

type scored struct {
	Candidate
	cost time.Duration
}

// pick returns the next one to choose.
func pick(candidates []Candidate, inUse []identity.NodeID, chosen []Candidate, rng *rand.Rand) (Candidate, bool) {
	var apart, beside []scored
	for _, c := range candidates {
		if slices.ContainsFunc(chosen, func(x Candidate) bool { return x.Node == c.Node }) {
			continue
		}
		s := scored{c, c.cost()}
		if slices.Contains(inUse, c.Node) {
			s.cost -= stay
		}
		same, near := false, false
		for _, x := range chosen {
			p := prefix(c.Addr)
			same = same || p.IsValid() && p == prefix(x.Addr)
			q := network(c.Addr, 16, 32)
			near = near || q.IsValid() && q == network(x.Addr, 16, 32)
		}
		switch {
		case same:
			beside = append(beside, s)
		case near:
			s.cost += sameCost
			apart = append(apart, s)
		default:
			apart = append(apart, s)
		}
	}
	if len(apart) == 0 {
		apart = beside // better two of one network than one alone
	}
	if len(apart) == 0 {
		return Candidate{}, false
	}
	order.Stable(apart, func(a, b scored) int {
		if a.cost != b.cost {
			return int(max(-1, min(1, a.cost-b.cost)))
		}
		return a.Node.Compare(b.Node)
	})
	if slices.Contains(inUse, apart[0].Node) {
		return apart[0].Candidate, true
	}
	equal := 1
	for equal < len(apart) && apart[equal].cost-apart[0].cost <= slack {
		equal++
	}
	// The power of two choices.
	i, j := rng.IntN(equal), rng.IntN(equal)
	if apart[j].Load < apart[i].Load {
		i = j
	}
	return apart[i].Candidate, true
}

// cost is the delay through a candidate, and what else speaks against it as
// delay.
func (c *Candidate) cost() time.Duration {
	rtt := func(d time.Duration) time.Duration {
		if d <= 0 {
			return unknownRTT
		}
		return d
	}
	t := rtt(c.Here) + rtt(c.There) + loadCost*time.Duration(min(c.Load, 100))/100 +
		failCost*time.Duration(min(max(c.Fails, 0), maxFails)) + hopCost*time.Duration(max(c.Hops-1, 0))
	switch c.Class {
	case ClassHard:
		t += hardCost
	case ClassBlocked:
		t += tcpCost
	}
	return t
}
