// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"bytes"
	"testing"
)

func FuzzBundle(f *testing.F) {
	b := fixedDevice(f, "ben")
	raw, _ := (&Keyring{}).Bundle(fixedTime, b)
	f.Add(raw)
	f.Add(raw[:64])
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ParseBundle(raw, fixedTime)
		if err == nil && (len(b.hybrid) == 0 || !bytes.Equal(b.Raw(), raw)) {
			t.Error("a bundle without keys, or not its own bytes")
		}
	})
}

func FuzzStart(f *testing.F) {
	a, b := newSide(f, "anna"), newSide(f, "ben")
	a.begin(b)
	l := a.say()
	plain, err := b.dev.Unseal([]byte(labelStart), l.start)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.start, l.message)
	f.Add(plain, l.message)
	ring := b.ring.Append(nil)
	f.Fuzz(func(t *testing.T, start, message []byte) {
		_, _, _, err := b.ring.Accept(began, b.dev, start, here, message)
		if err != nil && !bytes.Equal(ring, b.ring.Append(nil)) {
			t.Error("a refused start changed the keyring")
		}
		if err == nil {
			b.ring, _ = ParseKeyring(ring)
		}
	})
}

// FuzzMessage hands a session anything: what does not open changes nothing.
func FuzzMessage(f *testing.F) {
	a, b := pair(f)
	l := a.say()
	f.Add(l.message)
	f.Add(l.message[:headSize])
	state := b.s.Append(nil)
	f.Fuzz(func(t *testing.T, message []byte) {
		s, err := ParseSession(state)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Decrypt(began, here, message); err != nil && !bytes.Equal(state, s.Append(nil)) {
			t.Error("a refused message changed the state")
		}
	})
}

// FuzzState reads states from a damaged disk.
func FuzzState(f *testing.F) {
	a, b := pair(f)
	a.say()
	b.must(a.say())
	f.Add(b.s.Append(nil))
	f.Add(b.ring.Append(nil))
	f.Fuzz(func(t *testing.T, state []byte) {
		if s, err := ParseSession(state); err == nil {
			if again, err := ParseSession(s.Append(nil)); err != nil || again.ID() != s.ID() {
				t.Errorf("a state that was read is not written so: %v", err)
			}
		}
		if k, err := ParseKeyring(state); err == nil {
			if _, err := ParseKeyring(k.Append(nil)); err != nil {
				t.Error(err)
			}
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	x, y := pair(b)
	for b.Loop() {
		y.must(x.say())
	}
}

func BenchmarkStart(b *testing.B) {
	x, y := newSide(b, "anna"), newSide(b, "ben")
	for b.Loop() {
		x.begin(y)
		y.s = nil
		y.must(x.say())
		y.ring.published = nil
	}
}
