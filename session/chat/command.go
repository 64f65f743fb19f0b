// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/ratchet"
)

// Know says with which reach secret a person can be found: from a ticket, or
// from a call of theirs. Errors: ErrPeople, ErrStore.
func (m *Machine) Know(now time.Time, id identity.ID, secret identity.Secret) error {
	return m.input(now, func() error {
		p, err := m.meet(id)
		if err != nil {
			return err
		}
		if secret != (identity.Secret{}) && p.secret != secret {
			p.secret = secret
			p.fetchAt, p.seekAt, p.seekWait = time.Time{}, time.Time{}, 0
			p.touch()
		}
		m.adopt(p)
		return nil
	})
}

// adopt makes devices of the nodes that are linked already.
func (m *Machine) adopt(p *person) {
	for _, l := range slices.Clone(m.links) {
		if l.party.Identity == p.id {
			if d, err := m.deviceOf(l.party); err == nil {
				m.attach(d, l)
			}
		}
	}
}

// Send says text to a person. When it returns nil the text is stored and will
// be delivered, now or later. Errors: ErrText, ErrUnknown, ErrWaiting, ErrStore.
func (m *Machine) Send(now time.Time, to identity.ID, text string) (id ID, err error) {
	err = m.input(now, func() error {
		p := m.person(to)
		switch {
		case !validText(text):
			return ErrText
		case p == nil || to == m.party.Identity:
			return ErrUnknown
		case p.waiting >= MaxWaiting:
			return fmt.Errorf("%w: %d", ErrWaiting, p.waiting)
		case p.secret == (identity.Secret{}) && len(p.devices) == 0 && !m.linkedTo(to):
			return ErrUnknown
		}
		m.adopt(p)
		e := m.say(now, p, kindText, []byte(text))
		id = e.id
		p.waiting++
		m.emit(Message{ID: e.id, Peer: to, Ours: true, Here: true, Text: text, Sent: timeOf(e.at), Received: timeOf(e.at)})
		return nil
	})
	return id, err
}

// Called says that a call to a person has reached nobody. It is told to them as
// texts are, without a receipt; not more than once a minute, so that a program
// that calls all night says little. Errors: ErrUnknown, ErrWaiting, ErrStore.
func (m *Machine) Called(now time.Time, to identity.ID) error {
	return m.input(now, func() error {
		p := m.person(to)
		switch {
		case p == nil || to == m.party.Identity:
			return ErrUnknown
		case p.waiting >= MaxWaiting:
			return fmt.Errorf("%w: %d", ErrWaiting, p.waiting)
		case p.secret == (identity.Secret{}) && len(p.devices) == 0:
			return ErrUnknown
		}
		if e := m.tx.entry(to, p.mine); e != nil && m.mine(e) && e.kind == kindCall && now.Sub(timeOf(e.at)).Abs() < callEvery {
			return nil
		}
		m.say(now, p, kindCall, nil)
		p.waiting++
		return nil
	})
}

// say adds an own entry to a conversation.
func (m *Machine) say(now time.Time, p *person, k kind, body []byte) *entry {
	e := &entry{id: NewID(), at: max(now.UnixMilli(), 0), kind: k, body: body, by: m.me()}
	if h := p.head(e.by); h != nil {
		e.prev = h.last
	}
	n := m.keep(now, p, e)
	p.mine = n
	if own := m.person(m.party.Identity); own != nil && len(own.devices) > 0 {
		m.tx.put(ownName(m.ownHi), place(p.id, n))
		m.ownHi++
		m.counted = false
		m.pruneOwn(own)
	}
	return e
}

// keep puts an entry at the end of a conversation and returns its number.
func (m *Machine) keep(now time.Time, p *person, e *entry) uint64 {
	n := p.next
	p.next++
	m.tx.put(entryName(p.id, n), e.appendStored(nil))
	m.tx.put(idName(e.id), place(p.id, n))
	p.setHead(e.by, e.id)
	p.talked = now.Unix()
	m.prune(p)
	return n
}

// prune forgets the oldest entries of a conversation, but none that a device
// still waits for.
func (m *Machine) prune(p *person) {
	for p.next-p.first > maxKept {
		for _, d := range p.devices {
			if d.acked < p.first && p.mine > d.acked && p.next-p.first <= maxKept+MaxWaiting {
				return
			}
		}
		if len(p.devices) == 0 && p.waiting > 0 && p.next-p.first <= maxKept+MaxWaiting {
			return
		}
		if e := m.tx.entry(p.id, p.first); e != nil {
			m.tx.remove(idName(e.id))
			if m.mine(e) && e.matters() && !e.delivered && p.waiting > 0 {
				p.waiting--
			}
		}
		m.tx.remove(entryName(p.id, p.first))
		p.first++
		p.touch()
	}
}

// pruneOwn does so with what own devices have, or can get by comparing.
func (m *Machine) pruneOwn(own *person) {
	least := m.ownHi - 1
	for _, d := range own.devices {
		least = min(least, d.acked)
	}
	for m.ownLo <= least || m.ownHi-m.ownLo > maxKept {
		m.tx.remove(ownName(m.ownLo))
		m.ownLo++
		m.counted = false
	}
}

// MarkRead says that a text was read, and with it all that came before it from
// the same person. It is told to them and to own devices. Errors: ErrNoMessage,
// ErrStore.
func (m *Machine) MarkRead(now time.Time, id ID) error {
	return m.input(now, func() error {
		peer, n, ok := m.tx.find(id)
		p := m.person(peer)
		if !ok || p == nil {
			return ErrNoMessage
		}
		if e := m.tx.entry(peer, n); e == nil || e.by.ours || e.kind != kindText {
			return ErrNoMessage
		}
		return m.markRead(now, p, n)
	})
}

// MarkAllRead does so with the latest text of a person. Errors: ErrNoMessage
// when there is none, ErrStore.
func (m *Machine) MarkAllRead(now time.Time, peer identity.ID) error {
	return m.input(now, func() error {
		p := m.person(peer)
		if p == nil {
			return ErrNoMessage
		}
		return m.markRead(now, p, p.next-1)
	})
}

func (m *Machine) markRead(now time.Time, p *person, upTo uint64) error {
	var ids []byte
	tell := func() {
		if len(ids) > 0 {
			m.say(now, p, kindRead, ids)
			ids = nil
		}
	}
	for n := max(p.readTo+1, p.first); n <= upTo; n++ {
		if e := m.tx.entry(p.id, n); e != nil && !e.by.ours && e.kind == kindText {
			ids = append(ids, e.id[:]...)
			m.emit(Seen{e.id, p.id})
		}
		if len(ids) == 16*maxReads {
			tell()
		}
	}
	tell()
	if upTo > p.readTo {
		p.readTo = upTo
		p.touch()
	}
	return nil
}

// LinkUp says that a node runs a device, which it has proved on a link or by
// its record, and can be sent to. narrow: there is no link yet, only the route,
// which takes short messages and may lose them. Call it again when that changes,
// or when another link has taken the place of one, which may have lost something.
func (m *Machine) LinkUp(now time.Time, node identity.NodeID, party ratchet.Party, narrow bool) error {
	if party.Device == m.party.Device {
		return nil // ourselves, before a restart
	}
	l := nodeLink{node: node, party: party, narrow: narrow}
	err := m.input(now, func() error {
		m.bind(now, l)
		return nil
	})
	if m.broken != nil {
		m.note(l) // links are not in the store
	}
	return err
}

// note keeps a link in the list.
func (m *Machine) note(l nodeLink) {
	m.links = slices.DeleteFunc(m.links, func(o nodeLink) bool { return o.node == l.node })
	if len(m.links) == maxLinks {
		m.unlink(m.links[0].node)
	}
	m.links = append(m.links, l)
}

func (m *Machine) bind(now time.Time, l nodeLink) {
	m.note(l)
	if p := m.person(l.party.Identity); p != nil || l.party.Identity == m.party.Identity {
		// A device of somebody who is talked with, or of our own.
		if d, err := m.deviceOf(l.party); err == nil {
			m.attach(d, l)
		}
	} else if !l.narrow && m.cfg.Near != nil && m.cfg.Near(l.party.Identity) {
		m.do(Transmit{l.node, []byte{envAsk}})
	}
}

// attach tells a device's record of a link.
func (m *Machine) attach(d *device, l nodeLink) {
	d.links = slices.DeleteFunc(d.links, func(o linked) bool { return o.node == l.node })
	d.links = append(d.links, linked{l.node, l.narrow})
	if l.bundle != nil && d.with() == nil {
		d.bundle, d.handed = l.bundle, l.handed
	}
	d.rest()
	d.resend, d.asked = resend{}, resend{}
	d.alone = time.Time{}
	d.have = d.heard != 0
	d.digest = d.p.id == m.party.Identity && !l.narrow
	d.p.seekAt, d.p.seekWait = time.Time{}, 0
}

// rest has everything in flight sent again.
func (d *device) rest() {
	for i := range d.flight {
		d.flight[i].sent = false
	}
}

// LinkDown says that a node is gone.
func (m *Machine) LinkDown(now time.Time, node identity.NodeID) error {
	err := m.input(now, func() error {
		m.unlink(node)
		return nil
	})
	if m.broken != nil {
		m.unlink(node)
	}
	return err
}

func (m *Machine) unlink(node identity.NodeID) {
	m.links = slices.DeleteFunc(m.links, func(l nodeLink) bool { return l.node == node })
	for _, p := range m.people {
		for _, d := range p.devices {
			if i := slices.IndexFunc(d.links, func(l linked) bool { return l.node == node }); i >= 0 {
				d.links = slices.Delete(d.links, i, i+1)
				d.rest()
				d.pushes = nil
				d.resend = resend{}
			}
		}
	}
}

// linkedTo reports whether a node with a device of a person is linked.
func (m *Machine) linkedTo(id identity.ID) bool {
	return slices.ContainsFunc(m.links, func(l nodeLink) bool { return l.party.Identity == id })
}

// nodeOf returns whose device a node is known to run.
func (m *Machine) nodeOf(node identity.NodeID) (nodeLink, bool) {
	i := slices.IndexFunc(m.links, func(l nodeLink) bool { return l.node == node })
	if i < 0 {
		return nodeLink{}, false
	}
	return m.links[i], true
}

// Joined says that the network can be reached now: prekeys are published and
// mailboxes looked into.
func (m *Machine) Joined(now time.Time) error {
	return m.input(now, func() error {
		m.joined = true
		m.polls.all(m, now)
		m.keepAt = time.Time{}
		m.plan(now)
		for _, p := range m.people {
			p.seekAt, p.seekWait, p.fetchAt = time.Time{}, 0, time.Time{}
			for _, d := range p.devices {
				d.putAt = resend{}
			}
		}
		return nil
	})
}

// Alone says that no node can be reached.
func (m *Machine) Alone(now time.Time) error {
	return m.input(now, func() error {
		m.joined = false
		return nil
	})
}

// Flush has everything that waits put into mailboxes at once: the node is about
// to be switched off. Idle says when that is done.
func (m *Machine) Flush(now time.Time) error {
	return m.input(now, func() error {
		m.flush = true
		if m.public == nil && m.joined && m.tx.get(nameOf('b')) == nil {
			m.publishAt = now // nobody could write to this device while it is off
			m.flushUntil = now.Add(publishTime)
		}
		return nil
	})
}

// Idle reports whether nothing is left that Flush could still do: all is
// delivered, in a mailbox, refused there, or nobody knows a way.
func (m *Machine) Idle(now time.Time) bool {
	if now.Before(m.flushUntil) {
		return false
	}
	if m.broken != nil || !m.joined {
		return true
	}
	for _, p := range m.people {
		if p.fetching && p.waiting > 0 {
			return false
		}
		for _, d := range p.devices {
			if d.put != nil {
				return false
			}
			if d.refused != nil {
				continue // it was tried
			}
			_, linked := d.link()
			if m.pending(d) > max(d.acked, d.boxed) && (linked || d.with() != nil || d.bundle != nil) {
				return false
			}
		}
	}
	return true
}
