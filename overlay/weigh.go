// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/relay"
)

// A relay may let probes through and lose or spoil the voice, or some of it: then its
// path answers, and nothing is heard that the other relay doesn't bring as well. So
// what comes over the relays of a call is counted against each other. One that brings
// far less is given back, for good as this call goes, on whichever side sees it: the
// other one is told by the relay, or finds that its path answers no more.

// MediaKind says what a packet of media was, for Config.Media.
type MediaKind = sock.MediaKind

// The kinds. A packet whose every byte is that of an earlier one is a Copy; other
// media than voice is Genuine, whether it came before or not.
const (
	Forged  = sock.Forged
	Genuine = sock.Genuine
	Voice   = sock.Voice
	Copy    = sock.Copy
)

const (
	// weighEvery is how often it is looked what came, and weighTimes how often in a
	// row a relay may bring too little: a new flow is proved at both ends by then.
	weighEvery = time.Second
	weighTimes = 3
	// weighLeast genuine packets over the best relay are needed to judge: with DTX
	// ten come in a second, on hold fewer.
	weighLeast = 8
	// weighPart of that is enough: a path with a third of loss is still worth its
	// copies.
	weighPart = 2
	// shunTime is how long a relay that was left is not asked for a call, unless
	// there is no other.
	shunTime = 10 * time.Minute
)

// light says which of the relays of a call brought too little, by how many packets
// came over each and how many different ones at all: who doubles doesn't make the
// others look worse.
func light(came []uint64, all uint64) []bool {
	list := make([]bool, len(came))
	if len(came) == 0 {
		return list
	}
	most := min(slices.Max(came), all)
	for i, n := range came {
		list[i] = most >= weighLeast && n < most/weighPart
	}
	return list
}

// weigh leaves relays of a call that bring less than others do.
func (c *core) weigh(now time.Time, p *Peer) {
	s := &p.state
	if now.Before(s.weighAt) {
		return
	}
	s.weighAt = now.Add(weighEvery)
	primary, _, ok := s.paths.Active()
	relayed := ok && c.kindOf(p, primary) == nat.Relay // else copies come when there is doubt
	ends := c.flowsTo(p, func(k relay.Kind) bool { return k == relay.Call })
	came, all := make([]uint64, len(ends)), s.weighed
	for i, at := range ends {
		f := c.relays.flows[at]
		var n uint64
		n, s.weighed = p.sock.Voice(f.path)
		came[i], f.came = n-min(f.came, n), n // a path that was bound anew begins at 0
	}
	for i, less := range light(came, s.weighed-all) {
		f := c.relays.flows[ends[i]]
		if f.light++; !less || !relayed {
			f.light = 0
		}
		if f.light == weighTimes {
			c.o.log.Info("relay carries too little", "peer", p.node, "via", ends[i].Node, "packets", came[i], "most", slices.Max(came))
			c.shun(now, ends[i])
			c.giveBack(now, ends[i])
			s.lookAt = now
		}
	}
}

// shun has other relays asked than one that was of no use.
func (c *core) shun(now time.Time, at relay.Hop) {
	if via := c.peers[at.Node]; via != nil {
		via.state.shunned = now.Add(shunTime)
	}
}
