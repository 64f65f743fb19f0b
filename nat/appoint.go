// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

const (
	// MaxMemories bounds the nodes remembered: a node has some 60 links, and
	// one that answers leads to all others.
	MaxMemories = 64
	// slotLen is the time for which ports, keys and timing hold. Each slot is
	// kept from one before it to one after it, so that clocks may be wrong by
	// a minute.
	slotLen = time.Minute
	// keenFor is how long every slot is kept; after that one in sparse is,
	// the same one on both sides, whoever started when.
	keenFor = 10 * time.Minute
	sparse  = 10
	// memoryLife ends appointments: by then an address is somebody else's.
	memoryLife = 30 * 24 * time.Hour

	// meetShots try ports in one slot: with the two beside it that is what a
	// remembered address may get in ten minutes.
	meetShots = packetsRemembered/3 - meetKnown
	// meetKnown is how often the known port is written to in one slot, at most.
	meetKnown = 5
	// meetSockets are opened for a peer that tries ports.
	meetSockets = 8
	// meetGap keeps a hole open for the slot's time: two thirds of the
	// shortest common life of a mapping.
	meetGap = 20 * time.Second
	// meetEvery paces openings: sixty neighbours may be tried at once.
	meetEvery = 100 * time.Millisecond
	// lateSlots is what a clock may jump ahead before slots are left out.
	lateSlots = 3
)

// Memory is what a node keeps of one that it had a link with, so that the two
// can meet again with nobody else alive. Key links a node's starts to each other
// for this one neighbour, and for nobody else.
type Memory struct {
	Peer   [32]byte // names the neighbour; opaque here
	Key    [32]byte // known to the two alone
	First  bool     // we are the one of the two that both call the first
	Mine   Behaviour
	Theirs Behaviour
	Addrs  []netip.AddrPort // where it was seen, best first, at most maxMemoryAddrs
	Open   bool             // anybody could write to it there: no NAT, or a port that its router keeps open
	Met    time.Time        // whole seconds
}

// Meet is an appointment: punch with Config until Until, with a Paths made of
// the same Creds beside it, which gets Also as unattested candidates.
type Meet struct {
	Peer   [32]byte
	Slot   int64
	Config PunchConfig
	Also   []netip.AddrPort
	Until  time.Time
}

// Appointments says when to try whom. It is a pure machine without datagrams:
// each Meet becomes a Puncher. now is the wall clock's, which both sides need to
// have right within a minute. It is not safe for concurrent use.
type Appointments struct {
	now   time.Time
	mine  Behaviour
	known bool // mine is set
	list  []meeting
	meets []Meet
}

type meeting struct {
	m     Memory
	want  bool
	since time.Time // wanted
	next  int64     // slot to be entered next
}

// NewAppointments returns one without memories.
func NewAppointments() *Appointments { return &Appointments{} }

// Remember adds a node, or replaces what was known of it. The one met longest
// ago goes when there are too many.
func (a *Appointments) Remember(now time.Time, m Memory) {
	a.tick(now)
	m.Addrs = slices.Clone(m.Addrs[:min(len(m.Addrs), maxMemoryAddrs)])
	if i := a.find(m.Peer); i >= 0 {
		a.list[i].m = m
		return
	}
	if len(a.list) == MaxMemories {
		oldest := 0
		for i := range a.list {
			if a.list[i].m.Met.Before(a.list[oldest].m.Met) {
				oldest = i
			}
		}
		a.list = slices.Delete(a.list, oldest, oldest+1)
	}
	a.list = append(a.list, meeting{m: m})
}

// Forget drops a node.
func (a *Appointments) Forget(peer [32]byte) {
	if i := a.find(peer); i >= 0 {
		a.list = slices.Delete(a.list, i, i+1)
	}
}

// Memories returns all that is remembered, in the order in which it came.
func (a *Appointments) Memories() []Memory {
	list := make([]Memory, 0, len(a.list))
	for _, m := range a.list {
		list = append(list, m.m)
	}
	return list
}

// Behave tells what is known of our own NAT now; until then each Memory's Mine
// has to do.
func (a *Appointments) Behave(mine Behaviour) { a.mine, a.known = mine, true }

// Seek begins to keep appointments with all that are remembered.
func (a *Appointments) Seek(now time.Time) {
	a.tick(now)
	for i := range a.list {
		a.seek(&a.list[i])
	}
	a.work()
}

// Lost begins to keep appointments with one node.
func (a *Appointments) Lost(now time.Time, peer [32]byte) {
	a.tick(now)
	if i := a.find(peer); i >= 0 {
		a.seek(&a.list[i])
	}
	a.work()
}

// Found ends them: there is a link.
func (a *Appointments) Found(now time.Time, peer [32]byte) {
	a.tick(now)
	if i := a.find(peer); i >= 0 {
		a.list[i].want = false
	}
}

func (a *Appointments) seek(m *meeting) {
	if !m.want {
		m.want, m.since, m.next = true, a.now, slotOf(a.now)-1
	}
}

// Advance does what is due.
func (a *Appointments) Advance(now time.Time) {
	a.tick(now)
	a.work()
}

// Deadline returns when Advance is wanted next; zero means never.
func (a *Appointments) Deadline() (at time.Time) {
	for i := range a.list {
		if m := &a.list[i]; m.want && !m.over(a.now) {
			at = sooner(at, m.entry(m.next))
		}
	}
	return at
}

// NextMeet returns the next appointment to keep.
func (a *Appointments) NextMeet() (Meet, bool) {
	if len(a.meets) == 0 {
		return Meet{}, false
	}
	m := a.meets[0]
	a.meets = slices.Delete(a.meets, 0, 1)
	return m, true
}

func (a *Appointments) tick(now time.Time) { a.now = latest(a.now, now) }

func (a *Appointments) find(peer [32]byte) int {
	return slices.IndexFunc(a.list, func(m meeting) bool { return m.m.Peer == peer })
}

// work enters the slots that are due.
func (a *Appointments) work() {
	for i := range a.list {
		m := &a.list[i]
		if !m.want || m.over(a.now) {
			continue
		}
		if late := slotOf(a.now) - 1; m.next < late-lateSlots {
			m.next = late // asleep, or the clock was set
		}
		for !m.entry(m.next).After(a.now) {
			slot := m.next
			m.next = m.after(slot)
			if meet, ok := a.meet(&m.m, slot); ok && len(a.meets) < lateSlots*MaxMemories {
				a.meets = append(a.meets, meet)
			}
		}
	}
}

// over reports whether the memory is too old to be used.
func (m *meeting) over(now time.Time) bool {
	return now.Sub(m.m.Met) > memoryLife || m.m.Met.Sub(now) > memoryLife
}

// after returns the slot to be entered after one.
func (m *meeting) after(slot int64) int64 {
	slot++
	if slotStart(slot).Sub(m.since) <= keenFor {
		return slot
	}
	rest := int64(m.m.value("sparse", 0) % sparse)
	return slot + ((rest-slot)%sparse+sparse)%sparse
}

// entry returns when a slot is entered: one slot early, at a time within it that
// the two agree on and that spreads what a node does for all its neighbours.
func (m *meeting) entry(slot int64) time.Time {
	offset := time.Duration(m.m.value("time", slot) % uint64(slotLen))
	return slotStart(slot - 1).Add(offset)
}

func slotOf(t time.Time) int64 {
	s, l := t.Unix(), int64(slotLen/time.Second)
	if s < 0 {
		return 0
	}
	return s / l
}

func slotStart(slot int64) time.Time { return time.Unix(slot*int64(slotLen/time.Second), 0) }

// meet makes the appointment of a slot, unless it is too late for it or there is
// no way for these two.
func (a *Appointments) meet(m *Memory, slot int64) (Meet, bool) {
	until := slotStart(slot + 2)
	if len(m.Addrs) == 0 || !until.After(a.now) {
		return Meet{}, false
	}
	mine := m.Mine
	if a.known {
		mine = a.mine
	}
	plan, ok := patient(MakePlan(mine, m.Theirs, PlanOptions{Friendly: true, TheirsMapped: m.Open}), until.Sub(a.now))
	if !ok {
		return Meet{}, false
	}
	return Meet{
		Peer: m.Peer, Slot: slot, Until: until, Also: slices.Clone(m.Addrs[1:]),
		Config: PunchConfig{
			Mine: m.cred(slot, m.First), Theirs: m.cred(slot, !m.First),
			Plan: plan, Remote: m.Addrs[0], Trust: Remembered,
		},
	}, true
}

// patient spreads a plan over a slot. Counters have moved on since, and blind
// search needs a relayed call: there is no appointment then.
func patient(p Plan, d time.Duration) (Plan, bool) {
	known := Step{Aim: AimKnown, Every: meetEvery, Passes: min(int(d/meetGap)+1, meetKnown), Gap: meetGap}
	if p.Life < meetGap+meetGap/2 {
		known.Gap = p.Life * 2 / 3
	}
	switch p.Method {
	case NoMethod, OverTCP, AimAhead, Cross:
		return Plan{}, false
	}
	steps := p.Steps
	if p.Method == Simultaneous || len(steps) == 0 {
		steps = []Step{{Aim: AimKnown}}
	}
	shots := meetShots / len(steps)
	p.Hold, p.After, p.For, p.Steps = 0, 0, d, nil
	for _, s := range steps {
		if s.At > 0 {
			continue // what goes beyond the known block
		}
		if s.Aim == AimKnown {
			k := known
			k.Sockets, k.Bind = min(s.Sockets, meetSockets), s.Bind
			if k.Sockets > 0 {
				k.Passes = max(1, min(k.Passes, shots/k.Sockets))
			}
			p.Steps = append(p.Steps, k)
			continue
		}
		s.Ahead, s.Shots, s.Every = 0, min(s.Shots, shots), d/time.Duration(shots+1)
		p.Steps = append(p.Steps, s)
	}
	return p, true
}

// value returns a number that both sides agree on for a purpose and slot.
func (m *Memory) value(what string, slot int64) uint64 {
	sum := m.mac(what, slot, 0)
	return binary.BigEndian.Uint64(sum[:])
}

func (m *Memory) mac(what string, slot int64, side byte) (sum [32]byte) {
	h := hmac.New(sha256.New, m.Key[:])
	h.Write([]byte("p2pos appointment v1\x00"))
	h.Write([]byte(what))
	h.Write(binary.BigEndian.AppendUint64([]byte{0, side}, uint64(slot)))
	h.Sum(sum[:0])
	return sum
}

// cred derives one side's Cred for a slot, so that nobody who sees probes of
// two slots can tell that they are of the same pair.
func (m *Memory) cred(slot int64, first bool) (c Cred) {
	side := byte(2)
	if first {
		side = 1
	}
	tag := m.mac("tag", slot, side)
	copy(c.Tag[:], tag[:])
	c.Key = m.mac("key", slot, side)
	return c
}
