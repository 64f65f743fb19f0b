// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"
)

const (
	recordSigAt = RecordSize - recordSigSize
	recordPlain = RecordSize - recordSealedAt - recordSigSize - 40
)

// Prekeys open for who holds the ticket, in their period and its neighbours, and
// for nobody else.
func TestPrekeys(t *testing.T) {
	d, reach := testDevice(t, now, "desk"), Secret{1}
	period := PrekeyPeriod(now)
	bundle := bytes.Repeat([]byte{7}, MaxBundle)
	plan := RecordPlan{Reach: reach, Slot: 2, Epoch: period, Sequence: 9}
	b, err := MakePrekeys(d, plan, bundle)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != PrekeysSize || bytes.Contains(b, bundle[:16]) {
		t.Errorf("%d bytes, or in the clear", len(b))
	}
	info, err := CheckRecord(b)
	if err != nil || info.Key != PrekeysKey(reach, d.ID(), period) || !info.Prekeys || info.EpochAt(now) != period {
		t.Errorf("%+v, %v", info, err)
	}
	if end := time.Unix(int64(period+2)*periodHours*3600, 0); !info.Expires.Equal(end) {
		t.Errorf("expires %v, want %v", info.Expires, end)
	}
	p, err := OpenPrekeys(b, d.ID(), reach, now)
	if err != nil || !bytes.Equal(p.Bundle, bundle) || p.Slot != 2 || p.Sequence != 9 || p.Period != period || !bytes.Equal(p.Device.raw, d.cert.raw) {
		t.Errorf("%+v, %v", p, err)
	}
	other, err := NewDevice(now, "")
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		b   []byte
		id  ID
		s   Secret
		now time.Time
	}{
		"another secret":   {b, d.ID(), Secret{2}, now},
		"another identity": {b, other.ID(), reach, now},
		"much later":       {b, d.ID(), reach, now.Add(60 * 24 * time.Hour)},
		"changed":          {flip(b, 500), d.ID(), reach, now},
		"cut":              {b[:len(b)-1], d.ID(), reach, now},
		"a reach record":   {must(MakeRecord(d, RecordPlan{Reach: reach, Epoch: Hour(now)})), d.ID(), reach, now},
	} {
		if _, err := OpenPrekeys(c.b, c.id, c.s, c.now); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := OpenRecord(b, d.ID(), reach, now); err == nil {
		t.Error("prekeys open as a reach record")
	}
	// The certificate may have expired meanwhile; the reader is told.
	old := testDevice(t, now.Add(-certLife-3*time.Hour), "old")
	old.id, old.identity = d.id, d.identity
	if old.cert, err = newCertificate(d.identity, old.cert.Device, old.cert.Sealing[:], now.Add(-certLife-3*time.Hour), ""); err != nil {
		t.Fatal(err)
	}
	if p, err = OpenPrekeys(must(MakePrekeys(old, plan, nil)), d.ID(), reach, now); err != nil || !errors.Is(p.Device.Check(now), ErrExpired) {
		t.Errorf("%v, %v", err, p.Device.Check(now))
	}
	for what, f := range map[string]func() ([]byte, error){
		"without a secret": func() ([]byte, error) { return MakePrekeys(d, RecordPlan{Epoch: period}, nil) },
		"too long":         func() ([]byte, error) { return MakePrekeys(d, plan, make([]byte, MaxBundle+1)) },
		"slot 5":           func() ([]byte, error) { return MakePrekeys(d, RecordPlan{Reach: reach, Slot: 5, Epoch: period}, nil) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// A device without the identity key publishes prekeys by grants of their own
// kind alone.
func TestPrekeysGranted(t *testing.T) {
	d, reach := testDevice(t, now, "desk"), Secret{1}
	l := linkedDevice(t, d)
	pub := l.key.Public().(ed25519.PublicKey)
	period := PrekeyPeriod(now)
	plan := RecordPlan{Reach: reach, Slot: 1, Epoch: period}
	for kind, want := range map[GrantKind]bool{GrantPrekeys: true, GrantReach: false} {
		g, err := d.Grant(kind, reach, pub, 1, period, 2)
		if err != nil {
			t.Fatal(err)
		}
		if g, err = ParseGrants(g.Bytes()); err != nil || g.Kind != kind || !g.Fits(d.ID(), reach) {
			t.Fatalf("%+v, %v", g, err)
		}
		plan.Grants = g
		b, err := MakePrekeys(l, plan, []byte("x"))
		if (err == nil) != want {
			t.Errorf("kind %d: %v", kind, err)
		}
		if err != nil {
			continue
		}
		if p, err := OpenPrekeys(b, d.ID(), reach, now); err != nil || !p.Device.Device.Equal(pub) {
			t.Errorf("%+v, %v", p, err)
		}
	}
	if _, err := d.Grant(GrantPrekeys, Secret{}, pub, 1, period, 2); err == nil {
		t.Error("a grant of prekeys without a secret")
	}
	if _, err := d.Grant(GrantPrekeys+1, reach, pub, 1, period, 2); err == nil {
		t.Error("a grant of an unknown kind")
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
