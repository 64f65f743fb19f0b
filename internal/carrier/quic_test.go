// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pos/p2pos/internal/sock"
)

// quicEnd is one node: a socket whose only local connection is a carrier, and
// QUIC on it as links use it.
type quicEnd struct {
	s    *sock.Socket
	tr   *quic.Transport
	tls  *tls.Config
	down chan error // capacity 1
}

func newQUICEnd(t *testing.T, c *Conn) *quicEnd {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	e := &quicEnd{down: make(chan error, 1)}
	e.s = sock.Open(sock.Config{Down: func(_ int, err error) { e.down <- err }})
	e.tr = &quic.Transport{Conn: e.s.QUIC()}
	e.tls = &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{"test"}, ServerName: "test",
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	if i, err := e.s.Add(c); i != 0 || err != nil {
		t.Fatal(i, err)
	}
	t.Cleanup(func() {
		e.tr.Close()
		e.s.Close()
	})
	return e
}

func quicSettings() *quic.Config {
	return &quic.Config{InitialPacketSize: 1200, DisablePathMTUDiscovery: true}
}

// quicEcho makes a QUIC connection over two joined carriers and sends a
// megabyte there and back.
func quicEcho(t *testing.T, ctx context.Context, dialled, accepted *Conn) (a, b *quicEnd) {
	t.Helper()
	a, b = newQUICEnd(t, dialled), newQUICEnd(t, accepted)
	ln, err := b.tr.Listen(b.tls, quicSettings())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := ln.Accept(ctx)
		if err != nil {
			return
		}
		if str, err := c.AcceptStream(ctx); err == nil {
			_, _ = io.Copy(str, str)
			str.Close()
		}
	}()
	peer := a.s.NewPeer()
	path := sock.Path{Local: 0, Remote: dialled.Remote()}
	peer.Bind(path)
	peer.Use(path)
	c, err := a.tr.Dial(ctx, peer.Addr(), a.tls, quicSettings())
	if err != nil {
		t.Fatal(err)
	}
	str, err := c.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("carried, "), 1<<20/9)
	go func() {
		_, _ = str.Write(sent)
		str.Close()
	}()
	if got, err := io.ReadAll(str); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes of %d came back: %v", len(got), len(sent), err)
	}
	return a, b
}

func TestQUIC(t *testing.T) {
	ctx := long(t)
	l := listen(t, Config{})
	dialled, accepted := pair(t, ctx, l, direct())
	a, b := quicEcho(t, ctx, dialled, accepted)
	t.Logf("dialler %+v, listener %+v", dialled.Stats(), accepted.Stats())
	if at := a.s.LocalAddr(0); at == (netip.AddrPort{}) {
		t.Error("no local address")
	}
	// The socket closes what it was given; the other one's notices at once.
	a.tr.Close()
	a.s.Close()
	if err := dialled.Err(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := <-b.down; !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	until(t, "its place is free", func() bool { return l.Stats().Open == 0 })
}

func TestQUICThroughProxy(t *testing.T) {
	ctx := long(t)
	l := listen(t, Config{})
	dialled, accepted := pair(t, ctx, l, newProxy(t, &proxyServer{}).use(nil))
	quicEcho(t, ctx, dialled, accepted)
}
