// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func rosterOf(t testing.TB, k identity.AdminKey, number uint64, members int) *identity.Roster {
	t.Helper()
	var list []identity.Member
	for i := range members {
		list = append(list, identity.Member{ID: identity.ID{byte(i >> 8), byte(i)}})
	}
	now := time.Now()
	r, err := k.Sign(identity.Roster{Number: number, Issued: now, Expires: now.Add(time.Hour), Members: list})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A roster of any size comes whole through frames, and nothing else does.
func TestRosterParts(t *testing.T) {
	k := identity.NewAdminKey()
	for _, n := range []int{0, 1, 102, 103, 104, identity.MaxMembers} {
		r := rosterOf(t, k, 7, n)
		parts := rosterParts(r)
		if len(parts) > maxParts {
			t.Errorf("%d parts", len(parts))
		}
		var p rosterPieces
		for i, b := range parts {
			if len(b) > MaxBody {
				t.Fatalf("%d bytes", len(b))
			}
			raw, err := p.add(b[1:])
			if err != nil || (raw != nil) != (i == len(parts)-1) || raw != nil && !bytes.Equal(raw, r.Raw()) {
				t.Fatalf("part %d of %d: %v", i, len(parts), err)
			}
		}
	}
	parts := rosterParts(rosterOf(t, k, 7, 300))
	var p rosterPieces
	p.add(parts[0][1:])
	if raw, err := p.add(parts[2][1:]); raw != nil || err != nil {
		t.Errorf("out of order: %v", err)
	}
	for what, b := range map[string][]byte{
		"empty": nil, "no count": append(make([]byte, 9), 0), "beyond the end": append(make([]byte, 8), 1, 1),
		"too many": append(make([]byte, 8), 0, 255), "a short one in the middle": append(make([]byte, 8), 0, 2, 1),
	} {
		if _, err := p.add(b); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The newest roster is fetched from one neighbour, from the next when that one
// keeps silent, and told to all who don't have it.
func TestRosterSpreads(t *testing.T) {
	var s spreading
	now := time.Unix(0, 0)
	a, b, c := identity.NodeID{1}, identity.NodeID{2}, identity.NodeID{3}
	one := func(what string, list []rosterSay, to identity.NodeID, kind byte, n uint64) {
		t.Helper()
		if len(list) != 1 || list[0].to != to || !bytes.Equal(list[0].body, rosterNumber(kind, n)) {
			t.Errorf("%s: %v", what, list)
		}
	}
	none := func(what string, list []rosterSay) {
		t.Helper()
		if len(list) != 0 {
			t.Errorf("%s: %v", what, list)
		}
	}
	none("the same", s.up(now, a, 5, 5))
	one("older", s.up(now, b, 3, 5), b, rosterHave, 5)
	none("c", s.up(now, c, 5, 5))
	say, _, _, _ := s.receive(now, a, rosterNumber(rosterHave, 6), 5)
	one("news", say, a, rosterWant, 6)
	say, _, _, _ = s.receive(now, c, rosterNumber(rosterHave, 6), 5)
	none("already asked", say)
	k := identity.NewAdminKey()
	parts := rosterParts(rosterOf(t, k, 6, 200))
	if _, raw, _, err := s.receive(now, b, parts[0], 5); raw != nil || err != nil {
		t.Errorf("not asked for: %v", err)
	}
	none("early", s.advance(now.Add(fetchTime-1), 5))
	now = now.Add(fetchTime)
	one("a is silent", s.advance(now, 5), c, rosterWant, 6)
	var raw []byte
	for _, p := range parts {
		_, raw, _, _ = s.receive(now, c, p, 5)
	}
	if r, err := identity.ParseRoster(raw); err != nil || r.Number != 6 {
		t.Fatal(err)
	}
	if list := s.adopted(6); len(list) != 2 || list[0].to != a || list[1].to != b {
		t.Errorf("told: %v", list) // a said so, but never sent it
	}
	if _, _, send, _ := s.receive(now, b, rosterNumber(rosterWant, 6), 6); !send {
		t.Error("not sent")
	}
	if _, _, send, _ := s.receive(now, b, rosterNumber(rosterWant, 7), 6); send {
		t.Error("sent another one")
	}
	say, _, _, _ = s.receive(now, b, rosterNumber(rosterHave, 9), 6)
	one("9", say, b, rosterWant, 9)
	none("b goes", s.down(now, b, 6))
	say, _, _, _ = s.receive(now, a, rosterNumber(rosterHave, 8), 6)
	one("8", say, a, rosterWant, 8)
	none("and was a lie", s.refused(now, c, 6))
	for _, body := range [][]byte{nil, {rosterHave}, {rosterWant, 1}, {rosterPart}} {
		if body == nil || body[0] != rosterPart {
			if _, _, _, err := s.receive(now, a, body, 6); !errors.Is(err, errFrame) {
				t.Errorf("%v: %v", body, err)
			}
		} else if _, _, _, err := s.receive(now, a, body, 6); !errors.Is(err, errFrame) {
			t.Errorf("%v: %v", body, err)
		}
	}
	if _, _, _, err := s.receive(now, a, []byte{9}, 6); err != nil {
		t.Errorf("of a later version: %v", err)
	}
}

func TestMemberProof(t *testing.T) {
	now := time.Now()
	d, err := identity.NewDevice(now, "phone")
	if err != nil {
		t.Fatal(err)
	}
	net, exp, node := [32]byte{1}, [32]byte{2}, identity.NodeID{3}
	b := sealMember(d, net, dialler, exp, node)
	if id, err := openMember(now, b, net, dialler, exp, node); err != nil || id != d.ID() {
		t.Fatal(id, err)
	}
	bad := bytes.Clone(b)
	bad[40] ^= 1
	for what, f := range map[string]func() (identity.ID, error){
		"changed":               func() (identity.ID, error) { return openMember(now, bad, net, dialler, exp, node) },
		"of another network":    func() (identity.ID, error) { return openMember(now, b, [32]byte{9}, dialler, exp, node) },
		"sent back":             func() (identity.ID, error) { return openMember(now, b, net, listener, exp, node) },
		"of another connection": func() (identity.ID, error) { return openMember(now, b, net, dialler, [32]byte{9}, node) },
		"of another node":       func() (identity.ID, error) { return openMember(now, b, net, dialler, exp, identity.NodeID{9}) },
		"an old certificate":    func() (identity.ID, error) { return openMember(now.Add(400*24*time.Hour), b, net, dialler, exp, node) },
		"nothing":               func() (identity.ID, error) { return openMember(now, nil, net, dialler, exp, node) },
	} {
		if _, err := f(); !errors.Is(err, errMember) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzRosterFrame(f *testing.F) {
	f.Add(rosterNumber(rosterHave, 9))
	f.Add(rosterNumber(rosterWant, 9))
	for _, b := range rosterParts(rosterOf(f, identity.NewAdminKey(), 6, 150)) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s spreading
		now, a := time.Unix(0, 0), identity.NodeID{1}
		s.up(now, a, 6, 5)
		s.receive(now, a, b, 5)
		s.receive(now, a, b, 5)
		s.advance(now.Add(time.Hour), 5)
	})
}
