// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/overlay/relay"
)

// tie is a link to a node of which only the key is known, that somebody wants
// without a call.
type tie struct {
	waiting []chan error // capacity 1 each
	at      time.Time    // when a relay is asked for, without a direct path; zero = not
	asked   int          // relays that were
}

const (
	// connectTime bounds Connect: a route after a mass failure, a port search,
	// and a handshake.
	connectTime = 10 * time.Second
	// tieAfter is how long a punch may take before a relay is asked for, and
	// maxTies how many are.
	tieAfter = 2500 * time.Millisecond
	maxTies  = 3
	// maxTied callers wait for one link.
	maxTied = 16
)

// Connect makes a link to a node that is known by its key alone, as a reach
// record names it: it offers to punch over the route, and takes a relay where
// that leads nowhere. It returns at once when a link stands. The peer, and so
// the link, is held until release is called. Errors: ErrSelf, ErrCongested,
// ErrUnreachable, ctx's, net.ErrClosed.
func (o *Overlay) Connect(ctx context.Context, key ed25519.PublicKey) (p *Peer, release func(), err error) {
	if identity.NodeIDOf(key) == o.self {
		return nil, nil, ErrSelf
	}
	if p, release, err = o.Meet(ctx, key); err != nil {
		return nil, nil, err
	}
	wait := make(chan error, 1)
	e := o.loop.Do(ctx, func(now time.Time) {
		t := &p.state.tie
		switch {
		case p.state.linked && !p.state.lost:
			wait <- nil
		case len(t.waiting) == maxTied:
			wait <- ErrCongested
		default:
			t.waiting = append(t.waiting, wait)
			t.asked = 0
			o.core.routed(now, p, nil)
		}
	})
	timer := time.NewTimer(connectTime)
	defer timer.Stop()
	if e == nil {
		select {
		case err = <-wait:
		case <-timer.C:
			err = fmt.Errorf("%w: no link to %v", ErrUnreachable, p.node.Short())
		case <-ctx.Done():
			err = ctx.Err()
		case <-o.ctx.Done():
			err = net.ErrClosed
		}
	}
	if err = cmp.Or(e, err); err == nil {
		return p, release, nil
	}
	o.loop.Do(o.ctx, func(time.Time) {
		t := &p.state.tie
		t.waiting = slices.DeleteFunc(t.waiting, func(w chan error) bool { return w == wait })
	})
	release()
	return nil, nil, err
}

// tied tells those who wait for a link to p.
func (c *core) tied(p *Peer, err error) {
	for _, w := range p.state.tie.waiting {
		w <- err
	}
	p.state.tie.waiting = nil
}

// tieThrough asks a common neighbour to carry the link, when it is time and
// nothing better has been found: what the ring has left at the nodes it passed
// ends when it is silent.
func (c *core) tieThrough(now time.Time, p *Peer) {
	t := &p.state.tie
	if t.at.IsZero() || now.Before(t.at) {
		return
	}
	t.at = time.Time{}
	if p.state.refs <= 0 || t.asked >= maxTies || p.state.paths == nil || c.direct(p) || c.relayedBy(p, relay.Link) {
		return
	}
	common := slices.DeleteFunc(slices.Clone(p.state.near), func(n near) bool {
		q := c.peers[n.node]
		return q == nil || !q.state.relay
	})
	if t.asked >= len(common) {
		return
	}
	order.Stable(common, func(a, b near) int {
		return cmp.Compare(a.rtt+c.peers[a.node].Path().RTT, b.rtt+c.peers[b.node].Path().RTT)
	})
	via := common[t.asked].node
	t.asked++
	t.at = now.Add(tieAfter)
	id, err := c.relays.client.Open(now, via, relay.Request{Target: p.node, Kind: relay.Link})
	if err != nil {
		c.o.log.Debug("no relay for a link", "peer", p.node, "via", via, "err", err)
		return
	}
	c.relays.opening[id] = p
}

// relayedBy tells whether a flow of a kind leads to p.
func (c *core) relayedBy(p *Peer, k relay.Kind) bool {
	for _, f := range c.relays.flows {
		if f.p == p && f.kind == k {
			return true
		}
	}
	return false
}

// tieAnswered takes what a node says of its neighbours in the answer to an offer
// that was for a link alone; it reports whether that was so.
func (c *core) tieAnswered(now time.Time, p *Peer, list []near) bool {
	t := &p.state.tie
	if len(t.waiting) == 0 || p.state.media {
		return false
	}
	p.state.near = list
	t.at = now.Add(tieAfter)
	c.touch(p)
	return true
}
