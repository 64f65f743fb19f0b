// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"
)

func listed(n byte, slot uint8, revoked bool) Listed {
	return Listed{Device: DeviceID{n}, Slot: slot, Revoked: revoked, Until: now.Add(90 * 24 * time.Hour).Truncate(time.Hour), Name: fmt.Sprintf("d%d", n)}
}

func mustList(t testing.TB, d *Device, seq uint64, list ...Listed) DeviceList {
	t.Helper()
	l, err := MakeDeviceList(d, seq, list)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDeviceList(t *testing.T) {
	d := testDevice(t, now, "desk")
	holder := listed(1, 0, false)
	holder.Holder = true
	l := mustList(t, d, 7, listed(3, 1, false), holder, listed(2, 1, true))
	got, err := ParseDeviceList(l.Raw())
	if err != nil || !reflect.DeepEqual(got, l) || got.ID != d.ID() || got.Sequence != 7 || len(got.Devices) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if x, ok := got.Find(DeviceID{1}); !ok || !x.Holder || x.Revoked || x.Name != "d1" {
		t.Errorf("%+v, %v", x, ok)
	}
	if _, ok := got.Find(DeviceID{9}); ok {
		t.Error("found one that is not there")
	}
	for i := range l.raw {
		if _, err := ParseDeviceList(flip(l.raw, i)); !errors.Is(err, ErrDevices) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := ParseDeviceList(l.raw[:i]); !errors.Is(err, ErrDevices) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	// The longest fits.
	var all []Listed
	for i := range byte(maxListed) {
		x := listed(i+1, i%MaxSlots, i >= MaxSlots)
		x.Name = "a name of two and thirty bytes!!"
		all = append(all, x)
	}
	if l := mustList(t, d, 1, all...); len(l.raw) > maxList {
		t.Errorf("%d bytes", len(l.raw))
	}
	for what, list := range map[string][]Listed{
		"six in use":   {listed(1, 0, false), listed(2, 1, false), listed(3, 2, false), listed(4, 3, false), listed(5, 4, false), listed(6, 4, false)},
		"nine revoked": {listed(1, 0, true), listed(2, 0, true), listed(3, 0, true), listed(4, 0, true), listed(5, 0, true), listed(6, 0, true), listed(7, 0, true), listed(8, 0, true), listed(9, 0, true)},
		"slot 5":       {listed(1, 5, false)},
		"twice":        {listed(1, 0, false), listed(1, 1, false)},
	} {
		if _, err := MakeDeviceList(d, 1, list); !errors.Is(err, ErrDevices) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := MakeDeviceList(linkedDevice(t, d), 1, nil); err == nil {
		t.Error("a list by a device without the identity key")
	}
}

// Lists are merged alike in any order; revoked stays revoked, slots are each
// given once.
func TestMergeDeviceLists(t *testing.T) {
	d := testDevice(t, now, "desk")
	over := listed(8, 4, false)
	over.Until = now.Add(-time.Hour)
	for what, c := range map[string]struct {
		a, b []Listed
		want string
	}{
		"the same":                    {[]Listed{listed(1, 0, false)}, []Listed{listed(1, 0, false)}, "1@0"},
		"one more each":               {[]Listed{listed(1, 0, false), listed(2, 1, false)}, []Listed{listed(1, 0, false), listed(3, 2, false)}, "1@0 2@1 3@2"},
		"revoked here":                {[]Listed{listed(1, 0, false), listed(2, 1, true)}, []Listed{listed(1, 0, false), listed(2, 1, false)}, "1@0 2x"},
		"one slot for two":            {[]Listed{listed(1, 0, false), listed(5, 1, false)}, []Listed{listed(1, 0, false), listed(3, 1, false)}, "1@0 3@1 5@2"},
		"not the slot of one revoked": {[]Listed{listed(1, 0, false), listed(2, 2, true), listed(5, 1, false)}, []Listed{listed(3, 1, false)}, "1@0 2x 3@1 5@3"},
		"over":                        {[]Listed{over, listed(1, 0, false)}, nil, "1@0"},
		"six": {
			[]Listed{listed(1, 0, false), listed(2, 1, false), listed(3, 2, false), listed(4, 3, false), listed(5, 4, false)},
			[]Listed{listed(6, 1, false)}, "1@0 2@1 3@2 4@3 5@4",
		},
	} {
		a, b := mustList(t, d, 3, c.a...), mustList(t, d, 3, c.b...)
		for i, list := range [][]Listed{a.Merge(b, now), b.Merge(a, now)} {
			got := ""
			for _, x := range list {
				if got += fmt.Sprintf(" %d@%d", x.Device[0], x.Slot); x.Revoked {
					got = got[:len(got)-2] + "x"
				}
			}
			if got = got[min(1, len(got)):]; got != c.want {
				t.Errorf("%s, order %d: %q, want %q", what, i, got, c.want)
			}
		}
	}
	if slot, ok := FreeSlot([]Listed{listed(1, 0, false), listed(2, 1, true), {Slot: 2, Revoked: true, Until: now}}, now); !ok || slot != 2 {
		t.Errorf("free slot %d, %v", slot, ok)
	}
	if _, ok := FreeSlot([]Listed{listed(1, 0, false), listed(2, 1, true), listed(3, 2, false), listed(4, 3, true), listed(5, 4, true)}, now); ok {
		t.Error("a free slot where none is")
	}
}

func TestRevocations(t *testing.T) {
	d := testDevice(t, now, "desk")
	l := mustList(t, d, 7, listed(1, 0, false), listed(2, 1, true), listed(3, 2, true))
	v, err := l.Revocations(d)
	if err != nil || len(v.Devices) != 2 || v.Sequence != 7 || v.ID != d.ID() {
		t.Fatalf("%+v, %v", v, err)
	}
	if got, err := ParseRevocations(v.Raw(), d.ID()); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%+v, %v", got, err)
	}
	other, err := NewDevice(now, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseRevocations(v.Raw(), other.ID()); !errors.Is(err, ErrDevices) {
		t.Errorf("another's: %v", err)
	}
	for i := range v.raw {
		if _, err := ParseRevocations(flip(v.raw, i), d.ID()); !errors.Is(err, ErrDevices) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := ParseRevocations(v.raw[:i], d.ID()); !errors.Is(err, ErrDevices) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if v, err := mustList(t, d, 7, listed(1, 0, false)).Revocations(d); err != nil || v.Raw() != nil {
		t.Errorf("of none: %+v, %v", v, err)
	}
	if _, err := l.Revocations(linkedDevice(t, d)); err == nil {
		t.Error("revocations by a device without the identity key")
	}
	// They travel in reach records, also in the longest and in one that says
	// "gone".
	var all []Listed
	for i := range byte(MaxRevoked) {
		all = append(all, listed(i+1, i%MaxSlots, true))
	}
	if v, err = mustList(t, d, 9, all...).Revocations(d); err != nil || len(v.raw) != MaxRevocations {
		t.Fatalf("%d bytes, %v", len(v.raw), err)
	}
	for what, at := range map[string]Location{"longest": testPlan().At, "gone": {}} {
		p := testPlan()
		p.At, p.Revoked = at, v
		r, err := OpenRecord(mustRecord(t, testDevice(t, now, "a name of two and thirty bytes!!"), p), d.ID(), p.Reach, now)
		if err != nil || !reflect.DeepEqual(r.Revoked, v) || !r.At.Equal(at) {
			t.Errorf("%s: %+v, %v", what, r.Revoked, err)
		}
	}
	p := testPlan()
	p.Revoked = Revocations{raw: flip(v.raw, 20)}
	if _, err := OpenRecord(mustRecord(t, d, p), d.ID(), p.Reach, now); !errors.Is(err, ErrRecord) {
		t.Errorf("forged revocations in a record: %v", err)
	}
}

func FuzzDeviceList(f *testing.F) {
	d := testDevice(f, now, "desk")
	l := mustList(f, d, 7, listed(1, 0, false), listed(2, 1, true))
	v, err := l.Revocations(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.Raw())
	f.Add(v.Raw())
	f.Add(l.raw[1:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := ParseDeviceList(b); err == nil && !bytes.Equal(l.Raw(), b) {
			t.Error("a list has two forms")
		}
		if v, err := ParseRevocations(b, d.ID()); err == nil && (len(v.Devices) == 0 || len(v.Devices) > MaxRevoked) {
			t.Errorf("%+v", v)
		}
		// Past the signature: what a holder signs may be nonsense.
		if len(b) < 700 {
			signed := append([]byte{listVersion}, b...)
			l, err := ParseDeviceList(append(signed, Sign(d.identity, listContext, signed)...))
			if err == nil {
				l.Merge(mustList(t, d, 1, listed(1, 0, false)), now)
			}
		}
	})
}
