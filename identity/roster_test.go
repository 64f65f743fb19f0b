// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

var rosterStart = time.Unix(1_800_000_000, 0)

func member(n int, roles ...string) Member {
	return Member{ID: ID{byte(n >> 8), byte(n), 7}, Roles: roles}
}

func adminOf(n byte) (k AdminKey) {
	k.seed[0] = n
	return k
}

func signRoster(t testing.TB, k AdminKey, network Network, number uint64, members ...Member) *Roster {
	t.Helper()
	r, err := k.Sign(Roster{Network: network.Tag(), Number: number, Issued: rosterStart, Expires: rosterStart.Add(30 * 24 * time.Hour), Members: members})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoster(t *testing.T) {
	k := adminOf(1)
	until := member(3)
	until.Until = rosterStart.Add(time.Hour)
	r := signRoster(t, k, Network{}, 5, until, member(1, "sales", "boss"), member(2, "sales"))
	back, err := ParseRoster(r.Raw())
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Fatalf("%+v, %v", back, err)
	}
	if m, ok := r.Find(member(1).ID); !ok || strings.Join(m.Roles, " ") != "boss sales" {
		t.Errorf("%+v", m)
	}
	for what, c := range map[string]struct {
		id   ID
		now  time.Time
		want error
	}{
		"a member":             {member(2).ID, rosterStart, nil},
		"somebody else":        {member(9).ID, rosterStart, ErrNotMember},
		"in time":              {until.ID, until.Until.Add(-time.Second), nil},
		"time over":            {until.ID, until.Until, ErrNotMember},
		"the roster's is over": {member(2).ID, r.Expires, ErrRosterExpired},
	} {
		if err := r.Check(c.now, c.id); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A roster takes the place of another one only if it is newer, of the same admin
// and network, and in force.
func TestRosterAccept(t *testing.T) {
	k := adminOf(1)
	net1, _ := NewNetwork("one")
	known := signRoster(t, k, net1, 5, member(1))
	expired := func() *Roster {
		r, err := k.Sign(Roster{Network: net1.Tag(), Number: 9, Issued: rosterStart.Add(-2 * time.Hour), Expires: rosterStart.Add(-time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	future := func() *Roster {
		r, _ := k.Sign(Roster{Network: net1.Tag(), Number: 9, Issued: rosterStart.Add(2 * time.Hour), Expires: rosterStart.Add(3 * time.Hour)})
		return r
	}
	for what, c := range map[string]struct {
		r    *Roster
		want error
	}{
		"newer":           {signRoster(t, k, net1, 6), nil},
		"the same":        {known, ErrRosterOld},
		"rolled back":     {signRoster(t, k, net1, 4, member(1)), ErrRosterOld},
		"another admin":   {signRoster(t, adminOf(2), net1, 9), ErrRosterAdmin},
		"another network": {signRoster(t, k, Network{}, 9), ErrRosterNetwork},
		"expired":         {expired(), ErrRosterExpired},
		"from the future": {future(), ErrRosterFuture},
	} {
		if err := c.r.Accept(rosterStart, k.Admin(), net1, known); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// No bit of a roster can be changed.
func TestRosterForged(t *testing.T) {
	raw := signRoster(t, adminOf(1), Network{}, 5, member(1, "a"), member(2)).Raw()
	for i := range raw {
		b := bytes.Clone(raw)
		b[i] ^= 1
		if _, err := ParseRoster(b); !errors.Is(err, ErrRoster) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for n := range raw {
		if _, err := ParseRoster(raw[:n]); !errors.Is(err, ErrRoster) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
}

func TestRosterLimits(t *testing.T) {
	k := adminOf(1)
	var all []Member
	for i := range MaxMembers {
		all = append(all, member(i, fmt.Sprint("r", i%MaxRoles)))
	}
	r := signRoster(t, k, Network{}, 1, all...)
	if n := len(r.Raw()); n > MaxRoster || len(r.Members) != MaxMembers {
		t.Errorf("%d bytes, %d members", n, len(r.Members))
	}
	for what, list := range map[string][]Member{
		"too many":       append(all, member(MaxMembers)),
		"twice":          {member(1), member(1)},
		"no role":        {member(1, "")},
		"a strange role": {member(1, "Böss")},
		"too many roles": append(all, member(MaxMembers-1, "one-more"))[1:],
	} {
		if _, err := k.Sign(Roster{Number: 1, Issued: rosterStart, Expires: rosterStart.Add(time.Hour), Members: list}); err == nil {
			t.Errorf("%s: signed", what)
		}
	}
	if _, err := k.Sign(Roster{Number: 1, Issued: rosterStart, Expires: rosterStart}); err == nil {
		t.Error("signed though it never holds")
	}
}

func TestAdminTexts(t *testing.T) {
	k := NewAdminKey()
	back, err := ParseAdminKey(" " + strings.ToUpper(k.Text()[:20]) + k.Text()[20:])
	if err != nil || back != k {
		t.Errorf("%v", err)
	}
	a, err := ParseAdmin(k.Admin().Text())
	if err != nil || a != k.Admin() {
		t.Errorf("%v", err)
	}
	for what, text := range map[string]string{
		"nothing": "", "the key for the admin": k.Text(), "cut off": k.Admin().Text()[:40], "a typo": k.Admin().Text()[:20] + "u" + k.Admin().Text()[21:],
	} {
		if _, err := ParseAdmin(text); !errors.Is(err, ErrAdmin) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if s := fmt.Sprintf("%v %+v %s %d", k, k, k, k); strings.Contains(s, k.Text()) || !strings.Contains(s, k.Admin().Text()) {
		t.Error("the key is printed")
	}
	if (Admin{}).Text() != "" || !(Admin{}).IsZero() {
		t.Error("no admin")
	}
}

func FuzzRoster(f *testing.F) {
	f.Add(signRoster(f, adminOf(1), Network{}, 5, member(1, "a", "b"), member(2)).Raw())
	f.Add(signRoster(f, adminOf(2), Network{}, 1).Raw())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRoster(b); err == nil {
			r.Check(rosterStart, member(1).ID)
		}
	})
}
