// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/p2pos/p2pos/overlay/mesh"
)

// kind is what stands between a node and the Internet.
type kind uint8

const (
	public  kind = iota
	easy         // endpoint-independent mapping
	hard         // endpoint-dependent mapping
	carrier      // a carrier's NAT; counts as hard, which is pessimistic
	kinds
)

func (k kind) String() string { return [...]string{"public", "EIM", "EDM", "CGN"}[k] }

func (k kind) class() mesh.Class {
	return [...]mesh.Class{mesh.Open, mesh.Easy, mesh.Hard, mesh.Hard}[k]
}

// mix is the share of each kind.
type mix [kinds]float64

func (m mix) kind(rng *rand.Rand) kind {
	u := rng.Float64()
	for k, share := range m {
		if u -= share; u < 0 {
			return kind(k)
		}
	}
	return carrier
}

func (m mix) String() string {
	s := make([]string, len(m))
	for i, v := range m {
		s[i] = strconv.Itoa(int(math.Round(100 * v)))
	}
	return strings.Join(s, "/")
}

// parseMix reads percentages: public/EIM/EDM/CGN.
func parseMix(s string) (m mix, err error) {
	parts := strings.Split(s, "/")
	sum := 0.0
	if len(parts) != len(m) {
		return m, fmt.Errorf("mix %q has %d shares, not 4", s, len(parts))
	}
	for i, p := range parts {
		v, err := strconv.ParseFloat(p, 64)
		if err != nil || v < 0 {
			return m, fmt.Errorf("mix %q: %q is no share", s, p)
		}
		m[i] = v / 100
		sum += m[i]
	}
	if math.Abs(sum-1) > 1e-6 {
		return m, fmt.Errorf("mix %q adds up to %g", s, 100*sum)
	}
	return m, nil
}

// odds are the shares of pairs that can come to a direct link. Two hard nodes
// never do; which pairs do is fixed for a run.
type odds struct{ open, easy, mixed float64 }

// oddsOf names what is known of punching: "reference" from the simulation
// behind the design, "pessimistic" near the 70 % that libp2p measured in the
// wild, "lab" from this project's own punch benchmark.
func oddsOf(name string) (odds, error) {
	switch name {
	case "reference":
		return odds{0.99, 0.95, 0.70}, nil
	case "pessimistic":
		return odds{0.99, 0.75, 0.50}, nil
	case "lab":
		return odds{0.995, 0.995, 0.99}, nil
	}
	return odds{}, fmt.Errorf("unknown punching odds %q", name)
}

// punch is the fixed coin of a pair.
func (o odds) punch(a, b *site) bool {
	share := o.easy
	switch {
	case a.kind == public || b.kind == public:
		share = o.open
	case a.kind >= hard && b.kind >= hard:
		return false
	case a.kind >= hard || b.kind >= hard:
		share = o.mixed
	}
	x := mixBits(a.coin ^ b.coin)
	return float64(x>>11)/(1<<53) < share
}

// mixBits is the finalizer of MurmurHash3.
func mixBits(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// site is where a node is.
type site struct {
	kind   kind
	region uint8
	access time.Duration // of its line, one way
	addr   netip.AddrPort
	coin   uint64
}

const regions = 5

// inhabitants are the shares of the regions, added up.
func inhabitants() [regions]float64 { return [regions]float64{0.30, 0.60, 0.85, 0.93, 1} }

// trunk is the one-way time between regions in milliseconds, as in the
// simulation behind the design.
func trunk(a, b uint8) time.Duration {
	ms := [regions][regions]int{
		{12, 42, 75, 65, 85}, {42, 10, 85, 100, 60}, {75, 85, 25, 150, 70}, {65, 100, 150, 20, 140}, {85, 60, 70, 140, 25},
	}
	return time.Duration(ms[a][b]) * time.Millisecond
}

// oneWay is the delay between two sites.
func oneWay(a, b *site) time.Duration { return trunk(a.region, b.region) + a.access + b.access }

const (
	// accessMedian and accessSpread: lines are log-normal around 6 ms one way,
	// up to accessMost.
	accessMedian = 6 * time.Millisecond
	accessSpread = 0.7
	accessMost   = 80 * time.Millisecond
	// perCarrierPrefix is how many nodes share a carrier's /24.
	perCarrierPrefix = 5
)

// newSite draws a site; n is how many nodes the world is made for.
func newSite(rng *rand.Rand, m mix, n int) site {
	s := site{
		kind: m.kind(rng), coin: rng.Uint64(),
		access: min(accessMost, time.Duration(float64(accessMedian)*math.Exp(accessSpread*rng.NormFloat64()))),
	}
	shares := inhabitants()
	for u := rng.Float64(); u > shares[s.region]; {
		s.region++
	}
	x := rng.Uint32N(1 << 21) // some two million /24s
	if s.kind == carrier {
		pools := uint32(max(8, float64(n)*m[carrier]/perCarrierPrefix))
		x = 1<<21 + uint32(mixBits(uint64(rng.Uint32N(pools)))%(1<<20))
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 16<<24+x<<8+1+rng.Uint32N(254))
	s.addr = netip.AddrPortFrom(netip.AddrFrom4(a), uint16(1024+rng.Uint32N(60000)))
	return s
}
