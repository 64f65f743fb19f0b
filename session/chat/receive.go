// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/ratchet"
)

// Receive takes an envelope from a node. An error says why it was dropped; it
// has been counted and is never a reason to end a link.
func (m *Machine) Receive(now time.Time, from identity.NodeID, envelope []byte) error {
	return m.count(m.input(now, func() error {
		l, known := m.nodeOf(from)
		kind, start, message, err := parse(envelope)
		if err != nil {
			return err
		}
		switch kind {
		case envAsk, envBundle:
			if !known {
				return fmt.Errorf("%w: a question about keys from a stranger", ErrMessage)
			}
			if kind == envAsk {
				m.hand(now, l)
				return nil
			}
			return m.handed(now, l, message)
		}
		d, plain, err := m.open(now, start, message, between(from, m.cfg.Node))
		if err != nil {
			if known && unreadable(err) {
				m.restart(now, l.party)
			}
			return err
		}
		if !known || l.party != d.party {
			// The nodes are part of what was opened: this one runs that device.
			m.bind(now, nodeLink{node: from, party: d.party, narrow: true})
			m.do(Located{from, d.p.id, d.party.Device})
		}
		return m.read(now, d, plain)
	}))
}

// unreadable reports whether an error says that one of the two states is not
// what it was.
func unreadable(err error) bool {
	return errors.Is(err, errSession) || errors.Is(err, ratchet.ErrForged) || errors.Is(err, ratchet.ErrStale) ||
		errors.Is(err, ratchet.ErrFar) || errors.Is(err, ratchet.ErrKey)
}

// open finds the session of a message, or makes it, and returns the plain text.
func (m *Machine) open(now time.Time, start, message, context []byte) (*device, []byte, error) {
	id, ok := ratchet.SessionIn(message)
	if !ok {
		return nil, nil, fmt.Errorf("%w: message of %d bytes", ErrMessage, len(message))
	}
	for _, p := range m.people {
		for _, d := range p.devices {
			if s := d.find(id); s != nil {
				if m.blocked(p.id) {
					return nil, nil, ErrBlocked
				}
				plain, err := s.Decrypt(now, context, message)
				if err != nil {
					return nil, nil, err
				}
				d.heard = max(now.Unix(), 1)
				p.touch()
				m.saveSession(d, s)
				return d, plain, nil
			}
		}
	}
	if start == nil {
		return nil, nil, errSession
	}
	return m.accept(now, start, message, context)
}

// accept makes the session of a start.
func (m *Machine) accept(now time.Time, start, message, context []byte) (*device, []byte, error) {
	_, from, err := ratchet.SessionOf(now, m.cfg.Self, start)
	if err != nil {
		return nil, nil, err
	}
	p := m.person(from.Identity)
	switch {
	case m.blocked(from.Identity):
		return nil, nil, ErrBlocked
	case p == nil && len(m.people) >= maxPeople:
		return nil, nil, ErrPeople
	}
	s, _, plain, err := m.ring.Accept(now, m.cfg.Self, start, context, message)
	if err != nil {
		return nil, nil, err
	}
	m.ringed = false
	if m.public != nil && m.publishAt.IsZero() {
		m.publishAt = now.Add(patience) // the key is used; others may be, of the same batch
	}
	d, err := m.deviceOf(from)
	if err != nil {
		return nil, nil, err
	}
	if len(d.session) > 0 {
		m.lost(d)
	}
	cur := d.with()
	m.add(d, s)
	// Of two that crossed both sides take the one with the smaller name.
	ours, theirs := [8]byte{}, s.ID()
	if cur != nil {
		ours = cur.ID()
	}
	if cur == nil || cur.Start() == nil || slices.Compare(theirs[:], ours[:]) < 0 {
		d.current = theirs
	}
	d.heard = max(now.Unix(), 1)
	d.p.touch()
	d.have = true
	return d, plain, nil
}

// lost has everything that a device has not acknowledged sent again: it could
// not read it.
func (m *Machine) lost(d *device) {
	d.rest()
	d.boxed = d.acked
	d.resend, d.putAt = resend{}, resend{}
	d.p.touch()
}

// restart begins a session anew with a device whose messages can't be read.
func (m *Machine) restart(now time.Time, party ratchet.Party) {
	p := m.person(party.Identity)
	if p == nil || m.blocked(p.id) {
		return
	}
	d := p.device(party.Device)
	if d == nil {
		return
	}
	d.restarts = slices.DeleteFunc(d.restarts, func(t time.Time) bool { return now.Sub(t) >= restartEvery })
	if len(d.restarts) == maxRestarts {
		return
	}
	if n := len(d.restarts); n > 0 && now.Sub(d.restarts[n-1]) < resendFirst {
		return // more of what led to the last one
	}
	d.restarts = append(d.restarts, now)
	m.counters.Restarts++
	d.current = [8]byte{}
	d.again, d.have = true, true
	d.asked = resend{}
	m.lost(d)
	p.fetchAt = time.Time{}
}

// read takes the items of a plain text. The session has gone on whatever they
// are.
func (m *Machine) read(now time.Time, d *device, plain []byte) error {
	return items(plain, func(kind byte, body []byte) error {
		switch kind {
		case itemEntry:
			return m.entry(now, d, body)
		case itemAck:
			list, err := ids(body)
			if err != nil {
				return err
			}
			for _, id := range list {
				m.acknowledged(now, d, id)
			}
		case itemHave:
			if len(body) != 16 {
				return fmt.Errorf("%w: have", ErrMessage)
			}
			m.hasUpTo(now, d, ID(body))
		case itemAbout:
			a, err := parseAbout(body)
			if err != nil {
				return err
			}
			m.introduced(d.p, a)
		case itemRestart:
			m.lost(d)
		case itemDigest:
			return m.compare(d, body)
		case itemHeads:
			return m.takeHeads(d, body)
		}
		return nil
	})
}

func (m *Machine) introduced(p *person, a about) {
	if p.id == m.party.Identity {
		return
	}
	if p.name == a.name && (a.secret == p.secret || a.secret == (identity.Secret{})) {
		return
	}
	p.name = a.name
	if a.secret != (identity.Secret{}) {
		p.secret = a.secret
	}
	p.touch()
	m.emit(Met{p.id, p.name, a.secret})
}

// entry takes an entry that device d has sent.
func (m *Machine) entry(now time.Time, d *device, body []byte) error {
	e, conversation, err := parseEntry(body)
	if err != nil {
		return err
	}
	p, pushed := d.p, false
	if m.own(d) {
		if conversation == m.party.Identity || conversation.IsZero() {
			return fmt.Errorf("%w: entry of no conversation", ErrMessage)
		}
		if p, err = m.meet(conversation); err != nil {
			return err
		}
		pushed = pushed || e.by != author{d.party.Device, true}
	} else {
		e.by = author{device: d.party.Device}
	}
	e.delivered, e.read = e.by == m.me(), false // our own, that a backup has lost
	if _, _, ok := m.tx.find(e.id); ok {
		m.owe(now, d, e.id)
		return nil
	}
	if pushed {
		m.owe(now, d, e.id) // that it came is enough: it is held, or taken
	}
	if p.holds(e.id) {
		return nil
	}
	switch m.verdict(p, e) {
	case Refused:
		m.counters.Refused++
		return nil
	case Undecided:
		if !m.wait(now, p, e) {
			d.have = true
		}
		m.due(now.Add(decideEvery))
		return nil
	}
	if !m.follows(p, e) {
		d.have = true
		m.wait(now, p, e)
		return nil
	}
	m.take(now, p, e, false)
	return nil
}

// follows reports whether the entry before e is here.
func (m *Machine) follows(p *person, e *entry) bool {
	if e.prev == (ID{}) || e.flags&flagFirst != 0 {
		return true
	}
	if h := p.head(e.by); h != nil && h.last == e.prev {
		return true
	}
	_, _, ok := m.tx.find(e.prev)
	return ok
}

// wait keeps an entry until the one before it is here, or until it is decided
// whether it is taken. Without room it is dropped, unacknowledged: its author has
// it.
func (m *Machine) wait(now time.Time, p *person, e *entry) bool {
	size := len(e.body)
	for _, h := range p.held {
		size += len(h.e.body) + 128
	}
	if len(p.held) == maxHeld || size > maxHeldBytes {
		return false
	}
	p.held = append(p.held, &held{e, now.Unix()})
	p.heldToo = true
	return true
}

// take adds an entry to its conversation, and those that have waited for it.
func (m *Machine) take(now time.Time, p *person, e *entry, gap bool) {
	for list := []*entry{e}; len(list) > 0; list = list[1:] {
		e := list[0]
		n := m.keep(now, p, e)
		m.show(now, p, e, n, gap)
		if d := m.authorOf(p, e); d != nil {
			m.owe(now, d, e.id)
		}
		gap = false
		m.tell(now, e)
		p.held = slices.DeleteFunc(p.held, func(h *held) bool {
			if h.e.prev != e.id {
				return false
			}
			list = append(list, h.e)
			p.heldToo = true
			return true
		})
	}
}

// tell has own devices compared soon: something new came from elsewhere.
func (m *Machine) tell(now time.Time, e *entry) {
	own := m.person(m.party.Identity)
	if own == nil {
		return
	}
	for _, d := range own.devices {
		at := now.Add(digestSoon)
		if _, linked := d.link(); linked && (d.digestAt.IsZero() || at.Before(d.digestAt)) && d.party.Device != e.by.device {
			d.digestAt = at
		}
	}
}

// authorOf returns the device that has made an entry, if it is known.
func (m *Machine) authorOf(p *person, e *entry) *device {
	if e.by.ours {
		if p = m.person(m.party.Identity); p == nil {
			return nil
		}
	}
	return p.device(e.by.device)
}

// show tells the app what an entry means.
func (m *Machine) show(now time.Time, p *person, e *entry, n uint64, gap bool) {
	switch e.kind {
	case kindText:
		m.emit(Message{
			ID: e.id, Peer: p.id, Ours: e.by.ours, Text: string(e.body),
			Sent: timeOf(e.at), Received: timeOf(max(now.UnixMilli(), 0)), Gap: gap,
		})
	case kindCall:
		got := timeOf(max(now.UnixMilli(), 0))
		at := timeOf(e.at)
		if at.After(got) {
			at = got // a clock that is fast
		}
		m.emit(Called{Peer: p.id, Name: p.name, Ours: e.by.ours, At: at, Received: got})
	case kindRead:
		for _, id := range reads(e) {
			m.wasRead(p, e.by.ours, id)
		}
	}
}

// wasRead notes that a text was read: theirs by another device of ours, or ours
// by them.
func (m *Machine) wasRead(p *person, byUs bool, id ID) {
	conversation, n, ok := m.tx.find(id)
	if !ok || conversation != p.id {
		return
	}
	e := m.tx.entry(p.id, n)
	if e == nil || e.kind != kindText || e.by.ours == byUs || e.read {
		return
	}
	if byUs {
		if n > p.readTo {
			p.readTo = n
			p.touch()
		}
		m.emit(Seen{id, p.id})
		return
	}
	m.arrived(p, e, n)
	e.read = true
	m.tx.put(entryName(p.id, n), e.appendStored(nil))
	m.emit(Read{id, p.id})
}

// arrived notes that an own text is with the other person.
func (m *Machine) arrived(p *person, e *entry, n uint64) {
	if e.delivered || !e.matters() || !e.by.ours {
		return
	}
	e.delivered = true
	m.tx.put(entryName(p.id, n), e.appendStored(nil))
	if m.mine(e) && p.waiting > 0 {
		p.waiting--
		p.touch()
	}
	if e.kind == kindText {
		m.emit(Delivered{e.id, p.id})
	}
}

// release shows what has waited too long for something before it, and what has
// been decided about.
func (m *Machine) release(now time.Time, p *person) {
	for i := 0; i < len(p.held); i++ {
		h := p.held[i]
		at := time.Unix(h.since, 0).Add(holdTime)
		late := !now.Before(at) || h.since > now.Unix()+1
		follows := m.follows(p, h.e)
		switch v := m.verdict(p, h.e); {
		case v == Refused, v == Undecided && late:
			m.counters.Refused++
			p.held = slices.Delete(p.held, i, i+1)
			p.heldToo = true
			p.touch()
			i--
			continue
		case v == Undecided:
			m.due(now.Add(decideEvery))
			continue
		case !late && !follows:
			m.due(at)
			continue
		}
		p.held = slices.Delete(p.held, i, i+1)
		p.heldToo = true
		m.take(now, p, h.e, !follows)
		i = -1 // more may have gone with it
	}
}

// owe notes an acknowledgement for a device.
func (m *Machine) owe(now time.Time, d *device, id ID) {
	if len(d.owed) == 0 {
		d.owedAt = now
	}
	if len(d.owed) < maxOwed && !slices.Contains(d.owed, id) {
		d.owed = append(d.owed, id)
	}
}

// acknowledged notes that a device has an entry.
func (m *Machine) acknowledged(now time.Time, d *device, id ID) {
	if i := slices.Index(d.pushing, id); i >= 0 {
		d.pushing = slices.Delete(d.pushing, i, i+1)
		d.resend = resend{}
		return
	}
	conversation, n, ok := m.tx.find(id)
	if !ok {
		return
	}
	if i := slices.IndexFunc(d.flight, func(f flying) bool { return f.id == id }); i >= 0 {
		d.flight[i].acked = true
		d.resend, d.alone = resend{}, time.Time{}
	} else if !m.own(d) && n > d.acked && len(d.beyond) < window && !slices.Contains(d.beyond, n) {
		d.beyond = append(d.beyond, n) // it was sent before a restart, or by mail
		d.p.touch()
	}
	if m.own(d) || conversation != d.p.id {
		return
	}
	if e := m.tx.entry(conversation, n); e != nil && m.mine(e) {
		m.arrived(d.p, e, n)
	}
}

// hasUpTo takes a device's word on the last own entry that it has.
func (m *Machine) hasUpTo(now time.Time, d *device, last ID) {
	if m.own(d) {
		return
	}
	var n uint64
	if last != (ID{}) {
		conversation, k, ok := m.tx.find(last)
		if !ok || conversation != d.p.id {
			return // from after our backup, or longer ago than we remember
		}
		n = k
	}
	if n < d.acked && d.acked > d.since {
		// It has lost what it had: a backup. What it lacks goes again.
		n = max(n, d.since)
		if next, _, e := m.next(d, n); e == nil || next > d.acked || now.Sub(d.rewound) < rewindEvery {
			return
		}
		d.rewound = now
		d.acked, d.last, d.boxed = n, n, n
		d.flight, d.beyond = nil, nil
		d.p.touch()
		return
	}
	for d.acked < n { // acknowledgements were lost
		k, _, e := m.next(d, d.acked)
		if e == nil || k > n {
			break
		}
		m.arrived(d.p, e, k)
		d.acked = k
		d.flight = slices.DeleteFunc(d.flight, func(f flying) bool { return f.n <= k })
		d.last = max(d.last, k)
		d.p.touch()
	}
}
