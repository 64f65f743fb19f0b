// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func octets(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }

// 500 new flows in any second, 1,500 in a burst, 30 a second after it.
func TestBudgetFlows(t *testing.T) {
	b := NewBudget(epoch)
	var at []time.Duration
	now := epoch
	for now.Sub(epoch) < 20*time.Second {
		a := ask{to: netip.AddrPortFrom(octets(9, byte(len(at)>>10), byte(len(at)>>6), 1), 7), trust: Attested, flow: true}
		why, next := b.take(now, a)
		switch {
		case why == NotRefused:
			at = append(at, now.Sub(epoch))
		case next.IsZero() || !next.After(now):
			t.Fatalf("at %v: %v until %v", now.Sub(epoch), why, next)
		default:
			now = next
		}
	}
	if len(at) < 1500+30*17 || len(at) > 1500+30*20+1 {
		t.Errorf("%d flows in 20 s", len(at))
	}
	if at[1499] != 2*time.Second {
		t.Errorf("1,500 flows after %v", at[1499])
	}
	for i := 500; i < len(at); i++ {
		if gap := at[i] - at[i-500]; gap < time.Second {
			t.Fatalf("flow %d is %v after the 500th before it", i, gap)
		}
	}
}

// The count of an address is never too low over any ten minutes, and a refused
// packet is not counted.
func TestBudgetAddress(t *testing.T) {
	for trust, most := range map[Trust]int{Stranger: 3, Remembered: 240, Attested: 3000} {
		b := NewBudget(epoch)
		rng := rand.New(rand.NewPCG(1, uint64(trust)))
		var at []time.Duration
		now := epoch
		for len(at) < 4*most {
			now = now.Add(time.Duration(rng.Int64N(int64(2 * packetsWindow / time.Duration(3*most)))))
			if why, _ := b.take(now, ask{to: netip.AddrPortFrom(octets(9, 9, 9, 9), 7), trust: trust}); why == NotRefused {
				at = append(at, now.Sub(epoch))
			} else if why != AddressSpent {
				t.Fatal(why)
			}
		}
		for i := most; i < len(at); i++ {
			if gap := at[i] - at[i-most]; gap < packetsWindow {
				t.Fatalf("%v: packet %d only %v after the %dth before it", trust, i, gap, most)
			}
		}
		if last := at[len(at)-1]; last > 4*packetsWindow+2*packetsWindow/windowParts*4 {
			t.Errorf("%v: %d packets took %v", trust, len(at), last)
		}
		if u := b.Use(); u.Packets != uint64(len(at)) || u.Refused[AddressSpent] == 0 {
			t.Errorf("use %+v after %d packets", u, len(at))
		}
	}
}

func TestBudgetManyAddresses(t *testing.T) {
	b := NewBudget(epoch)
	for trust, most := range []int{Stranger: maxStrangers, Remembered: maxAddresses, Attested: maxAddresses} {
		for i := range 2 * maxAddresses {
			b.take(epoch, ask{to: netip.AddrPortFrom(octets(9, byte(trust), byte(i>>8), byte(i)), 7), trust: Trust(trust)})
		}
		if len(b.addrs) != most || len(b.ends) > maxStrangers {
			t.Errorf("%v: %d addresses, %d with ports", Trust(trust), len(b.addrs), len(b.ends))
		}
	}
	if why, _ := b.take(epoch.Add(packetsWindow+2*time.Minute), ask{to: netip.AddrPortFrom(octets(9, 9, 9, 199), 7)}); why != NotRefused {
		t.Errorf("after the window: %v", why)
	}
}

// Mappings held, standing ones included, never exceed the share; each comes
// back when it ends.
func TestBudgetShare(t *testing.T) {
	b := NewBudget(epoch)
	rng := rand.New(rand.NewPCG(3, 3))
	now := epoch
	var ends []time.Time
	for range 5000 {
		now = now.Add(time.Duration(rng.Int64N(int64(60 * time.Millisecond))))
		life := time.Duration(1+rng.IntN(30)) * time.Second
		a := ask{to: netip.AddrPortFrom(octets(9, 9, 9, byte(rng.IntN(9))), 7), trust: Attested, rolling: true, mapping: life, live: 50, stand: 10}
		live, soonest := 0, time.Time{}
		for _, e := range ends {
			if e.After(now) {
				live++
				soonest = sooner(soonest, e)
			}
		}
		why, at := b.take(now, a)
		switch {
		case why == NotRefused && live >= 40:
			t.Fatalf("%d mappings and 10 standing ones, and one more", live)
		case why == ShareSpent && (live < 40 || !at.Equal(soonest)):
			t.Fatalf("refused with %d live until %v, the next ends %v", live, at.Sub(epoch), soonest.Sub(epoch))
		case why == NotRefused:
			ends = append(ends, now.Add(life))
		}
	}
	if u := b.Use(); u.MostLive != 40 || u.Refused[ShareSpent] == 0 {
		t.Errorf("use %+v", u)
	}
	if why, at := NewBudget(epoch).take(epoch, ask{mapping: time.Second, live: 5, stand: 5, to: netip.AddrPortFrom(octets(1, 1, 1, 1), 7)}); why != ShareSpent || !at.IsZero() {
		t.Errorf("standing links alone: %v until %v", why, at)
	}
}

// A rolling search may send 30 packets a second, and does not use up the
// address's other budget.
func TestBudgetRolling(t *testing.T) {
	b := NewBudget(epoch)
	n := 0
	for i := range 10_000 {
		now := epoch.Add(time.Duration(i) * time.Millisecond)
		if why, _ := b.take(now, ask{to: netip.AddrPortFrom(octets(9, 9, 9, 9), 7), trust: Attested, rolling: true}); why == NotRefused {
			n++
		}
	}
	if n != 300 {
		t.Errorf("%d packets in 10 s", n)
	}
	if why, _ := b.take(epoch.Add(11*time.Second), ask{to: netip.AddrPortFrom(octets(9, 9, 9, 9), 7)}); why != NotRefused {
		t.Errorf("an answer is refused: %v", why)
	}
}

func TestBudgetAllocates(t *testing.T) {
	b := NewBudget(epoch)
	now := epoch
	a := ask{to: netip.AddrPortFrom(octets(9, 9, 9, 9), 7), trust: Attested, flow: true, mapping: time.Second, live: 100}
	if n := testing.AllocsPerRun(2000, func() { now = now.Add(5 * time.Millisecond); b.take(now, a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// An address that peers merely name gets three packets to each port and two
// dozen in all, a path set's and punches' together; a punch adds nothing where
// three went there already.
func TestBudgetStrangers(t *testing.T) {
	b := NewBudget(epoch)
	take := func(port uint16, paths bool) bool {
		why, _ := b.take(epoch, ask{to: netip.AddrPortFrom(octets(9, 9, 9, 9), port), paths: paths})
		return why == NotRefused
	}
	for i := range 2 {
		if !take(1000, false) {
			t.Fatalf("punch, packet %d", i)
		}
	}
	if !take(1000, true) {
		t.Error("the third, a path set's, is refused")
	}
	if take(1000, true) || take(1000, false) || take(1001, false) {
		t.Error("a fourth")
	}
	total := 3
	for port := range uint16(30) {
		for range 5 {
			if take(2000+port, true) {
				total++
			}
		}
	}
	if total != packetsHost {
		t.Errorf("%d packets to one address", total)
	}
	// Who answers with a key is no victim; the others there still may be.
	b.answered(epoch.Add(time.Minute), netip.AddrPortFrom(octets(9, 9, 9, 9), 1000))
	again := 0
	for range 5 {
		if take(1000, true) {
			again++
		}
	}
	if again != packetsStranger || take(2000, true) {
		t.Errorf("%d packets after an answer", again)
	}
}
