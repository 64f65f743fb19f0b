// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// Texts wait, unseen and unacknowledged, until it is decided whether they are
// taken, over restarts too; those that are refused stay with their author, who
// has them delivered when they are welcome.
func TestMayWrite(t *testing.T) {
	w := newWorld(t, 1)
	verdict := Undecided
	anna, ben := w.phone("anna", devices(t, 1, 1)[0]), w.phone("ben", devices(t, 2, 1)[0])
	ben.mayWrite = func(identity.ID) Verdict { return verdict }
	anna.on()
	ben.on()
	know(anna, ben)
	w.run(3 * time.Minute)
	anna.link(ben)
	w.run(time.Second)
	wants := func(what string, delivered int, texts ...string) {
		t.Helper()
		if got := ben.texts(); !slices.Equal(got, texts) {
			t.Errorf("%s: ben sees %q", what, got)
		}
		if got, _, _ := anna.receipts(); len(got) != delivered {
			t.Errorf("%s: %d receipts", what, len(got))
		}
	}
	anna.send(ben, "one")
	anna.send(ben, "two")
	w.run(5 * time.Second)
	wants("undecided", 0)
	verdict = Allowed
	w.run(2 * decideEvery)
	wants("allowed", 2, "anna: one", "anna: two")

	verdict = Undecided
	anna.send(ben, "three")
	w.run(5 * time.Second)
	ben.off()
	w.run(time.Minute)
	verdict = Allowed
	ben.on() // what it had is on the disk
	w.run(5 * time.Second)
	if got := ben.texts(); !slices.Contains(got, "anna: three") {
		t.Errorf("after a restart: %q", got)
	}

	anna.link(ben)
	w.run(time.Minute)
	had := len(ben.texts())
	verdict = Undecided
	anna.send(ben, "four")
	w.run(time.Second)
	verdict = Refused
	anna.send(ben, "five")
	w.run(time.Hour)
	if got := ben.texts(); len(got) != had {
		t.Errorf("refused: %q", got)
	}
	if n := len(ben.m.person(anna.party.Identity).held); n != 0 || ben.m.Counters().Refused < 2 {
		t.Errorf("refused: %d are held, %d counted", n, ben.m.Counters().Refused)
	}
	verdict = Allowed
	anna.send(ben, "six")
	w.run(26 * time.Hour)
	if got := ben.texts()[had:]; !slices.Equal(got, []string{"anna: four", "anna: five", "anna: six"}) {
		t.Errorf("welcome again: %q", got)
	}
}
