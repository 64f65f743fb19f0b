// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// punchRow is a row of the table of methods, with what is promised for it.
type punchRow struct {
	name    string
	sites   [2]punchSite
	o       PlanOptions
	method  Method
	within  time.Duration
	share   float64       // of punches that succeed within
	half    time.Duration // the median's bound; 0 = none
	p95     time.Duration // likewise
	maps    int           // mappings that either side may make; 0 = not looked at
	rolling bool
}

const (
	simEIM  = simnet.EndpointIndependent
	simADM  = simnet.AddressDependent
	simAPDM = simnet.AddressAndPortDependent
)

// site makes a punchSite whose behaviour is the box's.
func site(mapping, filtering simnet.Behaviour, rule simnet.PortRule, block ...uint16) punchSite {
	words := [...]Dependence{EndpointIndependent, AddressDependent, AddressAndPortDependent}
	s := punchSite{
		nat: simnet.NATConfig{Mapping: mapping, Filtering: filtering, Ports: rule},
		b:   Behaviour{Mapping: words[mapping], Filtering: words[filtering], Unreplied: 30 * time.Second, Confidence: 1},
	}
	s.b.Ports = [...]PortRule{Preserved, Sequential, RandomPorts, BlockPorts}[rule]
	if len(block) == 2 {
		s.nat.Block = [2]uint16(block)
		s.b.Block, s.b.Ports = s.nat.Block, BlockPorts
	}
	switch rule {
	case simnet.Sequential:
		s.b.Ports, s.b.Step = Sequential, 1
	case simnet.Preserve:
		if len(block) == 2 && mapping != simEIM {
			s.b.Chosen = Yes
		}
	}
	return s
}

func noisy(s punchSite, rate float64) punchSite { s.noise = rate; return s }

func public() punchSite {
	return punchSite{public: true, b: Behaviour{Mapping: NoNAT, Filtering: NoNAT, Confidence: 1}}
}

// punchRows is the table of design §5 but for what needs no port to be found.
func punchRows() []punchRow {
	friend := PlanOptions{Friendly: true}
	half := PlanOptions{Friendly: true, Share: 0.5, Standing: 2}
	quarter := PlanOptions{Friendly: true, Standing: 2} // to the introducer, and of the path set
	eim := site(simEIM, simAPDM, simnet.Random)
	eimKept := site(simEIM, simAPDM, simnet.Preserve)
	full := site(simAPDM, simAPDM, simnet.Random)
	block := func(n uint16) punchSite { return site(simAPDM, simAPDM, simnet.Random, 20000, 20000+n-1) }
	count := site(simAPDM, simAPDM, simnet.Sequential)
	kept := site(simAPDM, simAPDM, simnet.Preserve, 20000, 20511)
	adm := func(n uint16, f simnet.Behaviour) punchSite {
		return site(simADM, f, simnet.Random, 20000, 20000+n-1)
	}
	low := friend
	low.LowTTL = true
	const s, ms = time.Second, time.Millisecond
	pair := func(a, b punchSite) [2]punchSite { return [2]punchSite{a, b} }
	return []punchRow{
		{name: "EIM × public", sites: pair(eim, public()), method: Straight, within: s, share: .995, p95: 80 * ms},
		{name: "symmetric × public", sites: pair(full, public()), method: Straight, within: s, share: .995, p95: 80 * ms},
		{name: "EIM × EIM", sites: pair(eim, eim), method: Simultaneous, within: s, share: .995, p95: 280 * ms},
		{name: "EIM × EIM, held back", sites: pair(eimKept, eimKept), o: low, method: Simultaneous, within: s, share: .995, p95: 280 * ms},
		{name: "symmetric × EIM, EIF", sites: pair(full, site(simEIM, simEIM, simnet.Random)), method: JustSend, within: s, share: .99},
		{name: "EIM, ADF × symmetric", sites: pair(site(simEIM, simADM, simnet.Random), full), method: JustSend, within: s, share: .99},
		{name: "EIM × symmetric", sites: pair(eim, full), o: friend, method: Search, within: 3 * s, share: .99, maps: 256},
		{name: "symmetric × EIM", sites: pair(full, eimKept), o: low, method: Search, within: 3 * s, share: .99, maps: 256},
		{name: "EIM × block 2048", sites: pair(eim, block(2048)), o: friend, method: Search, within: s, share: .99, maps: 32},
		{name: "EIM × block 512", sites: pair(eim, block(512)), o: friend, method: Search, within: s, share: .99, maps: 32},
		{name: "EIM × block 240", sites: pair(eim, block(240)), o: friend, method: Search, within: s, share: .99, maps: 32},
		{name: "EIM × counter", sites: pair(eim, noisy(count, 20)), o: friend, method: Search, within: s, share: .99, maps: 32},
		{name: "EIM × ADM 512", sites: pair(eim, adm(512, simAPDM)), o: friend, method: Search, within: s, share: .99, maps: 32},
		{name: "ADM × ADM, 512", sites: pair(adm(512, simAPDM), adm(512, simAPDM)), o: friend, method: Sweep, within: 2500 * ms, share: .99, maps: 4},
		{name: "ADM × ADM with ADF", sites: pair(adm(512, simAPDM), adm(512, simADM)), o: friend, method: Search, within: 2500 * ms, share: .99, maps: 128},
		{name: "counter × counter", sites: pair(noisy(count, 20), noisy(count, 20)), o: friend, method: AimAhead, within: s, share: .9, maps: 128},
		{name: "chosen × EIM", sites: pair(kept, eim), o: friend, method: ChosenPort, within: s, share: .99, maps: 4},
		{name: "chosen × chosen", sites: pair(kept, kept), o: friend, method: ChosenPort, within: s, share: .99, maps: 4},
		{name: "block × block, 25 %", sites: pair(block(512), block(512)), o: quarter, method: Cross, within: 13 * time.Minute, share: .95, half: 3 * time.Minute, rolling: true},
		{name: "block × block, 1800", sites: pair(block(1800), block(1800)), o: quarter, method: Cross, within: 13 * time.Minute, share: .95, half: 3 * time.Minute, rolling: true},
		{name: "block × block, 50 %", sites: pair(block(512), block(512)), o: half, method: Cross, within: 4 * time.Minute, share: .95, half: time.Minute, rolling: true},
		{name: "block × ADM block", sites: pair(block(512), adm(512, simAPDM)), o: quarter, method: Cross, within: 13 * time.Minute, share: .95, half: 3 * time.Minute, rolling: true},
	}
}

// mappingRound is the time that the meetings of a rolling search come in: all
// mappings of a round are replaced when it ends. Three minutes is six of them, and
// the median is where one begins.
const mappingRound = 6 * time.Second

// punchResult sums up the punches of a row.
type punchResult struct {
	tried, won    int
	times         []time.Duration // of those that succeeded
	maps, probes  int             // most of one side
	meanMaps      float64
	meanProbes    float64
	mostLiveShare float64 // of a block, standing mappings included
}

func (r *punchRow) punch(t testing.TB, seeds, from uint64, loss float64) punchResult {
	var res punchResult
	for seed := from; seed < from+seeds; seed++ {
		p := newPunchWorld(t, seed, r.sites, loss, [2]PlanOptions{r.o, r.o}, Attested)
		d, ok := p.run(r.within)
		if m, k := p.a.punch.c.Plan.Method, p.b.punch.c.Plan.Method; m != r.method || k != r.method {
			t.Fatalf("%s: planned %v and %v, want %v", r.name, m, k, r.method)
		}
		res.tried++
		if ok {
			res.won++
			res.times = append(res.times, d)
		}
		for i, n := range []*puncherNode{p.a, p.b} {
			maps := int(n.budget.Use().Mappings)
			res.maps, res.meanMaps = max(res.maps, maps), res.meanMaps+float64(maps)
			res.probes, res.meanProbes = max(res.probes, n.sent), res.meanProbes+float64(n.sent)
			if size := sideOf(r.sites[i].b, false).ports.Size(); size < 10000 {
				live := float64(max(n.budget.Use().MostLive+r.o.Standing, p.inBox[i])) / float64(size)
				res.mostLiveShare = max(res.mostLiveShare, live)
			}
			for to := range n.shots {
				if to.Addr() != p.seen[1-i].Addr() {
					t.Fatalf("%s, seed %d: shot at %v, the peer is %v", r.name, seed, to, p.seen[1-i])
				}
			}
		}
	}
	slices.Sort(res.times)
	res.meanMaps /= float64(2 * res.tried)
	res.meanProbes /= float64(2 * res.tried)
	return res
}

// at returns the time by which a share of all punches had succeeded; an hour
// when they didn't.
func (r *punchResult) at(share float64) time.Duration {
	if i := int(share * float64(r.tried)); i < len(r.times) {
		return r.times[i]
	}
	return time.Hour
}

// TestPunchRows holds each row of the table to its promise, within what the
// number of seeds can tell.
func TestPunchRows(t *testing.T) {
	for _, r := range punchRows() {
		t.Run(r.name, func(t *testing.T) {
			seeds := uint64(60)
			if r.rolling {
				seeds = 12
			}
			switch {
			case os.Getenv("P2POS_LONG") != "" && raceOn:
				seeds = 300
			case os.Getenv("P2POS_LONG") != "":
				seeds = 1000
			case raceOn || testing.Short():
				seeds /= 2
			}
			res := r.punch(t, seeds, 1, 0)
			// Three standard deviations below the promise.
			miss := 1 - r.share
			if lost := res.tried - res.won; float64(lost) > miss*float64(seeds)+3*math.Sqrt(miss*float64(seeds))+0.5 {
				t.Errorf("%d of %d failed within %v", lost, res.tried, r.within)
			}
			if r.half > 0 && seeds >= 300 && res.at(.5) > r.half+mappingRound {
				t.Errorf("p50 %v, want %v", res.at(.5), r.half)
			}
			if r.p95 > 0 && res.at(.95) > r.p95 {
				t.Errorf("p95 %v, want %v", res.at(.95), r.p95)
			}
			if r.maps > 0 && res.maps > r.maps {
				t.Errorf("%d mappings, want at most %d", res.maps, r.maps)
			}
			share := r.o.Share
			if share == 0 {
				share = defaultShare
			}
			if res.mostLiveShare > share {
				t.Errorf("%.3f of a block in use, lent %.3f", res.mostLiveShare, share)
			}
			if res.probes > 1500 && !r.rolling {
				t.Errorf("%d packets", res.probes)
			}
			t.Logf("%3d/%d  p50 %v  p95 %v  maps %.0f (%d)  probes %.0f (%d)", res.won, res.tried,
				res.at(.5).Round(time.Millisecond), res.at(.95).Round(time.Millisecond), res.meanMaps, res.maps, res.meanProbes, res.probes)
		})
	}
}

// Lost packets cost time, not the punch: every shot that matters is repeated.
func TestPunchLossy(t *testing.T) {
	for _, r := range punchRows() {
		if r.rolling {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			r.within = 4 * time.Second
			res := r.punch(t, 30, 1, 0.05)
			if res.won < res.tried-2 {
				t.Errorf("%d of %d at 5 %% loss each way", res.won, res.tried)
			}
			if res.probes > packetsAttested {
				t.Errorf("%d packets", res.probes)
			}
		})
	}
}
