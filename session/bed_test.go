// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// start is when every test begins.
var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// side is one node of a test bed: a machine, what it has said, what it has
// announced.
type side struct {
	t     testing.TB
	name  string
	dev   *identity.Device
	node  identity.NodeID
	m     *Machine
	wire  []Outgoing
	seen  []Event
	trace []string
}

func (s *side) peer() Peer {
	return Peer{Identity: s.dev.ID(), Device: s.dev.Certificate().DeviceID(), Node: s.node}
}

func newDevice(t testing.TB, name string) *identity.Device {
	t.Helper()
	d, err := identity.NewDevice(start.Add(-time.Hour), name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func nodeNamed(name string) (n identity.NodeID) {
	copy(n[:], name)
	return n
}

func newSide(t testing.TB, name string, dev *identity.Device, seed uint64, o Options) *side {
	node := nodeNamed(name)
	return &side{
		t: t, name: name, dev: dev, node: node,
		m: NewMachine(dev, node, name, rand.New(rand.NewPCG(seed, 7)), o),
	}
}

// sides makes nodes that all know each other.
func sides(t testing.TB, o Options, names ...string) []*side {
	t.Helper()
	var list []*side
	for i, n := range names {
		list = append(list, newSide(t, n, newDevice(t, n), uint64(i+1), o))
	}
	introduce(list...)
	return list
}

func introduce(list ...*side) {
	for _, a := range list {
		for _, b := range list {
			if a != b {
				a.m.Know(b.peer(), b.dev.Certificate())
			}
		}
	}
}

// drain collects what the machine has to say after an input.
func (s *side) drain() {
	for {
		o, ok := s.m.Poll()
		if !ok {
			break
		}
		if n := len(o.Body); n > maxInvite || n > maxControl && o.Body[0] >= byte(typeRinging) && o.Body[0] <= byte(typeHangup) && o.Body[0] != byte(typeAnswer) {
			s.t.Fatalf("%s sends %d bytes of type %d", s.name, n, o.Body[0])
		}
		s.wire = append(s.wire, o)
	}
	for {
		e, ok := s.m.NextEvent()
		if !ok {
			return
		}
		s.seen = append(s.seen, e)
		s.trace = append(s.trace, describe(e))
	}
}

func describe(e Event) string {
	switch e := e.(type) {
	case Incoming:
		return fmt.Sprintf("incoming %s from %s", e.ID.Short(), e.Name)
	case Ringing:
		return "ringing " + e.ID.Short()
	case Answered:
		return fmt.Sprintf("answered %s %s", e.ID.Short(), e.Params.Codec.Name)
	case Ended:
		return fmt.Sprintf("ended %s %s %s %v us=%t", e.ID.Short(), e.Reason, e.Stage, e.Duration, e.ByUs)
	case Missed:
		return "missed " + e.Name
	case Held:
		return fmt.Sprintf("held %s %t us=%t", e.ID.Short(), e.On, e.ByUs)
	case Words:
		return fmt.Sprintf("words %s", e.ID.Short())
	case Replaced:
		return fmt.Sprintf("replaced %s by %s", e.Old.Short(), e.New.Short())
	case Recording:
		return recorded(e)
	}
	return fmt.Sprintf("%T", e)
}

func recorded(e Recording) string {
	word, by := "off", "peer"
	if e.On {
		word = "on"
	}
	if e.ByUs {
		by = "us"
	}
	return "recorded " + word + " by " + by
}

// take returns and forgets the events so far.
func (s *side) take() []Event {
	e := s.seen
	s.seen = nil
	return e
}

// expect takes the events so far and compares them with want, in describe's
// words without IDs.
func (s *side) expect(rule string, want ...string) {
	s.t.Helper()
	var got []string
	for _, e := range s.take() {
		switch e := e.(type) {
		case Incoming:
			got = append(got, "incoming "+e.Name)
		case Ringing:
			got = append(got, "ringing")
		case Answered:
			got = append(got, "answered")
		case Ended:
			by := "peer"
			if e.ByUs {
				by = "us"
			}
			got = append(got, fmt.Sprintf("ended %s %s %s %s", e.Reason, e.Stage, by, e.Duration))
		case Missed:
			got = append(got, "missed "+e.Name)
		case Held:
			what, by := "resumed", "peer"
			if e.On {
				what = "held"
			}
			if e.ByUs {
				by = "us"
			}
			got = append(got, what+" "+by)
		case Replaced:
			got = append(got, "replaced")
		case Recording:
			got = append(got, recorded(e))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Fatalf("%s: %s has events %q, want %q", rule, s.name, got, want)
	}
}

func (s *side) place(now time.Time, to *side) CallID {
	s.t.Helper()
	id, err := s.m.Place(now, to.peer())
	if err != nil {
		s.t.Fatalf("%s calls %s: %v", s.name, to.name, err)
	}
	s.drain()
	return id
}

func (s *side) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
	s.drain()
}

func (s *side) receive(now time.Time, from *side, b []byte) error {
	err := s.m.Receive(now, from.peer(), b)
	s.drain()
	return err
}

func (s *side) advance(now time.Time) {
	s.m.Advance(now)
	s.drain()
}

// carry delivers, in order and once, what any side says to another, until all
// are silent. A message that crossed the end of its call may find none.
func carry(now time.Time, list ...*side) {
	for moved := true; moved; {
		moved = false
		for _, a := range list {
			wire := a.wire
			a.wire = nil
			for _, o := range wire {
				for _, b := range list {
					if b.peer() == o.To {
						moved = true
						if err := b.receive(now, a, o.Body); err != nil && !errors.Is(err, ErrNoCall) {
							a.t.Fatalf("%s to %s, type %d: %v", a.name, b.name, o.Body[0], err)
						}
					}
				}
			}
		}
	}
}

// connected makes two sides with an answered call between them.
func connected(t testing.TB) (a, b *side, id CallID, ka, kb Answered) {
	t.Helper()
	l := sides(t, Options{}, "anna", "ben")
	a, b = l[0], l[1]
	id = a.place(start, b)
	carry(start, a, b)
	b.do(b.m.Answer(start, id))
	carry(start, a, b)
	for _, e := range a.take() {
		if e, ok := e.(Answered); ok {
			ka = e
		}
	}
	for _, e := range b.take() {
		if e, ok := e.(Answered); ok {
			kb = e
		}
	}
	if ka.ID != id || kb.ID != id {
		t.Fatal("not connected")
	}
	return a, b, id, ka, kb
}
