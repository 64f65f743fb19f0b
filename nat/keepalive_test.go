// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

func TestKeepaliveOf(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		b    Behaviour
		want time.Duration
	}{
		"nothing known":         {Behaviour{}, 15 * s},
		"a NAT's not known":     {Behaviour{Mapping: EndpointIndependent}, 15 * s},
		"replied":               {Behaviour{Replied: 45 * s, Unreplied: 29 * s}, 36 * s},
		"unreplied alone":       {Behaviour{Unreplied: 29 * s}, 29 * s / 5 * 4},
		"short":                 {Behaviour{Replied: 5 * s}, 5 * s},
		"long":                  {Behaviour{Replied: 290 * s}, 60 * s},
		"ends whatever happens": {Behaviour{Replied: 118 * s, Absolute: 50 * s}, 5 * s},
		"open":                  {Behaviour{Mapping: NoNAT, Filtering: NoNAT}, 30 * s},
		"firewall":              {Behaviour{Mapping: NoNAT, Filtering: AddressDependent}, 15 * s},
		"nonsense":              {Behaviour{Replied: -s}, 15 * s},
	} {
		if got := KeepaliveOf(c.b); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// An idle path is probed at the learned pace, a shorter one from now on.
func TestSetKeepalive(t *testing.T) {
	r := newRig(t, true, Options{Keepalive: 60 * time.Second})
	r.up(map[sock.Path]time.Duration{pathA: 20 * ms}, pathA)
	count := func(d time.Duration) int {
		before := len(r.sent)
		r.run(d)
		return len(r.sent) - before
	}
	if n := count(10 * time.Minute); n < 9 || n > 12 {
		t.Errorf("%d probes in 10 min at 60 s", n)
	}
	r.p.SetKeepalive(r.now, 10*time.Second)
	if n := count(10 * time.Minute); n < 54 || n > 68 {
		t.Errorf("%d probes in 10 min at 10 s", n)
	}
	r.p.SetKeepalive(r.now, 0)
	if n := count(10 * time.Minute); n < 36 || n > 46 {
		t.Errorf("%d probes in 10 min by default", n)
	}
}

// Two nodes' worth of claims: however many peers name an address that never
// answers, through path sets and punches, it gets three packets.
func TestPathsShareTheBudget(t *testing.T) {
	budget := NewBudget(epoch)
	sent := 0
	for i := range 40 {
		mine, theirs := creds()
		mine.Tag[7] = byte(i)
		r := newRig(t, true, Options{})
		r.mine = mine
		r.p = NewPaths(mine, theirs, rand.New(rand.NewPCG(1, uint64(i))), Options{Budget: budget})
		r.p.Add(r.now, sock.Path{Remote: bystander})
		r.run(5 * time.Second)
		sent += len(r.sent)
	}
	if sent != packetsStranger {
		t.Errorf("%d packets to the address", sent)
	}
	if u := budget.Use(); u.Refused[AddressSpent] == 0 {
		t.Errorf("use %+v", u)
	}
	// A neighbour's address inside is looked for by everybody.
	inside := newRig(t, true, Options{Budget: budget})
	inside.p.Add(inside.now, pathL)
	inside.run(5 * time.Second)
	if len(inside.sent) != triesCold {
		t.Errorf("%d probes to an address inside", len(inside.sent))
	}
}
