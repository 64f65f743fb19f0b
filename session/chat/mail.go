// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/session/ratchet"
)

// siblingPatience is how long mail for a device waits while another one of the
// same person has everything: that one hands it on when the two meet.
const siblingPatience = 10 * time.Minute

// linkPatience is how long a link may be silent before mail is written as well:
// its other end may be dead and nobody have noticed.
const linkPatience = 10 * time.Second

// flushPatience is the same when the node is about to be switched off.
const flushPatience = time.Second

// byMail writes to a device that no link leads to, or a dead one.
func (m *Machine) byMail(now time.Time, d *device) {
	waits := m.pending(d) > max(d.acked, d.boxed)
	if m.pending(d) > d.acked && !waits {
		again := time.Unix(d.boxedAt, 0).Add(putAgain)
		if waits = !now.Before(again); !waits {
			m.due(again)
		}
	}
	_, linked := d.link()
	if !waits && (linked || len(d.owed) == 0 && !d.again && d.refused == nil) {
		d.alone = time.Time{}
		return
	}
	if d.alone.IsZero() {
		d.alone = now
	}
	if d.put != nil || !m.joined && !m.flush {
		return
	}
	at := d.alone.Add(patience)
	if linked && m.flush {
		at = d.alone.Add(flushPatience)
	} else if linked {
		at = d.alone.Add(linkPatience)
	} else if m.reached(d) {
		at = d.alone.Add(siblingPatience)
	}
	if d.putAt.at.After(at) {
		at = d.putAt.at
	}
	if now.Before(at) && (linked || !m.flush) {
		m.due(at)
		return
	}
	if now.Before(d.putAt.at) { // refused a moment ago
		m.due(d.putAt.at)
		return
	}
	if m.session(now, d) {
		m.post(now, d)
	}
}

// reached reports whether another device of the same person has all that this
// one lacks.
func (m *Machine) reached(d *device) bool {
	return slices.ContainsFunc(d.p.devices, func(o *device) bool {
		_, linked := o.link()
		return o != d && linked && o.acked >= m.pending(d)
	})
}

// post packs one blob for a device's mailbox, or takes the last one once more:
// a new one would leave a gap in the session's numbers.
func (m *Machine) post(now time.Time, d *device) {
	if r := d.refused; r != nil {
		d.refused = nil
		if r.session == d.current && d.acked <= r.from && d.boxed <= max(r.from, d.acked) {
			m.put(d, r)
			return
		}
		m.takeBack(now, d, r)
	}
	from := max(d.acked, d.boxed)
	if m.pending(d) > d.acked && m.pending(d) <= from {
		from = d.acked // once more
	}
	p := &putting{from: from, have: d.have, again: d.again}
	owed := slices.Clone(d.owed[:min(len(d.owed), maxAcks)])
	p.owed = owed
	b := m.packFirst(d, nil, mailItems)
	for at := from; at < m.pending(d); {
		n, _, e := m.next(d, at)
		if e == nil {
			p.upTo = n
			break
		}
		v := m.appendEntry(d, n)
		if len(b) > 0 && len(b)+len(v) > mailItems {
			break
		}
		b = appendItem(b, itemEntry, v)
		at, p.upTo = n, n
	}
	if len(b) == 0 {
		d.boxed = max(d.boxed, p.upTo)
		d.p.touch()
		return
	}
	s := d.with()
	q, err := m.pairQueue(d, false)
	if s.Start() != nil && d.heard == 0 {
		// It may not know of this device: it looks for starts at its door.
		q = doorQueue(d.p.secret, d.party)
		if d.p.secret == (identity.Secret{}) {
			err = ErrUnknown
		}
		if m.own(d) {
			q, err = doorQueue(m.cfg.Self.Reach(), d.party), nil
		}
	}
	if err != nil {
		d.putAt.later(now, putFirst, putMost)
		return
	}
	blob, ok := q.sealBlob(m.seal(d, s, []byte(byMail), m.introduce(d, b)))
	if !ok {
		d.putAt.later(now, putFirst, putMost) // can't be: mailItems leaves room
		return
	}
	p.session, p.secret, p.blob = d.current, q.secret, blob
	m.put(d, p)
}

func (m *Machine) put(d *device, p *putting) {
	m.refs++
	p.ref = m.refs
	d.put = p
	m.do(Put{p.ref, p.secret, p.blob})
}

// takeBack has what a blob said besides entries said again.
func (m *Machine) takeBack(now time.Time, d *device, p *putting) {
	for _, id := range p.owed {
		m.owe(now, d, id)
	}
	d.have, d.again = d.have || p.have, d.again || p.again
}

// PutDone is the answer to a Put: nil when the mailbox has taken the blob.
func (m *Machine) PutDone(now time.Time, ref uint32, failed error) error {
	return m.input(now, func() error {
		for _, p := range m.people {
			for _, d := range p.devices {
				if d.put != nil && d.put.ref == ref {
					m.boxed(now, d, failed)
				}
			}
		}
		return nil
	})
}

func (m *Machine) boxed(now time.Time, d *device, failed error) {
	put := d.put
	d.put = nil
	if failed != nil {
		d.refused = put
		d.putAt.later(now, putFirst, putMost)
		m.due(d.putAt.at)
		return
	}
	d.putAt = resend{}
	if put.upTo == 0 {
		return
	}
	// What was told to be lost meanwhile begins behind it again.
	if d.boxed >= put.from || d.acked >= put.from {
		d.boxed, d.boxedAt = max(d.boxed, put.upTo), now.Unix()
		d.p.touch()
	}
	if m.own(d) {
		return
	}
	for n := put.from; n < put.upTo; {
		k, _, e := m.next(d, n)
		if e == nil || k > put.upTo {
			break
		}
		if e.kind == kindText && !e.delivered {
			m.emit(Stored{e.id, d.p.id})
		}
		n = k
	}
}

// polls is which mailboxes are looked into, and when.
type polls struct {
	next map[pollKey]polled
	out  map[uint32]pollKey
}

// polled is when a mailbox is looked into next, and how often it was since the
// network could be reached.
type polled struct {
	at time.Time
	n  int
}

// pollAfter returns the wait after look n. A node that has just come sees other
// holders than those that have its mail, and is asked for again soon.
func pollAfter(n int) time.Duration {
	first := [...]time.Duration{3 * time.Second, 20 * time.Second, 2 * time.Minute}
	if n < len(first) {
		return first[n]
	}
	return pollEvery
}

// pollKey names a mailbox of ours: one that a device writes to, or our door
// (zero).
type pollKey struct {
	peer   identity.ID
	device [16]byte
}

func (s *polls) forget() { s.out = nil }

// all has every mailbox looked into at once.
func (s *polls) all(m *Machine, now time.Time) { s.next = nil }

// poll asks for what is in mailboxes, the door's and the latest talk's first.
func (m *Machine) poll(now time.Time) {
	if !m.joined {
		return
	}
	s := &m.polls
	if s.next == nil {
		s.next = make(map[pollKey]polled)
	}
	if s.out == nil {
		s.out = make(map[uint32]pollKey)
	}
	var list []*device
	for _, p := range m.people {
		if !m.blocked(p.id) {
			list = append(list, p.devices...)
		}
	}
	order.Stable(list, func(a, b *device) int { return cmp.Compare(b.p.talked, a.p.talked) })
	ask := func(k pollKey, q func() (queue, error)) {
		last := s.next[k]
		if now.Before(last.at) {
			m.due(last.at)
			return
		}
		if len(s.out) >= maxPolls {
			return // the next answer makes room
		}
		for _, o := range s.out {
			if o == k {
				return
			}
		}
		box, err := q()
		if err != nil {
			return
		}
		// Spread, so that they don't all come at once next time.
		wait := pollAfter(last.n)
		s.next[k] = polled{now.Add(wait + time.Duration(m.rng.Int64N(int64(wait/4)))), last.n + 1}
		m.due(s.next[k].at)
		m.refs++
		s.out[m.refs] = k
		m.do(Collect{m.refs, box.secret})
	}
	ask(pollKey{}, func() (queue, error) { return doorQueue(m.cfg.Self.Reach(), m.party), nil })
	for _, d := range list {
		ask(pollKey{d.p.id, d.party.Device}, func() (queue, error) { return m.pairQueue(d, true) })
	}
}

// mailChunk blobs are one transaction.
const mailChunk = 32

// Mail is the answer to a Collect: what the mailbox held, and an error when
// that may not be all. What was read, or can never be, is deleted there (Drop);
// what could not be stored stays.
func (m *Machine) Mail(now time.Time, ref uint32, blobs []Blob, failed error) error {
	k, ok := m.polls.out[ref]
	delete(m.polls.out, ref)
	if ok && failed != nil {
		n := m.polls.next[k].n
		if len(blobs) > 0 {
			n = 0 // there is more
		}
		m.polls.next[k] = polled{now.Add(min(pollFirst<<min(n, 10), pollEvery)), n}
	}
	if !ok || len(blobs) == 0 {
		return m.input(now, func() error { return nil })
	}
	var box queue
	if k == (pollKey{}) {
		box = doorQueue(m.cfg.Self.Reach(), m.party)
	} else if p := m.person(k.peer); p != nil && p.device(k.device) != nil {
		box, _ = m.pairQueue(p.device(k.device), true)
	}
	list := m.unseal(box, blobs)
	for len(list) > 0 {
		n := min(len(list), mailChunk)
		err := m.input(now, func() error {
			drop := Drop{Secret: box.secret}
			for _, l := range list[:n] {
				if m.letter(now, k, l) {
					drop.Names = append(drop.Names, l.name)
				}
			}
			if len(drop.Names) > 0 {
				m.do(drop)
			}
			return nil
		})
		if err != nil {
			m.polls.next[k] = polled{at: now.Add(storeRetry)}
			return err
		}
		list = list[n:]
	}
	return nil
}

// letter is a blob that was opened.
type letter struct {
	name           [16]byte
	start, message []byte
	kind           byte
	bad            error
}

// unseal opens blobs and puts them in the order in which they were made, as far
// as their numbers tell.
func (m *Machine) unseal(box queue, blobs []Blob) (list []letter) {
	for _, b := range blobs {
		l := letter{name: b.Name}
		var env []byte
		if env, l.bad = box.openBlob(b.Data); l.bad == nil {
			l.kind, l.start, l.message, l.bad = parse(env)
		}
		list = append(list, l)
	}
	order.Stable(list, func(a, b letter) int {
		if len(a.message) < ratchet.Overhead || len(b.message) < ratchet.Overhead {
			return cmp.Compare(len(a.message), len(b.message))
		}
		if c := bytes.Compare(a.message[:40], b.message[:40]); c != 0 {
			return c // of another session or chain
		}
		return cmp.Compare(binary.BigEndian.Uint32(a.message[44:]), binary.BigEndian.Uint32(b.message[44:]))
	})
	return list
}

// letter takes one, and reports whether it may be deleted.
func (m *Machine) letter(now time.Time, k pollKey, l letter) bool {
	if l.bad != nil || l.kind != envMessage && l.kind != envStart {
		m.counters.Malformed++
		return true
	}
	d, plain, err := m.open(now, l.start, l.message, []byte(byMail))
	if err == nil {
		err = m.read(now, d, plain)
	} else if unreadable(err) {
		// It is from the pair, or from somebody who has our ticket and says who
		// he is: whom we know gets a new session.
		if k != (pollKey{}) {
			if p := m.person(k.peer); p != nil && p.device(k.device) != nil {
				m.restart(now, p.device(k.device).party)
			}
		} else if _, from, err := ratchet.SessionOf(now, m.cfg.Self, l.start); err == nil {
			m.restart(now, from)
		}
	}
	m.count(err)
	return !errors.Is(err, ErrPeople)
}
