// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func TestGroupRoster(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben", "carl")
	a, b, c := l[0].dev, l[1].dev, l[2].dev
	first, err := NewGroupRoster(start, a, "Choir\x07")
	if err != nil {
		t.Fatal(err)
	}
	second, err := first.With(start, a, b.ID())
	if err != nil {
		t.Fatal(err)
	}
	third, err := second.With(start, a, c.ID())
	if err != nil {
		t.Fatal(err)
	}
	fourth, err := third.Without(start, a, b.ID())
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range []*GroupRoster{first, second, third, fourth} {
		got, err := ParseGroupRoster(start, r.Raw())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, r) || got.Edition != uint32(i+1) || got.ID != first.ID || got.Name != "Choir" || got.Maker != a.ID() {
			t.Errorf("edition %d: %+v became %+v", i+1, r, got)
		}
	}
	if !third.Has(b.ID()) || fourth.Has(b.ID()) || !fourth.Has(c.ID()) || fourth.secret == third.secret {
		t.Error("the wrong ones, or the old secret")
	}
	if !third.Newer(second) || second.Newer(third) || !first.Newer(nil) || third.Newer(third) {
		t.Error("newer")
	}
	if same, err := third.With(start, a, b.ID()); err != nil || same != third {
		t.Error("added twice")
	}
	if _, err := third.With(start, b, c.ID()); !errors.Is(err, ErrNotMaker) && err != nil {
		t.Error(err)
	}
	if _, err := second.With(start, b, c.ID()); !errors.Is(err, ErrNotMaker) {
		t.Errorf("a member adds: %v", err)
	}
	if _, err := third.Without(start, b, c.ID()); !errors.Is(err, ErrNotMaker) {
		t.Errorf("a member removes: %v", err)
	}
	if _, err := third.Without(start, a, a.ID()); !errors.Is(err, ErrNotMaker) {
		t.Errorf("the maker removes himself: %v", err)
	}
	r := third
	for i := byte(1); ; i++ {
		next, err := r.With(start, a, identity.ID{i})
		if errors.Is(err, ErrMembers) && len(r.Members) == MaxMembers {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		r = next
	}
	long, err := NewGroupRoster(start, a, strings.Repeat("x", 200))
	if err != nil {
		t.Fatal(err)
	}
	long.Members = r.Members
	if long, err = long.sign(start, a); err != nil || len(long.raw) > maxGroupRoster {
		t.Errorf("%d bytes, %v", len(long.raw), err)
	}
	// A year later it still counts: the certificate held when it was signed.
	if _, err := ParseGroupRoster(start.Add(365*24*time.Hour), r.Raw()); err != nil {
		t.Error(err)
	}
}

func TestGroupRosterForged(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0].dev, l[1].dev
	r, err := NewGroupRoster(start, a, "choir")
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.With(start, a, b.ID()); err != nil {
		t.Fatal(err)
	}
	for i := range r.raw {
		bad := bytes.Clone(r.raw)
		bad[i] ^= 1 << (i % 8)
		if _, err := ParseGroupRoster(start, bad); err == nil {
			t.Fatalf("byte %d does not count", i)
		}
		if _, err := ParseGroupRoster(start, r.raw[:i]); err == nil {
			t.Fatalf("cut at %d", i)
		}
	}
	if _, err := ParseGroupRoster(start.Add(-2*clockSkew), r.raw); !errors.Is(err, ErrForged) {
		t.Errorf("of the future: %v", err)
	}
	if _, err := ParseGroupRoster(start, make([]byte, maxGroupRoster+1)); !errors.Is(err, ErrMessage) {
		t.Errorf("too long: %v", err)
	}
	// Ben signs a roster of Anna's group: it is a group of his own.
	stolen := *r
	stolen.Maker, stolen.Edition = b.ID(), 9
	mine, err := stolen.sign(start, b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseGroupRoster(start, mine.raw)
	if err != nil || got.ID == r.ID {
		t.Errorf("a roster of another maker has ID %v, %v", got.ID, err)
	}
	if s := identity.Secret(r.secret); strings.Contains(s.String(), string(s[:])) {
		t.Error("prints the secret")
	}
}

func FuzzGroupRoster(f *testing.F) {
	a := fixedDevice(f, "anna")
	r, err := NewGroupRoster(start, a, "choir")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Raw())
	f.Add(r.Raw()[:100])
	f.Add([]byte{versionRoster})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseGroupRoster(start, b)
		if err != nil {
			if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrForged) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(got.Raw(), b) || !got.Has(got.Maker) || len(got.Members) > MaxMembers {
			t.Fatalf("%+v", got)
		}
	})
}

// FuzzSeats: what is read is what was written.
func FuzzSeats(f *testing.F) {
	a := fixedDevice(f, "anna")
	f.Add(appendSeats(nil, 3, []place{{a.Certificate(), bytes.Repeat([]byte{1}, 32)}}))
	f.Add(appendSeats(nil, 3, nil))
	f.Add([]byte{0, 0, 0, 1, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, list, ok := checkSeats(b)
		if !ok {
			return
		}
		places := verified(start, list)
		edition, again, ok := checkSeats(appendSeats(nil, 7, places))
		if !ok || edition != 7 || len(again) != len(places) {
			t.Fatalf("%d places became %d", len(places), len(again))
		}
	})
}
