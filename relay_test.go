// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// simSeed is simTest with a seed of its own.
func simSeed(t *testing.T, seed uint64, f func(t *testing.T, s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := simnet.NewWorld(seed, time.Now())
		s := &sim{t: t, world: w, net: simnet.Start(w)}
		defer func() {
			for i := len(s.nodes) - 1; i >= 0; i-- {
				s.nodes[i].Close()
			}
			s.net.Close()
			s.wg.Wait()
		}()
		f(t, s)
	})
}

// pairKinds are the laboratory's kinds of sites without the one that blocks
// UDP, which simnet can't build: a carrier's NAT in front of the home's is
// double.
var pairKinds = [...]string{"none", "eim-eif", "eim-apdf", "edm", "cgn-block", "double", "v6-fw"}

// computer is a node's machine: a host, and the same on IPv6 where it has that.
type computer struct {
	v4, v6 *simnet.Host
	box    *simnet.NAT // the outermost; nil = none

	outside netip.Addr // IPv4, as others see it
}

// computer builds a site of a kind with one machine in it.
func (s *sim) computer(name, kind string) (m computer) {
	const (
		ei  = simnet.EndpointIndependent
		apd = simnet.AddressAndPortDependent
	)
	s.hosts++
	n := byte(s.hosts)
	out4, out6 := netip.AddrFrom4([4]byte{46, n, 0, 1}), netip.MustParseAddr(fmt.Sprintf("2a02:%x::1", s.hosts))
	defer func() { m.outside = out4 }()
	home4 := netip.MustParseAddr("192.168.1.2")
	block := [2]uint16{20000, 20511}
	s.net.Do(func(w *simnet.World) {
		behind := func(c simnet.NATConfig) *simnet.NAT {
			c.Pool = []netip.Addr{out4}
			return w.NAT(name+"-nat", simnet.Profile{}, c)
		}
		switch kind {
		case "none":
			m = computer{v4: w.Host(name, access, out4), v6: w.Host(name+"6", access, out6)}
			return
		case "eim-eif":
			m.box = behind(simnet.NATConfig{Mapping: ei, Filtering: ei})
		case "eim-apdf":
			m.box = behind(simnet.NATConfig{Mapping: ei, Filtering: apd})
		case "edm", "v6-fw":
			m.box = behind(simnet.NATConfig{Mapping: apd, Filtering: apd, Ports: simnet.Random})
		case "cgn-block", "double":
			m.box = behind(simnet.NATConfig{Mapping: apd, Filtering: apd, Ports: simnet.Random, Block: block})
		default:
			s.t.Fatalf("no kind %q", kind)
		}
		inner := m.box
		if kind == "double" {
			inner = m.box.NAT(name+"-home", simnet.Profile{}, simnet.NATConfig{Pool: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, n})}, Mapping: ei, Filtering: apd})
		}
		m.v4 = inner.Host(name, access, home4)
		if kind == "v6-fw" {
			m.v6 = inner.Host(name+"6", access, out6)
		}
	})
	return m
}

// on starts a node on a computer.
func (s *sim) on(m computer, cfg Config) *Node {
	s.t.Helper()
	conns := []net.PacketConn{s.listen(m.v4, 4000)}
	if m.v6 != nil {
		conns = append(conns, s.listen(m.v6, 4000))
	}
	return s.start(m.v4.Name(), cfg, func(ipv4 bool, port uint16) (net.PacketConn, error) {
		if !ipv4 {
			if m.v6 == nil {
				return nil, net.UnknownNetworkError("udp6")
			}
			return s.net.Listen(m.v6, port)
		}
		return s.net.Listen(m.v4, port)
	}, conns...)
}

// pair starts a caller and a callee on two computers among a few public nodes,
// and waits until both know their NATs.
func (s *sim) pair(a, b computer, publics int) (caller, callee *Node) {
	s.t.Helper()
	return s.pairAt(a, b, s.publics(publics))
}

func (s *sim) pairAt(a, b computer, join []string) (caller, callee *Node) {
	s.t.Helper()
	caller, callee = s.on(a, Config{Join: join}), s.on(b, Config{Join: join})
	for _, n := range []*Node{caller, callee} {
		if err := n.Join(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	time.Sleep(10 * time.Second)
	return caller, callee
}

// dialled is one call and how long its beginning took.
type dialled struct {
	call           *Call
	theirs         *ear
	ringing, media time.Duration // one trip of the ring's route and back, and first media, from the INVITE
}

// ring calls b and waits for its first media. b must have a callee.
func (s *sim) ring(a *Node, ticket string, ears <-chan *ear) (d dialled) {
	s.t.Helper()
	events := a.Events(s.t.Context())
	call, err := a.Call(s.t.Context(), ticket, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for e := range events {
		switch e := e.(type) {
		case CallRinging:
			d.ringing = e.RTT
		case CallAnswered: // where it overtakes the ringing
			if d.ringing == 0 {
				d.ringing = time.Since(call.Started())
			}
		case CallMedia:
			d.media = time.Since(call.Started())
		case CallEnded:
			s.t.Fatalf("ended: %v", call.Err())
		}
		if d.media > 0 {
			break
		}
	}
	d.call, d.theirs = call, <-ears
	return d
}

// percentile of a list; it sorts the list.
func percentile(list []time.Duration, p int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[min(len(list)*p/100, len(list)-1)]
}

// seeds is how many worlds a test runs through: few always, more with
// P2POS_LONG.
func seeds(few, long int) int {
	if os.Getenv("P2POS_LONG") != "" {
		return long
	}
	return few
}

// Every pair of the laboratory's kinds, either way round, calls: media is there
// two trips of the ring after the INVITE, with nothing lost on the way from
// relays to the direct path. Where none is promised the call says why it stays
// relayed.
func TestPairs(t *testing.T) {
	t.Parallel()
	const slack = 30 * time.Millisecond
	var all, over []time.Duration
	count := map[string]int{}
	for i, ka := range pairKinds {
		for j, kb := range pairKinds[i:] {
			t.Run(ka+" × "+kb, func(t *testing.T) {
				var first, ring []time.Duration
				kinds := map[string]int{}
				for seed := range seeds(1, 100) {
					a, b := ka, kb
					if (seed+j)%2 == 1 {
						a, b = b, a
					}
					t.Run(fmt.Sprint(seed), func(t *testing.T) {
						simSeed(t, uint64(seed+1), func(t *testing.T, s *sim) {
							from, to := s.pair(s.computer("a", a), s.computer("b", b), 4)
							d := s.ring(from, s.ticket(to), s.callee(to))
							first, ring = append(first, d.media), append(ring, d.ringing)
							all, over = append(all, d.media), append(over, d.media-2*d.ringing)
							s.talk(d.call)
							mine := s.hear(d.call)
							time.Sleep(5 * time.Second)
							p := d.call.Path()
							kinds[p.Kind]++
							count[p.Kind]++
							switch hope := prospect(a, b); {
							case p.Kind == "direct":
							case hope == certain, p.Kind != "relay", hope == none && !strings.Contains(p.Reason, "NAT"), p.Reason == "":
								t.Errorf("%s calls %s: path is %+v", a, b, p)
							}
							d.call.HangUp()
							<-mine.done
							<-d.theirs.done
							// The change to a direct path costs nothing, nor does leaving the ring's flows.
							for who, e := range map[string]*ear{"caller": mine, "callee": d.theirs} {
								if e.lost > 0 || e.frames < 220 {
									t.Errorf("%s heard %d frames, %d lost, from %v to %v after the call began", who, e.frames, e.lost, e.from.Sub(d.call.Started()), e.to.Sub(d.call.Started()))
								}
							}
						})
					})
				}
				t.Logf("ringing %3d ms, first media p50 %3d p95 %3d ms, after 5 s %v", percentile(ring, 50).Milliseconds(),
					percentile(first, 50).Milliseconds(), percentile(first, 95).Milliseconds(), kinds)
			})
		}
	}
	t.Logf("all: first media p50 %d p95 %d ms, beyond two trips of the ring p95 %d ms; after 5 s %v",
		percentile(all, 50).Milliseconds(), percentile(all, 95).Milliseconds(), percentile(over, 95).Milliseconds(), count)
	if p := percentile(over, 95); p > slack {
		t.Errorf("first media comes %v after two trips of the ring, p95", p)
	}
}

// prospect says how sure a direct path is within five seconds (design §5).
func prospect(a, b string) chance {
	strict := func(k string) bool { return k == "edm" || k == "cgn-block" || k == "double" || k == "v6-fw" }
	all := func(k string) bool { return k == "edm" || k == "v6-fw" } // of the ports there are
	switch {
	case a == "v6-fw" && b == "v6-fw":
		return certain
	case strict(a) && strict(b):
		return none
	case a == "eim-apdf" && all(b), all(a) && b == "eim-apdf":
		return likely
	}
	return certain
}

type chance uint8

const (
	none chance = iota
	likely
	certain
)
