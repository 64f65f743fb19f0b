// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A talk from the first message on, each state put through its stored form.
func TestTalk(t *testing.T) {
	a, b := newSide(t, "anna"), newSide(t, "ben")
	a.begin(b)
	if a.s.Start() == nil {
		t.Fatal("the first message has no start")
	}
	first, second := a.say(), a.say()
	if second.start == nil {
		t.Fatal("the start is missing before the other side has spoken")
	}
	b.must(second) // the first one comes later
	b.must(first)
	if a.s.ID() != b.s.ID() || !b.s.Answers || a.s.Answers {
		t.Fatal("the two ends are not one session")
	}
	if b.s.Peer != PartyOf(a.dev.Certificate()) || a.s.Peer != PartyOf(b.dev.Certificate()) {
		t.Fatal("an end has another peer")
	}
	for range 5 {
		for _, k := range []struct{ from, to *side }{{b, a}, {a, b}} {
			for range 3 {
				l := k.from.say()
				k.from.reload()
				k.to.must(l)
				k.to.reload()
			}
		}
	}
	if a.s.Start() != nil {
		t.Error("the start goes on after an answer")
	}
}

// Any order, losses and copies: what comes is read once, whatever state is
// stored in between.
func TestDisorder(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a, b := pair(t)
		var air [2][]letter
		var read, lost int
		sides := [2]*side{a, b}
		for range 400 {
			i := rng.IntN(2)
			if rng.IntN(2) == 0 {
				l := sides[i].say()
				switch rng.IntN(10) {
				case 0:
					lost++
				case 1: // twice
					air[i] = append(air[i], l, l)
				default:
					air[i] = append(air[i], l)
				}
			}
			if n := len(air[i]); n > 0 && rng.IntN(2) == 0 {
				at := rng.IntN(min(n, 20))
				l := air[i][at]
				air[i] = slices.Delete(air[i], at, at+1)
				to := sides[1-i]
				if slices.ContainsFunc(to.s.tags, func(tag [8]byte) bool { return tag == tagOf(l.message) }) {
					to.refuse(l, ErrRepeated)
					continue
				}
				to.must(l)
				read++
			}
			if rng.IntN(20) == 0 {
				sides[i].reload()
			}
		}
		if read < 50 || lost == 0 {
			t.Fatalf("seed %d: only %d read, %d lost", seed, read, lost)
		}
	}
}

func TestRefusals(t *testing.T) {
	a, b := pair(t)
	l := a.say()
	for i := range l.message {
		bad := letter{message: bytes.Clone(l.message), text: "a changed one"}
		bad.message[i] ^= 1
		want := ErrForged
		if i < 8 {
			want = ErrMessage
		}
		if i >= 44 && i < 47 || i >= 40 && i < 43 {
			continue // numbers far ahead: below
		}
		b.refuse(bad, want)
	}
	b.refuse(letter{message: l.message[:Overhead-1]}, ErrMessage)
	far := letter{message: bytes.Clone(l.message)}
	far.message[44] = 1
	b.refuse(far, ErrFar)
	elsewhere := a.s.Encrypt([]byte("there"), []byte("x"))
	b.refuse(letter{message: elsewhere}, ErrForged)
	b.must(l)
	b.refuse(l, ErrRepeated)
}

// At most MaxSkipped keys are kept: the oldest go first.
func TestSkippedBound(t *testing.T) {
	a, b := pair(t)
	var all []letter
	for range MaxSkipped + 1 {
		all = append(all, a.say())
	}
	last := len(all) - 1
	b.must(all[last]) // exactly MaxSkipped are missing
	if n := len(b.s.skipped); n != MaxSkipped {
		t.Fatalf("%d keys kept", n)
	}
	b.reload()
	if n := len(b.s.Append(nil)); n > 50_000 {
		t.Errorf("the state has %d bytes", n)
	}
	over := []letter{a.say(), a.say()}
	b.must(over[1])
	b.refuse(all[0], ErrStale) // its key had to go
	b.must(all[1])
	b.must(over[0])
	for range MaxSkipped + 1 {
		a.say()
	}
	b.refuse(a.say(), ErrFar)
}

// Keys of messages that never come are deleted after mail's time.
func TestSkippedExpire(t *testing.T) {
	a, b := pair(t)
	missing := a.say()
	b.must(a.say())
	if b.s.Expire(began.Add(skippedLife - time.Minute)) {
		t.Error("deleted too early")
	}
	if !b.s.Expire(began.Add(skippedLife + 2*time.Minute)) {
		t.Error("not deleted")
	}
	b.refuse(missing, ErrStale)
}

// A sender whose state was put back from an old copy uses keys again. The
// receiver says so, and no two messages share key and nonce.
func TestRolledBackSender(t *testing.T) {
	a, b := pair(t)
	old := a.s.Append(nil)
	l := a.say()
	b.must(l)
	var err error
	if a.s, err = ParseSession(old); err != nil {
		t.Fatal(err)
	}
	again := a.say()
	if !bytes.Equal(l.message[:headSize], again.message[:headSize]) {
		t.Fatal("the old state does not use the same key")
	}
	if bytes.Equal(l.message[headSize:headSize+24], again.message[headSize:headSize+24]) {
		t.Fatal("nonce used twice under one key")
	}
	b.refuse(again, ErrStale)
}

// A receiver whose state was put back from an old copy can't read on once the
// other side has turned; the error is not that of a repeated message.
func TestRolledBackReceiver(t *testing.T) {
	a, b := pair(t)
	old := b.s.Append(nil)
	for range 2 {
		b.must(a.say())
		a.must(b.say())
	}
	var err error
	if b.s, err = ParseSession(old); err != nil {
		t.Fatal(err)
	}
	b.refuse(a.say(), ErrForged)
}

// Who takes a state can't read what was said before, nor, after both have
// spoken again, what is said then.
func TestSecrecy(t *testing.T) {
	a, b := pair(t)
	past := a.say()
	b.must(past)
	thief, err := ParseSession(b.s.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := thief.Decrypt(began, here, past.message); err == nil {
		t.Error("the past is open")
	}
	next := a.say()
	if _, err := thief.Decrypt(began, here, next.message); err != nil {
		t.Errorf("the thief has another state than b: %v", err)
	}
	b.must(next)
	a.must(b.say()) // with the key that was stolen
	b.must(a.say()) // b makes another one
	a.must(b.say())
	healed := a.say()
	if _, err := thief.Decrypt(began, here, healed.message); err == nil {
		t.Error("the session did not heal")
	}
	b.must(healed)
}

// What is too short for a message names no session, however it lies in memory.
func TestSessionInShort(t *testing.T) {
	for n := range Overhead + 1 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i + 1)
		}
		if id, ok := SessionIn(slices.Clip(b)); ok != (n == Overhead) || ok && id != [8]byte(b) {
			t.Errorf("%d bytes: %x, %v", n, id, ok)
		}
	}
}
