// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pos/p2pos/session"
)

// randomFile makes a file of that many bytes.
func randomFile(t testing.TB, name string, size int) (path string, content []byte) {
	t.Helper()
	content = make([]byte, size)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(content)
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// accept takes every offered file into dir, and hands it over.
func (s *sim) accept(n *Node, dir string) <-chan *Transfer {
	out := make(chan *Transfer, 16)
	events := n.Events(s.t.Context())
	s.wg.Go(func() {
		for e := range events {
			if f, ok := e.(FileEvent); ok && f.Transfer.Incoming() && f.State == FileOffered {
				if err := f.Transfer.Accept(dir); err != nil {
					s.t.Error(err)
				}
				out <- f.Transfer
			}
		}
	})
	return out
}

// done waits for a transfer's end.
func (s *sim) complete(t *Transfer) {
	s.t.Helper()
	select {
	case <-t.Done():
	case <-time.After(time.Hour):
		s.t.Fatalf("not ended: %s, %+v", t.State(), t.Progress())
	}
	if err := t.Err(); err != nil || t.State() != FileComplete {
		s.t.Fatalf("%s: %v", t.State(), err)
	}
}

func same(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes of %d, %v", path, len(got), len(want), err)
	}
}

// A ticket is enough to send a file; no call is needed.
func TestSendFile(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b := s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})
		ins := s.accept(b, t.TempDir())
		path, content := randomFile(t, "letter.txt", 1_000_000)
		out, err := a.SendFile(t.Context(), s.ticket(b), path)
		if err != nil {
			t.Fatal(err)
		}
		s.complete(out)
		in := <-ins
		s.complete(in)
		same(t, in.Path(), content)
		if in.Peer() != a.ID() || in.Name() != "letter.txt" || in.ID() != out.ID() || in.Size() != 1_000_000 || in.SHA256() != out.SHA256() {
			t.Errorf("%s from %v", in.Name(), in.Peer())
		}
		for _, n := range []*Node{a, b} {
			for r, err := range n.History(t.Context()) {
				if err != nil || r.File == nil || r.File.State != "complete" || r.File.Bytes != 1_000_000 || r.File.Done != 1_000_000 {
					t.Errorf("%+v, %v", r.File, err)
				}
				break
			}
			if f, ok := n.FindTransfer(in.ID()); !ok || f.State() != FileComplete {
				t.Error("not found any more")
			}
		}
		// And back, by the ID: who sends a file can be answered.
		ins = s.accept(a, t.TempDir())
		out, err = b.SendFile(t.Context(), a.ID().String(), path)
		if err != nil {
			t.Fatal(err)
		}
		s.complete(out)
		same(t, (<-ins).Path(), content)
	})
}

func TestSendFileErrors(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b := s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})
		path, _ := randomFile(t, "x", 10)
		for _, c := range []struct {
			what, to, path string
			want           error
		}{
			{"a bare ID", b.ID().String(), path, ErrNotFound}, // before any ticket of theirs
			{"oneself", s.ticket(a), path, ErrSelf},
			{"a folder", s.ticket(b), filepath.Dir(path), ErrNotRegular},
			{"no file", s.ticket(b), path + "x", os.ErrNotExist},
		} {
			if _, err := a.SendFile(t.Context(), c.to, c.path); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", c.what, err)
			}
		}
	})
}

// The receiver is switched on later, the sender is started anew meanwhile, and
// both are again in the middle of it.
func TestFileAnotherDay(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		r := s.node(s.public("r"), Config{}) // the network, so that both can be found
		hub := s.ticket(r)
		dirA, dirB, target := t.TempDir(), t.TempDir(), t.TempDir()
		start := func(name, dir string) *Node {
			n := s.nodeOn(name, Config{Dir: dir, Join: []string{hub}}, s.listen(s.public(name), 4000))
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
			return n
		}
		a, b := start("a", dirA), start("b", dirB)
		ticket := s.ticket(b)
		b.Close()
		path, content := randomFile(t, "x", 3_000_000)
		out, err := a.SendFile(t.Context(), ticket, path)
		if err != nil {
			t.Fatal(err)
		}
		id := out.ID()
		time.Sleep(2 * time.Minute)
		a.Close()
		a, b = start("a2", dirA), start("b2", dirB)
		in := <-s.accept(b, target)
		for in.Progress().Done < 500_000 {
			time.Sleep(20 * time.Millisecond)
		}
		a.Close()
		b.Close()
		time.Sleep(2 * time.Minute)
		a, b = start("a3", dirA), start("b3", dirB)
		out, ok := a.FindTransfer(id)
		in, ok2 := b.FindTransfer(id)
		if !ok || !ok2 {
			t.Fatal("forgotten")
		}
		s.complete(out)
		s.complete(in)
		same(t, in.Path(), content)
	})
}

// A call begins while the desk waits for a slow disk, on which something is
// written that has to look up how a person is reached.
func TestFileSlowDisk(t *testing.T) {
	a, b := newNodeHere(t, t.TempDir()), newNodeHere(t, t.TempDir())
	ticket, err := b.Ticket(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	path, _ := randomFile(t, "x", 10)
	x, err := a.SendFile(t.Context(), ticket, path)
	if err != nil {
		t.Fatal(err)
	}
	slow, looked := make(chan struct{}), make(chan struct{})
	a.writes.add(func() {
		<-slow
		a.knownTarget(b.ID())
		close(looked)
	})
	for range maxBacklogWrites - 1 { // the first one runs
		a.writes.add(func() {})
	}
	cancelled := make(chan struct{})
	go func() {
		defer close(cancelled)
		x.Cancel()
	}()
	for waits := false; !waits; {
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			x.State() // answers when the desk does
		}()
		select {
		case <-asked:
		case <-time.After(50 * time.Millisecond):
			waits = true
		}
	}
	handled := make(chan struct{})
	go func() {
		defer close(handled)
		a.handle(new(session.Call))
	}()
	<-time.After(50 * time.Millisecond) // handle waits for the desk
	close(slow)
	for _, done := range []chan struct{}{looked, cancelled, handled} {
		select {
		case <-done:
		case <-time.After(time.Minute):
			panic("each waits for the other") // Close would, too
		}
	}
}
