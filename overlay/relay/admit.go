// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"net/netip"

	"github.com/p2pos/p2pos/identity"
)

// party is one end of a flow as quotas see it.
type party struct {
	node identity.NodeID
	net  netip.Prefix // zero = counts for no network
}

// counts are numbers of flows by kind.
type counts [kinds]int

// ledger says who may have another flow. It counts, for each kind, the flows
// of this node, of each neighbour and of each network; a flow between two nodes
// of one network counts there once.
type ledger struct {
	limits   Limits
	all      counts
	twoHop   int
	promised int64 // bit/s, both ways
	peers    map[identity.NodeID]counts
	nets     map[netip.Prefix]counts
}

func newLedger(l Limits) ledger {
	return ledger{limits: l, peers: make(map[identity.NodeID]counts), nets: make(map[netip.Prefix]counts)}
}

// fits says whether a flow of this kind between these parties may be had on
// top of the ones there are.
func (l *ledger) fits(k Kind, twoHop bool, parties ...party) (Reason, bool) {
	most := l.limits.most(k)
	switch {
	case most == 0 || twoHop && l.limits.twoHop() == 0:
		return Off, false
	case l.all[k] >= most,
		twoHop && l.twoHop >= l.limits.twoHop(),
		l.promised+2*l.limits.rates(k, twoHop).Promised > l.limits.rate():
		return Busy, false
	}
	for _, p := range parties {
		if l.over(k, p) {
			return Share, false
		}
	}
	return 0, true
}

// over says whether a party, or its network, has its share of a kind.
func (l *ledger) over(k Kind, p party) bool {
	most := l.limits.most(k)
	return l.peers[p.node][k] >= perPeer(k, most) ||
		p.net.IsValid() && l.nets[p.net][k] >= perPrefix(k, most)
}

// add enters a flow, which remove takes out again with the same arguments.
func (l *ledger) add(k Kind, twoHop bool, parties ...party) { l.enter(1, k, twoHop, parties) }

func (l *ledger) remove(k Kind, twoHop bool, parties ...party) { l.enter(-1, k, twoHop, parties) }

func (l *ledger) enter(n int, k Kind, twoHop bool, parties []party) {
	l.all[k] += n
	if twoHop {
		l.twoHop += n
	}
	l.promised += int64(n) * 2 * l.limits.rates(k, twoHop).Promised
	if l.all[k] < 0 || l.promised < 0 {
		panic("relay: a flow was taken out of the ledger twice")
	}
	for i, p := range parties {
		bump(l.peers, p.node, k, n)
		if p.net.IsValid() && (i == 0 || parties[0].net != p.net) {
			bump(l.nets, p.net, k, n)
		}
	}
}

func bump[K comparable](m map[K]counts, key K, k Kind, n int) {
	c := m[key]
	c[k] += n
	if c == (counts{}) {
		delete(m, key)
	} else {
		m[key] = c
	}
}

// load returns the share of what this node gives that is in use, in percent:
// the fullest of calls and promised bits.
func (l *ledger) load() uint8 {
	most := l.limits.most(Call)
	if most == 0 {
		return 100
	}
	return uint8(min(100, max(100*l.all[Call]/most, int(100*l.promised/l.limits.rate()))))
}
