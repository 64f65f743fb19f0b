// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// pointAt is a peer in network net that saw our socket as main, and as second
// from its second port ("" = did not).
func pointAt(net int, host byte, main, second string) *point {
	p := &point{}
	p.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(net), 1, host}), uint16(4000+int(host)))
	p.prefix = prefixOf(p.Addr.Addr())
	parse := func(s string) sight {
		if s == "" {
			return sight{}
		}
		return sight{seen: netip.MustParseAddrPort("198.51.100.7:" + s), port: 5000, at: epoch}
	}
	p.main, p.second = parse(main), parse(second)
	if second != "" {
		p.Second = 4999
	}
	return p
}

func TestMappingOf(t *testing.T) {
	mine := []netip.Addr{netip.MustParseAddr("198.51.100.7")}
	twin := pointAt(1, 2, "8", "")
	twin.Addr = netip.AddrPortFrom(netip.MustParseAddr("20.1.1.1"), 9)
	for _, c := range []struct {
		name   string
		points []*point
		hosts  []netip.Addr
		want   Dependence
		sure   bool // 0.9 or more
	}{
		{"nobody", nil, nil, UnknownDependence, false},
		{"one", []*point{pointAt(1, 1, "7", "")}, nil, UnknownDependence, false},
		{"one with two ports, a hint", []*point{pointAt(1, 1, "7", "8")}, nil, AddressAndPortDependent, false},
		{"one with two ports that see the same", []*point{pointAt(1, 1, "7", "7")}, nil, UnknownDependence, false},
		{"two agree", []*point{pointAt(1, 1, "7", ""), pointAt(2, 1, "7", "")}, nil, EndpointIndependent, false},
		{"three agree", []*point{pointAt(1, 1, "7", ""), pointAt(2, 1, "7", ""), pointAt(3, 1, "7", "")}, nil, EndpointIndependent, true},
		{"three of one network, a hint", []*point{pointAt(1, 1, "7", ""), pointAt(1, 2, "7", ""), pointAt(1, 3, "7", "")}, nil, EndpointIndependent, false},
		{"two of one network differ, a hint", []*point{pointAt(1, 1, "7", ""), pointAt(1, 2, "8", "")}, nil, AddressAndPortDependent, false},
		{"two of three", []*point{pointAt(1, 1, "7", ""), pointAt(2, 1, "7", ""), pointAt(3, 1, "9", "")}, nil, EndpointIndependent, false},
		{"four of five", []*point{pointAt(1, 1, "7", ""), pointAt(2, 1, "7", ""), pointAt(3, 1, "9", ""), pointAt(4, 1, "7", ""), pointAt(5, 1, "7", "")}, nil, EndpointIndependent, true},
		{"our own address", []*point{pointAt(1, 1, "5000", ""), pointAt(2, 1, "5000", ""), pointAt(3, 1, "5000", "")}, mine, NoNAT, true},
		{"our own address, another port", []*point{pointAt(1, 1, "7", ""), pointAt(2, 1, "7", ""), pointAt(3, 1, "7", "")}, mine, EndpointIndependent, true},
		{"all differ", []*point{pointAt(1, 1, "7", ""), pointAt(2, 1, "8", ""), pointAt(3, 1, "9", "")}, nil, AddressAndPortDependent, false},
		{"all differ, ports too", []*point{pointAt(1, 1, "7", "17"), pointAt(2, 1, "8", ""), pointAt(3, 1, "9", "")}, nil, AddressAndPortDependent, false},
		{"all differ, ports too, twice", []*point{pointAt(1, 1, "7", "17"), pointAt(2, 1, "8", "18"), pointAt(3, 1, "9", "")}, nil, AddressAndPortDependent, true},
		{"ports don't matter", []*point{pointAt(1, 1, "7", "7"), pointAt(2, 1, "8", ""), pointAt(3, 1, "9", "")}, nil, AddressDependent, false},
		{"ports don't matter, twice", []*point{pointAt(1, 1, "7", "7"), pointAt(2, 1, "8", "8"), pointAt(3, 1, "9", "")}, nil, AddressDependent, true},
		{"one network with ports twice", []*point{pointAt(1, 1, "7", "17"), pointAt(1, 2, "6", "16"), pointAt(2, 1, "8", ""), pointAt(3, 1, "9", "")}, nil, AddressAndPortDependent, false},
		{"two peers at one address", []*point{pointAt(1, 1, "8", ""), twin, pointAt(2, 1, "3", ""), pointAt(3, 1, "9", "")}, nil, AddressDependent, false},
	} {
		f := mappingOf(c.points, c.hosts, false, epoch)
		if f.kind != c.want || f.confidence >= 0.9 != c.sure {
			t.Errorf("%s: %v at %.2f (%s)", c.name, f.kind, f.confidence, f.why)
		}
		if late := mappingOf(c.points, c.hosts, false, epoch.Add(freshFor)); late.kind != UnknownDependence {
			t.Errorf("%s: %v from stale sightings", c.name, late.kind)
		}
	}
}

func TestFilterOf(t *testing.T) {
	tried := func(net int, peer, port outcome) *trial {
		return &trial{point: pointAt(net, 1, "", ""), fromPeer: peer, fromPort: port}
	}
	for _, c := range []struct {
		name   string
		trials []*trial
		want   Dependence
		sure   bool
	}{
		{"nothing tried", []*trial{tried(1, untested, untested)}, UnknownDependence, false},
		{"one stranger got in", []*trial{tried(1, missed, missed), tried(2, missed, missed), tried(3, came, missed)}, EndpointIndependent, true},
		{"second ports alone say nothing", []*trial{tried(1, untested, missed)}, UnknownDependence, false},
		{"a second port got in", []*trial{tried(1, missed, came), tried(2, missed, untested), tried(3, missed, missed)}, AddressDependent, true},
		{"on one word", []*trial{tried(1, missed, came)}, AddressDependent, false},
		{"nothing got in, one second port", []*trial{tried(1, missed, missed), tried(2, missed, untested), tried(3, missed, untested)}, AddressAndPortDependent, false},
		{"nothing got in, two", []*trial{tried(1, missed, missed), tried(2, missed, missed), tried(3, missed, untested)}, AddressAndPortDependent, true},
		{"nothing got in, no second port", []*trial{tried(1, missed, untested), tried(2, missed, untested), tried(3, missed, untested)}, AddressAndPortDependent, false},
		{"one network thrice", []*trial{tried(1, missed, came), tried(1, missed, untested), tried(1, missed, missed)}, AddressDependent, false},
	} {
		if f := filterOf(c.trials, false); f.kind != c.want || f.confidence >= 0.9 != c.sure {
			t.Errorf("%s: %v at %.2f (%s)", c.name, f.kind, f.confidence, f.why)
		}
		if f := filterOf(c.trials, true); f.kind != UnknownDependence {
			t.Errorf("%s: counts for the other family", c.name)
		}
	}
}

// samplesOf are new mappings in this order, told by three networks in runs.
func samplesOf(ports ...int) (list []sample) {
	for i, p := range ports {
		net := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i * 3 / len(ports))}), 16)
		list = append(list, sample{in: uint16(50000 + i), out: netip.AddrPortFrom(publicAddr, uint16(p)), prefix: net, order: i})
	}
	return list
}

func TestPortRule(t *testing.T) {
	for _, c := range []struct {
		name  string
		ports []int
		want  string
		sure  bool
	}{
		{"none", nil, "unknown 0 [0 0]", false},
		{"kept", []int{50000, 50001, 50002, 50003, 50004, 50005, 50006, 50007, 50008, 50009, 50010, 50011}, "preserved 0 [0 0]", true},
		{"kept, two taken", []int{50000, 50001, 50002, 31111, 50004, 50005, 50006, 50007, 2222, 50009, 50010, 50011}, "preserved 0 [0 0]", true},
		{"up", []int{1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031, 1032, 1033, 1034, 1035}, "sequential 1 [0 0]", true},
		{"up by two, others' between", []int{100, 102, 108, 110, 112, 114, 120, 122, 124, 126, 128, 130}, "sequential 2 [0 0]", true},
		{"down", []int{9999, 9998, 9997, 9996, 9995, 9990, 9989, 9988, 9987, 9986, 9985, 9984}, "sequential -1 [0 0]", true},
		{"round the end", []int{65533, 65534, 65535, 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031, 1032}, "sequential 1 [0 0]", true},
		{"a liar's third", []int{7000, 7001, 7002, 7003, 61, 33333, 9, 21000, 7008, 7009, 7010, 7011}, "sequential 1 [0 0]", false},
		{"anywhere", []int{1100, 60000, 33000, 21000, 45000, 8000, 52000, 12345, 64000, 29999, 17000, 38000}, "random 0 [0 0]", true},
		{"aligned", []int{4100, 4600, 4300, 4222, 4590, 4101, 4480, 4333, 4170, 4510, 4420, 4277}, "block 0 [4096 4607]", false},
		{"aligned to 1024", []int{3080, 5100, 4300, 3222, 4590, 3101, 4480, 3333, 4170, 5010, 4420, 3077}, "block 0 [3072 5119]", false},
		{"not aligned", []int{4000, 4300, 4010, 4222, 4290, 4101, 4180, 4233, 4270, 4110, 4220, 4177}, "block 0 [3973 4327]", false},
		{"a liar's third elsewhere", []int{4100, 4600, 4300, 4222, 60000, 9, 31000, 1111, 4590, 4101, 4480, 4333}, "block 0 [4096 4607]", false},
		{"aligned, many", []int{4100, 4600, 4300, 4222, 4590, 4101, 4480, 4333, 4170, 4510, 4420, 4277, 4099, 4607, 4400, 4401, 4350, 4551, 4123, 4567}, "block 0 [4096 4607]", true},
		{"aligned to both", []int{9250, 16300, 9300, 14222, 12590, 10101, 14480, 12333, 15170, 11510, 13420, 10277, 9999, 13607, 16000, 11111, 12350, 9551, 15523, 12067}, "block 0 [9216 17407]", false},
		{"few", []int{1100, 60000, 33000, 21000}, "unknown 0 [0 0]", false},
	} {
		f := portRule(samplesOf(c.ports...))
		if got := fmt.Sprint(f.rule, f.step, f.block); got != c.want || f.confidence >= 0.9 != c.sure {
			t.Errorf("%s: %s at %.2f (%s), want %s", c.name, got, f.confidence, f.why, c.want)
		}
	}
}

// The estimators are as good as theory says: an aligned block from k ports
// is right but for one in 2^(k-1), and random ports are no block or sequence.
func TestPortRuleChances(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const runs = 3000
	draw := func(k, low, n int) (list []sample) {
		var ports []int
		for range k {
			ports = append(ports, low+rng.IntN(n))
		}
		return samplesOf(ports...)
	}
	for _, size := range []int{128, 512, 2048, 8192} {
		wrong := 0
		for range runs {
			first := lowPort + rng.IntN(60000/size)*size
			f := portRule(draw(blockSamples, first, size))
			if f.rule != BlockPorts || f.confidence >= 0.9 && f.block != [2]uint16{uint16(first), uint16(first + size - 1)} {
				wrong++
			}
		}
		if wrong > 6 {
			t.Errorf("blocks of %d: %d of %d wrong", size, wrong, runs)
		}
	}
	wrong := 0
	for range runs {
		if f := portRule(draw(15, lowPort, 64512)); f.rule != RandomPorts {
			wrong++
		}
	}
	if wrong > 1 {
		t.Errorf("%d of %d random NATs taken for something else", wrong, runs)
	}
}

func TestSameVerdict(t *testing.T) {
	base := Behaviour{Public: []netip.Addr{publicAddr}, Confidence: 0.8}
	for i, change := range []func(*Behaviour){
		func(b *Behaviour) { b.Mapping++ }, func(b *Behaviour) { b.Filtering++ }, func(b *Behaviour) { b.Ports++ },
		func(b *Behaviour) { b.Step++ }, func(b *Behaviour) { b.Block[1]++ }, func(b *Behaviour) { b.Public = nil },
		func(b *Behaviour) { b.Arbitrary++ }, func(b *Behaviour) { b.Hairpin++ }, func(b *Behaviour) { b.Carrier++ },
		func(b *Behaviour) { b.Unreplied++ }, func(b *Behaviour) { b.Replied++ }, func(b *Behaviour) { b.Absolute++ },
		func(b *Behaviour) { b.Chosen++ }, func(b *Behaviour) { b.IPv6++ },
		func(b *Behaviour) { b.Confidence += 0.15 }, func(b *Behaviour) { b.Confidence -= 0.15 },
	} {
		b := base
		change(&b)
		if sameVerdict(&base, &b) || sameVerdict(&b, &base) {
			t.Errorf("change %d goes unnoticed", i)
		}
	}
	b := base
	b.Confidence += 0.05
	if b.Public = slices.Clone(b.Public); !sameVerdict(&base, &b) {
		t.Error("a little more confidence is news")
	}
}

func TestRTO(t *testing.T) {
	for rtt, want := range map[time.Duration]time.Duration{0: askFirst, ms: askLeast, 100 * ms: 300 * ms, time.Second: askMost} {
		if got := (&point{rtt: rtt}).rto(); got != want {
			t.Errorf("round trip %v: %v, want %v", rtt, got, want)
		}
	}
}

func TestMargin(t *testing.T) {
	for _, c := range []struct {
		most, all int
		want      float64
	}{{3, 3, 0.936}, {2, 3, 0.6}, {4, 5, 0.936}, {3, 5, 0.6}, {5, 5, sure}} {
		if got := margin(c.most, c.all); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%d of %d: %v, want %v", c.most, c.all, got, c.want)
		}
	}
}

func TestLadder(t *testing.T) {
	states := map[byte]rungState{'.': rungWaiting, 'a': rungAlive, 'd': rungDead, 'v': rungVoid, 'u': rungUnasked}
	for _, c := range []struct {
		rungs string // the rest is alike the last
		life  time.Duration
		known bool
	}{
		{"u", 0, false},
		{"aaa.", 0, false},
		{"aaadd.", 0, false},
		{"aaaddd.", 10 * time.Second, true},
		{"aaadaddd.", 19 * time.Second, true}, // a lost packet
		{"aaavdvddu", 10 * time.Second, true}, // a peer that answers early doesn't count
		{"ddd.", 0, true},
		{"a", 590 * time.Second, true},
		{"aaaaaaaaaaaaaaaaaadd", 360 * time.Second, true},
		{"v", 0, true},
		{".aaa", 0, false},
	} {
		var l ladder
		for i := range l.rungs {
			l.rungs[i].state = states[c.rungs[min(i, len(c.rungs)-1)]]
		}
		if life, known := l.read(); known != c.known || known && life != c.life {
			t.Errorf("%s: %v %v, want %v %v", c.rungs, life, known, c.life, c.known)
		}
	}
}

func TestAbsoluteLife(t *testing.T) {
	w := func(deaths ...death) watcher {
		x := watcher{n: len(deaths)}
		copy(x.deaths[:], deaths)
		return x
	}
	s := func(n int, moved bool) death { return death{time.Duration(n) * time.Second, moved} }
	for _, c := range []struct {
		name  string
		watch []watcher
		want  time.Duration
	}{
		{"none", []watcher{w(), w()}, 0},
		{"both moved", []watcher{w(s(48, true)), w(s(50, true))}, 48 * time.Second},
		{"one peer says so", []watcher{w(s(48, true), s(48, true)), w()}, 0},
		{"at different ages", []watcher{w(s(48, true)), w(s(70, true))}, 0},
		{"two pairs of lost packets", []watcher{w(s(48, false)), w(s(49, false))}, 0},
		{"three ends that don't show", []watcher{w(s(48, false), s(50, false)), w(s(49, false))}, 48 * time.Second},
	} {
		if got, ok := absoluteLife(c.watch); got != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %v %v", c.name, got, ok)
		}
	}
}

// Who answers early could make any life long; who never waits says nothing.
func TestLifetimesEarly(t *testing.T) {
	l := plainLab(t, 3, plainBox())
	l.run(3 * time.Second)
	c := l.s.c
	c.life.running = true
	c.life.unreplied.rungs[5] = rung{state: rungWaiting, socket: 77}
	q := asked{role: roleUnreplied, rung: 5, sent: c.now, Ask: Ask{Socket: 77, Delay: rungDelay(5)}}
	c.life.came(c, q, Reply{})
	if got := c.life.unreplied.rungs[5]; got != (rung{state: rungVoid}) {
		t.Errorf("an early answer makes it %+v", got)
	}
	c.life.unreplied.rungs[5] = rung{state: rungWaiting, socket: 78}
	c.tick(c.now.Add(rungDelay(5)))
	c.life.came(c, q, Reply{})
	if got := c.life.unreplied.rungs[5].state; got != rungAlive {
		t.Errorf("a timely one makes it %v", got)
	}
}

func TestServerVoice(t *testing.T) {
	for _, c := range []struct {
		have   finding
		server Dependence
		filter bool
		want   Dependence
		more   bool // confident than before
	}{
		{finding{}, AddressDependent, false, AddressDependent, true},
		{finding{kind: EndpointIndependent, confidence: 0.9}, EndpointIndependent, false, EndpointIndependent, true},
		{finding{kind: EndpointIndependent, confidence: 0.9}, AddressDependent, false, EndpointIndependent, false},
		{finding{kind: AddressAndPortDependent, confidence: guess}, AddressDependent, false, AddressDependent, true},
		{finding{kind: AddressAndPortDependent, confidence: 0.9}, AddressDependent, true, AddressDependent, true},
		{finding{kind: AddressDependent, confidence: 0.9}, AddressAndPortDependent, true, AddressDependent, false},
		{finding{kind: AddressDependent, confidence: 0.9}, UnknownDependence, true, AddressDependent, false},
	} {
		got := withServer(c.have, c.server, c.filter)
		if got.kind != c.want || got.confidence > c.have.confidence != c.more {
			t.Errorf("%v at %.2f and a server's %v: %v at %.2f", c.have.kind, c.have.confidence, c.server, got.kind, got.confidence)
		}
	}
}
