// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/session/ratchet"
)

// Verdict says whether something is taken.
type Verdict int8

// Undecided is asked about again a moment later.
const (
	Undecided Verdict = iota
	Allowed
	Refused
)

// Config configures a Machine.
type Config struct {
	Self  *identity.Device
	Node  identity.NodeID // where it runs now
	Name  string          // told to those who are written to; at most MaxName bytes
	Store Store
	// Blocked says who is neither heard nor written to, and gets no
	// acknowledgement. nil = nobody is.
	Blocked func(identity.ID) bool
	// MayWrite says whether the texts of somebody are taken. Those of whom nobody
	// has decided yet wait, on the disk and unacknowledged; those that are refused
	// are dropped, and their author keeps them, as for somebody who is away. It
	// must not block. nil = of all.
	MayWrite func(identity.ID) Verdict
	// Near says with whose linked devices keys are exchanged before there is
	// anything to say, so that the first text needs no round trip for them. nil =
	// those who were written with before.
	Near func(identity.ID) bool
}

// Machine holds the rules of all talk of one device. See the package.
type Machine struct {
	cfg   Config
	party ratchet.Party // this device
	rng   *rand.Rand    // jitter alone
	tx    tx

	people  []*person // the own person is among them once it has another device
	ring    *ratchet.Keyring
	ownLo   uint64 // numbers [ownLo, ownHi) of the own entries for own devices
	ownHi   uint64
	listed  bool // "p" is as people
	ringed  bool // "k" is as ring
	counted bool // "o" is as ownLo, ownHi

	links      []nodeLink
	polls      polls
	refs       uint32
	keepAt     time.Time
	public     []byte    // the bundle that was published last, in this run
	publishAt  time.Time // zero = not before something changes
	joined     bool
	flush      bool
	flushUntil time.Time // what was just published is on its way
	broken     error     // the store could not be read
	retryAt    time.Time

	deadline time.Time

	out      []Output
	events   []Event
	counters Counters
}

// nodeLink says whose device runs on a node.
type nodeLink struct {
	node   identity.NodeID
	party  ratchet.Party
	narrow bool
	handAt time.Time       // it gets no more keys before
	bundle *ratchet.Bundle // of somebody who was not written with yet
	handed time.Time
}

// Load makes a Machine from what is in the store. rng need not be secret but
// must differ from node to node. Errors wrap ErrStore.
func Load(now time.Time, cfg Config, rng *rand.Rand) (*Machine, error) {
	m := &Machine{cfg: cfg, rng: rng, party: ratchet.PartyOf(cfg.Self.Certificate()), tx: tx{store: cfg.Store}}
	m.tx.clear()
	if err := m.load(); err != nil {
		return nil, err
	}
	return m, nil
}

// load reads everything but entries from the store.
func (m *Machine) load() (err error) {
	defer func() {
		if f, ok := recover().(storeFailure); ok {
			err = fmt.Errorf("%w: %w", ErrStore, f.err)
		}
	}()
	m.tx.clear()
	m.people, m.ring, m.ownLo, m.ownHi = nil, &ratchet.Keyring{}, 1, 1
	m.listed, m.ringed, m.counted = true, true, true
	if b := m.tx.get(nameOf('k')); b != nil {
		if m.ring, err = ratchet.ParseKeyring(b); err != nil {
			// Whoever uses a key of it is answered with a new start.
			m.ring = &ratchet.Keyring{}
		}
	}
	if b := m.tx.get(nameOf('o')); b != nil {
		r := wire.NewReader(b)
		m.ownLo, m.ownHi = r.U64(), r.U64()
		if r.Done() != nil || m.ownLo == 0 || m.ownLo > m.ownHi {
			return damaged("the list of own entries")
		}
	}
	r := wire.NewReader(m.tx.get(nameOf('p')))
	for r.Len() > 0 {
		var id identity.ID
		r.Fixed(id[:])
		if r.Err() != nil || len(m.people) > maxPeople {
			return damaged("the list of people")
		}
		p, err := m.loadPerson(id)
		if err != nil {
			return err
		}
		m.people = append(m.people, p)
	}
	return nil
}

func (m *Machine) loadPerson(id identity.ID) (*person, error) {
	b := m.tx.get(personName(id))
	p, sessions, err := parsePerson(id, b)
	if err != nil {
		return nil, damaged("a person")
	}
	for i, d := range p.devices {
		for _, sid := range sessions[i] {
			// One that can't be read is begun anew.
			if s, err := ratchet.ParseSession(m.tx.get(sessionName(id, d.party.Device, sid))); err == nil {
				d.session = append(d.session, s)
			}
		}
		d.last = d.acked
	}
	if p.held, err = parseHeld(m.tx.get(heldName(id))); err != nil {
		p.held = nil // their authors still have them
	}
	return p, nil
}

// input runs f as one transaction.
func (m *Machine) input(now time.Time, f func() error) (err error) {
	if m.broken != nil {
		if now.Before(m.retryAt) {
			return m.broken
		}
		if err := m.reload(now); err != nil {
			return err
		}
	}
	out, events := len(m.out), len(m.events)
	undo := func(cause error) error {
		m.out, m.events = m.out[:out], m.events[:events]
		m.counters.Store++
		m.retryAt = now.Add(storeRetry)
		m.broken = fmt.Errorf("%w: %w", ErrStore, cause)
		return m.broken // the next input after a while reads the store anew
	}
	defer func() {
		if r := recover(); r != nil {
			fail, ok := r.(storeFailure)
			if !ok {
				panic(r)
			}
			err = undo(fail.err)
		}
	}()
	err = f()
	m.work(now)
	if e := m.commit(m.events[events:]); e != nil {
		return undo(e)
	}
	return err
}

// reload forgets what is in memory and reads the store, as after a crash. What
// is known of links stays.
func (m *Machine) reload(now time.Time) error {
	if err := m.load(); err != nil {
		m.broken, m.retryAt = err, now.Add(storeRetry)
		return err
	}
	m.broken = nil
	m.polls.forget()
	for _, l := range m.links {
		if p := m.person(l.party.Identity); p != nil {
			if d := p.device(l.party.Device); d != nil {
				m.attach(d, l)
			}
		}
	}
	return nil
}

// commit writes what has changed.
func (m *Machine) commit(events []Event) error {
	t := &m.tx
	if !m.listed {
		var b []byte
		for _, p := range m.people {
			b = append(b, p.id[:]...)
		}
		t.put(nameOf('p'), b)
	}
	if !m.ringed {
		t.put(nameOf('k'), m.ring.Append(nil))
	}
	if !m.counted {
		t.put(nameOf('o'), append(number(m.ownLo), number(m.ownHi)...))
	}
	for _, p := range m.people {
		if p.dirty {
			t.put(personName(p.id), p.append(nil))
		}
		if p.heldToo {
			if v := p.appendHeld(nil); len(v) > 0 {
				t.put(heldName(p.id), v)
			} else {
				t.remove(heldName(p.id))
			}
		}
	}
	if len(t.order) == 0 {
		return nil
	}
	if err := t.store.Commit(t.list(), events); err != nil {
		return err
	}
	t.clear()
	m.listed, m.ringed, m.counted = true, true, true
	for _, p := range m.people {
		p.dirty, p.heldToo = false, false
	}
	return nil
}

// saveSession notes a session's state.
func (m *Machine) saveSession(d *device, s *ratchet.Session) {
	m.tx.put(sessionName(d.p.id, d.party.Device, s.ID()), s.Append(nil))
}

// verdict tells what becomes of an entry: it is asked for about others' texts
// alone.
func (m *Machine) verdict(p *person, e *entry) Verdict {
	if m.cfg.MayWrite == nil || e.by.ours || e.kind != kindText {
		return Allowed
	}
	return m.cfg.MayWrite(p.id)
}

func (m *Machine) blocked(id identity.ID) bool { return m.cfg.Blocked != nil && m.cfg.Blocked(id) }

func (m *Machine) person(id identity.ID) *person {
	for _, p := range m.people {
		if p.id == id {
			return p
		}
	}
	return nil
}

// meet returns a person, as a new one if need be.
func (m *Machine) meet(id identity.ID) (*person, error) {
	if p := m.person(id); p != nil {
		return p, nil
	}
	if len(m.people) >= maxPeople {
		return nil, ErrPeople
	}
	p := &person{id: id, first: 1, next: 1, dirty: true}
	m.people = append(m.people, p)
	m.listed = false
	return p, nil
}

// deviceOf returns a device, as a new one if need be: of more than a person
// may have, the one that was silent longest goes.
func (m *Machine) deviceOf(party ratchet.Party) (*device, error) {
	p, err := m.meet(party.Identity)
	if err != nil {
		return nil, err
	}
	d := p.device(party.Device)
	if d != nil {
		if d.party != party { // another sealing key: the sessions are of no use
			d.party, d.queues = party, [2]*queue{}
			p.touch()
		}
		return d, nil
	}
	if len(p.devices) == maxDevices {
		oldest := 0
		for i, o := range p.devices {
			if o.heard < p.devices[oldest].heard {
				oldest = i
			}
		}
		m.forget(p, oldest)
	}
	d = &device{p: p, party: party}
	if party.Identity == m.party.Identity {
		d.acked = m.ownHi - 1 // what was said before comes by comparing
	} else {
		d.acked = m.undelivered(p)
	}
	d.since, d.last, d.boxed = d.acked, d.acked, d.acked
	p.devices = append(p.devices, d)
	p.touch()
	for _, l := range m.links {
		if l.party == party {
			m.attach(d, l)
		}
	}
	return d, nil
}

// undelivered returns the number before the first own entry that nobody of a
// person has: a new device gets those.
func (m *Machine) undelivered(p *person) uint64 {
	if p.waiting == 0 {
		return p.next - 1
	}
	for n := p.first; n < p.next; n++ {
		if e := m.tx.entry(p.id, n); e != nil && m.mine(e) && !e.delivered {
			return n - 1
		}
	}
	return p.next - 1
}

// mine reports whether this very device has made an entry.
func (m *Machine) mine(e *entry) bool { return e.by == m.me() }

func (m *Machine) me() author { return author{m.party.Device, true} }

func (m *Machine) forget(p *person, i int) {
	d := p.devices[i]
	for _, s := range d.session {
		m.tx.remove(sessionName(p.id, d.party.Device, s.ID()))
	}
	p.devices = slices.Delete(p.devices, i, i+1)
	p.touch()
}

// Poll returns the next thing to do.
func (m *Machine) Poll() (Output, bool) {
	if len(m.out) == 0 {
		return nil, false
	}
	o := m.out[0]
	m.out = m.out[1:]
	return o, true
}

// NextEvent returns the next event.
func (m *Machine) NextEvent() (Event, bool) {
	if len(m.events) == 0 {
		return nil, false
	}
	e := m.events[0]
	m.events = m.events[1:]
	return e, true
}

// Counters returns what was refused so far.
func (m *Machine) Counters() Counters { return m.counters }

// count notes why something was refused, and returns the error.
func (m *Machine) count(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrStore):
	case errors.Is(err, ErrBlocked):
		m.counters.Blocked++
	case errors.Is(err, ratchet.ErrRepeated):
		m.counters.Repeated++
	case errors.Is(err, ErrMessage), errors.Is(err, ratchet.ErrMessage):
		m.counters.Malformed++
	default:
		m.counters.Unread++
	}
	return err
}
