// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// talked returns a pair that has exchanged a few texts over a link that stands.
func talked(t testing.TB) (w *world, anna, ben *phone) {
	w, anna, ben = pair(t)
	anna.link(ben)
	w.run(time.Second)
	for i := range 3 {
		anna.send(ben, fmt.Sprint("a", i))
		w.run(time.Second)
		ben.send(anna, fmt.Sprint("b", i))
		w.run(time.Second)
	}
	return w, anna, ben
}

// backup and restore put a phone's store back to an old copy. The history is
// the app's, and goes back as well.
func (p *phone) backup() func() {
	old, history := p.store.Copy(), slices.Clone(p.store.history)
	return func() {
		p.off()
		p.store = &disk{Memory: old, history: slices.Clone(history)}
	}
}

// The reader's state comes out of a backup: what it had received since comes
// again, what comes anew is read, in order.
func TestReaderFromBackup(t *testing.T) {
	for _, online := range []bool{true, false} {
		t.Run(fmt.Sprint("online ", online), func(t *testing.T) {
			w, anna, ben := talked(t)
			restore := ben.backup()
			for i := range 100 {
				anna.send(ben, fmt.Sprint("lost ", i))
				w.run(100 * time.Millisecond)
				if i%10 == 0 {
					ben.send(anna, fmt.Sprint("gone ", i))
					w.run(100 * time.Millisecond)
				}
			}
			before := ben.texts()
			restore()
			if !online {
				anna.send(ben, "while you were away")
				w.run(time.Minute)
				anna.off()
			}
			ben.on()
			w.run(time.Minute)
			if !online {
				anna.on()
				w.run(time.Minute)
			} else {
				anna.send(ben, "while you were away")
				anna.link(ben)
			}
			w.run(time.Minute)
			want := slices.DeleteFunc(before, func(s string) bool { return strings.HasPrefix(s, "me: gone") })
			ben.wants(append(want, "anna: while you were away")...)
			ben.send(anna, "thanks")
			w.run(time.Minute)
			if got := anna.texts(); got[len(got)-1] != "ben: thanks" || len(got) != 6+100+10+1+1 {
				t.Errorf("anna has %d texts, last %q", len(got), got[len(got)-1])
			}
		})
	}
}

// The author's state comes out of a backup: what it says then is new, though
// its numbers and keys were used before.
func TestAuthorFromBackup(t *testing.T) {
	w, anna, ben := talked(t)
	restore := anna.backup()
	for i := range 5 {
		anna.send(ben, fmt.Sprint("before ", i))
		w.run(time.Second)
	}
	before := ben.texts()
	restore()
	anna.on()
	for i := range 3 {
		anna.send(ben, fmt.Sprint("after ", i))
	}
	anna.link(ben)
	w.run(time.Minute)
	ben.wants(append(before, "anna: after 0", "anna: after 1", "anna: after 2")...)
	if d, _, _ := anna.receipts(); len(d) != 3+3 {
		t.Errorf("%d delivered", len(d))
	}
	if n := ben.m.Counters().Restarts + anna.m.Counters().Restarts; n == 0 || n > 2 {
		t.Errorf("%d restarts", n)
	}
	w.run(time.Hour)
	if n := ben.m.Counters().Restarts + anna.m.Counters().Restarts; n > 2 {
		t.Errorf("%d restarts", n)
	}
}

// Both come out of backups of different days, never meet, and write mail.
func TestBothFromBackups(t *testing.T) {
	w, anna, ben := talked(t)
	restoreA := anna.backup()
	anna.send(ben, "x1")
	w.run(time.Second)
	restoreB := ben.backup()
	ben.send(anna, "y1")
	w.run(time.Second)
	anna.send(ben, "x2")
	w.run(time.Second)
	restoreA()
	restoreB()
	anna.on()
	anna.send(ben, "x3")
	w.run(time.Minute)
	anna.off()
	ben.on()
	ben.send(anna, "y3")
	w.run(time.Minute)
	ben.off()
	for range 3 { // each finds the other's mail, and that it can't be read
		anna.on()
		w.run(time.Minute)
		anna.off()
		ben.on()
		w.run(time.Minute)
		ben.off()
	}
	if got := ben.texts(); !slices.Contains(got, "anna: x3") {
		t.Errorf("ben has %q", got)
	}
	if got := anna.texts(); !slices.Contains(got, "ben: y3") {
		t.Errorf("anna has %q", got)
	}
}

// A full disk: Send says so, what comes is not acknowledged, and when there is
// room again everything is there once.
func TestFullDisk(t *testing.T) {
	w, anna, ben := talked(t)
	have := len(ben.texts())
	ben.store.full = true
	for i := range 5 {
		anna.send(ben, fmt.Sprint("c", i))
		w.run(3 * time.Second)
	}
	if len(ben.texts()) != have {
		t.Fatal("kept on a full disk")
	}
	err := ben.do(func() error { _, err := ben.m.Send(w.now, anna.party.Identity, "no"); return err })
	if !errors.Is(err, ErrStore) || !errors.Is(err, errFull) {
		t.Errorf("sending with a full disk: %v", err)
	}
	if err := ben.do(func() error { return ben.m.MarkAllRead(w.now, anna.party.Identity) }); !errors.Is(err, ErrStore) {
		t.Errorf("reading with a full disk: %v", err)
	}
	ben.store.full = false
	w.run(2 * time.Minute)
	ben.send(anna, "yes")
	w.run(time.Second)
	if got := ben.texts(); len(got) != have+6 {
		t.Errorf("ben has %q", got)
	}
	if d, _, _ := anna.receipts(); len(d) != 3+5 {
		t.Errorf("%d delivered", len(d))
	}
	if ben.m.Counters().Store == 0 {
		t.Error("failures are not counted")
	}
	// The author's disk fills: nothing leaves that is not stored.
	anna.store.full = true
	if err := anna.do(func() error { _, err := anna.m.Send(w.now, ben.party.Identity, "d"); return err }); !errors.Is(err, ErrStore) {
		t.Errorf("%v", err)
	}
	w.run(time.Minute)
	anna.store.full = false
	w.run(time.Minute)
	if got := ben.texts(); len(got) != have+6 {
		t.Errorf("ben has %q", got)
	}
}

// A clock that is years wrong orders nothing and stops nothing, as long as the
// certificates hold; when they don't, it is a clear error and nothing is lost.
func TestWrongClock(t *testing.T) {
	w, anna, ben := talked(t)
	have := len(ben.texts())
	right := w.now
	w.now = w.now.Add(-40 * time.Minute)
	anna.send(ben, "from the past")
	w.now = right
	w.run(time.Minute)
	anna.send(ben, "from now")
	w.run(time.Minute)
	if got := ben.texts(); !slices.Equal(got[have:], []string{"anna: from the past", "anna: from now"}) {
		t.Errorf("%q", got[have:])
	}
	// Prekeys by a clock that is wrong are refused with the reason.
	b := ben.m.public
	err := anna.do(func() error {
		return anna.m.Prekeys(w.now.Add(60*24*time.Hour), ben.party.Identity, [][]byte{b}, nil)
	})
	if err == nil || !strings.Contains(err.Error(), "not valid now") {
		t.Errorf("old keys: %v", err)
	}
	anna.off()
	anna.on()
	anna.link(ben)
	anna.send(ben, "and on")
	w.run(time.Minute)
	if got := ben.texts(); got[len(got)-1] != "anna: and on" {
		t.Errorf("%q", got)
	}
}

// What an app may not send, and what a stranger may not make us show.
func TestBadTexts(t *testing.T) {
	w, anna, ben := talked(t)
	for _, text := range []string{"", strings.Repeat("x", MaxText+1), "\xff", strings.Repeat("x", 100_000)} {
		if err := anna.do(func() error { _, err := anna.m.Send(w.now, ben.party.Identity, text); return err }); !errors.Is(err, ErrText) {
			t.Errorf("%.10q of %d bytes: %v", text, len(text), err)
		}
	}
	longest := strings.Repeat("ä", MaxText/2)
	anna.send(ben, longest)
	w.run(time.Second)
	if got := ben.texts(); got[len(got)-1] != "anna: "+longest {
		t.Error("the longest text is not there")
	}
	if err := anna.do(func() error { _, err := anna.m.Send(w.now, identity.ID{9}, "x"); return err }); !errors.Is(err, ErrUnknown) {
		t.Errorf("to nobody: %v", err)
	}
	if err := anna.do(func() error { _, err := anna.m.Send(w.now, anna.party.Identity, "x"); return err }); !errors.Is(err, ErrUnknown) {
		t.Errorf("to oneself: %v", err)
	}
	if err := anna.do(func() error { return anna.m.MarkRead(w.now, NewID()) }); !errors.Is(err, ErrNoMessage) {
		t.Errorf("nothing read: %v", err)
	}
	for in, want := range map[string]string{
		"Anna":                          "Anna",
		"A\x1b[2J\r\nnna\u202e":         "A[2Jnna",
		strings.Repeat("ö", 50_000):     strings.Repeat("ö", MaxName/2),
		strings.Repeat("\x00", 100_000): "",
		"\xff\xfe":                      "",
	} {
		if got := cleanName(in); got != want {
			t.Errorf("%.20q becomes %q", in, got)
		}
	}
}

// Who is blocked is neither shown nor acknowledged, and does not notice.
func TestBlocked(t *testing.T) {
	w, anna, ben := talked(t)
	have := len(ben.texts())
	shut := true
	ben.m.cfg.Blocked = func(id identity.ID) bool { return shut && id == anna.party.Identity }
	id := anna.send(ben, "hey")
	w.run(time.Minute)
	if len(ben.texts()) != have || ben.m.Counters().Blocked == 0 {
		t.Error("a blocked person got through")
	}
	if d, _, _ := anna.receipts(); slices.Contains(d, id) {
		t.Error("acknowledged")
	}
	shut = false
	w.run(10 * time.Minute)
	if got := ben.texts(); got[len(got)-1] != "anna: hey" {
		t.Errorf("%q", got)
	}
}

// A node whose envelopes can't be read gets a few new sessions and no more.
func TestRestartsBounded(t *testing.T) {
	w, anna, ben := talked(t)
	garbage := append([]byte{envMessage}, make([]byte, 200)...)
	for range 500 {
		ben.do(func() error { return ben.m.Receive(w.now, anna.node, garbage) })
		w.run(5 * time.Second)
	}
	if n := ben.m.Counters().Restarts; n != maxRestarts {
		t.Errorf("%d restarts within an hour", n)
	}
	anna.send(ben, "still here")
	w.run(time.Second)
	if got := ben.texts(); got[len(got)-1] != "anna: still here" {
		t.Errorf("%q", got)
	}
	stranger := identity.NodeID{42}
	if err := ben.do(func() error { return ben.m.Receive(w.now, stranger, garbage) }); err == nil {
		t.Error("garbage of a stranger")
	}
	if n := ben.m.Counters().Restarts; n != maxRestarts {
		t.Errorf("a stranger caused a restart")
	}
}

// An envelope works between its two nodes only.
func TestPassedOn(t *testing.T) {
	w, anna, ben := talked(t)
	have := len(ben.texts())
	anna.cut(ben)
	anna.do(func() error { return anna.m.LinkUp(w.now, ben.node, ben.party, false) })
	anna.m.Send(w.now, ben.party.Identity, "x")
	var env []byte
	for {
		o, ok := anna.m.Poll()
		if !ok {
			break
		}
		if o, ok := o.(Transmit); ok {
			env = o.Body
		}
	}
	if env == nil {
		t.Fatal("nothing sent")
	}
	thief := identity.NodeID{66}
	if err := ben.m.Receive(w.now, thief, env); err == nil {
		t.Error("taken from another node")
	}
	if err := ben.m.Receive(w.now, anna.node, env); err != nil || len(ben.texts()) != have+1 {
		t.Errorf("%v, %d texts", err, len(ben.texts()))
	}
	if err := ben.m.Receive(w.now, anna.node, env); err == nil || ben.m.Counters().Repeated != 1 {
		t.Errorf("twice: %v", err)
	}
}
