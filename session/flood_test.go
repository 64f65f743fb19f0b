// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"testing"
	"time"
)

func TestReplay(t *testing.T) {
	a, b, id, _, _ := connected(t)
	// Everything Anna and Ben say, kept by someone who can say it again.
	msg := invitationFor(t, start, a, b.dev.Certificate(), b.node, CallID{5})
	a.do(a.m.HangUp(start, id))
	hangup := a.wire[0].Body
	carry(start, a, b)
	b.take()

	if err := b.receive(start, a, msg); err != nil {
		t.Fatal(err)
	}
	ringing := b.wire[0].Body
	b.take()
	b.wire = nil
	quiet(t, "INVITE while it rings", b, b.receive(start, a, msg), ErrReplay)
	quiet(t, "an old HANGUP", b, b.receive(start, a, hangup), ErrNoCall)
	b.do(b.m.Reject(start, CallID{5}, Rejected))
	b.take()
	b.wire = nil
	quiet(t, "INVITE after the end", b, b.receive(start, a, msg), ErrReplay)
	quiet(t, "a message turned around", b, b.receive(start, a, ringing), ErrNoCall)
	b.m.ended = nil
	quiet(t, "INVITE when the call is forgotten", b, b.receive(after(50*time.Minute), a, msg), ErrReplay)
	b.m.Forget(start, a.peer())
	b.m.Know(a.peer(), a.dev.Certificate())
	b.drain()
	quiet(t, "INVITE on the next link", b, b.receive(after(50*time.Minute), a, msg), ErrReplay)
	if n := b.m.Counters().Replayed; n != 4 {
		t.Errorf("%d counted as replayed, want 4", n)
	}
}

// 20 calls in a row: the first are beyond the list, and still refused.
func TestReplayBeyondTheList(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	var msgs [][]byte
	for i := range byte(20) {
		now := after(time.Duration(i) * 10 * time.Second)
		msg := invitationFor(t, now, a, b.dev.Certificate(), b.node, CallID{i + 1})
		msgs = append(msgs, msg)
		if err := b.receive(now, a, msg); err != nil {
			t.Fatal(err)
		}
		b.do(b.m.Reject(now, CallID{i + 1}, Rejected))
	}
	if n := len(b.m.peers[a.peer()].seen.list); n > maxSeen {
		t.Errorf("list of %d", n)
	}
	b.take()
	b.wire = nil
	b.m.ended = nil
	for i, msg := range msgs {
		now := after(10*time.Minute + time.Duration(i)*10*time.Second)
		quiet(t, "old INVITE", b, b.receive(now, a, msg), ErrReplay)
	}
}

func TestInviteFlood(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "carl")
	a, b, c := l[0], l[1], l[2]
	junk := append([]byte{byte(typeInvite)}, make([]byte, 1900)...)
	flooded := 0
	for range 10000 {
		if err := b.receive(start, a, junk); errors.Is(err, ErrFlood) {
			flooded++
		}
	}
	if flooded != 10000-inviteBurst {
		t.Errorf("%d of 10000 were stopped before decryption", flooded)
	}
	// A new link is no fresh start, and others are not concerned.
	b.m.Forget(start, a.peer())
	b.m.Know(a.peer(), a.dev.Certificate())
	quiet(t, "after a new link", b, b.receive(start, a, junk), ErrFlood)
	quiet(t, "after 3 s", b, b.receive(after(inviteRefill), a, junk), ErrForged)
	c.place(start, b)
	carry(start, b, c)
	b.expect("Carl gets through", "incoming carl")
	if got := b.m.Counters(); got.Flooded != uint64(flooded)+1 || got.Forged != inviteBurst+1 {
		t.Errorf("counters %+v", got)
	}
}
