// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func (p *phone) calls() (list []Called) {
	for _, e := range p.store.history {
		if c, ok := e.(Called); ok {
			list = append(list, c)
		}
	}
	return list
}

// A call that reached nobody is told through the mailbox, once, with its time,
// in order with what was written, and nobody gets a receipt for it.
func TestCalled(t *testing.T) {
	w, anna, ben := pair(t)
	w.run(time.Second)
	ben.off()
	call := func() error { return anna.do(func() error { return anna.m.Called(w.now, ben.party.Identity) }) }
	at := w.now
	for range 20 { // a program that calls again and again says it once
		if err := call(); err != nil {
			t.Fatal(err)
		}
		w.run(time.Second)
	}
	said := anna.send(ben, "I have called")
	w.run(10 * time.Second)
	anna.off()
	w.run(5 * time.Hour)
	ben.on()
	w.run(5 * time.Second)
	ben.wants("anna: I have called")
	got := ben.calls()
	if len(got) != 1 || got[0].Peer != anna.party.Identity || got[0].Name != "anna" || got[0].Ours || got[0].At.Sub(at).Abs() > time.Second ||
		got[0].Received.Sub(at) < 5*time.Hour {
		t.Errorf("%+v", got)
	}
	anna.on()
	w.run(10 * time.Second)
	if delivered, _, stored := anna.receipts(); len(delivered) != 1 || delivered[0] != said || len(stored) != 1 {
		t.Errorf("receipts %v, stored %v", delivered, stored)
	}
	if p := anna.m.person(ben.party.Identity); p.waiting != 0 {
		t.Errorf("%d wait", p.waiting)
	}
	if err := anna.do(func() error { return anna.m.Called(w.now, identity.ID{1}) }); !errors.Is(err, ErrUnknown) {
		t.Errorf("to a stranger: %v", err)
	}
	// One whose clock is a day ahead has not called tomorrow.
	e := &entry{id: NewID(), at: w.now.Add(24 * time.Hour).UnixMilli(), kind: kindCall}
	if _, _, err := parseEntry(e.appendWire(nil)); err != nil {
		t.Fatal(err)
	}
	ben.do(func() error {
		return ben.m.input(w.now, func() error {
			ben.m.take(w.now, ben.m.person(anna.party.Identity), e, false)
			return nil
		})
	})
	if got := ben.calls(); len(got) != 2 || got[1].At.After(got[1].Received) {
		t.Errorf("%+v", got)
	}
	e.body = []byte{1}
	if _, _, err := parseEntry(e.appendWire(nil)); !errors.Is(err, ErrMessage) {
		t.Errorf("a call with a body: %v", err)
	}
}
