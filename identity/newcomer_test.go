// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A newcomer becomes a device: with the identity key or without it.
func TestNewcomer(t *testing.T) {
	d := testDevice(t, now, "desk")
	for _, holder := range []bool{false, true} {
		n, err := NewNewcomer("phone\x00")
		if err != nil {
			t.Fatal(err)
		}
		list := mustList(t, d, 3, listed(1, 0, false), listed(2, 2, true))
		revoked, err := list.Revocations(d)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := d.SealGranted(now, n.Key(), n.Sealing(), n.Name, 1, list, revoked, holder)
		if err != nil {
			t.Fatal(err)
		}
		g, err := n.Open(d.ID(), sealed, now)
		if err != nil || g.Slot != 1 || g.Reach != d.Reach() || !bytes.Equal(g.List.raw, list.raw) || !bytes.Equal(g.Revoked.raw, revoked.raw) || g.Certificate.Name != "phone" {
			t.Fatalf("%+v, %v", g, err)
		}
		l, err := n.Device(g)
		if err != nil || l.ID() != d.ID() || l.Holder() != holder || l.Reach() != d.Reach() || l.Reset() == d.Reset() {
			t.Fatalf("%v, %v", l, err)
		}
		// It lasts on disk.
		dir := t.TempDir()
		if kept, err := Install(dir, l, nil); err != nil || kept != "" {
			t.Errorf("%q, %v", kept, err)
		}
		if again, err := Open(dir, now, "", nil); err != nil || !same(again, l) {
			t.Errorf("%v, %v", again, err)
		}
		// It can do what it was given.
		if r, err := OpenRecord(mustRecord2(l, d, holder), d.ID(), d.Reach(), now); err != nil || r.Device.DeviceID() != l.Certificate().DeviceID() {
			t.Errorf("holder %v: %v", holder, err)
		}
		if _, err := l.Certify(now, n.Key(), n.Sealing(), ""); (err == nil) != holder {
			t.Errorf("holder %v certifies: %v", holder, err)
		}
		other, _ := NewNewcomer("")
		stranger, _ := NewDevice(now, "")
		if _, err := other.Open(d.ID(), sealed, now); !errors.Is(err, ErrUnseal) {
			t.Errorf("another newcomer: %v", err)
		}
		if _, err := n.Open(stranger.ID(), sealed, now); err == nil {
			t.Error("granted by another identity than was asked")
		}
		if _, err := n.Open(d.ID(), sealed, now.Add(certLife+2*time.Hour)); !errors.Is(err, ErrExpired) {
			t.Errorf("much later: %v", err)
		}
		if _, err := n.Open(d.ID(), flip(sealed, 90), now); !errors.Is(err, ErrUnseal) {
			t.Errorf("changed: %v", err)
		}
		if _, err := other.Device(g); err == nil {
			t.Error("a device of another's grant")
		}
		if !holder {
			if _, err := l.SealGranted(now, n.Key(), n.Sealing(), "", 1, list, revoked, false); err == nil {
				t.Error("granted without the identity key")
			}
		}
	}
}

func mustRecord2(l, d *Device, holder bool) []byte {
	p := RecordPlan{Reach: d.Reach(), Slot: 1, Epoch: Hour(now), Sequence: 5}
	if !holder {
		g, err := d.Grant(GrantReach, d.Reach(), l.Certificate().Device, 1, p.Epoch, 2)
		if err != nil {
			panic(err)
		}
		p.Grants = g
	}
	return must(MakeRecord(l, p))
}

// The code depends on everything that could be exchanged.
func TestDeviceCode(t *testing.T) {
	d := testDevice(t, now, "")
	n, err := NewNewcomer("")
	if err != nil {
		t.Fatal(err)
	}
	h := [32]byte{1}
	code := DeviceCode(d.ID(), n.Key(), n.Sealing(), n.Nonce, h)
	if len(code) != 6 {
		t.Errorf("code %q", code)
	}
	other, _ := NewNewcomer("")
	for what, c := range map[string]string{
		"key": DeviceCode(d.ID(), other.Key(), n.Sealing(), n.Nonce, h), "sealing": DeviceCode(d.ID(), n.Key(), other.Sealing(), n.Nonce, h),
		"nonce": DeviceCode(d.ID(), n.Key(), n.Sealing(), other.Nonce, h), "holder": DeviceCode(d.ID(), n.Key(), n.Sealing(), n.Nonce, [32]byte{2}),
		"identity": DeviceCode(ID{1}, n.Key(), n.Sealing(), n.Nonce, h),
	} {
		if c == code {
			t.Errorf("the same code with another %s", what) // one in a million
		}
	}
	sig := n.Sign(d.ID(), h)
	if !CheckNewcomer(d.ID(), n.Key(), n.Sealing(), n.Nonce, h, sig) || CheckNewcomer(d.ID(), n.Key(), n.Sealing(), n.Nonce, [32]byte{2}, sig) || CheckNewcomer(d.ID(), other.Key(), n.Sealing(), n.Nonce, h, sig) {
		t.Error("signature")
	}
}

// A newer certificate takes effect everywhere, another's never.
func TestAdopt(t *testing.T) {
	d := testDevice(t, now, "desk")
	l := linkedDevice(t, d)
	later := now.Add(40 * 24 * time.Hour)
	c, err := d.Certify(later, l.Certificate().Device, l.Certificate().Sealing, "phone")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Adopt(c); !errors.Is(err, ErrCertificate) {
		t.Errorf("another device's: %v", err)
	}
	if err := l.Adopt(l.Certificate()); !errors.Is(err, ErrCertificate) {
		t.Errorf("the same: %v", err)
	}
	if err := l.Adopt(c); err != nil || l.Certificate().NotAfter != c.NotAfter {
		t.Errorf("%v", err)
	}
	g, err := d.Grant(GrantReach, d.Reach(), l.Certificate().Device, 0, Hour(later), 1)
	if err != nil {
		t.Fatal(err)
	}
	b := must(MakeRecord(l, RecordPlan{Reach: d.Reach(), Epoch: Hour(later), Grants: g}))
	if r, err := OpenRecord(b, d.ID(), d.Reach(), later); err != nil || r.Device.NotAfter != c.NotAfter {
		t.Errorf("%v, %v", r.Device.NotAfter, err)
	}
}

// The old key store is kept, whatever happens.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	old, err := Open(dir, now, "old", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"identity.key.1", "identity.key.2"} {
		d, _ := NewDevice(now, "new")
		kept, err := Install(dir, d, pass("correct horse"))
		if err != nil || kept != want {
			t.Fatalf("%q, %v", kept, err)
		}
		if got, err := Open(dir, now, "", pass("correct horse")); err != nil || !same(got, d) {
			t.Errorf("%d: %v, %v", i, got, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "identity.key.1"))
	if err != nil {
		t.Fatal(err)
	}
	before := t.TempDir()
	if err := os.WriteFile(filepath.Join(before, storeName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Open(before, now, "", nil); err != nil || !same(got, old) {
		t.Errorf("the old one: %v, %v", got, err)
	}
	d, _ := NewDevice(now, "")
	if _, err := Install(dir, d, pass("")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("empty passphrase: %v", err)
	}
	if got, err := Open(dir, now, "", pass("correct horse")); err != nil || same(got, d) {
		t.Errorf("after a failure: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("%v", entries)
	}
}

func FuzzGranted(f *testing.F) {
	d := testDevice(f, now, "desk")
	n, err := NewNewcomer("phone")
	if err != nil {
		f.Fatal(err)
	}
	list := mustList(f, d, 1, listed(1, 0, false))
	sealed, err := d.SealGranted(now, n.Key(), n.Sealing(), "phone", 1, list, Revocations{}, true)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := Unseal(n.sealing, []byte(grantedInfo), sealed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(plain[:40])
	f.Fuzz(func(t *testing.T, plain []byte) {
		sealed, err := Seal(n.Sealing(), []byte(grantedInfo), plain)
		if err != nil {
			t.Fatal(err)
		}
		g, err := n.Open(d.ID(), sealed, now)
		if err != nil {
			return
		}
		if l, err := n.Device(g); err != nil || l.ID() != d.ID() || !l.key.Public().(ed25519.PublicKey).Equal(n.Key()) {
			t.Errorf("%v, %v", l, err)
		}
	})
}
