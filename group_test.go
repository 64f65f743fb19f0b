// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// groupMate is a member who answers, talks to all, and listens to each.
type groupMate struct {
	*Node
	s *sim

	mu     sync.Mutex
	call   *GroupCall
	ears   map[string]*ear // by the other's name; of those who are in
	left   []string        // reasons
	rung   int
	ended  []string
	silent bool // doesn't answer
}

func (s *sim) groupMates(names ...string) (list []*groupMate) {
	return s.groupMatesOn(func(name string) *simnet.Host { return s.public(name) }, names...)
}

func (s *sim) groupMatesOn(host func(name string) *simnet.Host, names ...string) (list []*groupMate) {
	var join []string
	for i := range 2 {
		h := s.public(fmt.Sprint("n", i))
		s.node(h, Config{Join: join})
		join = append(join, fmt.Sprintf("%v:4000", h.Addrs()[0]))
	}
	named := make(map[string]string)
	for _, name := range names {
		m := &groupMate{Node: s.node(host(name), Config{Join: join}), s: s, ears: make(map[string]*ear)}
		named[m.ID().String()] = name
		list = append(list, m)
	}
	for _, m := range list {
		if err := m.Join(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		events := m.Events(context.Background())
		s.wg.Go(func() {
			for e := range events {
				m.mu.Lock()
				switch e := e.(type) {
				case GroupRings:
					m.rung++
					if !m.silent {
						m.in(e.Call)
						if err := e.Call.Answer(); err != nil {
							s.t.Errorf("answer: %v", err)
						}
					}
				case GroupJoined:
					m.ears[named[e.Member.Peer().String()]] = s.hear(e.Member)
				case GroupLeft:
					delete(m.ears, named[e.Member.Peer().String()])
					m.left = append(m.left, e.Reason)
				case GroupEnded:
					m.ended = append(m.ended, e.Reason)
				}
				m.mu.Unlock()
			}
		})
	}
	time.Sleep(5 * time.Second) // records are published
	synctest.Wait()
	return list
}

// in talks into a call until it is over.
func (m *groupMate) in(c *GroupCall) {
	m.call = c
	m.s.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		frame := voiceFrame()
		for c.Track().WriteFrame(frame) == nil {
			<-tick.C
		}
	})
}

func (m *groupMate) enter(f func(context.Context) (*GroupCall, error)) {
	m.s.t.Helper()
	c, err := f(m.s.t.Context())
	if err != nil {
		m.s.t.Fatal(err)
	}
	m.mu.Lock()
	m.in(c)
	m.mu.Unlock()
}

// hears checks that a member hears these and nobody else, all of what they say in
// two seconds.
func hears(t *testing.T, rule string, who map[*groupMate][]string) {
	t.Helper()
	count := func(m *groupMate) map[string]int {
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		n := make(map[string]int)
		for name, e := range m.ears {
			n[name] = e.heard()
		}
		return n
	}
	before := make(map[*groupMate]map[string]int)
	for m := range who {
		before[m] = count(m)
	}
	time.Sleep(2 * time.Second)
	for m, names := range who {
		now := count(m)
		if len(now) != len(names) {
			t.Errorf("%s: %s is with %v, want %v", rule, m.cfg.Name, now, names)
		}
		for _, name := range names {
			if n := now[name] - before[m][name]; n < 95 {
				t.Errorf("%s: %s has heard %d frames of %s in 2 s", rule, m.cfg.Name, n, name)
			}
		}
	}
}

// Anna calls a group of three in which Ben and Cleo have never met: all hear all.
// One leaves, and joins again without ringing anybody; one is removed; the node of
// one starts anew and still knows the group.
func TestGroup(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		l := s.groupMates("anna", "ben", "cleo")
		a, b, c := l[0], l[1], l[2]
		g, err := a.NewGroup("choir")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range l[1:] {
			if err := g.Add(s.ticket(m.Node)); err != nil {
				t.Fatal(err)
			}
		}
		a.enter(g.Call)
		time.Sleep(5 * time.Second)
		hears(t, "all are in", map[*groupMate][]string{a: {"ben", "cleo"}, b: {"anna", "cleo"}, c: {"anna", "ben"}})
		if b.rung != 1 || c.rung != 1 || a.rung != 0 {
			t.Errorf("it rang %d, %d and %d times", a.rung, b.rung, c.rung)
		}
		there, err := b.Group(g.ID())
		if err != nil {
			t.Fatal(err)
		}
		if there.Name() != "choir" || there.Maker() != a.ID() || !slices.Equal(there.Members(), g.Members()) || len(g.Members()) != 3 {
			t.Errorf("there it is %q of %v with %v", there.Name(), there.Maker(), there.Members())
		}
		for _, m := range b.call.Members() {
			if m.Group() != b.call || m.Stats().PacketsReceived == 0 {
				t.Errorf("%v: not of the group's call, or nothing came", m.Peer())
			}
		}
		if err := there.Add(c.ID().String()); err != nil {
			t.Errorf("a member adds a member, which changes nothing: %v", err)
		}
		if err := there.Remove(c.ID()); !errors.Is(err, ErrNotMaker) {
			t.Errorf("a member removes: %v", err)
		}

		if err := b.call.Leave(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		hears(t, "ben has left", map[*groupMate][]string{a: {"cleo"}, b: {}, c: {"anna"}})
		b.enter(there.Join)
		time.Sleep(5 * time.Second)
		hears(t, "ben is back", map[*groupMate][]string{a: {"ben", "cleo"}, b: {"anna", "cleo"}, c: {"anna", "ben"}})
		if b.rung != 1 || c.rung != 1 || a.rung != 0 {
			t.Error("joining has rung somebody")
		}

		if err := g.Remove(c.ID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		hears(t, "cleo was removed", map[*groupMate][]string{a: {"ben"}, b: {"anna"}, c: {}})
		a.call.Leave()
		<-b.call.Done()
		time.Sleep(time.Second)
		synctest.Wait()
		if a.call.Reason() != "hangup" || b.call.Reason() != "hangup" || len(a.ended) != 1 || len(b.ended) != 2 || len(c.ended) != 1 {
			t.Errorf("ended %q %q, %v %v %v", a.call.Reason(), b.call.Reason(), a.ended, b.ended, c.ended)
		}

		dir := a.dir
		a.Close()
		again := s.node(s.public("anna2"), Config{Dir: dir})
		back, err := again.Group(g.ID())
		if err != nil || len(back.Members()) != 2 {
			t.Errorf("after a restart: %v, %v", back, err)
		}
		if err := back.Forget(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := again.Group(g.ID()); !errors.Is(err, ErrNoGroup) || len(again.Groups()) != 0 {
			t.Errorf("forgotten: %v", err)
		}
	})
}

// Who doesn't answer has missed a call and hurts nobody; who is added during a call
// is called in.
func TestGroupLate(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		l := s.groupMates("anna", "ben", "cleo")
		a, b, c := l[0], l[1], l[2]
		b.silent = true
		said := s.listenTo(b.Node)
		g, err := a.NewGroup("choir")
		if err != nil {
			t.Fatal(err)
		}
		a.enter(g.Call)
		<-a.call.Done()
		if a.call.Reason() != "no-answer" {
			t.Errorf("a group of one: %s", a.call.Reason())
		}
		if err := g.Add(s.ticket(b.Node)); err != nil {
			t.Fatal(err)
		}
		a.enter(g.Call)
		time.Sleep(3 * time.Second)
		if err := g.Add(s.ticket(c.Node)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		hears(t, "cleo was added", map[*groupMate][]string{a: {"cleo"}, b: {}, c: {"anna"}})
		time.Sleep(2 * time.Minute)
		hears(t, "ben did not come", map[*groupMate][]string{a: {"cleo"}, b: {}, c: {"anna"}})
		said.expect(t, "ben", "missed choir")
		if b.rung == 0 || len(b.ended) == 0 {
			t.Errorf("rang %d times, ended %v", b.rung, b.ended)
		}
		a.call.Leave()
		if err := a.call.Answer(); err == nil {
			t.Error("answered what does not ring")
		}
	})
}
