// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Anna has Ben's ticket and has never met him. She writes, and is switched off;
// Ben comes back, has the texts in order at once, and answers; Anna comes back
// and has answer and receipts.
func TestOfflineFirst(t *testing.T) {
	w, anna, ben := pair(t)
	w.run(time.Second) // Ben's prekeys are out
	ben.off()
	var said []ID
	for i := range 3 {
		said = append(said, anna.send(ben, fmt.Sprintf("text %d", i)))
		w.run(time.Second)
	}
	w.run(5 * time.Second)
	if _, _, stored := anna.receipts(); !slices.Equal(stored, said) {
		t.Fatalf("stored %v of %v", stored, said)
	}
	anna.off()
	w.run(10 * time.Hour)
	ben.on()
	w.run(time.Second)
	ben.wants("anna: text 0", "anna: text 1", "anna: text 2")
	if n := w.left(); n != 0 {
		t.Errorf("%d blobs are left in mailboxes", n)
	}
	met := slices.ContainsFunc(ben.store.history, func(e Event) bool {
		m, ok := e.(Met)
		return ok && m.Name == "anna" && m.Secret == anna.dev.Reach()
	})
	if !met {
		t.Error("Ben does not know how to answer")
	}
	ben.send(anna, "fine")
	ben.do(func() error { return ben.m.MarkAllRead(w.now, anna.party.Identity) })
	w.run(10 * time.Second)
	if !ben.m.Idle(w.now) {
		t.Error("Ben has something left to do")
	}
	ben.off()
	w.run(time.Hour)
	anna.on()
	w.run(time.Second)
	anna.wants("me: text 0", "me: text 1", "me: text 2", "ben: fine")
	delivered, read, _ := anna.receipts()
	if !slices.Equal(delivered, said) || !slices.Equal(read, said) {
		t.Errorf("delivered %d, read %d", len(delivered), len(read))
	}
	if len(w.log) != 0 {
		t.Errorf("complaints %q", w.log)
	}
}

func (w *world) left() (n int) {
	for _, list := range w.mail {
		n += len(list)
	}
	return n
}

// What is said in mail and over the link that comes is shown once and in order.
func TestMailAndLink(t *testing.T) {
	w, anna, ben := pair(t)
	anna.link(ben)
	w.run(time.Second)
	anna.send(ben, "first")
	w.run(time.Second)
	ben.off()
	for i := range 200 { // more than a window, and than one blob
		anna.send(ben, fmt.Sprintf("%03d %0200d", i, 0))
	}
	w.run(time.Minute)
	if w.blobs < 3 || w.blobs > 10 {
		t.Errorf("%d blobs", w.blobs)
	}
	ben.on()
	anna.link(ben)
	w.run(10 * time.Second)
	want := []string{"anna: first"}
	for i := range 200 {
		want = append(want, fmt.Sprintf("anna: %03d %0200d", i, 0))
	}
	ben.wants(want...)
	if d, _, _ := anna.receipts(); len(d) != 201 {
		t.Errorf("%d delivered", len(d))
	}
	if n := w.left(); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// Many blobs in any order, of a mailbox that repeats deleted ones: each text
// once, in order, and nothing begins anew for it.
func TestBadHolder(t *testing.T) {
	w, anna, ben := pair(t)
	anna.link(ben)
	w.run(time.Second)
	anna.send(ben, "hello")
	w.run(time.Second)
	ben.off()
	var want []string
	for i := range 300 {
		anna.send(ben, fmt.Sprint(i))
		w.run(4 * time.Second) // a blob each
		want = append(want, fmt.Sprint("anna: ", i))
	}
	if w.blobs < 290 {
		t.Fatalf("only %d blobs", w.blobs)
	}
	anna.off()
	old := make(map[[32]byte][]Blob)
	for s, list := range w.mail {
		old[s] = slices.Clone(list)
	}
	ben.on()
	w.run(2 * time.Second)
	ben.wants(append([]string{"anna: hello"}, want...)...)
	for range 3 {
		for s, list := range old {
			w.mail[s] = slices.Clone(list)
		}
		w.run(time.Hour)
	}
	ben.wants(append([]string{"anna: hello"}, want...)...)
	if c := ben.m.Counters(); c.Repeated == 0 || c.Restarts > 3*maxRestarts {
		t.Errorf("%+v", c)
	}
	// A holder that makes blobs up, and one that deletes everything.
	for s := range old {
		w.mail[s] = []Blob{{[16]byte{1}, make([]byte, 1024)}, {[16]byte{2}, nil}}
	}
	w.run(time.Hour)
	for s := range old {
		if n := len(w.mail[s]); n != 0 {
			t.Errorf("%d false blobs are left", n)
		}
	}
	anna.on()
	anna.send(ben, "after all")
	anna.link(ben)
	w.run(time.Minute)
	ben.wants(append(append([]string{"anna: hello"}, want...), "anna: after all")...)
}

// A mailbox that lost everything costs time: the author has it still.
func TestLostMail(t *testing.T) {
	w, anna, ben := pair(t)
	w.run(time.Second)
	ben.off()
	anna.send(ben, "one")
	w.run(time.Minute)
	clear(w.mail)
	anna.send(ben, "two") // this one is not lost
	w.run(time.Minute)
	anna.off()
	ben.on()
	w.run(time.Minute)
	ben.wants() // in order or not at all
	anna.on()
	w.run(time.Minute)
	ben.wants("anna: one", "anna: two")

	// When the author does not come back, what there is is shown after a day.
	ben.off()
	anna.send(ben, "three")
	w.run(10 * time.Minute)
	clear(w.mail)
	anna.send(ben, "four")
	w.run(10 * time.Minute)
	anna.off()
	ben.on()
	w.run(23 * time.Hour)
	ben.wants("anna: one", "anna: two")
	w.run(2 * time.Hour)
	ben.wants("anna: one", "anna: two", "anna (gap): four")
	anna.on()
	w.run(time.Hour)
	ben.wants("anna: one", "anna: two", "anna (gap): four", "anna: three")
}

// What waits for a long time is put into the mailbox again, once a week.
func TestLongAway(t *testing.T) {
	w, anna, ben := pair(t)
	w.run(time.Second)
	ben.off()
	anna.send(ben, "are you there?")
	w.run(20 * 24 * time.Hour)
	if w.blobs != 3 {
		t.Errorf("put %d times in 20 days", w.blobs)
	}
	anna.off()
	ben.on()
	w.run(time.Minute)
	ben.wants("anna: are you there?")
}
