// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/internal/sock"
)

// plainBox is a good home router.
func plainBox() simnet.NATConfig {
	return simnet.NATConfig{Pool: pool[:1], Filtering: simnet.AddressAndPortDependent}
}

func plainLab(t testing.TB, peers int, c simnet.NATConfig) *lab {
	return newLab(t, labConfig{seed: 1, box: &c, peers: peers, seconds: 1, link: simnet.Profile{Delay: 10 * ms}, options: ClassifierOptions{NoLifetimes: true}})
}

// The first verdict comes after a few round trips, one event, with evidence.
func TestClassifyFirstVerdict(t *testing.T) {
	l := plainLab(t, 3, plainBox())
	if b := l.s.c.Behaviour(); b.Mapping != UnknownDependence || b.Confidence != 0 {
		t.Errorf("knows %+v before anything", b)
	}
	l.run(3 * time.Second)
	s := l.s
	if len(s.told) == 0 || s.first > 2500*ms || s.probes > maxProbes {
		t.Fatalf("%d verdicts, the first at %v after %d probes", len(s.told), s.first, s.probes)
	}
	if len(s.told) > 3 {
		t.Errorf("%d verdicts on the way", len(s.told))
	}
	for _, v := range s.told {
		if v.Behaviour.Mapping != EndpointIndependent || v.Behaviour.Filtering != AddressAndPortDependent || v.Behaviour.Ports != Preserved || len(v.Evidence) < 3 {
			t.Errorf("verdict %+v", v)
		}
	}
	if why := strings.Join(s.c.Evidence(), "\n"); !strings.Contains(why, "3 of 3 networks saw the same address and port") {
		t.Errorf("evidence:\n%s", why)
	}
	if len(s.socks) != 1 || !s.c.Deadline().IsZero() {
		t.Errorf("%d sockets, deadline %v after the round", len(s.socks), s.c.Deadline())
	}
}

// Probe answers and hellos go on to confirm a verdict at no cost, and overturn
// it when the network has changed unnoticed.
func TestClassifyGoesOn(t *testing.T) {
	l := plainLab(t, 4, plainBox())
	l.run(3 * time.Second)
	s, c := l.s, l.s.c
	told, probes := len(s.told), c.Probes()
	main := netip.AddrPortFrom(publicAddr, s.ports[0])
	observe := func(seen netip.AddrPort) {
		for i, a := range l.addrs {
			c.Observe(l.w.Now(), Sighting{Peer: Peer(i), Addr: a, Port: s.ports[0], Seen: seen})
		}
		l.w.Wake(s)
	}
	for range 100 {
		l.run(15 * time.Second)
		observe(main)
	}
	if len(s.told) != told || c.Probes() != probes || !c.Deadline().IsZero() {
		t.Errorf("%d verdicts, %d probes more, deadline %v", len(s.told)-told, c.Probes()-probes, c.Deadline())
	}
	// The provider gave the router another address.
	moved := netip.MustParseAddr("203.0.113.5")
	s.host.RemoveAddr(insideAddr)
	other := l.w.NAT("new", simnet.Profile{Delay: 5 * ms}, simnet.NATConfig{
		Pool: []netip.Addr{moved}, Mapping: simnet.AddressAndPortDependent, Filtering: simnet.EndpointIndependent, Ports: simnet.Random, Hairpin: true,
	})
	s.host = other.Host("subject again", simnet.Profile{Delay: 10 * ms}, insideAddr)
	s.host.Attach(s.ports[0], s)
	s.socks[0] = len(s.ports)
	s.ports = append(s.ports, s.ports[0])
	observe(netip.AddrPortFrom(moved, 5555))
	l.run(20 * time.Second)
	if b := c.Behaviour(); b.Mapping != AddressAndPortDependent || b.Ports != RandomPorts || b.Hairpin != Yes || !slices.Equal(b.Public, []netip.Addr{moved}) {
		t.Errorf("after the move: %+v", b)
	}
	if v := s.told[len(s.told)-1]; v.Behaviour.Mapping != AddressAndPortDependent || len(s.told) == told {
		t.Errorf("the last of %d verdicts is %+v", len(s.told), v)
	}
	// Here any port is as good as another.
	told, probes = len(s.told), c.sockets
	for i := range 100 {
		l.run(15 * time.Second)
		observe(netip.AddrPortFrom(moved, uint16(30000+i)))
	}
	l.run(time.Minute)
	if len(s.told) != told || c.sockets != probes {
		t.Errorf("%d verdicts, %d sockets more", len(s.told)-told, c.sockets-probes)
	}
}

// With three peers that have two ports each there is nothing left to doubt.
func TestClassifyConfident(t *testing.T) {
	for name, box := range map[string]*simnet.NATConfig{
		"none":      nil,
		"firewall":  {Filtering: simnet.AddressAndPortDependent},
		"kept":      {Pool: pool[:1], Filtering: simnet.AddressDependent},
		"symmetric": {Pool: pool[:1], Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random},
		"block":     {Pool: pool[:1], Mapping: simnet.AddressDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.Block, BlockSize: 512},
		"sequence":  {Pool: pool[:1], Mapping: simnet.AddressAndPortDependent, Ports: simnet.Sequential},
	} {
		o := labConfig{seed: 5, box: box, peers: 3, seconds: 3, link: simnet.Profile{Delay: 10 * ms}, options: ClassifierOptions{NoLifetimes: true}}
		if name == "none" || name == "firewall" {
			o.host = []netip.Addr{publicAddr}
		}
		l := newLab(t, o)
		l.run(3 * time.Second)
		if b := l.s.c.Behaviour(); b.Confidence < 0.9 {
			t.Errorf("%s: confidence %.2f in %+v\n%q", name, b.Confidence, b, l.s.c.Evidence())
		}
		if len(l.s.told) > 3 {
			t.Errorf("%s: %d verdicts", name, len(l.s.told))
		}
	}
}

// Who can't have others write is not asked to, and so says nothing of a filter.
func TestClassifyUnable(t *testing.T) {
	box := plainBox()
	box.Filtering = simnet.EndpointIndependent
	l := plainLab(t, 4, box)
	for _, h := range l.helpers {
		for j := range l.helpers {
			h.RemovePeer(Peer(j))
		}
		h.SetSecond(Second{})
	}
	l.run(3 * time.Second)
	if b := l.s.c.Behaviour(); b.Mapping != EndpointIndependent || b.Filtering != UnknownDependence || b.Confidence > unsaid {
		t.Errorf("found %+v", b)
	}
}

// What peers told when links began counts in the first round, from second
// ports too, and is not asked again.
func TestClassifyTold(t *testing.T) {
	c := NewClassifier(rand.New(rand.NewPCG(1, 1)), ClassifierOptions{NoLifetimes: true})
	at := func(i, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(i), 1, 1}), uint16(port))
	}
	for i := range 4 {
		c.AddPeer(epoch, VantagePoint{Peer: Peer(i), Addr: at(i, 4000), Second: 4001})
		seen := netip.AddrPortFrom(publicAddr, uint16(30000+i))
		for _, port := range []int{4000, 4001, 4002} { // the last one is not the peer's
			c.Observe(epoch, Sighting{Peer: Peer(i), Addr: at(i, port), Port: 5000, Seen: netip.AddrPortFrom(publicAddr, seen.Port()+uint16(port/4002))})
		}
		c.Observe(epoch, Sighting{Peer: Peer(i), Addr: at(9, 4000), Port: 5000, Seen: netip.AddrPortFrom(publicAddr, 9)})
	}
	c.Advance(epoch)
	if c.asks.any(roleMain, roleSecond) {
		t.Error("asks again what was told")
	}
	if f := mappingOf(c.points, nil, false, epoch); f.kind != AddressDependent || f.confidence < 0.9 {
		t.Errorf("mapping %+v", f)
	}
}

// A driver that never takes what is asked costs no memory.
func TestClassifyUndrained(t *testing.T) {
	c := NewClassifier(rand.New(rand.NewPCG(1, 1)), ClassifierOptions{})
	c.SetHosts(epoch, []netip.Addr{insideAddr})
	for i := range 5 {
		c.AddPeer(epoch, VantagePoint{Peer: Peer(i), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(i), 1, 1}), 4000)})
	}
	now := epoch
	for range 300 {
		now = now.Add(time.Second)
		c.Advance(now)
		c.NetworkChanged(now)
		if n := len(c.asks.out); n > 2*maxAsks {
			t.Fatalf("%d asks wait", n)
		}
	}
	n := 0
	for _, ok := c.Poll(); ok; _, ok = c.Poll() {
		n++
	}
	if n == 0 || n > maxAsks {
		t.Errorf("%d asks", n)
	}
	// One that takes one at a time gets all, in order.
	var a asks
	for i := range uint32(3 * maxAsks) {
		a.push(Ask{ID: i + 1})
		if i%2 == 0 {
			continue
		}
		if q, ok := a.pop(); !ok || q.ID != i/2+1 {
			t.Fatalf("ask %d is %+v", i/2+1, q)
		}
		if cap(a.out) > 2*maxAsks {
			t.Fatalf("room for %d", cap(a.out))
		}
	}
}

// NetworkChanged forgets at once and finds the new truth as fast as the first.
func TestClassifyNetworkChanged(t *testing.T) {
	l := plainLab(t, 4, plainBox())
	l.run(1200 * time.Millisecond) // in the middle of a round
	l.s.c.NetworkChanged(l.w.Now())
	if b := l.s.c.Behaviour(); b.Mapping != UnknownDependence || len(l.s.c.Evidence()) > 0 {
		t.Errorf("still knows %+v", b)
	}
	l.w.Wake(l.s)
	if n := len(l.s.socks); n != 1 {
		t.Errorf("%d sockets are open", n)
	}
	l.run(3 * time.Second)
	if b := l.s.c.Behaviour(); b.Mapping != EndpointIndependent || b.Filtering != AddressAndPortDependent || b.Ports != Preserved {
		t.Errorf("found %+v", b)
	}
}

// A liar that always contradicts makes us ask again ever more rarely, and
// nothing else.
func TestClassifyPatience(t *testing.T) {
	l := plainLab(t, 5, plainBox())
	liar(l.helpers[1], "any address")
	l.run(3 * time.Second)
	c, s := l.s.c, l.s
	rounds, last := 0, c.sockets
	for i := range 3600 {
		c.Observe(l.w.Now(), Sighting{Peer: 1, Addr: l.addrs[1], Seen: netip.AddrPortFrom(publicAddr, uint16(2000+i))})
		l.w.Wake(s)
		l.run(time.Second)
		if c.sockets != last {
			if c.round.stage == stageAsking || c.round.stage == stageIdle {
				rounds++
			}
			last = c.sockets
		}
	}
	if rounds > 14 {
		t.Errorf("%d rounds in an hour", rounds)
	}
	if b := c.Behaviour(); b.Mapping != EndpointIndependent || b.Ports != Preserved || !slices.Equal(b.Public, pool[:1]) {
		t.Errorf("found %+v", b)
	}
	if n := len(s.told); n > 4 {
		t.Errorf("%d verdicts", n)
	}
}

// All peers are behind strict NATs themselves and hear no fresh socket. What
// their own links show is found all the same.
func TestClassifyAmongHidden(t *testing.T) {
	for f := simnet.EndpointIndependent; f <= simnet.AddressAndPortDependent; f++ {
		t.Run(f.String(), func(t *testing.T) {
			c := plainBox()
			c.Filtering = f
			l := hiddenLab(t, c)
			l.run(4 * time.Second)
			b := l.s.c.Behaviour()
			want := EndpointIndependent + Dependence(f)
			if f == simnet.AddressDependent {
				want = AddressDependent
			}
			if b.Mapping != EndpointIndependent || b.Filtering != want || b.Ports != Preserved {
				t.Errorf("found %+v\n%q", b, l.s.c.Evidence())
			}
			if f != simnet.EndpointIndependent && b.Confidence >= 0.9 {
				t.Errorf("confidence %.2f", b.Confidence)
			}
		})
	}
}

// hiddenLab has four peers behind strict NATs, of which the subject knows
// three; each has an open way to it.
func hiddenLab(t *testing.T, c simnet.NATConfig) *lab {
	w := simnet.NewWorld(3, epoch)
	l := &lab{w: w}
	s := &subject{t: t, w: w, socks: map[int]int{0: 0}, a: NewAsker(w.Rand()), now: epoch}
	l.s = s
	s.host = w.NAT("home", simnet.Profile{Delay: 5 * ms}, c).Host("subject", simnet.Profile{}, insideAddr)
	s.ports = append(s.ports, s.host.Attach(5000, s).Port())
	s.c = NewClassifier(w.Rand(), ClassifierOptions{NoLifetimes: true})
	s.c.SetHosts(epoch, []netip.Addr{insideAddr})
	var boxes []*simnet.Host
	for i := range 5 {
		ip := netip.AddrFrom4([4]byte{byte(20 + i), 1, 1, 1})
		h := &helper{Vantage: NewVantage(w.Rand()), rng: w.Rand()}
		at := w.NAT("theirs", simnet.Profile{Delay: 10 * ms}, simnet.NATConfig{
			Pool: []netip.Addr{ip}, Filtering: simnet.AddressAndPortDependent,
		}).Host("peer", simnet.Profile{}, netip.MustParseAddr("10.0.0.2"))
		at.Attach(4000, h)
		at.Attach(4001, h)
		h.SetSecond(Second{Local: 1, On: true}) // nobody can write to it
		l.helpers, l.addrs, boxes = append(l.helpers, h), append(l.addrs, netip.AddrPortFrom(ip, 4000)), append(boxes, at)
	}
	open := func(at *simnet.Host, from, to netip.AddrPort) { at.Inject(from, to, []byte{0}) }
	for i, h := range l.helpers {
		cred := pairCred(byte(i), 255)
		h.mac = newMAC(cred.Key)
		h.SetPeer(1000, cred, Cred{}, sock.Path{})
		s.a.SetPeer(Peer(i), cred)
		self := netip.MustParseAddrPort("10.0.0.2:4000")
		for j := range l.helpers {
			if j != i {
				h.SetPeer(Peer(j), pairCred(byte(i), byte(j)), pairCred(byte(j), byte(i)), sock.Path{Remote: l.addrs[j]})
				open(boxes[i], self, l.addrs[j])
			}
		}
		if i < 3 {
			open(boxes[i], self, netip.AddrPortFrom(publicAddr, 5000))
			s.c.AddPeer(epoch, VantagePoint{Peer: Peer(i), Addr: l.addrs[i]})
		}
	}
	w.Run(epoch.Add(100 * ms))
	w.Wake(s)
	return l
}

// Peers that don't answer, sockets that can't be opened, peers that leave.
func TestClassifyTroubles(t *testing.T) {
	t.Run("dead peers", func(t *testing.T) {
		l := plainLab(t, 6, plainBox())
		for _, i := range []int{0, 2} {
			liar(l.helpers[i], "silence")
		}
		l.run(3 * time.Second)
		if b := l.s.c.Behaviour(); b.Mapping != EndpointIndependent || b.Ports != Preserved || b.Filtering != AddressAndPortDependent || l.s.c.Probes() > maxProbes {
			t.Errorf("found %+v after %d probes", b, l.s.c.Probes())
		}
	})
	t.Run("no sockets", func(t *testing.T) {
		l := plainLab(t, 4, plainBox())
		l.s.refuse = func(Ask) bool { return true }
		l.run(3 * time.Second)
		if b := l.s.c.Behaviour(); b.Mapping != EndpointIndependent || b.Confidence >= 0.9 || l.s.c.open() {
			t.Errorf("found %+v", b)
		}
	})
	t.Run("peers leave", func(t *testing.T) {
		l := plainLab(t, 4, plainBox())
		l.run(20 * ms)
		for i := range 4 {
			l.s.c.RemovePeer(l.w.Now(), Peer(i))
		}
		l.run(5 * time.Second)
		if b := l.s.c.Behaviour(); b.Mapping != UnknownDependence || l.s.c.open() || len(l.s.socks) != 1 {
			t.Errorf("found %+v, %d sockets", b, len(l.s.socks))
		}
	})
	t.Run("UDP comes back", func(t *testing.T) {
		l := plainLab(t, 5, plainBox())
		l.s.host.Cut(true)
		l.run(3 * time.Second)
		if b := l.s.c.Behaviour(); b.Mapping != UDPBlocked || b.Confidence < 0.9 {
			t.Errorf("found %+v", b)
		}
		l.s.host.Cut(false)
		l.s.c.again, l.s.c.pause = time.Time{}, 5*time.Second // only what a peer tells starts it now
		l.s.c.Observe(l.w.Now(), Sighting{Peer: 1, Addr: l.addrs[1], Seen: netip.AddrPortFrom(publicAddr, 1)})
		l.w.Wake(l.s)
		l.run(9 * time.Second)
		if b := l.s.c.Behaviour(); b.Mapping != EndpointIndependent {
			t.Errorf("found %+v", b)
		}
	})
	t.Run("two peers are not enough", func(t *testing.T) {
		l := plainLab(t, 2, plainBox())
		l.run(5 * time.Second)
		if b := l.s.c.Behaviour(); b.Mapping != EndpointIndependent || b.Confidence >= 0.9 {
			t.Errorf("found %+v", b)
		}
		// A third one settles it.
		h := l.w.Host("late", simnet.Profile{Delay: 10 * ms}, netip.MustParseAddr("77.1.1.1"))
		v := &helper{Vantage: NewVantage(rand.New(rand.NewPCG(1, 1)))}
		cred := pairCred(50, 255)
		v.SetPeer(1000, cred, Cred{}, sock.Path{})
		l.s.a.SetPeer(50, cred)
		l.s.c.AddPeer(l.w.Now(), VantagePoint{Peer: 50, Addr: h.Attach(4000, v)})
		l.w.Wake(l.s)
		l.run(5 * time.Second)
		if f := l.s.c.found.mapping; f.heard != 3 || f.confidence < 0.9 {
			t.Errorf("mapping %+v", f)
		}
	})
	t.Run("peers inside", func(t *testing.T) {
		c := NewClassifier(rand.New(rand.NewPCG(1, 1)), ClassifierOptions{})
		for i, a := range []string{"192.168.1.1:1", "10.0.0.1:1", "100.64.0.1:1", "127.0.0.1:1", "[fe80::1]:1", "[fd00::1]:1", "224.0.0.1:1"} {
			c.AddPeer(epoch, VantagePoint{Peer: Peer(i), Addr: netip.MustParseAddrPort(a)})
		}
		if len(c.points) != 0 || !c.Deadline().IsZero() {
			t.Errorf("%d of them count", len(c.points))
		}
	})
}

// The gateway's word, the machine's addresses and a server's are added at any
// time.
func TestClassifyHearsay(t *testing.T) {
	l := plainLab(t, 3, plainBox())
	l.run(3 * time.Second)
	c := l.s.c
	if b := c.Behaviour(); b.Carrier != Unknown {
		t.Errorf("carrier %v without a gateway's word", b.Carrier)
	}
	before := c.Behaviour().Confidence
	c.SetServer(l.w.Now(), ServerResult{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent})
	if b := c.Behaviour(); b.Confidence <= before {
		t.Errorf("confidence %.2f, %.2f with a server that agrees", before, b.Confidence)
	}
	for a, want := range map[string]Tri{"198.51.100.77": No, "100.64.0.9": Yes, "10.1.1.1": Yes, "203.0.113.9": Yes} {
		c.SetGateway(l.w.Now(), netip.MustParseAddr(a))
		if b := c.Behaviour(); b.Carrier != want {
			t.Errorf("gateway at %s: carrier %v", a, b.Carrier)
		}
	}
}

// A steady node spends nothing on it.
func TestClassifySteadyAllocs(t *testing.T) {
	l := plainLab(t, 4, plainBox())
	l.run(5 * time.Second)
	c, now := l.s.c, l.w.Now()
	s := Sighting{Peer: 1, Addr: l.addrs[1], Port: l.s.ports[0], Seen: netip.AddrPortFrom(publicAddr, l.s.ports[0])}
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Second)
		c.Observe(now, s)
		c.Answer(now, Reply{ID: 1 << 30})
		c.Advance(now)
		c.Poll()
		c.NextEvent()
		c.Deadline()
	}); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
	v := newVantageRig()
	cred := pairCred(9, 0)
	b := appendTest(nil, [12]byte{1}, cred.Tag, Here, 0, key(cred))
	at := v.now
	if n := testing.AllocsPerRun(1000, func() {
		at = at.Add(time.Second)
		v.Receive(at, v.path[0], b)
		v.Poll()
	}); n != 0 {
		t.Errorf("%v allocations a test answered", n)
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		b    Behaviour
		want string
	}{
		{Behaviour{}, "Not enough peers"},
		{Behaviour{Mapping: UDPBlocked, IPv6: NoIPv6}, "UDP does not get through"},
		{Behaviour{Mapping: NoNAT, Filtering: NoNAT}, "anybody can reach this computer"},
		{Behaviour{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: Preserved}, "both sides can write at the same time"},
		{Behaviour{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: RandomPorts}, "nobody can be reached directly"},
		{Behaviour{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: BlockPorts, Block: [2]uint16{1024, 1535}}, "only from 1024 to 1535"},
		{Behaviour{Mapping: AddressDependent, Ports: Sequential, Step: 2, Carrier: Yes}, "provider's (CGN)"},
		{Behaviour{Mapping: EndpointIndependent, Absolute: 50 * time.Second}, "50s it closes even in the middle"},
		{Behaviour{Mapping: EndpointIndependent, IPv6: FirewalledIPv6}, "IPv6 works, behind a firewall"},
	} {
		if got := strings.Join(c.b.Explain(), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%+v is explained as\n%s\nwithout %q", c.b, got, c.want)
		}
	}
	// Whatever the values, each line is a sentence.
	for i := range 4000 {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		b := Behaviour{
			Mapping: Dependence(rng.IntN(7)), Filtering: Dependence(rng.IntN(7)), Ports: PortRule(rng.IntN(6)), Hairpin: Tri(rng.IntN(3)),
			Carrier: Tri(rng.IntN(3)), Arbitrary: Tri(rng.IntN(3)), Chosen: Tri(rng.IntN(3)), IPv6: IPv6(rng.IntN(5)),
		}
		for _, line := range b.Explain() {
			if !strings.HasSuffix(line, ".") || strings.Contains(line, "%!") {
				t.Fatalf("%+v: %q", b, line)
			}
		}
		if len(b.Explain()) == 0 {
			t.Fatalf("%+v is not explained", b)
		}
	}
}

// Peers that are alive over TCP and silent over UDP say that UDP is blocked, the
// more surely the more networks they are in; one peer alone may be the one that is.
func TestClassifyBlocked(t *testing.T) {
	for name, c := range map[string]struct {
		peers      []string
		confidence float64 // 0 = no verdict
	}{
		"one":                     {[]string{"45.1.0.1:443"}, 0},
		"one at two ports":        {[]string{"45.1.0.1:443", "45.1.0.1:444"}, 0},
		"two of one network":      {[]string{"45.1.0.1:443", "45.1.1.1:443"}, blockedOne},
		"two of two networks":     {[]string{"45.1.0.1:443", "45.2.0.1:443"}, blockedFew},
		"three of three networks": {[]string{"45.1.0.1:443", "45.2.0.1:443", "45.3.0.1:443"}, blockedSure},
	} {
		m := NewClassifier(rand.New(rand.NewPCG(1, 1)), ClassifierOptions{NoLifetimes: true})
		now := time.Unix(1_800_000_000, 0)
		for i, p := range c.peers {
			m.AddPeer(now, VantagePoint{Peer: Peer(i + 1), Addr: netip.MustParseAddrPort(p), TCP: true})
		}
		for end := now.Add(time.Minute); !m.Deadline().IsZero() && m.Deadline().Before(end); {
			now = m.Deadline()
			m.Advance(now)
			for _, ok := m.Poll(); ok; _, ok = m.Poll() {
			}
			for _, ok := m.NextEvent(); ok; _, ok = m.NextEvent() {
			}
		}
		b := m.Behaviour()
		if blocked := b.Mapping == UDPBlocked; blocked != (c.confidence > 0) || blocked && b.Confidence != c.confidence {
			t.Errorf("%s: %v at %v", name, b.Mapping, b.Confidence)
		}
	}
}
