// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// boxKind is a row of the table: boxes of one kind, with everything else drawn.
type boxKind struct {
	name string
	make func(*rand.Rand) (labConfig, want)
}

// want is the truth about a lab.
type want struct {
	Behaviour
	size int // of the block; 0 = not checked
}

var pool = []netip.Addr{publicAddr, netip.MustParseAddr("198.51.100.78"), netip.MustParseAddr("198.51.100.79")}

var ports = []simnet.PortRule{simnet.Preserve, simnet.Sequential, simnet.Random, simnet.Block}

// drawBox draws a box of the given behaviours.
func drawBox(rng *rand.Rand, m, f simnet.Behaviour, rule simnet.PortRule) (simnet.NATConfig, want) {
	c := simnet.NATConfig{
		Pool: pool[:1], Mapping: m, Filtering: f, Ports: rule,
		Hairpin: rng.IntN(2) == 0,
		Quota:   []int{0, 0, 128}[rng.IntN(3)],
	}
	if rng.IntN(4) == 0 {
		c.Pool = pool
		c.Arbitrary = rng.IntN(2) == 0
	}
	var b want
	b.Mapping, b.Filtering = EndpointIndependent+Dependence(m), EndpointIndependent+Dependence(f)
	switch rule {
	case simnet.Preserve:
		b.Ports = Preserved
	case simnet.Sequential:
		b.Ports = Sequential
		c.Step = []int{1, 1, 1, 2, 4}[rng.IntN(5)]
		b.Step = c.Step
	case simnet.Random:
		b.Ports = RandomPorts
		if rng.IntN(3) == 0 { // a range for the whole box
			size := 300 + rng.IntN(3000)
			low := 1024 + rng.IntN(60000-size)
			c.Block = [2]uint16{uint16(low), uint16(low + size - 1)}
			b.Ports, b.Block, b.size, b.Chosen = BlockPorts, c.Block, size, No
		}
	case simnet.Block:
		b.Ports = BlockPorts
		c.BlockSize = []int{256, 512, 1024, 2048}[rng.IntN(4)]
		b.size, b.Chosen = c.BlockSize, No
		c.Arbitrary = false
	}
	b.Arbitrary = No
	if c.Arbitrary {
		b.Arbitrary = Yes
	}
	b.Hairpin = No
	if c.Hairpin {
		b.Hairpin = Yes
	}
	b.IPv6 = NoIPv6
	return c, b
}

func draw[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }

// noisyLink draws the subject's link.
func noisyLink(rng *rand.Rand) simnet.Profile {
	return simnet.Profile{
		Delay: time.Duration(1+rng.IntN(40)) * ms, Jitter: time.Duration(rng.IntN(8)) * ms,
		Loss: draw(rng, 0, 0.005, 0.02), Reorder: draw(rng, 0, 0, 0.01),
	}
}

func someLab(rng *rand.Rand, c simnet.NATConfig) labConfig {
	return labConfig{seed: rng.Uint64(), box: &c, peers: 3 + rng.IntN(4), seconds: 1 + rng.IntN(2), link: noisyLink(rng), foreign: draw(rng, 0.0, 5, 20)}
}

// boxKinds returns the rows of the table.
func boxKinds() []boxKind {
	var list []boxKind
	for m := simnet.EndpointIndependent; m <= simnet.AddressAndPortDependent; m++ {
		for f := simnet.EndpointIndependent; f <= simnet.AddressAndPortDependent; f++ {
			for _, p := range ports {
				list = append(list, boxKind{fmt.Sprintf("m%d/f%d/%v", m, f, p), func(rng *rand.Rand) (labConfig, want) {
					c, b := drawBox(rng, m, f, p)
					return someLab(rng, c), b
				}})
			}
		}
	}
	list = append(list,
		boxKind{"range/chosen", func(rng *rand.Rand) (labConfig, want) {
			c, b := drawBox(rng, draw(rng, simnet.EndpointIndependent, simnet.AddressAndPortDependent), simnet.AddressAndPortDependent, simnet.Preserve)
			size := 240 + rng.IntN(800)
			low := 2000 + rng.IntN(28000-size)
			c.Block, c.Pool, c.Arbitrary = [2]uint16{uint16(low), uint16(low + size - 1)}, pool[:1], false
			b.Ports, b.Block, b.size, b.Chosen, b.Arbitrary = BlockPorts, c.Block, size, Yes, No
			return someLab(rng, c), b
		}},
		boxKind{"two layers", func(rng *rand.Rand) (labConfig, want) {
			any := func() simnet.Behaviour { return simnet.Behaviour(rng.IntN(3)) }
			c, _ := drawBox(rng, simnet.EndpointIndependent, any(), simnet.Preserve)
			o, b := drawBox(rng, any(), any(), ports[rng.IntN(4)])
			c.Pool = []netip.Addr{middleAddr}
			c.Arbitrary = false
			b.Filtering = max(b.Filtering, EndpointIndependent+Dependence(c.Filtering))
			b.Carrier = Yes
			l := someLab(rng, c)
			l.outer, l.foreign = &o, 0
			return l, b
		}},
		boxKind{"no NAT", func(rng *rand.Rand) (labConfig, want) {
			l := labConfig{seed: rng.Uint64(), peers: 3 + rng.IntN(4), seconds: 1, link: noisyLink(rng), host: []netip.Addr{publicAddr}}
			return l, want{Behaviour: Behaviour{Mapping: NoNAT, Filtering: NoNAT, Ports: Preserved, IPv6: NoIPv6, Carrier: No}}
		}},
		boxKind{"firewall", func(rng *rand.Rand) (labConfig, want) {
			f := simnet.Behaviour(1 + rng.IntN(2))
			l := someLab(rng, simnet.NATConfig{Filtering: f})
			l.host, l.foreign = []netip.Addr{publicAddr}, 0
			return l, want{Behaviour: Behaviour{Mapping: NoNAT, Filtering: EndpointIndependent + Dependence(f), Ports: Preserved, IPv6: NoIPv6, Carrier: No}}
		}},
		boxKind{"IPv6 beside", func(rng *rand.Rand) (labConfig, want) {
			c, b := drawBox(rng, draw(rng, simnet.EndpointIndependent, simnet.AddressAndPortDependent), simnet.AddressAndPortDependent, ports[rng.IntN(3)])
			c.Open = rng.IntN(2) == 0
			b.IPv6 = FirewalledIPv6
			if c.Open {
				b.IPv6 = OpenIPv6
			}
			l := someLab(rng, c)
			l.host, l.peers6 = []netip.Addr{insideAddr, publicSix}, 3
			return l, b
		}},
		boxKind{"IPv6 alone", func(rng *rand.Rand) (labConfig, want) {
			c := simnet.NATConfig{Filtering: simnet.AddressAndPortDependent, Open: rng.IntN(2) == 0}
			b := want{Behaviour: Behaviour{Mapping: NoNAT, Filtering: AddressAndPortDependent, Ports: Preserved, IPv6: FirewalledIPv6, Carrier: No}}
			if c.Open {
				b.Filtering, b.IPv6 = NoNAT, OpenIPv6
			}
			l := someLab(rng, c)
			l.host, l.peers, l.peers6, l.foreign, l.seconds = []netip.Addr{publicSix}, 0, 3, 0, 1
			return l, b
		}},
		boxKind{"UDP blocked", func(rng *rand.Rand) (labConfig, want) {
			l := labConfig{seed: rng.Uint64(), peers: 5, seconds: 1, link: simnet.Profile{Loss: 1}}
			return l, want{Behaviour: Behaviour{Mapping: UDPBlocked, Filtering: UDPBlocked, IPv6: NoIPv6}}
		}},
	)
	return list
}

// wrong says what of a verdict is not the truth; hairpin, carrier and what
// else can't always be seen may be unknown.
func (w want) wrong(b Behaviour) string {
	maybe := func(a, b Tri) bool { return a == b || a == Unknown || b == Unknown }
	switch {
	case b.Mapping != w.Mapping:
		return fmt.Sprintf("mapping %v", b.Mapping)
	case b.Filtering != w.Filtering:
		return fmt.Sprintf("filtering %v", b.Filtering)
	case b.Ports != w.Ports:
		return fmt.Sprintf("ports %v %d %v", b.Ports, b.Step, b.Block)
	case b.Step != w.Step:
		return fmt.Sprintf("step %d", b.Step)
	case w.size > 0 && !w.holds(b.Block):
		return fmt.Sprintf("block %v", b.Block)
	case !maybe(b.Arbitrary, w.Arbitrary):
		return fmt.Sprintf("arbitrary %d", b.Arbitrary)
	case !maybe(b.Hairpin, w.Hairpin):
		return fmt.Sprintf("hairpin %d", b.Hairpin)
	case !maybe(b.Carrier, w.Carrier):
		return fmt.Sprintf("carrier %d", b.Carrier)
	case w.Chosen == Yes && b.Chosen == Unknown:
		return "chosen unknown"
	case !maybe(b.Chosen, w.Chosen):
		return fmt.Sprintf("chosen %d", b.Chosen)
	case b.IPv6 != w.IPv6:
		return fmt.Sprintf("IPv6 %v", b.IPv6)
	}
	return ""
}

// holds reports whether a block is good to search in: it has three quarters of
// the real one, and is at most half as large again.
func (w want) holds(b [2]uint16) bool {
	size := int(b[1]) - int(b[0]) + 1
	covered := size
	if w.Block != [2]uint16{} {
		covered = int(min(b[1], w.Block[1])) - int(max(b[0], w.Block[0])) + 1
	}
	return 4*min(covered, w.size) >= 3*w.size && 2*size <= 3*w.size
}

// run classifies in one lab and returns what was found within three seconds.
func (k boxKind) run(t testing.TB, seed uint64) (s *subject, w want) {
	rng := rand.New(rand.NewPCG(seed, 7))
	o, w := k.make(rng)
	o.options.NoLifetimes = true
	l := newLab(t, o)
	if o.outer != nil && rng.IntN(2) == 0 {
		l.s.c.SetGateway(epoch, middleAddr)
	}
	l.run(3 * time.Second)
	return l.s, w
}

func TestClassify(t *testing.T) {
	// One of 25 may be wrong; 1,000 show whether one in a hundred is.
	seeds, most := 25, 2
	switch {
	case os.Getenv("P2POS_LONG") != "":
		seeds, most = 1000, 10
	case testing.Short() || raceOn:
		seeds = 8
	}
	for _, k := range boxKinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			bad := 0
			for seed := range uint64(seeds) {
				s, w := k.run(t, seed)
				b, why := s.c.Behaviour(), w.wrong(s.c.Behaviour())
				if n := s.c.Probes(); n > maxProbes {
					t.Errorf("seed %d: %d probes", seed, n)
				}
				if why == "" {
					continue
				}
				bad++
				t.Logf("seed %d: %s, confidence %.2f, %d probes\nwant %+v\ngot  %+v\n%q", seed, why, b.Confidence, s.c.Probes(), w, b, s.c.Evidence())
				if b.Confidence >= 0.9 && !strings.HasSuffix(why, "unknown") {
					t.Errorf("seed %d: wrong with confidence %.2f: %s", seed, b.Confidence, why)
				}
			}
			if bad > most {
				t.Errorf("%d of %d wrong", bad, seeds)
			}
		})
	}
}

// BenchmarkClassify prints a table: for each kind of box, with the rest drawn
// and up to 2 % of packets lost, the share of 1,000 that is told right within
// 3 s, the median and 95th percentile of the first verdict, and what it cost.
func BenchmarkClassify(b *testing.B) {
	for _, k := range boxKinds() {
		b.Run(k.name, func(b *testing.B) {
			const seeds = 1000
			var right, wrong, probes, most, sockets int
			var at []time.Duration
			for i := 0; b.Loop(); i++ {
				right, wrong, probes, most, sockets, at = 0, 0, 0, 0, 0, nil
				for seed := range uint64(seeds) {
					s, w := k.run(b, seed+uint64(i)*seeds)
					v := s.c.Behaviour()
					switch why := w.wrong(v); {
					case why == "":
						right++
					case v.Confidence >= 0.9 && !strings.HasSuffix(why, "unknown"):
						wrong++
					}
					probes += s.c.Probes()
					most, sockets = max(most, s.c.Probes()), max(sockets, s.sockets)
					if len(s.told) > 0 {
						at = append(at, s.first)
					}
				}
			}
			slices.Sort(at)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(100*float64(right)/seeds, "right-%")
			b.ReportMetric(float64(wrong), "wrong-sure")
			b.ReportMetric(float64(at[len(at)/2].Milliseconds()), "p50-ms")
			b.ReportMetric(float64(at[len(at)*95/100].Milliseconds()), "p95-ms")
			b.ReportMetric(float64(probes)/seeds, "probes")
			b.ReportMetric(float64(most), "probes-most")
			b.ReportMetric(float64(sockets), "sockets")
		})
	}
}
