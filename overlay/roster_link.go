// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/p2pos/p2pos/identity"
)

// RosterChanged says that a newer roster is in force here. Raw is to be kept for
// the next start.
type RosterChanged struct{ Roster *identity.Roster }

func (RosterChanged) event() {}

// RosterRefused says that another node refuses this one by the roster that it
// has: this node's owner does not belong, or not any more. The same comes every
// refusedEvery at most.
type RosterRefused struct{ Err error }

func (RosterRefused) event() {}

// MemberRefused says that this node has refused another one by its roster. Of
// those that come awayBurst at once and one a second are told: an outsider may go
// on trying.
type MemberRefused struct {
	Node   identity.NodeID
	Member identity.ID // zero = it has shown none
	Remote netip.AddrPort
	Err    error
}

func (MemberRefused) event() {}

// turnedAway notes a node that the roster keeps out.
func (o *Overlay) turnedAway(e MemberRefused) {
	if !errors.Is(e.Err, ErrMember) {
		return
	}
	o.turned.Add(1)
	now := time.Now()
	o.rosterMu.Lock()
	defer o.rosterMu.Unlock()
	if o.awayFull.Before(now) {
		o.awayFull = now
	}
	if o.awayFull.Sub(now) > (awayBurst-1)*time.Second {
		return
	}
	o.awayFull = o.awayFull.Add(time.Second)
	o.log.Warn("link refused by the roster", "node", e.Node, "err", e.Err)
	o.events.push(e)
}

const (
	// refusedEvery keeps a node that goes on trying from filling logs.
	refusedEvery = 10 * time.Second
	// awayBurst outsiders are told of one after the other, as when a company's
	// computers start in the morning with a roster that has expired.
	awayBurst = 16
)

// refusal notes that a link could not be, or ended, because of a roster. The
// application hears of it when it is about this node, not about the other one.
func (o *Overlay) refusal(raw error) {
	err := linkError(raw)
	if !errors.Is(err, ErrMember) {
		return
	}
	now := time.Now()
	theirs := !errors.Is(raw, ErrMember) // linkError has made it of what the other node says
	o.rosterMu.Lock()
	defer o.rosterMu.Unlock()
	o.refusedBy, o.refusedWhen = err, now
	text, self := err.Error(), o.cfg.Identity
	if o.belongs(now, self) == nil && (!theirs || strings.Contains(text, identity.ErrNotMember.Error()) && !strings.Contains(text, self.Short())) {
		return // it is the other one that doesn't belong, and perhaps says so itself
	}
	if text != o.refusedText {
		o.refusedText = text // news
	} else if now.Sub(o.refusedTold) < refusedEvery {
		return
	}
	o.refusedTold = now
	o.log.Warn("refused by the roster of other nodes", "err", err)
	o.events.push(RosterRefused{err})
}

// Refused returns how another node has refused this one by its roster since a
// time; nil when none has.
func (o *Overlay) Refused(since time.Time) error {
	o.rosterMu.Lock()
	defer o.rosterMu.Unlock()
	if o.refusedWhen.Before(since) {
		return nil
	}
	return o.refusedBy
}

// ErrMember reports that one of the two nodes does not belong to the network, as
// the roster says.
var ErrMember = errors.New("overlay: refused by the network's roster")

var errNoRoster = errors.New("no roster is here yet: the admin has to hand one in")

// rostered reports whether the network has an admin.
func (o *Overlay) rostered() bool { return !o.cfg.Admin.IsZero() }

// Roster returns the one in force, nil when there is none.
func (o *Overlay) Roster() *identity.Roster { return o.roster.Load() }

// rosterNumber returns its number, 0 when there is none.
func (o *Overlay) rosterNumber() uint64 {
	if r := o.roster.Load(); r != nil {
		return r.Number
	}
	return 0
}

// SetRoster takes a newer roster, and spreads it. Errors: those of
// identity.ParseRoster and Roster.Accept.
func (o *Overlay) SetRoster(raw []byte) error {
	if err := o.takeRoster(raw); err != nil {
		return err
	}
	return o.loop.Do(o.ctx, func(now time.Time) { o.core.rosterAdopted(now) })
}

// takeRoster puts a newer roster in force; the core is to be told.
func (o *Overlay) takeRoster(raw []byte) error {
	r, err := identity.ParseRoster(raw)
	if err != nil {
		return err
	}
	o.rosterMu.Lock()
	defer o.rosterMu.Unlock()
	if err := r.Accept(time.Now(), o.cfg.Admin, o.cfg.Network, o.roster.Load()); err != nil {
		return err
	}
	o.roster.Store(r)
	o.log.Info("roster", "number", r.Number, "members", len(r.Members))
	o.events.push(RosterChanged{r})
	return nil
}

// belongs holds somebody, and this node's owner, against the roster.
func (o *Overlay) belongs(now time.Time, id identity.ID) error {
	r := o.roster.Load()
	if r == nil {
		return fmt.Errorf("%w: %w", ErrMember, errNoRoster)
	}
	for _, id := range []identity.ID{o.cfg.Identity, id} {
		if err := r.Check(now, id); err != nil {
			return fmt.Errorf("%w: %w", ErrMember, err)
		}
	}
	return nil
}

// showMember fills in what HELLO says in a network with a roster.
func (l *Link) showMember(h *hello, r role) {
	if o := l.o; o.rostered() && o.cfg.Device != nil {
		h.member = string(sealMember(o.cfg.Device, o.networkKey, r, l.exporter, o.self))
		h.roster = l.roster
	}
}

// seeMember reads who the other side is.
func (l *Link) seeMember(r role, node identity.NodeID) (err error) {
	if l.o.rostered() {
		l.member, err = openMember(time.Now(), []byte(l.hello.member), l.o.networkKey, r, l.exporter, node)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMember, err)
	}
	return nil
}

// agree has both sides hold each other against the newer of their rosters, after
// both HELLOs. Who has the older one is sent the newer before.
func (l *Link) agree() error {
	o := l.o
	if !o.rostered() {
		return nil
	}
	if l.hello.roster > l.roster {
		if err := l.readRoster(); err != nil {
			return err
		}
	}
	if err := o.belongs(time.Now(), l.member); err != nil {
		return err
	}
	if l.hello.roster < l.roster {
		return l.writeRoster()
	}
	return nil
}

// readRoster reads a roster out of a handshake: nothing but its parts comes.
func (l *Link) readRoster() error {
	var pieces rosterPieces
	for range maxParts {
		typ, body, err := readFrame(l.stream)
		if err != nil {
			return err
		}
		if typ != frameRoster || len(body) == 0 || body[0] != rosterPart {
			return fmt.Errorf("%w: type %d instead of a roster", errFrame, typ)
		}
		raw, err := pieces.add(body[1:])
		if err != nil {
			return err
		}
		if raw == nil {
			continue
		}
		if err := l.o.takeRoster(raw); err != nil && !errors.Is(err, identity.ErrRosterOld) { // another link was faster
			return fmt.Errorf("%w: %w", ErrMember, err)
		}
		return l.o.loop.Do(l.o.ctx, func(now time.Time) { l.o.core.rosterAdopted(now) })
	}
	return fmt.Errorf("%w: a roster without an end", errFrame)
}

func (l *Link) writeRoster() error {
	for _, body := range rosterParts(l.o.roster.Load()) {
		if _, err := l.stream.Write(appendFrame(nil, frameRoster, body)); err != nil {
			return err
		}
	}
	return nil
}

// rosterFrame takes a message about rosters.
func (c *core) rosterFrame(now time.Time, p *Peer, body []byte) error {
	if !c.o.rostered() {
		return nil
	}
	say, raw, send, err := c.spread.receive(now, p.node, body, c.o.rosterNumber())
	if err != nil {
		return err
	}
	c.sayRoster(say)
	if send {
		for _, b := range rosterParts(c.o.roster.Load()) {
			c.sayRoster([]rosterSay{{p.node, b}})
		}
	}
	if raw == nil {
		return nil
	}
	if err := c.o.takeRoster(raw); err != nil {
		c.o.log.Warn("roster refused", "node", p.node, "err", err)
		c.o.badFrames.Add(1)
		c.sayRoster(c.spread.refused(now, p.node, c.o.rosterNumber()))
		return nil
	}
	c.spread.known[p.node] = c.o.rosterNumber()
	c.rosterAdopted(now)
	return nil
}

func (c *core) sayRoster(list []rosterSay) {
	for _, s := range list {
		if p := c.peers[s.to]; p != nil {
			if l := p.link.Load(); l != nil {
				if err := l.send(frameRoster, s.body); err != nil {
					c.o.log.Debug("roster not sent", "node", s.to, "err", err)
				}
			}
		}
	}
}

// unroster forgets what roster a neighbour has: the link is gone.
func (c *core) unroster(now time.Time, p *Peer) {
	if c.o.rostered() {
		c.sayRoster(c.spread.down(now, p.node, c.o.rosterNumber()))
	}
}

// rosterAdopted spreads a newer roster and ends the links that it forbids.
func (c *core) rosterAdopted(now time.Time) {
	c.sayRoster(c.spread.adopted(c.o.rosterNumber()))
	c.enforce(now)
}

// enforce ends links with those that don't belong any more.
func (c *core) enforce(now time.Time) {
	c.spread.lookAt = now.Add(rosterLook)
	for _, p := range c.order {
		for _, l := range p.state.links {
			if err := c.o.belongs(now, l.member); err != nil {
				c.o.log.Info("link ended by the roster", "node", p.node, "err", err)
				l.endFor(err)
			}
		}
	}
}

// lastWords is how long a link lives on that the roster forbids: the sessions on
// it say goodbye, and the roster that says so goes over it.
const lastWords = 300 * time.Millisecond

// endFor closes a link and says why, a moment later.
func (l *Link) endFor(err error) {
	if l.ending {
		return
	}
	l.ending = true
	code, text := helloFailure(err)
	l.o.tasks.run(func() {
		timer := time.NewTimer(lastWords)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.o.ctx.Done():
		}
		l.close(code, text)
	})
}

func (c *core) advanceRoster(now time.Time) {
	if !c.o.rostered() {
		return
	}
	c.sayRoster(c.spread.advance(now, c.o.rosterNumber()))
	if !now.Before(c.spread.lookAt) {
		c.enforce(now)
	}
}

// maxReason bounds what a close may say for people.
const maxReason = 160

// spoken is text of the other side that may be shown.
func spoken(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), maxReason)], ""))
}
