// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/p2pos/p2pos/internal/wire"
)

// FuzzOpenRecord feeds records from outside, and bodies from a ticket holder
// behind valid signatures.
func FuzzOpenRecord(f *testing.F) {
	d := testDevice(f, now, "desk")
	p := testPlan()
	f.Add(mustRecord(f, d, p), []byte{})
	body, err := p.At.append([]byte{1, 0, 1, 7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{recordVersion}, body)
	f.Add(bytes.Repeat([]byte{1}, RecordSize), body[:60])
	f.Fuzz(func(t *testing.T, b, fields []byte) {
		if info, err := CheckRecord(b); err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatal(err)
			}
		} else if info.Slot >= MaxSlots || info.Epoch > maxEpoch {
			t.Fatalf("%+v", info)
		}
		if _, err := OpenRecord(b, d.ID(), p.Reach, now); err != nil && !errors.Is(err, ErrRecord) && !errors.Is(err, ErrExpired) {
			t.Fatal(err)
		}
		if _, err := OpenInbox(b, d.ID(), now); err != nil && !errors.Is(err, ErrRecord) {
			t.Fatal(err)
		}
		// Past the signatures.
		l, err := parseLocation(fields)
		if err == nil && !l.Gone() {
			again, err := l.append(nil)
			if err != nil {
				t.Fatalf("%+v cannot be written: %v", l, err)
			}
			if l2, err := parseLocation(again); err != nil || !reflect.DeepEqual(l, l2) {
				t.Fatalf("%+v became %+v, %v", l, l2, err)
			}
		}
		if r, err := reachKind().make(d, p, fields); err == nil {
			if _, err := OpenRecord(r, d.ID(), p.Reach, now); err != nil && !errors.Is(err, ErrRecord) && !errors.Is(err, ErrExpired) {
				t.Fatal(err)
			}
		}
		if plain, err := unpadBody(b); err == nil {
			if again, err := padBody(plain, recordPlain); err == nil && len(b) == recordPlain && !bytes.Equal(again, b) {
				t.Fatalf("%x has two forms", b)
			}
		}
	})
}

// FuzzPrekeys seals what it is given as the body of prekeys, since nothing else
// gets past the signatures.
func FuzzPrekeys(f *testing.F) {
	d := testDevice(f, now, "desk")
	p := RecordPlan{Reach: Secret{1}, Epoch: PrekeyPeriod(now)}
	f.Add(wire.AppendField(wire.AppendField(nil, 1, d.cert.raw), 8, []byte("bundle")))
	f.Add(wire.AppendField(nil, 8, make([]byte, MaxBundle+1)))
	f.Fuzz(func(t *testing.T, fields []byte) {
		PeekRecord(fields)
		b, err := prekeysKind().make(d, p, fields)
		if err != nil {
			return
		}
		k, err := OpenPrekeys(b, d.ID(), p.Reach, now)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatal(err)
			}
			return
		}
		if len(k.Bundle) > MaxBundle || k.Device.Identity != d.ID() {
			t.Fatalf("%+v", k)
		}
	})
}

func FuzzParseGrants(f *testing.F) {
	d := testDevice(f, now, "")
	g, err := d.Grant(GrantReach, Secret{1}, linkedDevice(f, d).cert.Device, 1, 5, 2)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(g.Bytes())
	f.Add(g.Bytes()[:grantHead])
	f.Add([]byte{grantVersion, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGrants(b)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(g.Bytes(), b) || g.Len() == 0 || g.Len() > MaxGrants {
			t.Fatalf("%x: %+v", b, g)
		}
		g.Fits(d.ID(), Secret{1})
		g.Covers(5)
	})
}

func FuzzOpenKnock(f *testing.F) {
	d := testDevice(f, now, "")
	k, info := knockAt(f, d, d, 8)
	head := k[:knockHead]
	good := append([]byte{1, 0, byte(len(d.cert.raw))}, d.cert.raw...)
	f.Add(k, append([]byte{0, byte(len(good))}, append(good, Sign(d.key, knockContext, knockMessage(d.ID(), head, good))...)...))
	f.Add([]byte{knockVersion}, []byte{})
	f.Add(bytes.Repeat([]byte{1}, KnockSize), []byte{0, 0})
	f.Fuzz(func(t *testing.T, b, plain []byte) {
		if work := CheckKnock(b, info); work > 256 {
			t.Fatal(work)
		}
		if _, err := OpenKnock(d, b, now); err != nil && !errors.Is(err, ErrRecord) && !errors.Is(err, ErrExpired) {
			t.Fatal(err)
		}
		if k, err := parseKnock(plain, d.ID(), head, now); err == nil && (k.From.Identity.IsZero() || len(k.Text) > maxKnockText) {
			t.Fatalf("%+v", k)
		}
	})
}
