// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/ratchet"
)

// work does what can be done now, and notes when there is more.
func (m *Machine) work(now time.Time) {
	m.deadline = time.Time{}
	for _, p := range m.people {
		m.release(now, p)
		if m.blocked(p.id) {
			continue
		}
		for _, d := range p.devices {
			m.fill(d)
			if l, ok := d.link(); ok {
				m.overLink(now, d, l)
			}
			m.byMail(now, d)
		}
		m.look(now, p)
	}
	m.poll(now)
	m.housekeep(now)
	m.publish(now)
	if now.Before(m.flushUntil) {
		m.due(m.flushUntil)
	}
}

// due notes when work has to be done again.
func (m *Machine) due(t time.Time) {
	if !t.IsZero() && (m.deadline.IsZero() || t.Before(m.deadline)) {
		m.deadline = t
	}
}

// Advance does what is due at now.
func (m *Machine) Advance(now time.Time) { m.input(now, func() error { return nil }) }

// Deadline returns when Advance is due next; zero when nothing is.
func (m *Machine) Deadline() time.Time {
	if m.broken != nil {
		return m.retryAt
	}
	return m.deadline
}

func (m *Machine) emit(e Event) { m.events = append(m.events, e) }

func (m *Machine) do(o Output) { m.out = append(m.out, o) }

// own reports whether a device is another one of this person's.
func (m *Machine) own(d *device) bool { return d.p.id == m.party.Identity }

// pending returns the number of the latest entry for a device.
func (m *Machine) pending(d *device) uint64 {
	if m.own(d) {
		return m.ownHi - 1
	}
	return d.p.mine
}

// next returns the first entry for a device behind number after. Without one it
// returns the number up to which there is none.
func (m *Machine) next(d *device, after uint64) (n uint64, conversation identity.ID, e *entry) {
	last := m.pending(d)
	if !m.own(d) {
		for n = max(after+1, d.p.first); n <= last; n++ {
			if e := m.tx.entry(d.p.id, n); e != nil && m.mine(e) {
				return n, d.p.id, e
			}
		}
		return max(after, last), conversation, nil
	}
	for n = max(after+1, m.ownLo); n <= last; n++ {
		if p, k, ok := readPlace(m.tx.get(ownName(n))); ok {
			if e := m.tx.entry(p, k); e != nil {
				return n, p, e
			}
		}
	}
	return max(after, last), conversation, nil
}

// fill puts entries in flight up to the window, and moves the cursor over those
// that have arrived.
func (m *Machine) fill(d *device) {
	for len(d.flight) < window && d.last < m.pending(d) {
		n, _, e := m.next(d, d.last)
		d.last = n
		if e == nil {
			break
		}
		d.flight = append(d.flight, flying{n: n, id: e.id, acked: slices.Contains(d.beyond, n)})
	}
	acked := d.acked
	for len(d.flight) > 0 && d.flight[0].acked {
		acked = d.flight[0].n
		d.flight = d.flight[1:]
	}
	if len(d.flight) == 0 {
		acked = max(acked, d.last)
	}
	if acked != d.acked {
		d.acked = acked
		d.boxed = max(d.boxed, acked)
		d.beyond = slices.DeleteFunc(d.beyond, func(n uint64) bool { return n <= acked })
		d.p.touch()
	}
}

// overLink sends to a device whose node can be reached.
func (m *Machine) overLink(now time.Time, d *device, l linked) {
	if m.unacked(d) && !d.resend.at.IsZero() && !now.Before(d.resend.at) {
		d.rest()
		d.pushing = nil
	}
	if m.own(d) && !l.narrow && !d.digestAt.IsZero() && !now.Before(d.digestAt) {
		d.digest = true
	}
	if !l.narrow && d.with() == nil && d.bundle == nil {
		m.ask(now, d, l) // so that the first text finds keys
	}
	if m.wants(d) && m.session(now, d) {
		for range window { // a bound, not a plan
			plain := m.pack(now, d, l.narrow)
			if len(plain) == 0 {
				break
			}
			m.do(Transmit{l.node, m.seal(d, d.with(), between(m.cfg.Node, l.node), plain)})
			if l.narrow {
				break // one at a time
			}
		}
	}
	if m.unacked(d) {
		if d.resend.at.IsZero() || !now.Before(d.resend.at) {
			d.resend.later(now, resendFirst, resendMost)
		}
		m.due(d.resend.at)
	} else {
		d.resend = resend{}
	}
	m.due(d.digestAt)
}

// unacked reports whether something was sent that should be acknowledged.
func (m *Machine) unacked(d *device) bool {
	return len(d.pushing) > 0 || slices.ContainsFunc(d.flight, func(f flying) bool { return f.sent && !f.acked })
}

// wants reports whether there is anything to send to a linked device.
func (m *Machine) wants(d *device) bool {
	return len(d.owed) > 0 || d.have || d.digest || d.again || len(d.lists) > 0 || len(d.pushes) > 0 && len(d.pushing) == 0 ||
		slices.ContainsFunc(d.flight, func(f flying) bool { return !f.sent && !f.acked })
}

// session makes sure that there is a session to send with.
func (m *Machine) session(now time.Time, d *device) bool {
	if d.with() != nil {
		return true
	}
	if m.begin(now, d) {
		return true
	}
	if l, ok := d.link(); ok {
		m.ask(now, d, l)
	}
	return false
}

// ask asks a linked device for keys.
func (m *Machine) ask(now time.Time, d *device, l linked) {
	if !now.Before(d.asked.at) {
		d.asked.later(now, resendFirst, resendMost)
		m.do(Transmit{l.node, []byte{envAsk}})
	}
	m.due(d.asked.at)
}

// begin starts a session if there are keys for it.
func (m *Machine) begin(now time.Time, d *device) bool {
	b := d.bundle
	if b == nil {
		return false
	}
	d.bundle = nil
	if !now.Before(b.Expires) || !d.handed.IsZero() && now.Sub(d.handed) > handedFor {
		return false
	}
	s, err := ratchet.Start(now, m.cfg.Self, b)
	if err != nil {
		return false
	}
	m.add(d, s)
	d.current = s.ID()
	d.have = d.heard != 0
	return true
}

// add keeps a session, and forgets the oldest beyond the bound.
func (m *Machine) add(d *device, s *ratchet.Session) {
	d.session = append(d.session, s)
	if len(d.session) > maxSessions {
		i := 0
		if d.session[0].ID() == d.current {
			i = 1
		}
		m.tx.remove(sessionName(d.p.id, d.party.Device, d.session[i].ID()))
		d.session = slices.Delete(d.session, i, i+1)
	}
	m.saveSession(d, s)
	d.p.touch()
}

// pack makes the plain text of the next message over a link; empty when there
// is nothing to say.
func (m *Machine) pack(now time.Time, d *device, narrow bool) (b []byte) {
	limit := maxItems
	if narrow {
		limit = narrowItems
	}
	b = m.packFirst(d, b, limit)
	if d.digest {
		d.digest, d.digestAt = false, now.Add(digestEvery)
		sum := m.digestOf()
		b = appendItem(b, itemDigest, sum[:])
	}
	for len(d.lists) > 0 && len(b)+len(d.lists[0]) <= limit {
		b = appendItem(b, itemHeads, d.lists[0])
		d.lists = d.lists[1:]
	}
	for i := range d.flight {
		f := &d.flight[i]
		if f.sent || f.acked {
			continue
		}
		v := m.appendEntry(d, f.n)
		if v == nil { // pruned meanwhile
			f.acked = true
			continue
		}
		if (narrow || len(b) > 0) && len(b)+len(v) > limit {
			break // in the next one, or over the link
		}
		b = appendItem(b, itemEntry, v)
		f.sent = true
	}
	if !narrow {
		b = m.packPushes(d, b, limit)
	}
	return m.introduce(d, b)
}

// introduce puts in front of what is said who says it, until the other side has
// answered.
func (m *Machine) introduce(d *device, b []byte) []byte {
	if len(b) == 0 || d.with().Start() == nil || m.own(d) {
		return b
	}
	a := about{m.cfg.Name, m.cfg.Self.Reach()}
	return append(appendItem(nil, itemAbout, a.append(nil)), b...)
}

// packFirst adds what goes by any way: what was lost, what is here.
func (m *Machine) packFirst(d *device, b []byte, limit int) []byte {
	if d.again {
		d.again = false
		b = appendItem(b, itemRestart, nil)
	}
	if d.have {
		d.have = false
		if m.own(d) {
			d.digest = true
		} else {
			var last ID
			if h := d.p.head(author{device: d.party.Device}); h != nil {
				last = h.last
			}
			b = appendItem(b, itemHave, last[:])
		}
	}
	if n := min(len(d.owed), maxAcks, (limit-len(b))/16); n > 0 {
		b = appendItem(b, itemAck, joinIDs(d.owed[:n]))
		d.owed = d.owed[n:]
	}
	return b
}

// appendEntry returns the bytes of entry n for a device, nil when it is gone.
func (m *Machine) appendEntry(d *device, n uint64) []byte {
	k, p, e := m.next(d, n-1)
	if e == nil || k != n {
		return nil
	}
	if e.prev != (ID{}) {
		if _, _, ok := m.tx.find(e.prev); !ok {
			e.flags |= flagFirst // the one before it is not kept any more
		}
	}
	if m.own(d) {
		return e.appendOwn(nil, p)
	}
	return e.appendWire(nil)
}

// look searches for a person to whom something waits to be said.
func (m *Machine) look(now time.Time, p *person) {
	own := p.id == m.party.Identity
	waits := p.waiting > 0 && len(p.devices) == 0
	keys := waits
	for _, d := range p.devices {
		_, linked := d.link()
		something := m.pending(d) > d.acked || len(d.owed) > 0 || d.again
		if !linked && (something || own) {
			waits = true
		}
		if something && d.with() == nil && d.bundle == nil {
			keys = true
		}
	}
	if waits && !m.blocked(p.id) {
		if !now.Before(p.seekAt) {
			p.seekWait = min(max(2*p.seekWait, seekFirst), seekMost)
			p.seekAt = now.Add(p.seekWait)
			m.do(Seek{p.id, p.secret})
		}
		m.due(p.seekAt)
	}
	m.fetch(now, p, keys)
}

// fetch asks for a person's prekeys: because they are needed, or because they
// tell of new devices.
func (m *Machine) fetch(now time.Time, p *person, needed bool) {
	secret := p.secret
	if p.id == m.party.Identity {
		secret = m.cfg.Self.Reach()
	}
	recent := now.Unix()-p.talked < int64(talkedOf/time.Second)
	if !m.joined || secret == (identity.Secret{}) || p.fetching || !needed && !recent {
		return
	}
	if now.Before(p.fetchAt) {
		m.due(p.fetchAt)
		return
	}
	n := 0
	for _, o := range m.people {
		if o.fetching {
			n++
		}
	}
	if n < maxFetches { // else the next answer makes room
		p.fetching = true
		m.do(Fetch{p.id, secret})
	}
}
