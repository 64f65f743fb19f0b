// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// reader drives a lookup by hand; holders are stores behind routes of their
// own, and may be wrapped by a liar.
type reader struct {
	t       *testing.T
	l       *Lookup
	now     time.Time
	holders []func(body []byte) [][]byte // nil = a black hole

	asks  []Ask
	found []identity.Record
	inbox []identity.Inbox
	gone  []uint8
	done  *Done
}

func honest(t *testing.T, at time.Time, records ...[]byte) func([]byte) [][]byte {
	t.Helper()
	s := NewStore(node(1), newRand(1))
	for _, b := range records {
		if o := s.Put(at, b, netip.Prefix{}); o != Stored {
			t.Fatal(o)
		}
	}
	return func(body []byte) [][]byte {
		out, err := s.Receive(at, body, netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// liar answers every question with the same records.
func liar(records ...[]byte) func([]byte) [][]byte {
	return func([]byte) [][]byte {
		var out [][]byte
		parts := split(records, recordsPerMessage)
		for i, p := range parts {
			out = append(out, RecordsMessage{i, len(parts), p}.Append(nil))
		}
		return out
	}
}

// look runs a lookup to its end. Answers come 100 ms after the question.
func look(t *testing.T, at time.Time, id identity.ID, secret identity.Secret, holders ...func([]byte) [][]byte) *reader {
	t.Helper()
	l, err := NewLookup(at, id, secret)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, l: l, now: at, holders: holders}
	r.run()
	return r
}

func (r *reader) run() {
	r.t.Helper()
	type due struct {
		at  time.Time
		ask Ask
	}
	var queue []due
	for range 1000 {
		for _, ev := range drain(r.l.NextEvent) {
			switch ev := ev.(type) {
			case Ask:
				r.asks = append(r.asks, ev)
				queue = append(queue, due{r.now.Add(100 * time.Millisecond), ev})
			case Found:
				r.found = append(r.found, ev.Record)
			case FoundInbox:
				r.inbox = append(r.inbox, ev.Inbox)
			case Gone:
				r.gone = append(r.gone, ev.Slot)
			case Done:
				if r.done != nil {
					r.t.Fatal("done twice")
				}
				r.done = &ev
			}
		}
		if r.done != nil {
			if !r.l.Deadline().IsZero() {
				r.t.Error("something is due after the end")
			}
			return
		}
		next := r.l.Deadline()
		if len(queue) > 0 && queue[0].at.Before(next) {
			q := queue[0]
			queue = queue[1:]
			r.now = q.at
			some := false
			for i, h := range r.holders {
				if h == nil {
					continue
				}
				for _, body := range h(q.ask.Body) {
					some = true
					r.l.Answer(r.now, q.ask.Ref, node(byte(i+1)), body)
				}
			}
			if !some {
				r.l.Undelivered(r.now, q.ask.Ref)
			}
			continue
		}
		r.now = next
		r.l.Advance(r.now)
	}
	r.t.Fatal("the lookup does not end")
}

func TestLookup(t *testing.T) {
	d := newDevice(t)
	s := d.Reach()
	b := record(t, d, 0, 1)
	h := honest(t, now, b)

	// Who has the ticket finds, with one question and at the first answer.
	r := look(t, now, d.ID(), s, h, h, h)
	if len(r.found) != 1 || !r.found[0].At.Equal(location(1)) || r.done.Devices != 1 || len(r.asks) != 1 || r.asks[0].Copies != 3 {
		t.Errorf("%+v, %+v, %d asks", r.found, r.done, len(r.asks))
	}
	if took := r.now.Sub(now); took != 100*time.Millisecond {
		t.Errorf("took %v", took)
	}
	// Who does not, does not; the other hours are asked for too.
	for what, r := range map[string]*reader{
		"another secret": look(t, now, d.ID(), identity.Secret{1}, h, h, h),
		"another ID":     look(t, now, newDevice(t).ID(), s, h, h, h),
	} {
		if len(r.found) != 0 || r.done.Devices != 0 || len(keysAsked(r)) != 3 || r.now.Sub(now) > time.Second {
			t.Errorf("%s: %+v, %d keys in %v", what, r.done, len(keysAsked(r)), r.now.Sub(now))
		}
	}
	// Nor does a ticket without the secret's holder get at the record itself.
	if r := look(t, now, d.ID(), identity.Secret{1}, liar(b), liar(b), liar(b)); len(r.found) != 0 {
		t.Errorf("%+v", r.found)
	}
	if _, err := NewLookup(now, identity.ID{}, s); !errors.Is(err, ErrNotKey) {
		t.Error(err)
	}
	if _, err := NewLookup(now, d.ID(), identity.Secret{}); err == nil {
		t.Error("looks without a secret")
	}
}

func keysAsked(r *reader) map[Key]int {
	m := map[Key]int{}
	for _, a := range r.asks {
		m[a.Key]++
	}
	return m
}

// With a clock an hour off, the reader's neighbouring epoch has it.
func TestLookupClocks(t *testing.T) {
	d := newDevice(t)
	for skew := -2; skew <= 2; skew++ {
		at := now.Add(time.Duration(skew) * time.Hour)
		h := honest(t, now, record(t, d, -1, 1), record(t, d, 0, 1), record(t, d, 1, 1))
		r := look(t, at, d.ID(), d.Reach(), h, h, h)
		if r.done.Devices != 1 && skew >= -1 { // two hours early the certificate does not hold yet
			t.Errorf("%+d h: %+v", skew, r.done)
		}
	}
	// One epoch alone is found by clocks an hour off.
	for skew := -1; skew <= 1; skew++ {
		at := now.Add(time.Duration(skew) * time.Hour)
		h := honest(t, now, record(t, d, 0, 1))
		if r := look(t, at, d.ID(), d.Reach(), h, h, h); r.done.Devices != 1 {
			t.Errorf("%+d h: %+v", skew, r.done)
		}
	}
}

// The newest of each slot wins, in whatever order and epoch they come.
func TestLookupNewest(t *testing.T) {
	d := newDevice(t)
	s := d.Reach()
	old, newer := record(t, d, 0, 1), record(t, d, 0, 2)
	slot3 := recordFor(t, d, s, 3, 0, 9)
	r := look(t, now, d.ID(), s, honest(t, now, old, slot3), honest(t, now, newer), nil)
	if len(r.found) != 3 || r.found[0].Sequence != 1 || r.found[1].Slot != 3 || r.found[2].Sequence != 2 || r.done.Devices != 2 {
		t.Errorf("%+v", r.found)
	}
	r = look(t, now, d.ID(), s, honest(t, now, newer), honest(t, now, old), nil)
	if len(r.found) != 1 || r.found[0].Sequence != 2 {
		t.Errorf("%+v", r.found)
	}
	if r := look(t, now, d.ID(), s, liar(record(t, d, 1, 7)), liar(record(t, d, 0, 3)), nil); len(r.found) != 1 || r.found[0].Sequence != 3 {
		t.Errorf("another epoch's record counts in this one's place: %+v", r.found)
	}
}

func TestLookupGone(t *testing.T) {
	d := newDevice(t)
	b, err := identity.MakeRecord(d, identity.RecordPlan{Reach: d.Reach(), Epoch: identity.Hour(now), Sequence: 5})
	if err != nil {
		t.Fatal(err)
	}
	r := look(t, now, d.ID(), d.Reach(), honest(t, now, b), honest(t, now, b))
	if len(r.found) != 0 || len(r.gone) != 0 || !r.done.Withdrawn || r.done.Devices != 0 {
		t.Errorf("%+v %+v", r.found, r.done)
	}
	r = look(t, now, d.ID(), d.Reach(), honest(t, now, record(t, d, 0, 1)), honest(t, now, b))
	if len(r.found) != 1 || len(r.gone) != 1 || !r.done.Withdrawn {
		t.Errorf("%+v %v %+v", r.found, r.gone, r.done)
	}
	r = look(t, now, d.ID(), d.Reach(), honest(t, now, b), honest(t, now, record(t, d, 0, 1)))
	if len(r.found) != 0 {
		t.Errorf("a withdrawn device is found: %+v", r.found)
	}
}

// Liars and black holes on two of three routes delay, and change nothing.
func TestLookupHostile(t *testing.T) {
	d, other := newDevice(t), newDevice(t)
	b := record(t, d, 0, 1)
	forged := bytes.Clone(b)
	forged[300] ^= 1
	inbox := makeInbox(t, d)
	n := 0
	flood := func(body []byte) (out [][]byte) { // never the same twice
		for range 500 {
			var three [][]byte
			for range 3 {
				bad := bytes.Clone(b)
				n++
				bad[400], bad[401], bad[402] = byte(n), byte(n>>8), byte(n>>16)
				three = append(three, bad)
			}
			out = append(out, RecordsMessage{0, 1, three}.Append(nil))
		}
		return out
	}
	empty := liar()
	for what, bad := range map[string]func([]byte) [][]byte{
		"black hole":    nil,
		"forged":        liar(forged),
		"another's":     liar(record(t, other, 0, 1)),
		"inbox":         liar(inbox),
		"another epoch": liar(record(t, d, 2, 99)),
		"nothing":       empty,
		"nonsense":      func([]byte) [][]byte { return [][]byte{nil, {5, 0}, {1, 2, 3}, FetchMessage{}.Append(nil)} },
		"flood":         flood,
		"a hundred times nothing": func([]byte) (out [][]byte) {
			for range 100 {
				out = append(out, empty(nil)...)
			}
			return out
		},
	} {
		r := look(t, now, d.ID(), d.Reach(), bad, bad, honest(t, now, b))
		if len(r.found) != 1 || r.done.Devices != 1 {
			t.Errorf("%s: %+v", what, r.done)
		}
		for _, v := range r.l.vias {
			if v.checks > maxChecks || v.answers > maxVia {
				t.Errorf("%s: %+v", what, v)
			}
		}
		if len(r.l.seen) > 2*maxChecks+1 {
			t.Errorf("%s: %d checks", what, len(r.l.seen))
		}
		if r := look(t, now, d.ID(), d.Reach(), bad, bad, bad); len(r.found) != 0 || len(r.asks) > 3*maxAsks {
			t.Errorf("%s alone: %+v, %d asks", what, r.done, len(r.asks))
		}
	}
	// Nothing to be had: it ends by itself.
	r := look(t, now, d.ID(), d.Reach())
	if took := r.now.Sub(now); took > lookupLife || len(keysAsked(r)) != 3 {
		t.Errorf("%v, %d keys", took, len(keysAsked(r)))
	}
	// Silence without word that nothing came.
	l, err := NewLookup(now, d.ID(), d.Reach())
	if err != nil {
		t.Fatal(err)
	}
	asks := 0
	for at := l.Deadline(); !at.IsZero(); at = l.Deadline() {
		l.Advance(at)
		for _, ev := range drain(l.NextEvent) {
			if _, ok := ev.(Ask); ok {
				asks++
			} else if at.Sub(now) != lookupLife {
				t.Errorf("done after %v", at.Sub(now))
			}
		}
	}
	if asks != 3*maxAsks {
		t.Errorf("%d asks", asks)
	}
	l.Answer(now.Add(lookupLife), 1, node(1), liar(b)(nil)[0])
	if ev := drain(l.NextEvent); len(ev) != 0 {
		t.Errorf("after the end: %v", ev)
	}
}

// One neighbour that says "nothing" is one route, however often it says it.
func TestLookupOneRoute(t *testing.T) {
	d := newDevice(t)
	l, err := NewLookup(now, d.ID(), d.Reach())
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	for range 5 {
		for _, ev := range drain(l.NextEvent) {
			switch ev := ev.(type) {
			case Ask:
				for range 3 {
					l.Answer(now, ev.Ref, node(1), liar()(nil)[0])
				}
			case Done:
				ended = true
			}
		}
		l.Advance(now.Add(time.Second))
	}
	if ended {
		t.Error("one liar ends a lookup")
	}
	l.Answer(now, 1, node(2), liar(record(t, d, 0, 1))(nil)[0])
	if ev := drain(l.NextEvent); len(ev) != 1 {
		t.Errorf("%v", ev)
	}
}

// Two that agree are enough; one alone does not end the lookup, but there is
// nothing more to ask for.
func TestLookupAgree(t *testing.T) {
	d := newDevice(t)
	h := honest(t, now, record(t, d, 0, 1))
	if r := look(t, now, d.ID(), d.Reach(), h, h, nil); r.now.Sub(now) != 100*time.Millisecond {
		t.Errorf("two agree after %v", r.now.Sub(now))
	}
	l, err := NewLookup(now, d.ID(), d.Reach())
	if err != nil {
		t.Fatal(err)
	}
	drain(l.NextEvent)
	l.Answer(now, 1, node(1), liar(record(t, d, 0, 1))(nil)[0])
	l.Advance(now.Add(3 * time.Second))
	if ev := drain(l.NextEvent); len(ev) != 1 || !l.Deadline().Equal(now.Add(lookupLife)) {
		t.Errorf("%v, then %v", ev, l.Deadline().Sub(now))
	}
}

func TestInboxLookup(t *testing.T) {
	d := newDevice(t)
	h := honest(t, now, makeInbox(t, d))
	l, err := NewInboxLookup(now, d.ID())
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, l: l, now: now, holders: []func([]byte) [][]byte{h, h, h}}
	if r.run(); len(r.inbox) != 1 || r.inbox[0].ID != d.ID() || len(r.found) != 0 {
		t.Errorf("%+v", r.inbox)
	}
	if _, err := NewInboxLookup(now, identity.ID{}); !errors.Is(err, ErrNotKey) {
		t.Error(err)
	}
}
