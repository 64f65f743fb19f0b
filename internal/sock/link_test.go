// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
)

// quicNode is a socket with a QUIC transport on it, set up as links are.
type quicNode struct {
	s   *Socket
	tr  *quic.Transport
	tls *tls.Config
}

func newQUICNode(t *testing.T, cfg Config) *quicNode {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Valid at any time: a bubble's clock starts in the year 2000.
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	s := Open(cfg)
	return &quicNode{
		s: s,
		tr: &quic.Transport{
			Conn:                s.QUIC(),
			VerifySourceAddress: func(net.Addr) bool { return s.Provisional() > 256 },
		},
		tls: &tls.Config{
			MinVersion:         tls.VersionTLS13,
			Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			InsecureSkipVerify: true,
			NextProtos:         []string{"test"},
			ServerName:         "test",
		},
	}
}

func (n *quicNode) close(t *testing.T) {
	if err := n.tr.Close(); err != nil { // waits for its reader
		t.Error(err)
	}
	if err := n.s.Close(); err != nil {
		t.Error(err)
	}
}

func quicConfig() *quic.Config {
	return &quic.Config{InitialPacketSize: 1200, DisablePathMTUDiscovery: true, MaxIdleTimeout: 5 * time.Minute}
}

// link is a QUIC connection between two nodes with one stream that echoes.
type link struct {
	a, b         *quicNode
	dialled      *quic.Conn
	accepted     *quic.Conn
	peerB, peerA *Peer // B as A knows it, A as B knows it
	stream       *quic.Stream
}

// connect dials from a, on path, to b.
func connect(t *testing.T, a, b *quicNode, path Path) *link {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l := &link{a: a, b: b, peerB: a.s.NewPeer()}
	l.peerB.Bind(path)
	l.peerB.Use(path)
	ln, err := b.tr.Listen(b.tls, quicConfig())
	if err != nil {
		t.Fatal(err)
	}
	if l.dialled, err = a.tr.Dial(ctx, l.peerB.Addr(), a.tls, quicConfig()); err != nil {
		t.Fatal(err)
	}
	if l.accepted, err = ln.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	if l.peerA = b.s.PeerAt(l.accepted.RemoteAddr()); l.peerA == nil {
		t.Fatalf("nobody at %v", l.accepted.RemoteAddr())
	}
	go func() {
		str, err := l.accepted.AcceptStream(l.accepted.Context())
		if err == nil {
			_, _ = io.Copy(str, str)
		}
	}()
	if l.stream, err = l.dialled.OpenStreamSync(ctx); err != nil {
		t.Fatal(err)
	}
	return l
}

// echo sends a word and waits until it is back.
func (l *link) echo(t *testing.T, word string) {
	t.Helper()
	if _, err := l.stream.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
	l.back(t, word)
}

func (l *link) back(t *testing.T, word string) {
	t.Helper()
	got := make([]byte, len(word))
	if _, err := io.ReadFull(l.stream, got); err != nil || string(got) != word {
		t.Fatalf("came back: %q, %v; want %q", got, err, word)
	}
}

// A handshake over real sockets, then one side's socket is pulled: the link
// goes on over the other, and neither QUIC notices.
func TestLinkSurvivesPulledSocket(t *testing.T) {
	first, second := listenUDP(t, "udp4", "127.0.0.1:0"), listenUDP(t, "udp4", "127.0.0.1:0")
	downs := make(chan int, 2)
	a := newQUICNode(t, Config{
		Conns: []net.PacketConn{first, second},
		Down:  func(local int, _ error) { downs <- local },
	})
	b := newQUICNode(t, Config{Conns: []net.PacketConn{listenUDP(t, "udp4", "127.0.0.1:0")}})
	defer a.close(t)
	defer b.close(t)
	l := connect(t, a, b, Path{0, b.s.LocalAddr(0)})
	if b.s.Provisional() != 1 || l.peerA.Confirm(nil) != l.peerA || b.s.Provisional() != 0 {
		t.Error("the dialler was no provisional peer, or still is")
	}
	l.echo(t, "before")

	first.Close()
	if local := <-downs; local != 0 {
		t.Errorf("connection %d is down", local)
	}
	if _, err := l.stream.Write([]byte("meanwhile")); err != nil { // QUIC writes into the void
		t.Fatal(err)
	}
	// Probes have found the new path; here the test says so.
	there, back := Path{1, b.s.LocalAddr(0)}, Path{0, a.s.LocalAddr(1)}
	l.peerB.Bind(there)
	l.peerB.Use(there)
	l.peerA.Bind(back)
	l.peerA.Use(back)
	l.peerB.Replay(there, MaxReplay)
	l.peerA.Replay(back, MaxReplay)
	l.back(t, "meanwhile")
	l.echo(t, "after")
	if a.s.PeerAt(l.dialled.RemoteAddr()) != l.peerB || b.s.PeerAt(l.accepted.RemoteAddr()) != l.peerA {
		t.Error("QUIC noticed the new path")
	}
	if err := context.Cause(l.dialled.Context()); err != nil {
		t.Error(err)
	}
}

// After ten seconds without a path QUIC's timer has backed off; the replay
// ends the stall at once.
func TestReplayEndsStall(t *testing.T) {
	stall := func(t *testing.T, replay bool) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			network := newMemNet()
			a := newQUICNode(t, Config{Conns: []net.PacketConn{network.listen("192.0.2.1:1"), network.listen("192.0.2.1:2")}})
			b := newQUICNode(t, Config{Conns: []net.PacketConn{network.listen("192.0.2.2:1")}})
			defer a.close(t)
			defer b.close(t)
			l := connect(t, a, b, to("192.0.2.2:1"))
			l.peerA.Confirm(nil)
			l.echo(t, "before")
			network.sever(true, "192.0.2.1:1")
			if _, err := l.stream.Write([]byte("lost")); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				time.Sleep(time.Second)
				l.peerB.Trim(time.Now())
				l.peerA.Trim(time.Now())
			}
			start := time.Now()
			there, back := Path{1, netip.MustParseAddrPort("192.0.2.2:1")}, to("192.0.2.1:2")
			l.peerB.Bind(there)
			l.peerB.Use(there)
			l.peerA.Bind(back)
			l.peerA.Use(back)
			if replay && l.peerB.Replay(there, MaxReplay) == 0 {
				t.Error("nothing to replay after an outage")
			}
			l.back(t, "lost")
			took = time.Since(start)
		})
		return took
	}
	with, without := stall(t, true), stall(t, false)
	t.Logf("stall after 10 s without a path: %v with replay, %v without", with, without)
	if with > 200*time.Millisecond || without < 2*with {
		t.Errorf("the replay doesn't help")
	}
}

// A peer whose link is alive comes back from a new address and dials again:
// both links work, the old one on its own address, while one drains.
func TestSecondLinkOfKnownPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		a := newQUICNode(t, Config{Conns: []net.PacketConn{network.listen("192.0.2.1:1"), network.listen("192.0.2.1:2")}})
		b := newQUICNode(t, Config{Conns: []net.PacketConn{network.listen("192.0.2.2:1")}})
		defer a.close(t)
		defer b.close(t)
		ln, err := b.tr.Listen(b.tls, quicConfig())
		if err != nil {
			t.Fatal(err)
		}
		peerB := a.s.NewPeer()
		var peerA *Peer
		var accepted []*quic.Conn
		var streams [][2]*quic.Stream // at A, at B
		dst := netip.MustParseAddrPort("192.0.2.2:1")
		for i := range 2 {
			path := Path{i, dst}
			peerB.Bind(path)
			peerB.Use(path)
			if i == 1 {
				network.sever(true, "192.0.2.1:1") // the old path is dead, B doesn't know yet
			}
			out, err := a.tr.Dial(t.Context(), peerB.Addr(), a.tls, quicConfig())
			if err != nil {
				t.Fatal(err)
			}
			in, err := ln.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if peerA = b.s.PeerAt(in.RemoteAddr()).Confirm(peerA); peerA.Closed() {
				t.Fatal("peer closed")
			}
			accepted = append(accepted, in)
			str, err := out.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := str.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			there, err := in.AcceptStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, [2]*quic.Stream{str, there})
		}
		if addrPort(accepted[0].RemoteAddr()) == addrPort(accepted[1].RemoteAddr()) {
			t.Error("the second link came from a known path: the test proves nothing")
		}
		for range 3 { // B to A first: the new source must be in its route
			for i, s := range streams {
				buf := make([]byte, 5)
				if _, err := s[1].Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(s[0], buf); err != nil {
					t.Fatalf("link %d: %v", i, err)
				}
				if _, err := s[0].Write([]byte("there")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(s[1], buf[:5]); err != nil {
					t.Fatalf("link %d: %v", i, err)
				}
			}
			time.Sleep(time.Second)
		}
		for i, c := range accepted {
			if b.s.PeerAt(c.RemoteAddr()) != peerA {
				t.Errorf("link %d is at %v, which is not the peer's", i, c.RemoteAddr())
			}
		}
	})
}

// A flood of Initials makes QUIC ask for Retry and leaves an honest dialler
// its handshake.
func TestHandshakeWithRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		a := newQUICNode(t, Config{Conns: []net.PacketConn{network.listen("192.0.2.1:1")}})
		target := network.listen("192.0.2.2:1")
		b := newQUICNode(t, Config{Conns: []net.PacketConn{target}})
		defer a.close(t)
		defer b.close(t)
		for i := range 300 {
			target.feed(source(i).String(), initial(version1), nil)
		}
		synctest.Wait()
		if n := b.s.Provisional(); n != 300 {
			t.Fatalf("%d provisional", n)
		}
		l := connect(t, a, b, to("192.0.2.2:1"))
		l.echo(t, "hello")
	})
}

// The path socket outlives a transport: the next one may use it.
func TestTransportAfterTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		a := newQUICNode(t, Config{Conns: []net.PacketConn{network.listen("192.0.2.1:1")}})
		b := newQUICNode(t, Config{Conns: []net.PacketConn{network.listen("192.0.2.2:1")}})
		defer a.close(t)
		defer b.close(t)
		connect(t, a, b, to("192.0.2.2:1")).echo(t, "one")
		if err := a.tr.Close(); err != nil {
			t.Fatal(err)
		}
		if err := b.tr.Close(); err != nil {
			t.Fatal(err)
		}
		a.tr = &quic.Transport{Conn: a.s.QUIC()}
		b.tr = &quic.Transport{Conn: b.s.QUIC()}
		connect(t, a, b, to("192.0.2.2:1")).echo(t, "two")
	})
}
