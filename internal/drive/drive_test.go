// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package drive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ticker is a machine that is due every period and writes down what happens.
type ticker struct {
	period time.Duration
	next   time.Time
	stuck  bool // never moves its deadline
	start  time.Time
	log    []string
}

func newTicker(period time.Duration) *ticker {
	t := &ticker{period: period, start: time.Now()}
	if period > 0 {
		t.next = t.start.Add(period)
	}
	return t
}

func (t *ticker) note(what string, now time.Time) {
	t.log = append(t.log, fmt.Sprintf("%s@%v", what, now.Sub(t.start)))
}

func (t *ticker) Advance(now time.Time) {
	t.note("advance", now)
	for !t.stuck && !now.Before(t.next) {
		t.next = t.next.Add(t.period)
	}
}

func (t *ticker) Deadline() time.Time { return t.next }

func (t *ticker) drain(now time.Time) { t.note("drain", now) }

func do(t *testing.T, l *Loop, f func(now time.Time)) {
	t.Helper()
	if err := l.Do(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func TestDeadlinesAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTicker(10 * time.Second)
		l := New(m, m.drain)
		time.Sleep(15 * time.Second)
		l.Post(func(now time.Time) {
			m.note("input", now)
			m.next = now.Add(time.Second) // an input may bring the deadline forward
		})
		time.Sleep(2 * time.Second)
		do(t, l, func(time.Time) { m.next = time.Time{} }) // nor is zero a deadline
		time.Sleep(time.Hour)
		l.Close()
		want := []string{
			"advance@10s", "drain@10s",
			"input@15s", "drain@15s",
			"advance@16s", "drain@16s",
			"drain@17s",
		}
		if !slices.Equal(m.log, want) {
			t.Errorf("got  %q\nwant %q", m.log, want)
		}
	})
}

// Inputs that keep coming don't starve a deadline.
func TestDeadlineUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTicker(time.Second)
		l := New(m, func(time.Time) {})
		defer l.Close()
		for range 100 {
			time.Sleep(300 * time.Millisecond)
			l.Post(func(time.Time) {})
		}
		do(t, l, func(time.Time) {})
		synctest.Wait()
		if len(m.log) != 30 {
			t.Errorf("%d advances in 30 s, want 30: %q", len(m.log), m.log)
		}
	})
}

// A machine whose deadline stays due neither stops the clock nor takes the
// loop away from its inputs.
func TestStuckMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTicker(time.Second)
		m.stuck = true
		l := New(m, func(time.Time) {})
		time.Sleep(time.Second + 10*minWait + minWait/2)
		do(t, l, func(time.Time) {})
		l.Close()
		if n := len(m.log); n < 11*maxAdvance || n > 13*maxAdvance {
			t.Errorf("%d advances in 10 waits, want about %d", n, 11*maxAdvance)
		}
	})
}

// hold parks the loop inside an input until the returned function is called.
func hold(t *testing.T, l *Loop) (release func()) {
	t.Helper()
	in, out := make(chan struct{}), make(chan struct{})
	if !l.Post(func(time.Time) { close(in); <-out }) {
		t.Fatal("queue full")
	}
	<-in
	return sync.OnceFunc(func() { close(out) })
}

func TestPostKeepsOrderAndBound(t *testing.T) {
	m := newTicker(0)
	l := New(m, func(time.Time) {})
	defer l.Close()
	release := hold(t, l)
	defer release()
	var got []int
	for i := range QueueLen {
		if !l.Post(func(time.Time) { got = append(got, i) }) {
			t.Fatalf("input %d of %d refused", i, QueueLen)
		}
	}
	for range 3 {
		if l.Post(func(time.Time) { t.Error("a refused input ran") }) {
			t.Fatal("input accepted by a full queue")
		}
	}
	if l.Dropped() != 3 {
		t.Errorf("Dropped = %d, want 3", l.Dropped())
	}
	release()
	do(t, l, func(time.Time) {}) // waits for room, then for its turn
	if len(got) != QueueLen || !slices.IsSorted(got) {
		t.Errorf("%d inputs ran, in order: %v", len(got), slices.IsSorted(got))
	}
}

func TestDoGivesUpBeforeItsTurn(t *testing.T) {
	m := newTicker(0)
	l := New(m, func(time.Time) {})
	defer l.Close()
	release := hold(t, l)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	res := make(chan error)
	go func() { res <- l.Do(ctx, func(time.Time) { t.Error("an abandoned Do ran") }) }()
	for len(l.inputs) == 0 { // until it is queued
		select {
		case err := <-res:
			t.Fatal(err)
		default:
		}
	}
	cancel()
	if err := <-res; !errors.Is(err, context.Canceled) {
		t.Errorf("Do = %v, want context.Canceled", err)
	}
	if err := l.Do(ctx, func(time.Time) { t.Error("ran under an ended context") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Do = %v, want context.Canceled", err)
	}
	release()
	do(t, l, func(time.Time) {})
}

// When f has begun, Do waits for its end whatever the context says.
func TestDoReportsWhatRan(t *testing.T) {
	l := New(newTicker(0), func(time.Time) {})
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ran := false
	if err := l.Do(ctx, func(time.Time) { cancel(); ran = true }); err != nil || !ran {
		t.Errorf("Do = %v, ran %v", err, ran)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails when a goroutine stays behind
		l := New(newTicker(time.Second), func(time.Time) {})
		release := hold(t, l)
		res := make(chan error, 2)
		go func() { res <- l.Do(t.Context(), func(time.Time) { t.Error("ran after Close") }) }()
		synctest.Wait()
		for l.Post(func(time.Time) {}) { // the other one finds no room
		}
		go func() { res <- l.Do(t.Context(), func(time.Time) { t.Error("ran after Close") }) }()
		synctest.Wait()
		closed := make(chan struct{})
		go func() { l.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close did not wait for the running input")
		default:
		}
		release()
		<-closed
		for range 2 {
			if err := <-res; !errors.Is(err, net.ErrClosed) {
				t.Errorf("pending Do = %v, want net.ErrClosed", err)
			}
		}
		l.Close()
		if l.Post(func(time.Time) {}) {
			t.Error("Post after Close")
		}
		if err := l.Do(t.Context(), func(time.Time) {}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Do after Close = %v, want net.ErrClosed", err)
		}
	})
}

// Every input runs exactly once, on one goroutine, whoever sends it.
func TestManySenders(t *testing.T) {
	m := newTicker(100 * time.Microsecond)
	l := New(m, func(time.Time) {})
	sum, want := 0, 0 // only the loop touches sum: the race detector watches
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for range 500 {
				ok := false
				if g%2 == 0 {
					ok = l.Post(func(time.Time) { sum++ })
				} else {
					ok = l.Do(t.Context(), func(time.Time) { sum++ }) == nil
				}
				if ok {
					mu.Lock()
					want++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	do(t, l, func(time.Time) {})
	l.Close()
	if sum != want {
		t.Errorf("%d inputs ran, %d were accepted", sum, want)
	}
}

func TestPostDoesNotAllocate(t *testing.T) {
	m := newTicker(0)
	l := New(m, func(time.Time) {})
	defer l.Close()
	ran := make(chan struct{})
	f := func(time.Time) { ran <- struct{}{} }
	if n := testing.AllocsPerRun(100, func() { l.Post(f); <-ran }); n > 0 {
		t.Errorf("%.1f allocations per Post", n)
	}
}

func BenchmarkPost(b *testing.B) {
	b.ReportAllocs()
	m := newTicker(0)
	l := New(m, func(time.Time) {})
	defer l.Close()
	ran := make(chan struct{})
	f := func(time.Time) { ran <- struct{}{} }
	for b.Loop() {
		l.Post(f)
		<-ran
	}
}
