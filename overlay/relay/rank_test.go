// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// cand is a candidate n with a round trip in ms in all.
func cand(n byte, addr string, ms int, change func(*Candidate)) Candidate {
	c := Candidate{
		Node: identity.NodeID{n}, Addr: netip.MustParseAddr(addr),
		Here: time.Duration(ms) * time.Millisecond / 2, There: time.Duration(ms) * time.Millisecond / 2,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func TestChoose(t *testing.T) {
	load := func(l uint8) func(*Candidate) { return func(c *Candidate) { c.Load = l } }
	for _, c := range []struct {
		name  string
		list  []Candidate
		inUse []byte
		want  []byte
	}{
		{"nobody", nil, nil, nil},
		{"one", []Candidate{cand(1, "45.1.0.1", 50, nil)}, nil, []byte{1}},
		{"the two fastest", []Candidate{cand(1, "45.1.0.1", 150, nil), cand(2, "45.2.0.1", 50, nil), cand(3, "45.3.0.1", 90, nil)}, nil, []byte{2, 3}},
		{"never the same node", []Candidate{cand(1, "45.1.0.1", 50, nil), cand(1, "45.2.0.1", 60, nil)}, nil, []byte{1}},
		{"another network", []Candidate{cand(1, "45.1.0.1", 50, nil), cand(2, "45.1.0.2", 65, nil), cand(3, "45.3.0.1", 190, nil)}, nil, []byte{1, 3}},
		{"another IPv6 network", []Candidate{cand(1, "2001:db8:1::1", 50, nil), cand(2, "2001:db8:1:5::1", 65, nil), cand(3, "2001:db9::1", 190, nil)}, nil, []byte{1, 3}},
		{"one network is better than none", []Candidate{cand(1, "45.1.0.1", 50, nil), cand(2, "45.1.0.2", 65, nil)}, nil, []byte{1, 2}},
		{"another provider, if it isn't far", []Candidate{cand(1, "45.1.0.1", 20, nil), cand(2, "45.1.9.1", 50, nil), cand(3, "45.3.0.1", 54, nil)}, nil, []byte{1, 3}},
		{"the same provider, if others are far", []Candidate{cand(1, "45.1.0.1", 20, nil), cand(2, "45.1.9.1", 50, nil), cand(3, "45.3.0.1", 90, nil)}, nil, []byte{1, 2}},
		{"LAN is no network", []Candidate{cand(1, "192.168.0.1", 20, nil), cand(2, "192.168.0.2", 40, nil), cand(3, "45.3.0.1", 90, nil)}, nil, []byte{1, 2}},
		{"load", []Candidate{cand(1, "45.1.0.1", 50, load(100)), cand(2, "45.2.0.1", 70, nil)}, nil, []byte{2, 1}},
		{"unmeasured is far", []Candidate{cand(1, "45.1.0.1", 0, nil), cand(2, "45.2.0.1", 400, nil)}, nil, []byte{2, 1}},
		{"fails", []Candidate{cand(1, "45.1.0.1", 50, func(c *Candidate) { c.Fails = 2 }), cand(2, "45.2.0.1", 200, nil)}, nil, []byte{2, 1}},
		{"hops", []Candidate{cand(1, "45.1.0.1", 60, func(c *Candidate) { c.Hops = 2 }), cand(2, "45.2.0.1", 65, nil), cand(3, "45.3.0.1", 40, func(c *Candidate) { c.Hops = 1 })}, nil, []byte{3, 2}},
		{"class", []Candidate{cand(1, "45.1.0.1", 50, func(c *Candidate) { c.Class = ClassBlocked }), cand(2, "45.2.0.1", 100, func(c *Candidate) { c.Class = ClassHard }), cand(3, "45.3.0.1", 95, nil)}, nil, []byte{3, 2}},
		{"those in use stay", []Candidate{cand(1, "45.1.0.1", 70, nil), cand(2, "45.2.0.1", 50, nil), cand(3, "45.3.0.1", 45, nil), cand(4, "45.4.0.1", 72, nil)}, []byte{1, 4}, []byte{1, 4}},
		{"unless much worse", []Candidate{cand(1, "45.1.0.1", 150, nil), cand(2, "45.2.0.1", 50, nil), cand(3, "45.3.0.1", 70, nil)}, []byte{1, 3}, []byte{3, 2}},
		{"or gone", []Candidate{cand(2, "45.2.0.1", 50, nil), cand(3, "45.3.0.1", 95, nil)}, []byte{1, 3}, []byte{2, 3}},
	} {
		var inUse []identity.NodeID
		for _, n := range c.inUse {
			inUse = append(inUse, identity.NodeID{n})
		}
		for seed := range uint64(5) {
			var got []byte
			for _, n := range Choose(c.list, inUse, 2, rand.New(rand.NewPCG(seed, 0))) {
				got = append(got, n[0])
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
				break
			}
		}
	}
}

// Of two that are equal otherwise the less loaded one is taken three times of
// four, and not always: what it says of its load is old.
func TestPowerOfTwoChoices(t *testing.T) {
	busy := cand(1, "45.1.0.1", 50, func(c *Candidate) { c.Load = 20 })
	idle := cand(2, "45.2.0.1", 58, nil)
	if busy.cost() != idle.cost() {
		t.Fatal(busy.cost(), idle.cost())
	}
	n := 0
	for seed := range uint64(1000) {
		if Choose([]Candidate{busy, idle}, nil, 1, rand.New(rand.NewPCG(seed, 0)))[0] == idle.Node {
			n++
		}
	}
	if n < 700 || n > 800 {
		t.Errorf("%d of 1000", n)
	}
}

// A crowd of callers that all see the same candidates spreads over those that
// are as good as equal, and over none that is worse.
func TestChooseSpreads(t *testing.T) {
	const callers, equal = 1000, 10
	rng := rand.New(rand.NewPCG(1, 1))
	load := make([]int, equal+1)
	for range callers {
		var list []Candidate
		for i := range equal + 1 {
			ms := 50 + i%3
			if i == equal {
				ms = 200
			}
			c := cand(byte(i), netip.AddrFrom4([4]byte{45, byte(i), 0, 1}).String(), ms, nil)
			c.Load = uint8(load[i] * 20 / callers) // a node that is busy says so
			list = append(list, c)
		}
		for _, n := range Choose(list, nil, 2, rng) {
			load[n[0]]++
		}
	}
	for i, n := range load[:equal] {
		if mean := 2 * callers / equal; n < mean/2 || n > mean*3/2 {
			t.Errorf("node %d has %d of %d, mean %d: %v", i, n, 2*callers, mean, load)
		}
	}
	if load[equal] != 0 {
		t.Errorf("%d went the long way", load[equal])
	}
}

// Small changes of what was measured change nothing.
func TestChooseIsStable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var inUse []identity.NodeID
	changes := -2 // the first two are chosen once
	for range 500 {
		var list []Candidate
		for i := range 12 {
			c := cand(byte(i), netip.AddrFrom4([4]byte{45, byte(i), 0, 1}).String(), 60+rng.IntN(15), nil)
			c.Load = uint8(rng.IntN(20))
			list = append(list, c)
		}
		now := Choose(list, inUse, 2, rng)
		for _, n := range now {
			if !slices.Contains(inUse, n) {
				changes++
			}
		}
		inUse = now
	}
	if changes != 0 {
		t.Errorf("%d changes", changes)
	}
}
