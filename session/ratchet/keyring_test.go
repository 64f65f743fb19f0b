// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func (b *side) bundle(now time.Time) *Bundle {
	b.t.Helper()
	raw, _ := b.ring.Bundle(now, b.dev)
	bundle, err := ParseBundle(raw, now)
	if err != nil {
		b.t.Fatal(err)
	}
	return bundle
}

// A bundle stays the same until a week is over or a key of it was used.
func TestBundleRenewal(t *testing.T) {
	a, b := newSide(t, "anna"), newSide(t, "ben")
	first, fresh := b.ring.Bundle(began, b.dev)
	if !fresh || len(first) > MaxBundle {
		t.Fatalf("fresh %v, %d bytes", fresh, len(first))
	}
	if again, fresh := b.ring.Bundle(began.Add(6*24*time.Hour), b.dev); fresh || !bytes.Equal(first, again) {
		t.Error("made anew within a week")
	}
	if _, fresh := b.ring.Bundle(began.Add(7*24*time.Hour), b.dev); !fresh {
		t.Error("not made anew after a week")
	}
	a.begin(b)
	b.must(a.say())
	if _, fresh := b.ring.Bundle(began, b.dev); !fresh {
		t.Error("not made anew after use")
	}
	for range maxPublished + 2 {
		b.ring.published[len(b.ring.published)-1].keys[0].used = began
		b.ring.Bundle(began, b.dev)
	}
	if n := len(b.ring.published); n != maxPublished {
		t.Errorf("%d bundles held", n)
	}
}

// Two people may take the same key; each start works once; the key is gone two
// days after the first use, an unused one with the bundle.
func TestSharedKey(t *testing.T) {
	b := newSide(t, "ben")
	bundle := b.bundle(began)
	enter := func(now time.Time) (*side, letter) {
		a := newSide(t, "anna")
		var err error
		if a.s, err = Start(now, a.dev, bundle); err != nil {
			t.Fatal(err)
		}
		return a, a.say()
	}
	accept := func(now time.Time, l letter) error {
		_, _, _, err := b.ring.Accept(now, b.dev, l.start, here, l.message)
		return err
	}
	reload := func() {
		state := b.ring.Append(nil)
		ring, err := ParseKeyring(state)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(state, ring.Append(nil)) {
			t.Fatal("a keyring changes when it is stored twice")
		}
		b.ring = ring
	}
	for range 4 { // more than there are keys
		_, l := enter(began)
		if err := accept(began, l); err != nil {
			t.Fatal(err)
		}
		reload()
		if err := accept(began, l); !errors.Is(err, ErrRepeated) {
			t.Errorf("the same start once more: %v", err)
		}
	}
	if b.ring.Expire(began.Add(sharedLife)) {
		t.Error("deleted too early")
	}
	_, late := enter(began)
	for i := range b.ring.published[0].keys {
		b.ring.published[0].keys[i].used = began
	}
	if !b.ring.Expire(began.Add(sharedLife + time.Second)) {
		t.Error("not deleted")
	}
	reload()
	if err := accept(began, late); !errors.Is(err, ErrKey) {
		t.Errorf("with a deleted key: %v", err)
	}

	c := newSide(t, "cleo")
	bundle = c.bundle(began)
	_, waited := enter(bundle.Expires)
	b = c
	at := bundle.Expires.Add(mailLife - time.Hour)
	c.ring.Expire(at)
	// The certificate of a test device does not last that long; the key must.
	if g, _ := c.ring.find(bundle.ID); g == nil || g.keys[0].key == nil {
		t.Error("an unused key is gone while mail may come")
	}
	_ = waited
	c.ring.Expire(at.Add(2 * time.Hour))
	if len(c.ring.published) != 0 {
		t.Error("a bundle outlives its mail")
	}
}

// A key handed to one peer is gone at once.
func TestHandedKey(t *testing.T) {
	a, b := newSide(t, "anna"), newSide(t, "ben")
	bundle, err := ParseBundle(b.ring.Hand(began, b.dev), began)
	if err != nil {
		t.Fatal(err)
	}
	if a.s, err = Start(began, a.dev, bundle); err != nil {
		t.Fatal(err)
	}
	l := a.say()
	forged := letter{l.start, bytes.Clone(l.message), l.text}
	forged.message[len(forged.message)-1] ^= 1
	if _, _, _, err := b.ring.Accept(began, b.dev, forged.start, here, forged.message); !errors.Is(err, ErrForged) {
		t.Errorf("a forged first message: %v", err)
	}
	b.must(l) // the forgery has not used the key up
	if len(b.ring.handed) != 0 {
		t.Error("the key is still there")
	}
	for range maxHanded + 5 {
		b.ring.Hand(began, b.dev)
	}
	if n := len(b.ring.handed); n != maxHanded {
		t.Errorf("%d handed bundles held", n)
	}
	if b.ring.Expire(began.Add(handedLife)); len(b.ring.handed) != maxHanded {
		t.Error("deleted too early")
	}
	if b.ring.Expire(began.Add(handedLife + 2*skew)); len(b.ring.handed) != 0 {
		t.Error("not deleted")
	}
}

// Nobody starts in another's name: the root depends on both sealing keys.
func TestImpostor(t *testing.T) {
	a, b, thief := newSide(t, "anna"), newSide(t, "ben"), newSide(t, "thief")
	a.begin(b)
	thief.begin(b)
	real, fake := a.say(), thief.say()
	if _, _, _, err := b.ring.Accept(began, b.dev, real.start, here, fake.message); err == nil {
		t.Error("anna's start with the thief's message")
	}
	// The thief takes anna's certificate, and has not her sealing key.
	bundle := b.bundle(began)
	s, err := start(draw, began, thief.dev, bundle)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := b.dev.Unseal([]byte(labelStart), s.start)
	if err != nil {
		t.Fatal(err)
	}
	n := len(plain) - len(thief.dev.Certificate().Raw())
	plain = append(plain[:n], a.dev.Certificate().Raw()...)
	plain[n-2], plain[n-1] = 0, byte(len(a.dev.Certificate().Raw()))
	s.start, err = identity.Seal(b.dev.Certificate().Sealing, []byte(labelStart), plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, from, err := b.ring.Accept(began, b.dev, s.start, here, s.Encrypt(here, nil)); err == nil {
		t.Errorf("accepted as %v", from)
	}
	id, from, err := SessionOf(began, b.dev, s.start)
	if err != nil || from != PartyOf(a.dev.Certificate()) || id == s.ID() {
		t.Errorf("session %x of %v, %v", id, from, err)
	}
}

// Bundles are refused when changed, old, from the future, or one's own.
func TestBundleRefused(t *testing.T) {
	b := newSide(t, "ben")
	raw, _ := b.ring.Bundle(began, b.dev)
	for i := 0; i < len(raw); i += 1 + i/64*8 { // each byte of the head
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if _, err := ParseBundle(bad, began); err == nil {
			t.Fatalf("byte %d changed", i)
		}
	}
	for _, at := range []time.Time{began.Add(-skew - 2*time.Minute), began.Add(BundleLife + skew + 2*time.Minute)} {
		if _, err := ParseBundle(raw, at); !errors.Is(err, ErrExpired) {
			t.Errorf("at %v: %v", at, err)
		}
	}
	if _, err := Start(began, b.dev, b.bundle(began)); !errors.Is(err, ErrKey) {
		t.Errorf("own prekeys: %v", err)
	}
	if _, err := ParseBundle(make([]byte, MaxBundle+1), began); !errors.Is(err, ErrMessage) {
		t.Errorf("too long: %v", err)
	}
}
