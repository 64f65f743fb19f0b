// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

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
			if n := len(o.core.peers) + len(o.core.order) + len(o.core.asks) + len(o.core.intro.peers); n != 0 {
				t.Errorf("%d entries left", n)
			}
		})
		o.tags.Range(func(any, any) bool { t.Error("tag left"); return false })
		o.handles.Range(func(any, any) bool { t.Error("handle left"); return false })
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

// Neighbours that speak TLS but break our rules get no link.
func TestForgedCertificates(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	good, err := nodeCertificate(key)
	if err != nil {
		t.Fatal(err)
	}
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(100, 0, 0)}
	der, _ := x509.CreateCertificate(rand.Reader, tmpl, tmpl, ec.Public(), ec)
	_, stolen, _ := ed25519.GenerateKey(rand.Reader)
	for name, cert := range map[string]tls.Certificate{
		"not Ed25519": {Certificate: [][]byte{der}, PrivateKey: ec},
		"two":         {Certificate: [][]byte{good.Certificate[0], good.Certificate[0]}, PrivateKey: key},
		"stolen":      {Certificate: good.Certificate, PrivateKey: stolen},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				o := l.node(Config{})
				v := l.watch(o)
				tr := &quic.Transport{Conn: l.conn()}
				defer tr.Conn.Close()
				defer tr.Close()
				conf := tlsConfig(cert, identity.NodeID{}, nil)
				if name == "stolen" { // crypto/tls refuses to sign with another key
					conf.Certificates = nil
					conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				}
				conn, err := tr.Dial(t.Context(), net.UDPAddrFromAddrPort(addrOf(o)), conf, quicConfig())
				if err == nil { // in TLS 1.3 the client may be done before it is refused
					_, err = conn.AcceptStream(t.Context())
				}
				if err == nil {
					t.Error("accepted")
				}
				time.Sleep(15 * time.Second)
				if v.seen().up != 0 {
					t.Error("linked")
				}
				empty(t, o)
			})
		})
	}
}

// rawLink is a peer that can say what it likes on the control stream.
func rawLink(t *testing.T, l *lab, o *Overlay) (*quic.Conn, *quic.Stream, [32]byte) {
	t.Helper()
	public, key, _ := ed25519.GenerateKey(rand.Reader)
	cert, err := nodeCertificate(key)
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: l.conn()}
	conn, err := tr.Dial(t.Context(), net.UDPAddrFromAddrPort(addrOf(o)), tlsConfig(cert, identity.NodeIDOf(public), nil), quicConfig())
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(conn.Context(), func() { tr.Close(); tr.Conn.Close() })
	cs := conn.ConnectionState().TLS
	exp, err := cs.ExportKeyingMaterial(exporterLabel, nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn, s, [32]byte(exp)
}

func TestHostileLinks(t *testing.T) {
	public := identity.Network{}.Key()
	greet := func(exp [32]byte) []byte {
		h := hello{major: 1, proof: networkProof(public, dialler, exp), tag: [8]byte{1}, key: [32]byte{2}}
		return appendFrame(nil, frameHello, h.append(nil))
	}
	cases := map[string]struct {
		bytes func(exp [32]byte) []byte
		code  uint64
	}{
		"garbage": {func([32]byte) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }, codeProtocol},
		"another version": {func([32]byte) []byte {
			return appendFrame(nil, frameHello, []byte{2, 0})
		}, codeVersion},
		"proof of another link": {func([32]byte) []byte { return greet([32]byte{9}) }, codeNetwork},
		"reflected role": {func(exp [32]byte) []byte {
			h := hello{major: 1, proof: networkProof(public, listener, exp)}
			return appendFrame(nil, frameHello, h.append(nil))
		}, codeNetwork},
		"second hello":   {func(exp [32]byte) []byte { return append(greet(exp), greet(exp)...) }, codeProtocol},
		"long frame":     {func(exp [32]byte) []byte { return append(greet(exp), frameSession, 0xff, 0xff) }, codeProtocol},
		"bad list":       {func(exp [32]byte) []byte { return append(greet(exp), frameRegister, 0, 1, 9) }, codeProtocol},
		"bad candidates": {func(exp [32]byte) []byte { return append(greet(exp), frameIntroduce, 0, 2, 0, 0) }, codeProtocol},
		"silence":        {func([32]byte) []byte { return []byte{frameHello} }, codeProtocol},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				o := l.node(Config{})
				l.watch(o)
				conn, s, exp := rawLink(t, l, o)
				s.Write(c.bytes(exp))
				<-conn.Context().Done()
				var app *quic.ApplicationError
				if err := context.Cause(conn.Context()); !errors.As(err, &app) || uint64(app.ErrorCode) != c.code {
					t.Errorf("closed with %v, want code %d", err, c.code)
				}
				time.Sleep(15 * time.Second)
				empty(t, o)
				if s, _ := o.Status(t.Context()); s.Dropped["link"]+s.Dropped["frame"] == 0 {
					t.Errorf("not counted: %v", s.Dropped)
				}
			})
		})
	}
}

// dialRaw opens n connections from one socket, under one node key, and leaves
// them to then, or to their silence.
func dialRaw(t *testing.T, l *lab, o *Overlay, n int, then func(*testing.T, *quic.Conn)) (conns []*quic.Conn, refused int) {
	t.Helper()
	public, key, _ := ed25519.GenerateKey(rand.Reader)
	cert, err := nodeCertificate(key)
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: l.conn()}
	context.AfterFunc(o.ctx, func() { tr.Close(); tr.Conn.Close() })
	for range n {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		conn, err := tr.Dial(ctx, net.UDPAddrFromAddrPort(addrOf(o)), tlsConfig(cert, identity.NodeIDOf(public), nil), quicConfig())
		cancel()
		if err != nil {
			refused++
			continue
		}
		conns = append(conns, conn)
		if then != nil {
			then(t, conn)
		}
	}
	return conns, refused
}

// One source can keep only a few handshakes going, and keeps nobody out.
func TestHandshakeFlood(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		o, honest := l.node(Config{}), l.node(Config{})
		l.watch(o)
		conns, refused := dialRaw(t, l, o, 4*maxFromPrefix, nil)
		if len(conns) > maxFromPrefix || refused < 3*maxFromPrefix {
			t.Errorf("%d handshakes from one source, %d refused", len(conns), refused)
		}
		if _, err := honest.Dial(t.Context(), addrOf(o)); err != nil {
			t.Errorf("an honest node was kept out: %v", err)
		}
		for _, c := range conns {
			<-c.Context().Done() // closed for its silence
		}
		if n := o.arrivals.count(); n != 0 {
			t.Errorf("%d places not given back", n)
		}
		if s, _ := o.Status(t.Context()); s.Dropped["link"] < 3*maxFromPrefix {
			t.Errorf("not counted: %v", s.Dropped)
		}
	})
}

// Initials that are never followed up, from one address: quic-go's state for
// them is bounded too.
func TestInitialFlood(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		o := l.node(Config{})
		l.watch(o)
		_, key, _ := ed25519.GenerateKey(rand.Reader)
		cert, _ := nodeCertificate(key)
		deaf := &deafConn{l.conn().(*simnet.Conn)}
		tr := &quic.Transport{Conn: deaf}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		before := runtime.NumGoroutine()
		const dials = 200
		for range dials {
			wg.Go(func() {
				tr.Dial(ctx, net.UDPAddrFromAddrPort(addrOf(o)), tlsConfig(cert, identity.NodeID{}, nil), quicConfig())
			})
		}
		time.Sleep(time.Second)
		// Each of our own dials is three goroutines and ours; what is above
		// that is the node's.
		if n := o.arrivals.count(); n > maxFromPrefix {
			t.Errorf("%d handshakes", n)
		}
		if n := runtime.NumGoroutine() - before - 5*dials; n > 5*maxFromPrefix {
			t.Errorf("%d goroutines", n)
		}
		cancel()
		wg.Wait()
		tr.Close()
		deaf.Close()
		time.Sleep(20 * time.Second)
		if n := o.arrivals.count(); n != 0 {
			t.Errorf("%d places not given back", n)
		}
	})
}

// deafConn sends and never hears.
type deafConn struct{ *simnet.Conn }

func (c *deafConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if _, _, err := c.Conn.ReadFrom(b); err != nil {
			return 0, nil, err
		}
	}
}

// One node key gets a few links, no more.
func TestManyLinks(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		o := l.node(Config{})
		v := l.watch(o)
		conns, refused := dialRaw(t, l, o, 5*maxLinks, greet)
		if refused > 0 {
			t.Errorf("%d refused", refused)
		}
		time.Sleep(time.Second)
		open := 0
		for _, c := range conns {
			if c.Context().Err() == nil {
				open++
			}
		}
		if p := v.seen().last; p == nil || links(p) > maxLinks || open > maxLinks {
			t.Errorf("%d links, %d open", links(p), open)
		}
	})
}

// greet says a proper HELLO on a raw connection.
func greet(t *testing.T, conn *quic.Conn) {
	t.Helper()
	cs := conn.ConnectionState().TLS
	exp, err := cs.ExportKeyingMaterial(exporterLabel, nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := hello{major: 1, proof: networkProof(identity.Network{}.Key(), dialler, [32]byte(exp)), tag: [8]byte{1}, key: [32]byte{2}}
	s.Write(appendFrame(nil, frameHello, h.append(nil)))
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

// Every device of an identity is found through one introducer, and a liar who
// registered the same tag first hides none.
func TestSecondDevice(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		id, secret := identity.ID{7}, identity.Secret{8}
		c := l.node(Config{})
		person := Config{Identity: id, Secrets: []identity.Secret{secret}}
		b1, b2 := l.node(person), l.node(person)
		a := l.node(Config{})
		for _, o := range []*Overlay{c, b1, b2, a} {
			l.watch(o)
		}
		for _, o := range []*Overlay{b1, b2, a} {
			if _, err := o.Dial(t.Context(), addrOf(c)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		found := map[identity.NodeID]bool{}
		for p := range a.Reach(t.Context(), Target{ID: id, Secret: secret}) {
			found[p.Node()] = true
		}
		if !found[b1.Node()] || !found[b2.Node()] || len(found) != 2 {
			t.Errorf("found %d of 2", len(found))
		}
		time.Sleep(time.Minute)
		a.loop.Do(t.Context(), func(time.Time) {
			if len(a.core.asks) != 0 {
				t.Errorf("%d questions left open", len(a.core.asks))
			}
		})
	})
}

// Offers name a node key: only its holder can make one, for one place.
func TestOfferSignature(t *testing.T) {
	now := epoch
	pub, key, _ := ed25519.GenerateKey(rand.Reader)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	secret, tg := identity.Secret{1}, tag{2}
	offer := nat.Offer{NodeKey: pub, Cred: nat.NewCred(), Expires: now.Add(offerLife)}
	q, err := sealQuestion(key, secret, tg, offer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := openQuestion(secret, tg, q.sealed, now)
	if err != nil || !got.NodeKey.Equal(pub) {
		t.Fatalf("own question: %v", err)
	}
	forged, err := sealQuestion(other, secret, tg, offer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openQuestion(secret, tg, forged.sealed, now); !errors.Is(err, errOfferSignature) {
		t.Errorf("in another node's name: %v", err)
	}
	if _, err := openQuestion(identity.Secret{9}, tg, q.sealed, now); err == nil {
		t.Error("opened with another secret")
	}
	// A signature made for one tag does not serve under another.
	elsewhere := tag{3}
	moved := identity.SealSecret(offerKey(secret, elsewhere), elsewhere[:], signed(key, offer, tg[:]))
	if _, err := openQuestion(secret, elsewhere, moved, now); !errors.Is(err, errOfferSignature) {
		t.Errorf("moved to another tag: %v", err)
	}
	reply, err := sealReply(key, got.Reply, q.sealed, offer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.open(reply, now); err != nil {
		t.Errorf("reply: %v", err)
	}
	again, err := sealQuestion(key, secret, tg, offer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.open(reply, now); err == nil {
		t.Error("a reply to another question was accepted")
	}
}

// Many keys behind one address have one voice about ours, and no voice can
// push the interfaces' own addresses out.
func TestAddressVotes(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		o := l.node(Config{})
		peer := func(from, sees string) *Peer {
			p := &Peer{}
			p.state.active = sock.Path{Remote: netip.MustParseAddrPort(from)}
			o.core.seenAt(p, 0, netip.MustParseAddrPort(sees))
			return p
		}
		o.loop.Do(t.Context(), func(time.Time) {
			o.core.order = append(o.core.order,
				peer("203.0.113.1:1", "6.6.6.1:53"), peer("203.0.113.2:1", "6.6.6.1:53"), peer("203.0.113.3:1", "6.6.6.1:53"),
				peer("198.51.100.1:1", "46.0.0.9:9"), peer("192.0.2.1:1", "46.0.0.9:9"),
				peer("192.0.2.2:1", "10.0.0.1:53"), peer("192.0.2.3:1", "6.6.6.2:53"), peer("192.0.2.4:1", "6.6.6.3:53"),
			)
			got := o.core.addresses()
			o.core.order = nil
			if got[0] != netip.MustParseAddrPort("46.0.0.9:9") || got[len(got)-1] != addrOf(o) || len(got) > maxOutside+1 {
				t.Errorf("%v", got)
			}
			for _, a := range got {
				if a.Addr().IsPrivate() {
					t.Errorf("a neighbour out there put %v into our ticket", a)
				}
			}
		})
	})
}
