// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"time"

	"github.com/p2pos/p2pos/nat"
)

// A relayed call goes on looking for a direct path: now and then both sides
// make each other new offers, over the link that the relay carries, and punch
// again. Budgets bound what that costs (design §5).

const (
	// againFirst is longer than the longest plan takes; the pause doubles up
	// to againMost.
	againFirst = 6 * time.Second
	againMost  = 5 * time.Minute

	offerAsks    = 0 // answer this with one of yours
	offerAnswers = 1
)

// again makes a new attempt when it is due. One side of a call does.
func (c *core) again(now time.Time, p *Peer) {
	s := &p.state
	switch {
	case !s.media || !s.opener || !s.linked || c.direct(p):
		s.againAt, s.againWait = time.Time{}, againFirst
	case s.againAt.IsZero() && !s.called && !s.byRoute: // a call over a link that another node carries
		s.called, s.againAt = true, now
		s.againWait = againFirst
	case s.againAt.IsZero():
		s.againWait = max(s.againWait, againFirst) // a call may begin relayed
		s.againAt = now.Add(s.againWait)
	case c.rolling(p) && s.againWait < againMost:
		s.againWait = againMost // it needs no new offers, unless more is known of the NATs
		s.againAt = now.Add(s.againWait)
	case !now.Before(s.againAt):
		s.againWait = min(2*s.againWait, againMost)
		s.againAt = now.Add(s.againWait)
		c.sendOffer(now, p, offerAsks)
	}
}

// reofferWait bounds how often news of this side's NAT are told in a call: a
// classification changes its mind a few times in its first seconds.
const reofferWait = time.Second

// reoffer makes a new offer when more is known of this side's NAT than the last
// one said: plans that were made from different knowledge are no halves of one.
func (c *core) reoffer(now time.Time, p *Peer) {
	s := &p.state
	if !s.linked || c.direct(p) || c.rolling(p) || now.Before(s.reofferAt) || alike(s.offered, c.obs.class.Behaviour()) {
		return
	}
	s.reofferAt = now.Add(reofferWait)
	c.sendOffer(now, p, offerAsks)
}

// alike says whether two behaviours lead to the same plan, as far as its method
// goes. A block's bounds move with every mapping that is seen.
func alike(a, b nat.Behaviour) bool {
	return a.Mapping == b.Mapping && a.Filtering == b.Filtering && a.Ports == b.Ports && a.Chosen == b.Chosen &&
		(a.Block == [2]uint16{}) == (b.Block == [2]uint16{})
}

func (c *core) sendOffer(now time.Time, p *Peer, kind byte) {
	offer := c.offer(now, p)
	c.send(toSend{p.node, frameOffer, offer.Append([]byte{kind})})
}

// reoffered takes a new offer of a peer with which a session stands.
func (c *core) reoffered(now time.Time, p *Peer, body []byte) error {
	if len(body) == 0 {
		return errFrame
	}
	theirs, err := nat.ParseOffer(body[1:], now)
	if err != nil {
		return err
	}
	s := &p.state
	if !bytes.Equal(theirs.NodeKey, p.key) {
		return errFrame
	}
	if s.refs <= 0 || c.direct(p) || s.paths == nil {
		return nil
	}
	if body[0] == offerAsks {
		c.sendOffer(now, p, offerAnswers)
	}
	if c.rolling(p) {
		if paths := c.o.pathsTo(theirs.Outside); len(paths) > 0 && s.outsideOf.Addr() == theirs.Outside.Addr() && sameSearch(s.punch.plan, c.planFor(theirs, paths[0].Local)) {
			return nil // what it has opened is worth more than what is new
		}
	}
	s.offer, s.called = theirs, true
	s.outsideOf, s.behaviour = theirs.Outside, theirs.Behaviour
	c.endPunch(p)
	c.startPunch(now, p, theirs)
	c.propose(now, p, theirs)
	return nil
}

// rolling says whether a slow search for a way to p goes on: the two sides' NATs
// take a new port for each connection, and it may take minutes to meet.
func (c *core) rolling(p *Peer) bool {
	k := &p.state.punch
	return k.run != nil && !k.run.Ended() && k.plan.Method == nat.Cross
}

// roll lets a slow search go on while a call is relayed, and ends it with the call.
func (c *core) roll(now time.Time, p *Peer) {
	if !c.rolling(p) {
		return
	}
	s := &p.state
	s.punch.run.SetLife(now, c.obs.class.Behaviour().Unreplied)
	s.punch.run.SetRelayed(now, s.media && !c.direct(p))
	if s.punch.rolled && !s.media {
		s.punch.run.Stop(now)
	}
	s.punch.rolled = s.media
}

// sameSearch says whether two plans open and aim at the same ports.
func sameSearch(a, b nat.Plan) bool {
	return a.Method == b.Method && len(a.Steps) > 0 && len(b.Steps) > 0 && a.Steps[0].Ranges == b.Steps[0].Ranges
}
