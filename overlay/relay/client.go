// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// maxRequests bounds a Client's open requests: two relays and as many
	// spares for each of eight people in a call, twice.
	maxRequests = 64

	// maxInvites bounds the invitations that wait for an answer, in all and
	// from one relay.
	maxInvites    = 32
	maxInvitesOne = 8

	// maxOwnFlows bounds a node's own flows. Beyond it a ring's flow makes room.
	maxOwnFlows = 128

	// maxOwnShort bounds those that rings left: the copies of two rings.
	maxOwnShort = 16

	// answerTime is how long a relay has: its own askTime, another one's
	// behind it, and the round trip.
	answerTime = 2*askTime + 2*time.Second
)

// ErrMany reports a request too many.
var ErrMany = errors.New("relay: too many requests")

// ErrNoLink reports a relay without a link.
var ErrNoLink = errors.New("relay: no link to that relay")

// ErrNone reports an invitation or flow that is not, or no longer, there.
var ErrNone = errors.New("relay: no such invitation or flow")

// ClientConfig makes a Client.
type ClientConfig struct {
	Self identity.NodeID
	// LastUsed says when the node's Conn last carried a datagram of the flow
	// at this hop, in or out; zero means never. It must return at once. Nil
	// means that flows never look used.
	LastUsed func(Hop) time.Time
	Rand     *rand.Rand // jitter of renewals
}

// Client is the part of a node that asks neighbours to carry its flows. It is
// a pure machine, with the same rules as Server.
type Client struct {
	outbox
	cfg      ClientConfig
	now      time.Time
	next     time.Time
	links    map[identity.NodeID]Salt
	requests []*asked // in order of asking
	invites  []*invited
	granted  []*grant
	flows    []*own // in order of opening
	seq      uint32
	counts   struct{ malformed, unexpected uint64 }
}

// asked is an open request.
type asked struct {
	request uint32
	relay   identity.NodeID
	node    identity.NodeID
	kind    Kind
	nested  bool
	open    bool // OPEN, else RESERVE
	renews  *own // RENEW
	until   time.Time
}

// invited is an invitation that waits for the application.
type invited struct {
	Invited
	number uint32 // the relay's
	label  Label
	peak   int64
	until  time.Time
}

// grant is a voucher that this node has reserved.
type grant struct {
	relay, peer identity.NodeID
	kind        Kind
	serial      uint64
	until       time.Time
}

// own is one of the node's flows.
type own struct {
	at      Hop
	kind    Kind
	born    time.Time
	renewAt time.Time // zero = it isn't for us to do
	until   time.Time // when it is over unless renewed, as the relay said
}

// NewClient returns a Client without links.
func NewClient(cfg ClientConfig) *Client {
	return &Client{cfg: cfg, links: make(map[identity.NodeID]Salt)}
}

// LinkUp says that a link to a node stands.
func (c *Client) LinkUp(now time.Time, node identity.NodeID, salt Salt) {
	c.tick(now)
	c.links[node] = salt
}

// LinkDown says that the last link to a node broke: requests to it and flows
// through it are over.
func (c *Client) LinkDown(now time.Time, node identity.NodeID) {
	c.tick(now)
	delete(c.links, node)
	for _, a := range slices.Clone(c.requests) {
		if a.relay == node {
			c.fail(a, Gone)
		}
	}
	c.invites = slices.DeleteFunc(c.invites, func(i *invited) bool { return i.Relay == node })
	c.granted = slices.DeleteFunc(c.granted, func(g *grant) bool { return g.relay == node })
	for _, f := range slices.Clone(c.flows) {
		if f.at.Node == node {
			c.end(f, Gone)
		}
	}
}

// Reserve asks a relay for a voucher with which peer can reach this node
// through it. Granted or Refused follows.
func (c *Client) Reserve(now time.Time, relay, peer identity.NodeID, k Kind) (request uint32, err error) {
	c.tick(now)
	a := &asked{relay: relay, node: peer, kind: k}
	if err := c.ask(a); err != nil {
		return 0, err
	}
	c.send(relay, message{typ: typeReserve, request: a.request, node: peer, kind: k})
	return a.request, nil
}

// Request is what Open asks for.
type Request struct {
	Target  identity.NodeID
	Kind    Kind              // Call or Link
	Voucher []byte            // of the target for this relay; nil = the target is asked
	Via     []identity.NodeID // other relays that may have a link to the target, at most MaxVia
	Nested  bool              // inner datagrams will be relayed frames: the target is a relay itself
	Blob    []byte            // for the target, sealed; at most MaxBlob bytes
}

// Open asks a relay for a flow. Opened or Refused follows.
func (c *Client) Open(now time.Time, relay identity.NodeID, r Request) (request uint32, err error) {
	c.tick(now)
	if len(r.Blob) > MaxBlob || len(r.Via) > MaxVia || len(r.Voucher) > maxVoucher {
		return 0, errMessage
	}
	a := &asked{relay: relay, node: r.Target, kind: r.Kind, nested: r.Nested, open: true}
	if err := c.ask(a); err != nil {
		return 0, err
	}
	m := message{typ: typeOpen, request: a.request, node: r.Target, kind: r.Kind, voucher: r.Voucher, via: r.Via, blob: r.Blob}
	if r.Nested {
		m.flags = flagNested
	}
	c.send(relay, m)
	return a.request, nil
}

// Accept agrees to an invitation. Opened follows at once; frames come and go
// from the moment at which the relay has heard it.
func (c *Client) Accept(now time.Time, request uint32) error {
	c.tick(now)
	i := c.invitation(request)
	if i == nil {
		return ErrNone
	}
	c.send(i.Relay, message{typ: typeAccept, request: i.number, label: i.label})
	c.begin(&own{at: Hop{i.Relay, i.label}, kind: i.Kind, until: c.now.Add(maxLife)}, Opened{
		Request: request, Peer: i.From, Nested: i.Nested, Peak: i.peak, Blob: i.Blob, Seen: i.Seen,
	})
	return nil
}

// Decline refuses an invitation.
func (c *Client) Decline(now time.Time, request uint32) error {
	c.tick(now)
	i := c.invitation(request)
	if i == nil {
		return ErrNone
	}
	c.send(i.Relay, message{typ: typeRefused, request: i.number, reason: Declined})
	return nil
}

// Close ends one of the node's flows. Down follows at once.
func (c *Client) Close(now time.Time, at Hop) error {
	c.tick(now)
	f := c.at(at)
	if f == nil {
		return ErrNone
	}
	c.end(f, Closed)
	if f.kind != Short {
		c.send(at.Node, message{typ: typeClose, label: at.Label})
	}
	return nil
}

// Ring says that a ring with this trace left for a neighbour (out), or came in
// from it: the flow that it left on the way begins or ends here. Called again
// it prolongs the flow. Opened follows the first time.
func (c *Client) Ring(now time.Time, neighbour identity.NodeID, trace [16]byte, out bool) {
	c.tick(now)
	salt, ok := c.links[neighbour]
	if !ok {
		return
	}
	at := Hop{neighbour, ShortLabel(salt, trace, neighbour, c.cfg.Self)}
	if out {
		at.Label = ShortLabel(salt, trace, c.cfg.Self, neighbour)
	}
	if f := c.at(at); f != nil {
		f.until = c.now.Add(shortIdle)
		return
	}
	c.crowd()
	c.begin(&own{at: at, kind: Short, until: c.now.Add(shortIdle)}, Opened{Peak: peakShort, Ours: out})
}

// crowd makes room for a ring's flow.
func (c *Client) crowd() {
	var oldest *own
	n := 0
	for _, f := range c.flows {
		if f.kind == Short {
			n++
			if oldest == nil || c.lastUsed(f).IsZero() && !c.lastUsed(oldest).IsZero() {
				oldest = f
			}
		}
	}
	if n >= maxOwnShort {
		c.end(oldest, Busy)
	}
}

// Deadline returns when Advance wants to be called; zero means never.
func (c *Client) Deadline() time.Time { return c.next }

// Malformed returns how many messages made no sense, or nobody had asked for.
func (c *Client) Malformed() uint64 { return c.counts.malformed + c.counts.unexpected }

func (c *Client) tick(now time.Time) {
	if now.After(c.now) {
		c.now = now
	}
}

func (c *Client) due(t time.Time) {
	if !t.IsZero() && (c.next.IsZero() || t.Before(c.next)) {
		c.next = t
	}
}

func (c *Client) lastUsed(f *own) time.Time {
	if c.cfg.LastUsed == nil {
		return time.Time{}
	}
	return c.cfg.LastUsed(f.at)
}

// ask enters a request.
func (c *Client) ask(a *asked) error {
	if _, ok := c.links[a.relay]; !ok {
		return ErrNoLink
	}
	if len(c.requests) >= maxRequests {
		return ErrMany
	}
	a.request = c.number()
	a.until = c.now.Add(answerTime)
	c.requests = append(c.requests, a)
	c.due(a.until)
	return nil
}

// number returns the next request number of a user: never 0.
func (c *Client) number() uint32 {
	c.seq = (c.seq + 1) &^ relayRequest
	if c.seq == 0 {
		c.seq = 1
	}
	return c.seq
}

// at returns the flow at a hop, or nil.
func (c *Client) at(h Hop) *own {
	i := slices.IndexFunc(c.flows, func(f *own) bool { return f.at == h })
	if i < 0 {
		return nil
	}
	return c.flows[i]
}

func (c *Client) end(f *own, why Reason) {
	c.flows = slices.DeleteFunc(c.flows, func(x *own) bool { return x == f })
	c.requests = slices.DeleteFunc(c.requests, func(a *asked) bool { return a.renews == f })
	c.tell(Down{f.at, f.kind, why})
}

// begin enters a flow and says so; o needs what the flow doesn't know.
func (c *Client) begin(f *own, o Opened) {
	f.born = c.now
	c.flows = append(c.flows, f)
	c.due(f.until)
	c.due(f.renewAt)
	o.At, o.Kind = f.at, f.kind
	c.tell(o)
}
