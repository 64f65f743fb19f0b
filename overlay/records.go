// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"crypto/ed25519"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/directory"
	"github.com/p2pos/p2pos/overlay/mailbox"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// recording is the loop's part in reach records: it holds some for others,
// publishes this device's own, and looks others' up (package directory). It
// carries their messages over the mesh.
type recording struct {
	store     *directory.Store
	publisher *directory.Publisher // nil on a node without a device
	sent      map[uint32]sent      // routed messages of ours, by their number
	lookups   []*lookup
	mail      mailing
	told      time.Time // when the store heard of our neighbours last
	located   time.Time // when our location was looked at last
	place     place
	left      bool // withdrawn, for good
	rng       *mrand.Rand
	inbox     *directory.Collector // nil = nobody may knock
	inboxSlot uint8
}

// sent says whose a routed message is.
type sent struct {
	ref     uint32
	to      asker // nil: nobody's
	expires time.Time
}

// asker is a machine whose questions are routed.
type asker interface {
	Answer(now time.Time, ref uint32, from identity.NodeID, body []byte)
	Undelivered(now time.Time, ref uint32)
}

// owner lets a publisher ask: silence is no news to it.
type owner struct{ *directory.Publisher }

func (owner) Undelivered(time.Time, uint32) {}

// lookup is one search for a person's devices.
type lookup struct {
	m       *directory.Lookup
	found   chan Place // one of the three is not nil
	prekeys chan identity.Prekeys
	inboxes chan identity.Inbox
	verdict Verdict // written before they are closed
}

func (l *lookup) close() {
	if l.found != nil {
		close(l.found)
	}
	if l.prekeys != nil {
		close(l.prekeys)
	}
	if l.inboxes != nil {
		close(l.inboxes)
	}
}

// Place is where a device is, by its own signed word.
type Place struct {
	Cert    identity.Certificate
	Key     ed25519.PublicKey    // of its node
	Near    []netip.AddrPort     // itself, as it knows it, and nodes with a link to it
	Revoked identity.Revocations // devices of the same identity that don't count any more
}

const (
	// maxSent messages of ours may be on their way: a publication of sixteen
	// secrets for three hours, lookups, and mail.
	maxSent = 384
	// sentLife is how long answers to one count.
	sentLife = 15 * time.Second
	// maxLookups at a time: one for each person that is being rung.
	maxLookups = 32
	// locateEvery is how often this node looks whether it is elsewhere now.
	locateEvery = 2 * time.Second
)

func newRecording(o *Overlay, rng *mrand.Rand) (r recording, err error) {
	r = recording{store: directory.NewStore(o.self, rng), sent: make(map[uint32]sent), mail: newMailing(o, rng), rng: rng}
	if d := o.cfg.Device; d != nil {
		if r.publisher, err = directory.NewPublisher(d, 0, rng); err != nil {
			return r, err
		}
	}
	return r, nil
}

// Reach is a reach secret to be found under, with grants for a device without
// the identity key.
type Reach = directory.Reach

// Publishing is what a device publishes of itself.
type Publishing struct {
	Slot        uint8   // of its records, 0–4
	Reach       []Reach // at most directory.MaxReach
	Inbox       bool    // strangers who know the ID may knock
	InboxGrants *identity.Grants
	Revoked     identity.Revocations // other devices of the identity
}

// Publish changes what this device publishes. What is left out is withdrawn.
// Errors: of a slot or a list that is too long, ctx's, net.ErrClosed.
func (o *Overlay) Publish(ctx context.Context, p Publishing) (err error) {
	if e := o.loop.Do(ctx, func(now time.Time) { err = o.core.publish(now, p) }); e != nil {
		return e
	}
	return err
}

// Withdraw says in this device's reach records that it is gone, before it closes,
// so that nobody looks and dials in vain. It returns when that is handed to the
// neighbours' links; Flush waits until it has left. Errors: ctx's, net.ErrClosed.
func (o *Overlay) Withdraw(ctx context.Context) error {
	return o.loop.Do(ctx, func(now time.Time) {
		if r := &o.core.records; r.publisher != nil {
			r.left = true
			r.publisher.Withdraw(now)
			r.publisher.Advance(now)
		}
	})
}

func (c *core) publish(now time.Time, p Publishing) error {
	r := &c.records
	if r.publisher == nil {
		return nil
	}
	if err := r.publisher.SetSlot(now, p.Slot); err != nil {
		return err
	}
	r.publisher.SetRevoked(now, p.Revoked)
	r.setInbox(now, c.o, p.Inbox, p.Slot)
	return r.publisher.SetReach(now, p.Reach, p.Inbox, p.InboxGrants)
}

func (c *core) advanceRecords(now time.Time) {
	r := &c.records
	if now.Sub(r.located) >= locateEvery && len(c.order) > 0 {
		r.located = now
		c.publishPlace(now)
		c.tellStore(now)
	}
	r.store.Advance(now)
	if r.publisher != nil {
		r.publisher.Advance(now)
	}
	if r.inbox != nil && len(c.order) > 0 {
		r.inbox.Advance(now)
	}
	for _, l := range r.lookups {
		l.m.Advance(now)
	}
	r.mail.advance(now)
	for id, s := range r.sent {
		if !now.Before(s.expires) {
			delete(r.sent, id)
		}
	}
}

func (c *core) recordsDeadline() (d time.Time) {
	r := &c.records
	d = r.store.Deadline()
	if r.publisher != nil {
		d = earlier(d, r.publisher.Deadline())
	}
	if r.inbox != nil && len(c.order) > 0 {
		d = earlier(d, r.inbox.Deadline())
	}
	for _, l := range r.lookups {
		d = earlier(d, l.m.Deadline())
	}
	d = earlier(d, r.mail.deadline())
	if len(c.order) > 0 {
		d = earlier(d, r.located.Add(locateEvery))
	}
	return d
}

// publishPlace tells the publisher where this node is, when what it told before
// won't do.
func (c *core) publishPlace(now time.Time) {
	if c.records.publisher == nil || c.records.left || c.linked() == 0 {
		return
	}
	at := identity.Location{Node: c.o.public, Class: uint8(classOf(c.obs.class.Behaviour(), c.open()))}
	for _, a := range c.addresses() {
		if len(at.Addrs) < identity.MaxRecordAddrs && (!inside(a.Addr()) || c.local()) {
			at.Addrs = append(at.Addrs, a)
		}
	}
	for _, a := range c.tcpAddrs() {
		if len(at.TCP) < identity.MaxRecordTCP {
			at.TCP = append(at.TCP, a)
		}
	}
	for _, n := range c.mesh.m.Neighbours() {
		if len(at.Introducers) == identity.MaxRecordIntroducers {
			break
		}
		if n.Addr.IsValid() {
			at.Introducers = append(at.Introducers, identity.Introducer{Node: n.ID, Addr: n.Addr})
		}
	}
	if !c.records.place.tell(now, at, func(i identity.Introducer) bool {
		p := c.peers[i.Node]
		return p != nil && p.state.linked && p.state.active.Remote == i.Addr
	}) {
		return
	}
	if err := c.records.publisher.SetLocation(now, at); err != nil {
		c.o.log.Warn("record not made", "err", err)
	}
}

func (c *core) linked() (n int) {
	for _, p := range c.order {
		if p.state.linked {
			n++
		}
	}
	return n
}

// tellStore says who could hold what this node holds.
func (c *core) tellStore(now time.Time) {
	var list []directory.Candidate
	for _, n := range c.mesh.m.Neighbours() {
		if n.Card.Leaf {
			continue
		}
		k := directory.Candidate{ID: n.ID, Addr: n.Addr.Addr()}
		if !c.o.cfg.Network.IsPublic() {
			k.Addr = netip.Addr{}
		}
		list = append(list, k)
	}
	c.records.store.SetNeighbours(now, list)
	c.records.mail.store.SetNeighbours(now, list)
}

func (c *core) drainRecords(now time.Time) {
	r := &c.records
	for {
		e, ok := r.store.NextEvent()
		if !ok {
			break
		}
		if h, ok := e.(directory.Handover); ok {
			for _, to := range h.To {
				for _, b := range h.Bodies {
					c.mesh.m.Send(now, mesh.Request{To: to, Exact: true, Next: true, Kind: mesh.Store, Body: b})
				}
			}
		}
	}
	for r.publisher != nil {
		e, ok := r.publisher.NextEvent()
		if !ok {
			break
		}
		if p, ok := e.(directory.Publish); ok {
			c.o.log.Debug("publishing")
			c.sendRecord(now, p.Ref, owner{r.publisher}, mesh.Request{To: p.Key, Kind: mesh.Store, Body: p.Body})
		}
	}
	r.lookups = slices.DeleteFunc(r.lookups, func(l *lookup) bool { return c.drainLookup(now, l) })
	c.drainInbox(now)
	c.drainMail(now)
}

// drainLookup carries out what a lookup wants, and reports whether it is over.
func (c *core) drainLookup(now time.Time, l *lookup) bool {
	for {
		e, ok := l.m.NextEvent()
		if !ok {
			return false
		}
		switch e := e.(type) {
		case directory.Ask:
			c.sendRecord(now, e.Ref, l.m, mesh.Request{To: e.Key, Kind: mesh.Fetch, Body: e.Body, Copies: e.Copies})
		case directory.Found:
			at := e.Record.At
			p := Place{Cert: e.Record.Device, Key: at.Node, Near: at.Addrs, Revoked: e.Record.Revoked}
			for _, i := range at.Introducers {
				p.Near = append(p.Near, i.Addr)
			}
			if identity.NodeIDOf(at.Node) == c.o.self {
				break
			}
			select {
			case l.found <- p:
			default: // more devices and moves than one person has
			}
		case directory.FoundInbox:
			select {
			case l.inboxes <- e.Inbox:
			default:
			}
		case directory.FoundPrekeys:
			select {
			case l.prekeys <- e.Prekeys:
			default:
			}
		case directory.Done:
			c.o.log.Debug("lookup ended", "devices", e.Devices, "answers", e.Answers, "withdrawn", e.Withdrawn)
			l.verdict = Verdict{Answered: e.Answers > 0, Withdrawn: e.Withdrawn}
			l.close()
			return true
		}
	}
}

func (c *core) sendRecord(now time.Time, ref uint32, to asker, q mesh.Request) {
	if len(c.records.sent) >= maxSent {
		if to != nil {
			to.Undelivered(now, ref)
		}
		return
	}
	c.records.sent[c.mesh.m.Send(now, q)] = sent{ref, to, now.Add(sentLife)}
}

// deliveredRecord takes a routed message about records that ends here.
func (c *core) deliveredRecord(now time.Time, e mesh.Delivered) {
	var from netip.Prefix
	if p := c.peers[e.From]; p != nil && c.o.cfg.Network.IsPublic() {
		from = directory.PrefixOf(seen(p).Addr())
	}
	receive := c.records.store.Receive
	if mailbox.IsMessage(e.Body) {
		receive = c.records.mail.store.Receive
	}
	answers, err := receive(now, e.Body, from)
	c.o.log.Debug("record message", "kind", e.Kind, "from", e.From, "answers", len(answers), "err", err)
	if err != nil {
		c.o.badFrames.Add(1)
		return
	}
	for _, b := range answers {
		c.mesh.m.Reply(now, e.Route, nil, b)
	}
}

func (c *core) recordAnswered(now time.Time, e mesh.Answered) {
	c.o.log.Debug("record answer", "hops", e.Hops, "first", e.First)
	if s, ok := c.records.sent[e.Request]; ok && s.to != nil {
		s.to.Answer(now, s.ref, e.First, e.Body)
	}
}

func (c *core) recordUndelivered(now time.Time, request uint32) {
	s, ok := c.records.sent[request]
	delete(c.records.sent, request)
	if ok && s.to != nil {
		s.to.Undelivered(now, s.ref)
	}
}
