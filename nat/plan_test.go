// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math"
	"net/netip"
	"testing"
	"time"
)

// The behaviours of the table, by name.
func planKinds() map[string]Behaviour {
	block := [2]uint16{20000, 20511}
	apdm, adm, eim := AddressAndPortDependent, AddressDependent, EndpointIndependent
	return map[string]Behaviour{
		"unknown":        {},
		"public":         {Mapping: NoNAT, Filtering: NoNAT},
		"firewalled":     {Mapping: NoNAT, Filtering: apdm},
		"eim-eif":        {Mapping: eim, Filtering: eim},
		"eim-adf":        {Mapping: eim, Filtering: adm},
		"eim-apdf":       {Mapping: eim, Filtering: apdm, Ports: RandomPorts},
		"eim-kept":       {Mapping: eim, Filtering: apdm, Ports: Preserved},
		"adm-block":      {Mapping: adm, Filtering: apdm, Ports: BlockPorts, Block: block},
		"adm-block-adf":  {Mapping: adm, Filtering: adm, Ports: BlockPorts, Block: block},
		"adm-full":       {Mapping: adm, Filtering: apdm, Ports: RandomPorts},
		"adm-full-adf":   {Mapping: adm, Filtering: adm, Ports: RandomPorts},
		"sym-full":       {Mapping: apdm, Filtering: apdm, Ports: RandomPorts},
		"sym-block":      {Mapping: apdm, Filtering: apdm, Ports: BlockPorts, Block: block, Unreplied: 30 * time.Second},
		"sym-counter":    {Mapping: apdm, Filtering: apdm, Ports: Sequential, Step: 2},
		"sym-kept":       {Mapping: apdm, Filtering: apdm, Ports: Preserved},
		"sym-chosen":     {Mapping: apdm, Filtering: apdm, Ports: BlockPorts, Block: block, Chosen: Yes},
		"sym-eif":        {Mapping: apdm, Filtering: eim, Ports: RandomPorts},
		"sym-anywhere":   {Mapping: apdm, Filtering: apdm, Ports: RandomPorts, Arbitrary: Yes},
		"sym-full-v6":    {Mapping: apdm, Filtering: apdm, Ports: RandomPorts, IPv6: FirewalledIPv6},
		"blocked":        {Mapping: UDPBlocked},
		"blocked-but-v6": {Mapping: UDPBlocked, IPv6: OpenIPv6},
		"no-hairpin":     {Mapping: eim, Filtering: apdm, Hairpin: No},
	}
}

func TestPlanTable(t *testing.T) {
	kinds := planKinds()
	for _, c := range []struct {
		a, b   string
		method Method
		role   Role // of a
		strict bool // no call: another method
		less   Method
	}{
		{a: "unknown", b: "unknown", method: Simultaneous},
		{a: "public", b: "sym-full", method: Straight, role: Receiver},
		{a: "public", b: "public", method: Straight},
		{a: "firewalled", b: "eim-apdf", method: Simultaneous},
		{a: "eim-apdf", b: "eim-kept", method: Simultaneous},
		{a: "eim-adf", b: "eim-eif", method: Simultaneous},
		{a: "eim-eif", b: "sym-full", method: JustSend, role: Receiver},
		{a: "sym-block", b: "eim-adf", method: JustSend, role: Sender},
		{a: "sym-anywhere", b: "eim-eif", method: JustSend, role: Sender},
		{a: "sym-eif", b: "adm-block-adf", method: JustSend},
		{a: "eim-apdf", b: "sym-full", method: Search, role: Searcher, strict: true},
		{a: "sym-block", b: "eim-kept", method: Search, role: Opener, strict: true},
		{a: "eim-apdf", b: "sym-counter", method: Search, role: Searcher, strict: true},
		{a: "eim-apdf", b: "adm-full", method: Search, role: Searcher, strict: true},
		{a: "eim-apdf", b: "sym-anywhere", method: NoMethod},
		{a: "sym-chosen", b: "sym-block", method: Search, role: Searcher, strict: true},
		{a: "sym-kept", b: "sym-block", method: NoMethod},
		{a: "sym-kept", b: "eim-apdf", method: ChosenPort},
		{a: "sym-chosen", b: "sym-kept", method: ChosenPort},
		{a: "adm-block", b: "adm-block", method: Sweep, strict: true},
		{a: "adm-block", b: "adm-block-adf", method: Search, role: Searcher, strict: true},
		{a: "adm-block-adf", b: "adm-block-adf", method: Search, strict: true},
		{a: "adm-full", b: "adm-block-adf", method: Search, role: Searcher, strict: true},
		{a: "adm-full-adf", b: "adm-block-adf", method: Search, role: Searcher, strict: true},
		{a: "adm-full", b: "adm-full", method: NoMethod},
		{a: "sym-counter", b: "sym-counter", method: AimAhead, strict: true},
		{a: "sym-block", b: "sym-block", method: Cross, strict: true},
		{a: "sym-block", b: "adm-block", method: Cross, strict: true},
		{a: "sym-full", b: "sym-block", method: NoMethod},
		{a: "sym-full", b: "sym-full", method: NoMethod},
		{a: "sym-full-v6", b: "sym-full-v6", method: Simultaneous},
		{a: "sym-full-v6", b: "sym-full", method: NoMethod},
		{a: "blocked", b: "public", method: OverTCP},
		{a: "blocked-but-v6", b: "sym-full-v6", method: Simultaneous},
	} {
		p := MakePlan(kinds[c.a], kinds[c.b], PlanOptions{Friendly: true})
		if p.Method != c.method || p.Role != c.role {
			t.Errorf("%s × %s: %v as %v, want %v as %v", c.a, c.b, p.Method, p.Role, c.method, c.role)
		}
		if (p.Method == NoMethod || p.Method == OverTCP) != (p.Reason != "") && p.Method != Cross {
			t.Errorf("%s × %s: %v because %q", c.a, c.b, p.Method, p.Reason)
		}
		if p := MakePlan(kinds[c.a], kinds[c.b], PlanOptions{}); c.strict != (p.Method == NoMethod && c.method != NoMethod) {
			t.Errorf("%s × %s among strangers: %v (%s)", c.a, c.b, p.Method, p.Reason)
		}
	}
}

func TestPlanOptions(t *testing.T) {
	k := planKinds()
	plan := func(a, b string, o PlanOptions) Plan { o.Friendly = true; return MakePlan(k[a], k[b], o) }
	if p := plan("sym-full", "sym-full", PlanOptions{TheirsMapped: true}); p.Method != Straight || p.Role != Sender {
		t.Errorf("towards a mapped port: %v as %v", p.Method, p.Role)
	}
	if p := plan("sym-full", "sym-full", PlanOptions{SameNAT: true}); p.Method != Local {
		t.Errorf("behind the same NAT: %v", p.Method)
	}
	if p := plan("no-hairpin", "eim-apdf", PlanOptions{SameNAT: true}); p.Method != Local || p.Reason == "" {
		t.Errorf("without hairpin: %v (%s)", p.Method, p.Reason)
	}
	if p := plan("eim-kept", "eim-kept", PlanOptions{LowTTL: true}); p.Hold != holdBack || len(p.Steps) != 1 || p.Steps[0].TTL != lowTTL {
		t.Errorf("two netfilters: %+v", p)
	}
	if p := plan("eim-apdf", "eim-apdf", PlanOptions{LowTTL: true}); p.Hold != 0 || len(p.Steps) != 0 {
		t.Errorf("no netfilter: %+v", p)
	}
	if p := plan("sym-full", "eim-kept", PlanOptions{LowTTL: true}); p.Steps[0].TTL != lowTTL || p.Steps[0].Sockets != 256 {
		t.Errorf("search by a netfilter: %+v", p.Steps)
	}
	v6 := k["sym-block"]
	v6.IPv6 = OpenIPv6
	if p := MakePlan(v6, v6, PlanOptions{Friendly: true}); p.Method != Cross || p.After != headStart {
		t.Errorf("IPv6 has no head start: %v after %v", p.Method, p.After)
	}
	// The share is of the block, standing links are part of it, and the step
	// beyond the block doesn't get more either.
	for _, c := range []struct {
		o       PlanOptions
		sockets int
		live    int
	}{
		{PlanOptions{}, 8, 128},
		{PlanOptions{Standing: 124}, 4, 128},
		{PlanOptions{Share: 0.01}, 5, 5},
		{PlanOptions{Share: 0.9}, 8, 256},
		{PlanOptions{Share: math.NaN()}, 8, 128},
		{PlanOptions{Share: -1}, 8, 128},
	} {
		p := plan("sym-block", "eim-apdf", c.o)
		if p.Steps[0].Sockets != c.sockets || p.Live != c.live {
			t.Errorf("%+v: %d sockets of %d mappings, want %d of %d", c.o, p.Steps[0].Sockets, p.Live, c.sockets, c.live)
		}
		all := 0
		for _, s := range p.Steps {
			all += s.Sockets
		}
		if all+c.o.Standing > p.Live {
			t.Errorf("%+v: %d sockets", c.o, all)
		}
	}
}

// checkPlan holds what is true of any two halves.
func checkPlan(t *testing.T, what string, a, b Behaviour, o PlanOptions) {
	t.Helper()
	back := o
	back.MineMapped, back.TheirsMapped = o.TheirsMapped, o.MineMapped
	p, q := MakePlan(a, b, o), MakePlan(b, a, back)
	if p.Method != q.Method || p.Role != q.Role.other() || p.Hold != q.Hold || p.After != q.After ||
		p.Chosen != q.TheirChosen || p.TheirChosen != q.Chosen {
		t.Errorf("%s: %v as %v (%v, %v), %v as %v (%v, %v)", what,
			p.Method, p.Role, p.Hold, p.After, q.Method, q.Role, q.Hold, q.After)
	}
	if p.Method == NoMethod && p.Reason == "" || len(p.Steps) > maxSteps || p.Life < 0 || p.Live < 0 || p.Live > maxLive {
		t.Errorf("%s: %+v", what, p)
	}
	shots := 0
	for _, s := range p.Steps {
		if s.Sockets < 0 || s.Sockets > mostSockets || s.Every < burstEvery || s.At < 0 || s.Gap < 0 || s.Shots > mostShots {
			t.Errorf("%s: step %+v", what, s)
		}
		if s.Aim != AimRolling {
			shots += s.Shots + max(s.Sockets, 1)*s.Passes
		}
		if !o.Friendly && s.Aim != AimKnown {
			t.Errorf("%s: a stranger searches: %+v", what, s)
		}
	}
	if p.Method == Search || p.Method == Sweep {
		if p.For > 10*time.Second || p.For < time.Second || p.Role == Opener && p.For < mostShots*burstEvery+lateAnswers {
			t.Errorf("%s: %v as %v for %v", what, p.Method, p.Role, p.For)
		}
	}
	if shots > 2*packetsAttested {
		t.Errorf("%s: %d shots", what, shots)
	}
}

// Both sides' halves fit, whatever the behaviours and whoever calls.
func TestPlanHalves(t *testing.T) {
	kinds := planKinds()
	for n, a := range kinds {
		for m, b := range kinds {
			for bits := range 32 {
				o := PlanOptions{
					Friendly: bits&1 != 0, LowTTL: bits&2 != 0, SameNAT: bits&4 != 0,
					MineMapped: bits&8 != 0, TheirsMapped: bits&16 != 0,
				}
				checkPlan(t, n+" × "+m, a, b, o)
			}
		}
	}
}

// FuzzPlan plans with behaviours as a hostile peer may claim them.
func FuzzPlan(f *testing.F) {
	f.Add(uint8(4), uint8(4), uint8(4), uint16(2000), uint16(1000), int64(-5), 3, uint8(1))
	f.Add(uint8(3), uint8(2), uint8(3), uint16(1), uint16(65535), int64(math.MaxInt64), math.MinInt, uint8(15))
	f.Add(uint8(250), uint8(99), uint8(77), uint16(65535), uint16(65535), int64(1), 65, uint8(2))
	f.Add(uint8(4), uint8(4), uint8(2), uint16(0), uint16(0), int64(0), 0, uint8(31))
	f.Fuzz(func(t *testing.T, mapping, filtering, ports uint8, low, high uint16, life int64, step int, bits uint8) {
		b := Behaviour{
			Mapping: Dependence(mapping), Filtering: Dependence(filtering), Ports: PortRule(ports),
			Block: [2]uint16{low, high}, Unreplied: time.Duration(life), Step: step, Chosen: Tri(bits % 4),
			Arbitrary: Tri(bits / 4 % 4), Public: []netip.Addr{{}}, IPv6: IPv6(bits / 16), Confidence: math.NaN(),
		}
		o := PlanOptions{Friendly: true, LowTTL: bits&1 != 0}
		for n, k := range planKinds() {
			checkPlan(t, n, k, b, o)
		}
		checkPlan(t, "itself", b, b, o)
	})
}

func TestAgreement(t *testing.T) {
	for i := range 200 {
		ca, cb := NewCred(), NewCred()
		a, b := newAgreement(ca, cb), newAgreement(cb, ca)
		if a.key != b.key || a.first == b.first || SharedKey(ca, cb) != a.key {
			t.Fatal("the two sides don't share a key")
		}
		for _, r := range []Range{{20000, 20511}, {1024, 65535}, {7, 7}, {100, 103}} {
			seen := map[uint16]bool{}
			for k := range choices {
				x := a.choice(r, k, true)
				if x != b.choice(r, k, false) || !r.Has(x) || a.burst(r, false) != b.burst(r, true) || !r.Has(a.burst(r, true)) {
					t.Fatalf("pair %d, %v: no agreement on %d", i, r, x)
				}
				seen[x] = true
			}
			if want := min(choices, r.Size()); len(seen) != want {
				t.Fatalf("%v: %d choices, want %d", r, len(seen), want)
			}
		}
		if a.burst(Range{}, true) != 0 || a.choice(Range{}, 1, true) != 0 {
			t.Fatal("a port of no range")
		}
	}
}

func TestWalk(t *testing.T) {
	count := func(w walk, n int) map[uint16]int {
		seen := map[uint16]int{}
		for range n {
			p, ok := w.next()
			if !ok {
				break
			}
			seen[p]++
		}
		return seen
	}
	for order := range uint64(50) {
		for _, r := range []Range{{20000, 20511}, {1024, 65535}, {65535, 65535}, {9, 10}, {100, 339}} {
			seen := count(newWalk(0, 0, 0, [2]Range{r}, order*0x123456789), r.Size())
			if len(seen) != r.Size() {
				t.Fatalf("%v: %d of %d ports in one round", r, len(seen), r.Size())
			}
			for p := range seen {
				if !r.Has(p) {
					t.Fatalf("%d is not in %v", p, r)
				}
			}
		}
	}
	// The block first, and not again in the full range.
	w := newWalk(0, 0, 0, [2]Range{{20000, 20511}, fullRange()}, 77)
	for i := range fullRange().Size() {
		p, _ := w.next()
		if in := (Range{20000, 20511}).Has(p); in != (i < 512) {
			t.Fatalf("port %d is number %d", p, i)
		}
	}
	// A counter that goes down, around the end of its range.
	w = newWalk(20003, -2, 4, [2]Range{{20000, 20511}}, 1)
	for _, want := range []uint16{20001, 20511, 20509, 20507} {
		if p, _ := w.next(); p != want {
			t.Fatalf("%d ahead, want %d", p, want)
		}
	}
	w = newWalk(5, 1, 9, [2]Range{}, 1)
	if n := len(count(w, 100)); n != 9 {
		t.Errorf("%d ports without a range, want the 9 ahead", n)
	}
}
