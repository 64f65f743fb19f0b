// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/internal/sock"
)

// subject is a node that wants to know its NAT: a Classifier and an Asker on
// simulated sockets.
type subject struct {
	t     testing.TB
	c     *Classifier
	a     *Asker
	w     *simnet.World
	host  *simnet.Host
	socks map[int]int // sockets of the Classifier: local numbers here
	ports []uint16    // by local number; 0 = closed
	now   time.Time

	first   time.Duration // when the first verdict came
	probes  int
	sockets int // open, most
	told    []Verdict
	refuse  func(Ask) bool // sockets that can't be opened
	log     func(string, ...any)
}

func (s *subject) Receive(now time.Time, local int, from netip.AddrPort, b []byte) {
	s.now = now
	if r, ok := s.a.Receive(sock.Path{Local: local, Remote: from}, s.ports[local], b); ok {
		if s.log != nil {
			s.log("%v reply %+v", now.Sub(epoch), r)
		}
		s.c.Answer(now, r)
	}
	s.drain()
}

func (s *subject) Advance(now time.Time) {
	s.now = now
	s.c.Advance(now)
	s.drain()
}

func (s *subject) Deadline() time.Time { return s.c.Deadline() }

func (s *subject) drain() {
	for {
		v, ok := s.c.NextEvent()
		if !ok {
			return
		}
		if len(s.told) == 0 {
			s.first = s.now.Sub(epoch)
			s.probes = s.c.Probes()
		}
		s.told = append(s.told, v)
	}
}

func (s *subject) Poll() (int, netip.AddrPort, []byte, bool) {
	for {
		q, ok := s.c.Poll()
		if !ok {
			return 0, netip.AddrPort{}, nil, false
		}
		if s.log != nil {
			s.log("%v ask %+v", s.now.Sub(epoch), q)
		}
		if q.Kind == AskClose {
			if local, ok := s.socks[q.Socket]; ok {
				s.host.Detach(s.ports[local])
				s.ports[local] = 0
				delete(s.socks, q.Socket)
			}
			continue
		}
		if _, open := s.socks[q.Socket]; !open && q.Socket != 0 {
			if s.refuse != nil && s.refuse(q) || !s.open(q.Socket, q.Bind) {
				s.c.Failed(s.now, q.ID)
				continue
			}
		}
		if to, b, ok := s.a.Datagram(q); ok {
			return s.socks[q.Socket], to, b, true
		}
		s.c.Failed(s.now, q.ID)
	}
}

func (s *subject) open(n int, port uint16) bool {
	for _, p := range s.ports {
		if p != 0 && p == port {
			return false
		}
	}
	s.socks[n] = len(s.ports)
	s.ports = append(s.ports, s.host.Attach(port, s).Port())
	s.sockets = max(s.sockets, len(s.socks))
	return true
}

// helper is a peer that lets others test through it.
type helper struct {
	*Vantage
	lie func(*helper, *Datagram) bool // changes an answer; false = it is not sent
	mac *mac                          // of the subject's Cred
	rng *rand.Rand
}

func (h *helper) Receive(now time.Time, local int, from netip.AddrPort, b []byte) {
	h.Vantage.Receive(now, sock.Path{Local: local, Remote: from}, b)
}

func (h *helper) Poll() (int, netip.AddrPort, []byte, bool) {
	for {
		d, ok := h.Vantage.Poll()
		if !ok {
			return 0, netip.AddrPort{}, nil, false
		}
		if h.lie == nil || h.lie(h, &d) {
			return d.Path.Local, d.Path.Remote, d.B, true
		}
	}
}

// lab is a subject behind some box, and peers of its.
type lab struct {
	w       *simnet.World
	s       *subject
	helpers []*helper
	addrs   []netip.AddrPort
}

// labConfig says what a lab is made of.
type labConfig struct {
	seed    uint64
	box     *simnet.NATConfig // nil = none
	outer   *simnet.NATConfig // a second layer
	peers   int               // with IPv4; the first seconds of them have two ports
	seconds int
	peers6  int
	link    simnet.Profile // of the subject
	host    []netip.Addr
	foreign float64 // other hosts' new flows a second
	options ClassifierOptions
}

var (
	insideAddr = netip.MustParseAddr("192.168.1.7")
	middleAddr = netip.MustParseAddr("100.64.3.9")
	publicAddr = netip.MustParseAddr("198.51.100.77")
	publicSix  = netip.MustParseAddr("2001:db8:77::7")
)

func newLab(t testing.TB, o labConfig) *lab {
	w := simnet.NewWorld(o.seed, epoch)
	l := &lab{w: w}
	rng := w.Rand()
	s := &subject{t: t, w: w, socks: map[int]int{0: 0}, a: NewAsker(w.Rand())}
	s.now = epoch
	l.s = s
	place := func(name string, p simnet.Profile, addrs ...netip.Addr) *simnet.Host {
		return w.Host(name, p, addrs...)
	}
	access := simnet.Profile{Delay: 5 * ms}
	var box *simnet.NAT
	switch {
	case o.outer != nil:
		box = w.NAT("carrier", access, *o.outer).NAT("home", access, *o.box)
		place = box.Host
	case o.box != nil:
		box = w.NAT("home", access, *o.box)
		place = box.Host
	}
	if len(o.host) == 0 {
		o.host = []netip.Addr{insideAddr}
	}
	s.host = place("subject", o.link, o.host...)
	s.ports = append(s.ports, s.host.Attach(0, s).Port())
	s.c = NewClassifier(w.Rand(), o.options)
	s.c.SetHosts(epoch, o.host)

	for i := range o.peers + o.peers6 {
		addr := netip.AddrFrom4([4]byte{byte(20 + 7*i), byte(i), 3, 4})
		if i >= o.peers {
			a := [16]byte{0x20, 0x01, byte(i), 7, 15: 1}
			addr = netip.AddrFrom16(a)
		}
		h := &helper{Vantage: NewVantage(w.Rand()), rng: w.Rand()}
		at := w.Host("peer", simnet.Profile{Delay: time.Duration(10+rng.IntN(15)) * ms, Jitter: 2 * ms}, addr)
		main := at.Attach(4000, h)
		if i < o.seconds {
			at.Attach(4001, h)
			h.SetSecond(Second{Local: 1, Port: 4001, On: true})
		}
		l.helpers, l.addrs = append(l.helpers, h), append(l.addrs, main)
	}
	for i, h := range l.helpers {
		cred := pairCred(byte(i), 255)
		h.mac = newMAC(cred.Key)
		h.SetPeer(Peer(1000), cred, Cred{}, sock.Path{})
		s.a.SetPeer(Peer(i), cred)
		for j := range l.helpers {
			if j != i {
				h.SetPeer(Peer(j), pairCred(byte(i), byte(j)), pairCred(byte(j), byte(i)), sock.Path{Remote: l.addrs[j]})
			}
		}
	}
	for i, a := range l.addrs {
		s.c.AddPeer(epoch, VantagePoint{Peer: Peer(i), Addr: a})
	}
	if o.foreign > 0 && box != nil {
		other := box.Host("other", simnet.Profile{}, netip.MustParseAddr("192.168.1.200"))
		var flow func()
		n := 0
		flow = func() {
			n++
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{60, 1, byte(n >> 8), byte(n)}), 53)
			other.Inject(netip.AddrPortFrom(netip.MustParseAddr("192.168.1.200"), uint16(10000+n%20000)), to, []byte{1})
			w.At(w.Now().Add(time.Duration(rng.ExpFloat64()/o.foreign*float64(time.Second))), flow)
		}
		w.At(epoch.Add(ms), flow)
	}
	w.Wake(s)
	return l
}

// pairCred is what holder tells other.
func pairCred(holder, other byte) Cred {
	return Cred{Tag: [8]byte{1, holder, other}, Key: [32]byte{2, holder, other}}
}

func (l *lab) run(d time.Duration) { l.w.Run(l.w.Now().Add(d)) }
