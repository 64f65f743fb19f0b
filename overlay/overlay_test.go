// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// lab is a few overlays on a simulated Internet, 25 ms apart, in fake time.
type lab struct {
	t     *testing.T
	net   *simnet.Net
	nodes []*Overlay
	wg    sync.WaitGroup
	hosts []*simnet.Host
}

func inLab(t *testing.T, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, net: simnet.Start(simnet.NewWorld(7, time.Now()))}
		defer func() {
			for _, o := range l.nodes {
				o.Close()
			}
			l.net.Close()
			l.wg.Wait()
		}()
		f(t, l)
	})
}

func (l *lab) conn() net.PacketConn {
	l.t.Helper()
	var h *simnet.Host
	l.net.Do(func(w *simnet.World) {
		h = w.Host("h", simnet.Profile{Delay: 12500 * time.Microsecond}, netip.AddrFrom4([4]byte{45, 0, byte(len(l.hosts) + 1), 1}))
		l.hosts = append(l.hosts, h)
	})
	c, err := l.net.Listen(h, 4000)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func (l *lab) node(cfg Config) *Overlay {
	l.t.Helper()
	return l.nodeOn(cfg, l.conn())
}

func (l *lab) nodeOn(cfg Config, conns ...net.PacketConn) *Overlay {
	l.t.Helper()
	cfg.Conns = conns
	if os.Getenv("P2POS_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(l.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	o, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.nodes = append(l.nodes, o)
	return o
}

func addrOf(o *Overlay) netip.AddrPort { return o.LocalAddrs()[0] }

// events drains an overlay's events and counts them.
type tally struct {
	mu       sync.Mutex
	up, down int
	last     *Peer
	messages []string
}

func (l *lab) watch(o *Overlay) *tally {
	v := &tally{}
	l.wg.Go(func() {
		for {
			e, err := o.Next(context.Background())
			if err != nil {
				return
			}
			v.mu.Lock()
			switch e := e.(type) {
			case PeerUp:
				v.up++
				v.last = e.Peer
			case PeerDown:
				v.down++
			case Message:
				v.messages = append(v.messages, string(e.Body))
			}
			v.mu.Unlock()
		}
	})
	return v
}

// seen returns a copy that may be read at leisure.
func (v *tally) seen() *tally {
	v.mu.Lock()
	defer v.mu.Unlock()
	return &tally{up: v.up, down: v.down, last: v.last, messages: v.messages}
}

func TestLinkIsPostQuantum(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		p, err := a.Dial(t.Context(), addrOf(b))
		if err != nil {
			t.Fatal(err)
		}
		cs := p.Link().conn.ConnectionState()
		if cs.TLS.CurveID != tls.X25519MLKEM768 || cs.TLS.Version != tls.VersionTLS13 {
			t.Errorf("curve %v, version %x", cs.TLS.CurveID, cs.TLS.Version)
		}
		if cs.TLS.ServerName != serverName || cs.TLS.DidResume || cs.Used0RTT {
			t.Errorf("state %+v", cs.TLS)
		}
		if p.Node() != b.Node() {
			t.Error("another node")
		}
	})
}

func TestQUICSettings(t *testing.T) {
	c := quicConfig()
	if c.InitialPacketSize != 1200 || !c.DisablePathMTUDiscovery || c.Allow0RTT || c.EnableDatagrams ||
		c.MaxIdleTimeout != 5*time.Minute || c.KeepAlivePeriod != 2*time.Minute {
		t.Errorf("%+v", c)
	}
	s := tlsConfig(tls.Certificate{}, identity.NodeID{}, nil)
	if !s.SessionTicketsDisabled || s.CurvePreferences != nil || s.VerifyConnection == nil || s.VerifyPeerCertificate != nil {
		t.Errorf("%+v", s)
	}
}

func TestOtherNetwork(t *testing.T) {
	closed, err := identity.NewNetwork("company")
	if err != nil {
		t.Fatal(err)
	}
	other, err := identity.NewNetwork("company") // same name, other secret
	if err != nil {
		t.Fatal(err)
	}
	for name, nets := range map[string][2]identity.Network{
		"public to closed": {{}, closed}, "closed to public": {closed, {}}, "same name": {closed, other},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				a, b := l.node(Config{Network: nets[0]}), l.node(Config{Network: nets[1]})
				va, vb := l.watch(a), l.watch(b)
				if _, err := a.Dial(t.Context(), addrOf(b)); !errors.Is(err, ErrNetwork) {
					t.Errorf("dial: %v", err)
				}
				time.Sleep(20 * time.Second)
				if va.seen().up+vb.seen().up != 0 {
					t.Error("linked")
				}
				if s, _ := b.Status(t.Context()); s.Dropped["link"] != 1 {
					t.Errorf("counted %v", s.Dropped)
				}
				empty(t, a, b)
			})
		})
	}
}

// empty checks that nothing of a failed attempt is left.
func empty(t *testing.T, nodes ...*Overlay) {
	t.Helper()
	for _, o := range nodes {
		o.loop.Do(t.Context(), func(time.Time) {
			// Whom it has met it looks for again; those attempts end by themselves.
			named := slices.DeleteFunc(slices.Clone(o.core.order), func(p *Peer) bool { return p.state.appointment != nil })
			if n := len(o.core.peers) - len(o.core.order) + len(named) + len(o.core.relays.flows); n != 0 {
				t.Errorf("%d entries left", n)
			}
		})
		left := func(what string) func(any, any) bool {
			return func(_, v any) bool {
				if v.(*Peer).state.appointment == nil {
					t.Error(what, "left")
				}
				return true
			}
		}
		o.tags.Range(left("tag"))
		o.handles.Range(left("handle"))
		if n := o.sock.Provisional(); n != 0 {
			t.Errorf("%d provisional", n)
		}
	}
}

func TestDialNobody(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.node(Config{})
		start := time.Now()
		_, err := a.Dial(t.Context(), netip.MustParseAddrPort("45.0.99.1:4000"))
		if !errors.Is(err, ErrUnreachable) || time.Since(start) > dialTime+time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if _, err := a.Dial(t.Context(), addrOf(a)); !errors.Is(err, ErrSelf) {
			t.Errorf("self: %v", err)
		}
		for _, bad := range []string{"[2001:db8::1]:1", "0.0.0.0:1", "224.0.0.1:1", "45.0.0.1:0"} {
			if _, err := a.Dial(t.Context(), netip.MustParseAddrPort(bad)); !errors.Is(err, ErrUnreachable) {
				t.Errorf("%s: %v", bad, err)
			}
		}
		time.Sleep(20 * time.Second)
		empty(t, a)
	})
}

// Both dial at once: one link stays, and both agree which.
func TestTwoDial(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		va, vb := l.watch(a), l.watch(b)
		var wg sync.WaitGroup
		var pa, pb *Peer
		wg.Go(func() { pa, _ = a.Dial(t.Context(), addrOf(b)) })
		wg.Go(func() { pb, _ = b.Dial(t.Context(), addrOf(a)) })
		wg.Wait()
		if pa == nil || pb == nil {
			t.Fatal("a dial failed")
		}
		time.Sleep(time.Second)
		weDial := a.Node().Less(b.Node())
		if pa.Link().dialled != weDial || pb.Link().dialled == weDial {
			t.Errorf("a dialled %v, b %v, a is smaller %v", pa.Link().dialled, pb.Link().dialled, weDial)
		}
		if pa.Link().Exporter() != pb.Link().Exporter() {
			t.Error("the sides chose different links")
		}
		if err := pa.Send([]byte("during")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second) // the other link has drained
		if err := pb.Send([]byte("after")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		va, vb = va.seen(), vb.seen()
		if va.up != 1 || vb.up != 1 || va.down+vb.down != 0 {
			t.Errorf("a %d up %d down, b %d up %d down", va.up, va.down, vb.up, vb.down)
		}
		if len(vb.messages) != 1 || len(va.messages) != 1 {
			t.Errorf("messages %q %q", va.messages, vb.messages)
		}
		// A third dial finds the link there.
		if p, err := a.Dial(t.Context(), addrOf(b)); err != nil || p != pa {
			t.Errorf("%p %v", p, err)
		}
	})
}

// One side dials two addresses of the other at once: one link stays.
func TestDialsTwice(t *testing.T) {
	for range 10 {
		inLab(t, func(t *testing.T, l *lab) {
			a := l.node(Config{})
			b := l.nodeOn(Config{}, l.conn(), l.conn())
			va, vb := l.watch(a), l.watch(b)
			found := a.Reach(t.Context(), Target{Addrs: b.LocalAddrs()})
			var peers []*Peer
			for p := range found {
				peers = append(peers, p)
			}
			if len(peers) != 2 || peers[0] != peers[1] {
				t.Fatalf("found %v", peers)
			}
			for range 4 {
				time.Sleep(3 * time.Second)
				vb.seen().last.Send([]byte("to a"))
				peers[0].Send([]byte("to b"))
			}
			time.Sleep(time.Second)
			if p, q := peers[0], vb.seen().last; p.Link().Exporter() != q.Link().Exporter() || links(p) != 1 || links(q) != 1 {
				t.Error("the sides disagree about the link")
			}
			if va, vb := va.seen(), vb.seen(); len(va.messages) != 4 || len(vb.messages) != 4 || va.down+vb.down != 0 {
				t.Errorf("a: %+v b: %+v", va, vb)
			}
		})
	}
}

func links(p *Peer) (n int) {
	p.o.loop.Do(p.o.ctx, func(time.Time) { n = len(p.state.links) })
	return n
}

// A node that was started anew on its old address is linked at once, though
// its neighbours still think of its predecessor there.
func TestRestartInPlace(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		va := l.watch(a)
		if _, err := b.Dial(t.Context(), addrOf(a)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		l.net.Do(func(*simnet.World) { l.hosts[1].Cut(true) }) // it dies without a bye
		b.Close()
		time.Sleep(100 * time.Millisecond)
		l.net.Do(func(*simnet.World) { l.hosts[1].Cut(false) })
		conn, err := l.net.Listen(l.hosts[1], 4000)
		if err != nil {
			t.Fatal(err)
		}
		again := l.nodeOn(Config{}, conn)
		vb := l.watch(again)
		p, err := again.Dial(t.Context(), addrOf(a))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if v := va.seen(); v.up != 2 || v.down != 1 {
			t.Errorf("the old node is still there: %+v", v)
		}
		for range 20 { // past the time in which the old link would end
			time.Sleep(30 * time.Second)
			if err := p.Send([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if va, vb := va.seen(), vb.seen(); va.up != 2 || va.down != 1 || len(va.messages) != 20 || vb.down != 0 {
			t.Errorf("a: %+v, again: %+v", va, vb)
		}
	})
}

// A node that dies without a word is noticed, and forgotten.
func TestPeerVanishes(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		va := l.watch(a)
		if _, err := a.Dial(t.Context(), addrOf(b)); err != nil {
			t.Fatal(err)
		}
		l.net.Do(func(*simnet.World) { l.hosts[1].Cut(true) })
		time.Sleep(3 * time.Minute)
		if v := va.seen(); v.up != 1 || v.down != 1 {
			t.Error("still linked")
		}
		empty(t, a)
	})
}

// Whoever answers under another key than the one asked for is not linked.
func TestWantedNode(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		sp := a.sock.NewPeer()
		path := sock.Path{Remote: addrOf(b)}
		sp.Bind(path)
		sp.Use(path)
		want := identity.NodeID{1}
		if _, err := a.dial(t.Context(), sp, path, &want); !errors.Is(err, ErrPeer) {
			t.Errorf("dial: %v", err)
		}
		sp.Close()
		time.Sleep(15 * time.Second)
		empty(t, a, b)
	})
}

// A node whose offer has other credentials than the link's has lost the link: an
// answer to a ring says so long before the link would die of itself.
func TestOfferAfterLostLink(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		va := l.watch(a)
		p, err := a.Dial(t.Context(), addrOf(b))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		meet := func(cred nat.Cred) {
			a.loop.Do(t.Context(), func(now time.Time) {
				a.core.meet(now, p, nat.Offer{NodeKey: p.key, Cred: cred, Candidates: []netip.AddrPort{addrOf(b)}, Expires: now.Add(offerLife)})
			})
			time.Sleep(time.Second)
		}
		meet(p.Link().hello.cred())
		if v := va.seen(); v.down != 0 {
			t.Fatal("a link is given up though both sides have it")
		}
		meet(nat.NewCred())
		if v := va.seen(); v.down != 1 {
			t.Errorf("a link that the other side has lost is kept: %+v", v)
		}
	})
}
