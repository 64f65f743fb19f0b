// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// crowd runs 60 hosts, half of them behind boxes, that chatter over bad links
// for three seconds while the network changes, and returns the trace's hash
// and length.
func crowd(seed uint64) (sum uint64, lines int) {
	w := NewWorld(seed, epoch)
	trace, digest := Digest()
	w.Trace(func(e TraceEvent) { lines++; trace(e) })
	rng := w.Rand()
	var hosts []*Host
	var boxes []*NAT
	var addrs []netip.AddrPort
	for i := range 60 {
		p := Profile{
			Delay: ms(float64(5 + rng.IntN(40))), Jitter: ms(5), Loss: 0.05, Burst: float64(rng.IntN(4)),
			Duplicate: 0.02, Reorder: 0.02, Rate: 1_000_000,
		}
		n := &probe{tick: ms(float64(10 + rng.IntN(30))), left: 200, next: epoch.Add(ms(float64(rng.IntN(50))))}
		name := fmt.Sprintf("h%d", i)
		ip := netip.AddrFrom4([4]byte{45, 0, 1, byte(i)})
		var h *Host
		if i%2 == 0 {
			h = w.Host(name, p, ip)
		} else {
			box := w.NAT("box of "+name, Profile{Delay: ms(1)}, NATConfig{
				Pool: []netip.Addr{ip}, Mapping: Behaviour(i % 3), Filtering: Behaviour(i / 3 % 3),
				Ports: PortRule(i % 4), Unreplied: ms(500), Replied: ms(900), Hairpin: true,
			})
			h = box.Host(name, p, addr("192.168.0.1"))
			boxes = append(boxes, box)
		}
		a := h.Attach(0, n)
		hosts = append(hosts, h)
		addrs = append(addrs, netip.AddrPortFrom(ip, a.Port()))
		n.peer = addrs[rng.IntN(len(addrs))]
	}
	for i := range 20 {
		w.At(epoch.Add(ms(float64(100*i))), func() {
			switch i % 4 {
			case 0:
				hosts[i].Cut(true)
			case 1:
				boxes[i].Reboot()
			case 2:
				hosts[i].SetProfile(Profile{Delay: ms(3), Loss: 0.2})
			case 3:
				hosts[i-3].Cut(false)
			}
		})
	}
	w.Run(epoch.Add(3 * time.Second))
	return digest(), lines
}

func TestSameSeedSameTrace(t *testing.T) {
	sums := map[uint64]uint64{}
	for seed := range uint64(4) {
		first, lines := crowd(seed)
		if lines < 5000 {
			t.Fatalf("seed %d: %d lines of trace", seed, lines)
		}
		for range 2 {
			if again, n := crowd(seed); again != first || n != lines {
				t.Fatalf("seed %d gives %x (%d lines), then %x (%d)", seed, first, lines, again, n)
			}
		}
		if other, ok := sums[first]; ok {
			t.Fatalf("seeds %d and %d give the same trace", seed, other)
		}
		sums[first] = seed
	}
}
