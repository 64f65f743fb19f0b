// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// mailOf follows a node's texts.
type mailOf struct {
	sync.Mutex
	texts     []Message
	delivered []string
	read      []string
	stored    []string
	at        map[string]time.Time // of each ID's latest event
	changed   chan struct{}
}

// follow collects the texts and receipts of a node until it closes.
func (s *sim) follow(n *Node) *mailOf {
	m := &mailOf{at: make(map[string]time.Time), changed: make(chan struct{}, 1)}
	events := n.Events(context.Background())
	s.wg.Go(func() {
		for e := range events {
			id := ""
			m.Lock()
			switch e := e.(type) {
			case Message:
				m.texts, id = append(m.texts, e), e.ID
			case MessageDelivered:
				m.delivered, id = append(m.delivered, e.ID), e.ID
			case MessageRead:
				m.read, id = append(m.read, e.ID), e.ID
			case MessageStored:
				m.stored, id = append(m.stored, e.ID), e.ID
			default:
				m.Unlock()
				continue
			}
			m.at[id] = time.Now()
			m.Unlock()
			select {
			case m.changed <- struct{}{}:
			default:
			}
		}
	})
	return m
}

func (m *mailOf) when(id string) time.Time {
	m.Lock()
	defer m.Unlock()
	return m.at[id]
}

// until waits until ok, at most for d of the bubble's time.
func (m *mailOf) until(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	limit := time.After(d)
	locked := func() bool {
		m.Lock()
		defer m.Unlock()
		return ok()
	}
	for !locked() {
		select {
		case <-m.changed:
		case <-limit:
			t.Fatalf("not after %v: %s", d, what)
		}
	}
}

// A text to somebody with whom a link stands is there after half a round trip,
// and its receipt after one; so is the first one to a contact.
func TestChatOnline(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b := s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})
		if _, err := a.Contacts().Add(s.ticket(b), "Ben"); err != nil {
			t.Fatal(err)
		}
		call, err := a.Call(t.Context(), "Ben", nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		call.HangUp()
		time.Sleep(time.Second)
		ma, mb := s.follow(a), s.follow(b)
		for i := range 3 {
			start := time.Now()
			r, err := a.Send(t.Context(), "Ben", fmt.Sprint("text ", i))
			if err != nil {
				t.Fatal(err)
			}
			ma.until(t, time.Minute, "receipt", func() bool { return slices.Contains(ma.delivered, r.ID) })
			there, back := mb.when(r.ID).Sub(start), ma.when(r.ID).Sub(start)
			t.Logf("there after %v, receipt after %v", there, back)
			if there > rtt/2+10*time.Millisecond || back > rtt+10*time.Millisecond {
				t.Errorf("there after %v, receipt after %v", there, back)
			}
		}
		mb.Lock()
		third := mb.texts[2].ID
		mb.Unlock()
		if err := b.MarkRead(t.Context(), third); err != nil {
			t.Fatal(err)
		}
		ma.until(t, time.Second, "read receipts", func() bool { return len(ma.read) == 3 })
		// Ben can answer, by ID alone.
		r, err := b.Send(t.Context(), a.ID().String(), "thanks")
		if err != nil {
			t.Fatal(err)
		}
		mb.until(t, time.Second, "receipt", func() bool { return slices.Contains(mb.delivered, r.ID) })
		var got []string
		for rec, err := range a.History(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if m := rec.Message; m != nil {
				got = append(got, fmt.Sprintf("%s in %t delivered %t read %t", m.Text, rec.Incoming, !m.Delivered.IsZero(), !m.Read.IsZero()))
			}
		}
		want := []string{
			"thanks in true delivered true read false", "text 2 in false delivered true read true",
			"text 1 in false delivered true read true", "text 0 in false delivered true read true",
		}
		if !slices.Equal(got, want) {
			t.Errorf("history %q", got)
		}
	})
}

// The first text of all, by a ticket, between two that nobody else is linked
// with: it goes to the addresses in the ticket at once.
func TestChatByTicket(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b := s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})
		mb, start := s.follow(b), time.Now()
		if _, err := a.Send(t.Context(), s.ticket(b), "hello"); err != nil {
			t.Fatal(err)
		}
		mb.until(t, time.Minute, "text", func() bool { return len(mb.texts) == 1 })
		// The link, proofs, keys, and the text.
		if took := time.Since(start); took > 5*rtt {
			t.Errorf("there after %v", took)
		}
	})
}

// To one who comes back after the sender has left, behind NATs, without a link
// and without ever having met: there within five seconds of joining, and the
// receipt reaches the sender when it comes back in turn.
func TestChatOffline(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		_, join := s.square(8)
		ha, hb := s.public("a"), s.public("b")
		da, db := t.TempDir(), t.TempDir()
		b := s.node(hb, Config{Dir: db, Join: join})
		if err := b.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		ticket := s.ticket(b)
		if err := b.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		a := s.node(ha, Config{Dir: da, Join: join})
		ma := s.follow(a)
		if err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		var said []string
		start := time.Now()
		for i := range 3 {
			r, err := a.Send(t.Context(), ticket, fmt.Sprint("text ", i))
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, r.ID)
		}
		ma.until(t, time.Minute, "stored", func() bool { return len(ma.stored) == 3 })
		t.Logf("in the mailbox after %v", time.Since(start))
		if r, err := a.Send(t.Context(), ticket, "one more on leaving"); err != nil {
			t.Fatal(err)
		} else {
			said = append(said, r.ID)
		}
		start = time.Now()
		if err := a.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("left after %v", time.Since(start))
		time.Sleep(time.Minute)

		b = s.nodeOn("b", Config{Dir: db, Join: join}, s.listen(hb, 4001))
		mb := s.follow(b)
		if err := b.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		mb.until(t, 10*time.Minute, "texts", func() bool { return len(mb.texts) == 4 })
		took := time.Since(start)
		t.Logf("delivered %v after joining", took)
		if took > 5*time.Second {
			t.Errorf("delivered %v after joining", took)
		}
		for i, m := range mb.texts {
			if m.ID != said[i] || m.Peer != a.ID() {
				t.Errorf("text %d is %+v", i, m)
			}
		}
		if _, err := b.Send(t.Context(), a.ID().String(), "got it"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		b.Shutdown(t.Context())
		time.Sleep(time.Minute)
		a = s.nodeOn("a", Config{Dir: da, Join: join}, s.listen(ha, 4001))
		ma = s.follow(a)
		if err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		ma.until(t, 10*time.Minute, "receipts", func() bool { return len(ma.delivered) == 4 && len(ma.texts) == 1 })
	})
}

// What can't be sent is refused with a reason, and nothing is kept of it.
func TestChatRefused(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a := s.node(s.public("a"), Config{})
		stranger, err := identity.NewDevice(time.Now(), "")
		if err != nil {
			t.Fatal(err)
		}
		b := s.node(s.public("b"), Config{})
		for _, c := range []struct {
			to, text string
			want     error
		}{
			{s.ticket(b), "", ErrText},
			{s.ticket(b), strings.Repeat("x", MaxText+1), ErrText},
			{s.ticket(b), "\xff\xfe", ErrText},
			{stranger.ID().String(), "hello", ErrNotFound},
			{a.ID().String(), "hello", ErrSelf},
			{"my mother", "hello", identity.ErrNotID},
			{strings.Repeat("\x00", 100_000), "hello", identity.ErrNotID},
		} {
			if _, err := a.Send(t.Context(), c.to, c.text); !errors.Is(err, c.want) {
				t.Errorf("%.20q to %.20q: %v", c.text, c.to, err)
			}
		}
		if err := a.MarkRead(t.Context(), "nonsense"); !errors.Is(err, ErrNoMessage) {
			t.Errorf("%v", err)
		}
		for range a.History(t.Context()) {
			t.Error("something is in the history")
		}
	})
}
