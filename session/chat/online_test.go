// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"slices"
	"testing"
	"time"
)

// pair returns two phones that are on and know each other.
func pair(t testing.TB) (w *world, anna, ben *phone) {
	w = newWorld(t, 1)
	anna, ben = w.phone("anna", devices(t, 1, 1)[0]).on(), w.phone("ben", devices(t, 2, 1)[0]).on()
	know(anna, ben)
	w.run(3 * time.Minute) // prekeys are out
	return w, anna, ben
}

// A text over a link is there after half a round trip, the receipt after one;
// also the first one of all, once keys have gone over.
func TestOnline(t *testing.T) {
	w, anna, ben := pair(t)
	anna.link(ben)
	w.run(time.Second)
	for _, text := range []string{"hello", "again"} {
		id := anna.send(ben, text)
		w.run(w.oneWay)
		if got := ben.texts(); len(got) == 0 || got[len(got)-1] != "anna: "+text {
			t.Fatalf("%q is not there after half a round trip: %q", text, got)
		}
		w.run(w.oneWay)
		if got, _, _ := anna.receipts(); !slices.Contains(got, id) {
			t.Fatalf("%q: no receipt after a round trip", text)
		}
	}
	id := ben.send(anna, "you too")
	w.run(time.Second)
	anna.wants("me: hello", "me: again", "ben: you too")
	if err := anna.do(func() error { return anna.m.MarkRead(w.now, id) }); err != nil {
		t.Fatal(err)
	}
	w.run(w.oneWay)
	if _, got, _ := ben.receipts(); !slices.Equal(got, []ID{id}) {
		t.Errorf("read: %v", got)
	}
	if w.sent > 16 { // keys 4, texts 3, acknowledgements 3 and of the read one, read 1
		t.Errorf("%d envelopes went over the link", w.sent)
	}
	if len(w.mail) != 0 || len(w.log) != 0 {
		t.Errorf("mail %d, complaints %q", len(w.mail), w.log)
	}
	if n := len(anna.m.person(ben.party.Identity).devices[0].session); n != 1 {
		t.Errorf("%d sessions", n)
	}
}
