// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func wordsOf(t *testing.T, s *side) []string {
	t.Helper()
	for _, e := range s.seen {
		if w, ok := e.(Words); ok {
			return w.Words
		}
	}
	return nil
}

// talking makes an answered call between two sides, and keeps their events.
func talking(t *testing.T, a, b *side) CallID {
	t.Helper()
	id := a.place(start, b)
	carry(start, a, b)
	b.do(b.m.Answer(start, id))
	carry(start, a, b)
	return id
}

func TestSafetyWords(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	seen := make(map[string]bool)
	for range 5 {
		id := talking(t, a, b)
		wa, wb := wordsOf(t, a), wordsOf(t, b)
		if len(wa) != 4 || !slices.Equal(wa, wb) {
			t.Fatalf("words %q and %q", wa, wb)
		}
		if s := fmt.Sprint(wa); seen[s] {
			t.Errorf("words %s come again", s)
		} else {
			seen[s] = true
		}
		a.take()
		b.take()
		a.do(a.m.HangUp(start, id))
		carry(start, a, b)
	}
}

// The callee believes no other nonce than the promised one, and no second one.
func TestSafetyWordsPromise(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	id := a.place(start, b)
	carry(start, a, b)
	b.do(b.m.Answer(start, id))
	for _, o := range b.wire {
		if err := a.receive(start, b, o.Body); err != nil {
			t.Fatal(err)
		}
	}
	key := &a.m.find(id).talk.keys.sendUpdate
	genuine := a.m.find(id).invitation.nonce
	forged := genuine
	forged[31] ^= 1
	if err := b.receive(start, a, appendUpdate(nil, id, key, update{seq: 90, nonce: forged})); !errors.Is(err, ErrForged) {
		t.Errorf("another nonce: %v", err)
	}
	if wordsOf(t, b) != nil {
		t.Error("words of a nonce that was not promised")
	}
	b.receive(start, a, appendUpdate(nil, id, key, update{seq: 91, nonce: genuine}))
	first := wordsOf(t, b)
	if !slices.Equal(first, wordsOf(t, a)) {
		t.Error("words differ")
	}
	b.take()
	b.receive(start, a, appendUpdate(nil, id, key, update{seq: 92, nonce: forged}))
	if wordsOf(t, b) != nil {
		t.Error("words came twice")
	}
}

// Mallory gave Anna a ticket of his own as Ben's, and calls Ben as Anna calls
// him: the words on the two sides differ.
func TestSafetyWordsShowTheMiddle(t *testing.T) {
	l := sides(t, Options{}, "anna", "mallory", "ben")
	a, m, b := l[0], l[1], l[2]
	first, second := a.place(start, m), m.place(start, b)
	carry(start, l...)
	b.do(b.m.Answer(start, second))
	carry(start, l...)
	m.do(m.m.Answer(start, first))
	carry(start, l...)
	wa, wb := wordsOf(t, a), wordsOf(t, b)
	if len(wa) != 4 || len(wb) != 4 || slices.Equal(wa, wb) {
		t.Errorf("words %q and %q", wa, wb)
	}
}

// A caller that shows nothing leaves the callee without words, not with others.
func TestSafetyWordsNotShown(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	id := talking(t, a, b)
	b.take()
	key := &a.m.find(id).talk.keys.sendUpdate
	b.m.find(id).talk.words = false
	if err := b.receive(start, a, appendUpdate(nil, id, key, update{seq: 99})); err != nil {
		t.Error(err)
	}
	if wordsOf(t, b) != nil {
		t.Error("words of nothing")
	}
}
