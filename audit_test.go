// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger is an audit sink that remembers.
type ledger struct {
	mu  sync.Mutex
	all []AuditEvent
}

func (l *ledger) add(e AuditEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// of returns what was told of an action.
func (l *ledger) of(a Action) (list []AuditEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Action == a {
			list = append(list, e)
		}
	}
	return list
}

// setUp places a call and returns how long it took until it was answered.
func (s *sim) setUp(from *Node, ticket string) (*Call, time.Duration) {
	s.t.Helper()
	began := time.Now()
	c, err := from.Call(s.t.Context(), ticket, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Answered(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return c, time.Since(began)
}

// A policy that takes 5 s delays what it decides and nothing else: other calls
// come about, and a node that has to wait for its link gets it with its next
// try.
func TestPolicySleeps(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		hc := s.public("c")
		slow := hc.Addrs()[0]
		var idC [32]byte
		a, c0 := s.node(s.public("a"), Config{}), s.node(s.public("c0"), Config{})
		idC = c0.ID()
		b := s.node(s.public("b"), Config{Policy: func(q Ask) error {
			if q.Action == ActLink && q.Addr.Addr() == slow || q.Action == ActCall && q.Peer == idC {
				time.Sleep(5 * time.Second)
			}
			return nil
		}})
		s.callee(b)
		call, plain := s.setUp(a, s.ticket(b))
		call.HangUp()
		c := s.node(hc, Config{Join: []string{b.Status().Listen[0].String()}})
		slowCall := make(chan time.Duration, 1)
		s.wg.Go(func() {
			x, took := s.setUp(c0, s.ticket(b))
			x.HangUp()
			slowCall <- took
		})
		s.wg.Go(func() { c.Join(t.Context()) })
		for range 5 { // all along
			time.Sleep(time.Second)
			call, took := s.setUp(a, s.ticket(b))
			call.HangUp()
			if took > plain+100*time.Millisecond {
				t.Errorf("%v beside a question, %v without one", took, plain)
			}
		}
		if took := <-slowCall; took < 5*time.Second || took > 7*time.Second {
			t.Errorf("the one it was about took %v", took)
		}
		time.Sleep(10 * time.Second)
		if c.Status().Links == 0 {
			t.Error("no link after the answer")
		}
	})
}

// A panic is a refusal; the node, and others' calls, go on.
func TestPolicyPanics(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		var book ledger
		a, c := s.node(s.public("a"), Config{}), s.node(s.public("c"), Config{})
		b := s.node(s.public("b"), Config{Audit: book.add, Policy: func(q Ask) error {
			if q.Peer == a.ID() {
				panic("no")
			}
			return nil
		}})
		s.callee(b)
		x, err := a.Call(t.Context(), s.ticket(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Answered(t.Context()); !errors.Is(err, ErrDenied) {
			t.Errorf("%v", err)
		}
		y, _ := s.setUp(c, s.ticket(b))
		y.HangUp()
		time.Sleep(time.Second)
		list := book.of(ActCall)
		if len(list) != 2 || list[0].Result != "denied" || list[0].Peer != a.ID() || !strings.Contains(list[0].Detail, "no") || list[1].Result != "hangup" {
			t.Errorf("%+v", list)
		}
	})
}

// A node that may not link hears so, and one that may does not notice.
func TestPolicyLinks(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		var book ledger
		hc := s.public("c")
		unwanted := hc.Addrs()[0]
		b := s.node(s.public("b"), Config{Audit: book.add, Policy: func(q Ask) error {
			if q.Action == ActLink && q.Addr == netip.AddrPortFrom(unwanted, 4000) {
				return errors.New("not from there")
			}
			return nil
		}})
		join := []string{b.Status().Listen[0].String()}
		c, a := s.node(hc, Config{Join: join}), s.node(s.public("a"), Config{Join: join})
		if err := c.Join(t.Context()); !errors.Is(err, ErrDenied) {
			t.Errorf("%v", err)
		}
		if err := a.Join(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		a.Close()
		time.Sleep(time.Second)
		if c.Status().Links != 0 {
			t.Error("linked all the same")
		}
		var results []string
		for _, e := range book.of(ActLink) {
			results = append(results, e.Result)
			if e.Node != a.NodeID() && e.Node != c.NodeID() || e.Result == "down" && (e.Took < time.Second || e.Node != a.NodeID()) {
				t.Errorf("%+v", e)
			}
		}
		slices.Sort(results)
		if got := strings.Join(slices.Compact(results), " "); got != "denied down up" {
			t.Errorf("%s", got)
		}
	})
}

// A file that the policy refuses is declined, and the app never hears of it; one
// that it allows comes after the verdict.
func TestPolicyFiles(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		var book ledger
		a := s.node(s.public("a"), Config{})
		b := s.node(s.public("b"), Config{Audit: book.add, Policy: func(q Ask) error {
			if q.Action != ActFile {
				return nil
			}
			time.Sleep(5 * time.Second)
			if q.File == "bad.exe" && q.Bytes == 1000 && q.Peer == a.ID() {
				return errors.New("no programs")
			}
			return nil
		}})
		ins := s.accept(b, t.TempDir())
		bad, _ := randomFile(t, "bad.exe", 1000)
		good, _ := randomFile(t, "good.txt", 1000)
		ticket := s.ticket(b)
		x, err := a.SendFile(t.Context(), ticket, bad)
		if err != nil {
			t.Fatal(err)
		}
		y, err := a.SendFile(t.Context(), ticket, good)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if list := b.Transfers(); len(list) != 0 {
			t.Errorf("%d shown before the verdict", len(list))
		}
		if in := <-ins; in.Name() != "good.txt" {
			t.Errorf("%s came", in.Name())
		}
		<-x.Done()
		if !errors.Is(x.Err(), ErrDeclined) {
			t.Errorf("%v", x.Err())
		}
		s.complete(y)
		time.Sleep(time.Second)
		var results []string
		for _, e := range book.of(ActFile) {
			results = append(results, e.Result)
		}
		if got := strings.Join(results, " "); got != "denied complete" || len(ins) != 0 {
			t.Errorf("audit: %s; %d more offers", got, len(ins))
		}
	})
}

// What was offered before a restart is not shown either until the policy has
// allowed it.
func TestPolicyFilesRestart(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		h, dir := s.public("b"), t.TempDir()
		a, b := s.node(s.public("a"), Config{}), s.node(h, Config{Dir: dir})
		ticket := s.ticket(b)
		offers := map[string]*Transfer{}
		for _, name := range []string{"bad.exe", "good.txt"} {
			path, _ := randomFile(t, name, 1000)
			x, err := a.SendFile(t.Context(), ticket, path)
			if err != nil {
				t.Fatal(err)
			}
			offers[name] = x
		}
		time.Sleep(time.Minute)
		if list := b.Transfers(); len(list) != 2 {
			t.Fatalf("%d offers", len(list))
		}
		b.Close()
		b = s.node(h, Config{Dir: dir, Policy: func(q Ask) error {
			if q.Action != ActFile {
				return nil
			}
			time.Sleep(time.Second)
			if q.File == "bad.exe" {
				return errors.New("no programs")
			}
			return nil
		}})
		if list := b.Transfers(); len(list) != 0 {
			t.Errorf("%d shown before the verdict", len(list))
		}
		time.Sleep(10 * time.Second)
		if list := b.Transfers(); len(list) != 1 || list[0].Name() != "good.txt" {
			t.Errorf("%d shown", len(list))
		}
		select {
		case <-offers["bad.exe"].Done():
		case <-time.After(time.Hour):
			t.Error("the sender was not told")
		}
	})
}

// A question about a node is asked once at a time, and its answer holds for a
// while; too many are refused.
func TestPolicyVerdicts(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		asked := make(chan Ask, 2*maxVerdicts)
		n := s.node(s.public("n"), Config{Policy: func(q Ask) error {
			asked <- q
			time.Sleep(10 * time.Second)
			return errors.New("no")
		}})
		node, giveUp := a32(7), make(chan struct{})
		close(giveUp)
		for range 3 {
			if err := n.mayLink(node, netip.AddrPort{}, giveUp); !errors.Is(err, errUndecided) {
				t.Errorf("at once: %v", err)
			}
		}
		time.Sleep(11 * time.Second)
		if err := n.mayLink(node, netip.AddrPort{}, nil); err == nil || errors.Is(err, errUndecided) {
			t.Errorf("then: %v", err)
		}
		if q := <-asked; q.Action != ActLink || q.Node != node || len(asked) != 0 {
			t.Errorf("%+v, %d more", q, len(asked))
		}
		time.Sleep(2 * verdictLife)
		n.mayLink(node, netip.AddrPort{}, giveUp)
		time.Sleep(time.Second)
		if len(asked) != 1 {
			t.Error("not asked again after a while")
		}
		for i := range maxVerdicts + 10 {
			n.mayLink(a32(1000+i), netip.AddrPort{}, giveUp)
		}
		n.verdicts.mu.Lock()
		if len(n.verdicts.all) > maxVerdicts {
			t.Errorf("%d verdicts", len(n.verdicts.all))
		}
		n.verdicts.mu.Unlock()
		time.Sleep(11 * time.Second) // until all have said so
	})
}

func a32(n int) (id [32]byte) {
	id[0], id[1] = byte(n>>8), byte(n)
	return id
}

// The audit tells of each call who, when, how long, over what and how it ended.
func TestAudit(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		var book ledger
		a := s.node(s.public("a"), Config{Audit: book.add})
		b := s.node(s.public("b"), Config{})
		s.callee(b)
		began := time.Now()
		call, _ := s.setUp(a, s.ticket(b))
		time.Sleep(10 * time.Second)
		call.HangUp()
		time.Sleep(time.Second)
		if _, err := b.Send(t.Context(), a.ID().String(), "secret"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if list := book.of(ActMessage); len(list) != 1 || list[0].Peer != b.ID() || list[0].Result != "received" || !list[0].Incoming {
			t.Errorf("%+v", list)
		}
		list := book.of(ActCall)
		if len(list) != 1 {
			t.Fatalf("%+v", list)
		}
		e := list[0]
		if e.Peer != b.ID() || e.Incoming || e.Path != "direct" || e.Result != "hangup" || e.Stage != "talk" ||
			e.Took.Round(time.Second) != 10*time.Second || e.When.Before(began) || e.When.Sub(began) > time.Second {
			t.Errorf("%+v", e)
		}
	})
}

// A sink that blocks, or panics each time, harms no call, and Close comes back.
func TestAuditBlocks(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		release := make(chan struct{})
		a := s.node(s.public("a"), Config{Audit: func(AuditEvent) { <-release }})
		b := s.node(s.public("b"), Config{Audit: func(AuditEvent) { panic("full") }})
		s.callee(b)
		for range 3 {
			call, _ := s.setUp(a, s.ticket(b))
			time.Sleep(time.Second)
			call.HangUp()
		}
		for range auditRoom + 5 {
			a.auditor.tell(AuditEvent{})
		}
		if n := a.Status().Dropped["audit"]; n < 5 {
			t.Errorf("%d counted", n)
		}
		began := time.Now()
		a.Close()
		b.Close()
		if d := time.Since(began); d > auditTime+time.Second {
			t.Errorf("closed after %v", d)
		}
		a.auditor.tell(AuditEvent{})
		close(release)
	})
}
