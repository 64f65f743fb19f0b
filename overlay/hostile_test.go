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
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
)

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
		"second hello": {func(exp [32]byte) []byte { return append(greet(exp), greet(exp)...) }, codeProtocol},
		"long frame":   {func(exp [32]byte) []byte { return append(greet(exp), frameSession, 0xff, 0xff) }, codeProtocol},
		"bad list":     {func(exp [32]byte) []byte { return append(greet(exp), frameCandidates, 0, 1, 9) }, codeProtocol},
		"bad list 2":   {func(exp [32]byte) []byte { return append(greet(exp), frameCandidates, 0, 4, 2, 0, 1, 9) }, codeProtocol},
		"silence":      {func([32]byte) []byte { return []byte{frameHello} }, codeProtocol},
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
