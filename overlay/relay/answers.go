// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// renewAfter is when the opener renews a flow: with two more tries before
	// flowLife is over.
	renewAfter  = 3 * time.Minute
	renewAgain  = 45 * time.Second
	renewJitter = 20 * time.Second // so that a relay's flows spread out

	// maxLife bounds what a relay may say of a flow's life.
	maxLife = 24 * time.Hour
)

// Receive takes a message from a neighbour that was none of the node's Server.
func (c *Client) Receive(now time.Time, from identity.NodeID, body []byte) {
	c.tick(now)
	m, err := parseMessage(body)
	if _, ok := c.links[from]; err != nil || !ok {
		c.counts.malformed++
		return
	}
	switch m.typ {
	case typeGrant:
		c.grant(from, m)
	case typeInvite:
		c.invite(from, m)
	case typeOpened:
		c.opened(from, m)
	case typeRefused:
		c.refused(from, m)
	case typeClose:
		if f := c.at(Hop{from, m.label}); f != nil && f.kind != Short {
			c.end(f, m.reason)
		}
	default:
		c.counts.malformed++
	}
}

// answer finds the request that a message answers, and takes it off the list.
func (c *Client) answer(from identity.NodeID, request uint32) *asked {
	i := slices.IndexFunc(c.requests, func(a *asked) bool { return a.request == request && a.relay == from })
	if i < 0 {
		return nil
	}
	a := c.requests[i]
	c.requests = slices.Delete(c.requests, i, i+1)
	return a
}

// fail ends a request.
func (c *Client) fail(a *asked, why Reason) {
	c.requests = slices.DeleteFunc(c.requests, func(x *asked) bool { return x == a })
	if a.renews == nil {
		c.tell(Refused{a.request, a.relay, why})
	}
}

// grant takes a voucher, and checks that it says what was asked for: it will
// be handed to somebody who can't.
func (c *Client) grant(from identity.NodeID, m message) {
	a := c.answer(from, m.request)
	if a == nil {
		c.counts.unexpected++
		return
	}
	v, err := parseVoucher(m.voucher)
	if a.open || a.renews != nil || err != nil || identity.NodeIDOf(v.relay) != from || v.owner != c.cfg.Self || v.peer != a.node || v.kind != a.kind {
		c.counts.malformed++
		c.fail(a, Malformed)
		return
	}
	c.granted = slices.DeleteFunc(c.granted, func(g *grant) bool { return g.relay == from && g.serial == v.serial })
	g := &grant{relay: from, peer: a.node, kind: a.kind, serial: v.serial, until: c.now.Add(life(m.life))}
	c.granted = append(c.granted, g)
	if len(c.granted) > maxOwnFlows {
		c.granted = slices.Delete(c.granted, 0, 1)
	}
	c.due(g.until)
	c.tell(Granted{a.request, from, slices.Clone(m.voucher), g.until, m.load})
}

func life(seconds uint32) time.Duration {
	return min(time.Duration(seconds)*time.Second, maxLife)
}

// invite takes an invitation. One for which a voucher of this node's was shown
// needs no answer any more.
func (c *Client) invite(from identity.NodeID, m message) {
	at := Hop{from, m.label}
	if !given(c.cfg.Self, from, m.label) || m.kind != Call && m.kind != Link || c.at(at) != nil || m.request&relayRequest == 0 && !m.bySerial {
		c.counts.malformed++
		return
	}
	in := Invited{
		Relay: from, From: m.node, Kind: m.kind, Nested: m.flags&flagNested != 0, TwoHop: m.flags&flagLast != 0,
		Blob: slices.Clone(m.blob), Seen: m.seen,
	}
	if m.bySerial {
		known := slices.ContainsFunc(c.granted, func(g *grant) bool {
			return g.relay == from && g.serial == m.serial && g.peer == m.node && g.kind == m.kind
		})
		if !known || len(c.flows) >= maxOwnFlows {
			c.counts.unexpected++
			c.send(from, message{typ: typeClose, label: m.label, reason: Declined})
			return
		}
		c.begin(&own{at: at, kind: m.kind, until: c.now.Add(maxLife)}, Opened{
			Peer: m.node, Nested: in.Nested, Peak: 1000 * int64(m.rate), Blob: in.Blob, Seen: m.seen,
		})
		return
	}
	one := 0
	for _, i := range c.invites {
		if i.Relay == from {
			one++
		}
	}
	if one >= maxInvitesOne || len(c.invites) >= maxInvites || len(c.flows) >= maxOwnFlows {
		c.send(from, message{typ: typeRefused, request: m.request, reason: Busy})
		return
	}
	in.Request = c.number()
	i := &invited{Invited: in, number: m.request, label: m.label, peak: 1000 * int64(m.rate), until: c.now.Add(askTime)}
	c.invites = append(c.invites, i)
	c.due(i.until)
	c.tell(in)
}

// invitation takes an invitation off the list.
func (c *Client) invitation(request uint32) *invited {
	i := slices.IndexFunc(c.invites, func(x *invited) bool { return x.Request == request })
	if i < 0 {
		return nil
	}
	in := c.invites[i]
	c.invites = slices.Delete(c.invites, i, i+1)
	return in
}

// opened takes the word that a flow is there, or goes on. A flow that nobody
// waits for any more is closed: the relay mustn't keep it for nothing.
func (c *Client) opened(from identity.NodeID, m message) {
	a, at := c.answer(from, m.request), Hop{from, m.label}
	switch {
	case a != nil && a.renews != nil && a.renews.at == at:
		c.prolong(a.renews, m)
	case a == nil || !a.open:
		c.counts.unexpected++
		if c.at(at) == nil {
			c.send(from, message{typ: typeClose, label: m.label, reason: Timeout})
		}
		if a != nil {
			c.fail(a, Malformed)
		}
	case !given(c.cfg.Self, from, m.label) || c.at(at) != nil:
		c.counts.malformed++
		c.fail(a, Malformed)
	case len(c.flows) >= maxOwnFlows:
		c.send(from, message{typ: typeClose, label: m.label})
		c.fail(a, Busy)
	default:
		f := &own{at: at, kind: a.kind}
		c.prolong(f, m)
		c.begin(f, Opened{Request: a.request, Peer: a.node, Nested: a.nested, Ours: true, Peak: 1000 * int64(m.rate), Load: m.load, Seen: m.seen})
	}
}

func (c *Client) prolong(f *own, m message) {
	f.until = c.now.Add(life(m.life))
	f.renewAt = c.now.Add(min(renewAfter, life(m.life)/2))
	if c.cfg.Rand != nil {
		f.renewAt = f.renewAt.Add(-time.Duration(c.cfg.Rand.Int64N(int64(renewJitter))))
	}
	c.due(f.until)
	c.due(f.renewAt)
}

// refused takes a no: to a request or to a renewal.
func (c *Client) refused(from identity.NodeID, m message) {
	a := c.answer(from, m.request)
	if a == nil {
		c.counts.unexpected++
		return
	}
	if a.renews != nil {
		c.end(a.renews, m.reason)
	}
	c.fail(a, m.reason)
}

// Advance renews flows and ends what nobody answered.
func (c *Client) Advance(now time.Time) {
	c.tick(now)
	if c.next.IsZero() || c.now.Before(c.next) {
		return
	}
	c.next = time.Time{}
	over := func(t time.Time) bool {
		if c.now.Before(t) {
			c.due(t)
			return false
		}
		return true
	}
	for _, a := range slices.Clone(c.requests) {
		if over(a.until) {
			c.fail(a, Timeout)
		}
	}
	c.invites = slices.DeleteFunc(c.invites, func(i *invited) bool { return over(i.until) })
	c.granted = slices.DeleteFunc(c.granted, func(g *grant) bool { return over(g.until) })
	for _, f := range slices.Clone(c.flows) {
		c.keep(f, over)
	}
}

// keep looks after one flow.
func (c *Client) keep(f *own, over func(time.Time) bool) {
	if f.kind == Short {
		if used := c.lastUsed(f); used.Add(shortIdle).After(f.until) {
			f.until = used.Add(shortIdle)
		}
		if end := f.born.Add(shortLife); end.Before(f.until) {
			f.until = end
		}
	}
	if !f.until.IsZero() && over(f.until) {
		c.end(f, Idle)
		return
	}
	if f.renewAt.IsZero() || !over(f.renewAt) {
		return
	}
	f.renewAt = c.now.Add(renewAgain)
	c.due(f.renewAt)
	a := &asked{relay: f.at.Node, kind: f.kind, renews: f}
	if c.ask(a) == nil {
		c.send(f.at.Node, message{typ: typeRenew, request: a.request, label: f.at.Label})
	}
}
