// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// start is when every test begins.
var began = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func newDevice(t testing.TB, name string) *identity.Device {
	t.Helper()
	d, err := identity.NewDevice(began.Add(-time.Hour), name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// side is one device with a session.
type side struct {
	t    testing.TB
	name string
	dev  *identity.Device
	ring *Keyring
	s    *Session
	said int
}

func newSide(t testing.TB, name string) *side {
	return &side{t: t, name: name, dev: newDevice(t, name), ring: &Keyring{}}
}

var here = []byte("here")

// letter is a message on its way.
type letter struct {
	start, message []byte
	text           string
}

func (a *side) say() letter {
	a.said++
	text := fmt.Sprintf("%s %d", a.name, a.said)
	return letter{a.s.Start(), a.s.Encrypt(here, []byte(text)), text}
}

// begin has a start a session with b.
func (a *side) begin(b *side) {
	a.t.Helper()
	raw, _ := b.ring.Bundle(began, b.dev)
	bundle, err := ParseBundle(raw, began)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.s, err = Start(began, a.dev, bundle); err != nil {
		a.t.Fatal(err)
	}
}

// take opens a letter, as a receiver does that has no session yet.
func (b *side) take(l letter) error {
	b.t.Helper()
	if b.s == nil {
		s, _, plain, err := b.ring.Accept(began, b.dev, l.start, here, l.message)
		if err != nil {
			return err
		}
		b.s = s
		return b.same(l, plain)
	}
	plain, err := b.s.Decrypt(began, here, l.message)
	if err != nil {
		return err
	}
	return b.same(l, plain)
}

func (b *side) same(l letter, plain []byte) error {
	if string(plain) != l.text {
		b.t.Fatalf("%s reads %q, want %q", b.name, plain, l.text)
	}
	return nil
}

func (b *side) must(l letter) {
	b.t.Helper()
	if err := b.take(l); err != nil {
		b.t.Fatalf("%s can't read %q: %v", b.name, l.text, err)
	}
}

func (b *side) refuse(l letter, want error) {
	b.t.Helper()
	before := b.s.Append(nil)
	if err := b.take(l); !errors.Is(err, want) {
		b.t.Fatalf("%s reading %q: %v, want %v", b.name, l.text, err, want)
	}
	if !bytes.Equal(before, b.s.Append(nil)) {
		b.t.Fatalf("%s: a refused message changed the state", b.name)
	}
}

// reload puts the session through its stored form.
func (a *side) reload() {
	a.t.Helper()
	state := a.s.Append(nil)
	s, err := ParseSession(state)
	if err != nil {
		a.t.Fatal(err)
	}
	if !bytes.Equal(state, s.Append(nil)) {
		a.t.Fatal("a state changes when it is stored twice")
	}
	a.s = s
}

// pair returns two sides that have both spoken.
func pair(t testing.TB) (a, b *side) {
	t.Helper()
	a, b = newSide(t, "anna"), newSide(t, "ben")
	a.begin(b)
	b.must(a.say())
	a.must(b.say())
	return a, b
}
