// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/quic-go/quic-go"
)

// certificate returns a self-signed one that is valid in a bubble's year 2000.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A QUIC handshake over two Conns takes exactly the round trips it needs: one
// until Dial returns, one more until the answer to a stream is there. 20 ms is
// one way over both links.
func TestQUICTakesExactRoundTrips(t *testing.T) {
	for _, nat := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { quicRoundTrips(t, nat) })
	}
}

func quicRoundTrips(t *testing.T, nat bool) {
	const oneWay = 20 * time.Millisecond
	link := simnet.Profile{Delay: oneWay / 2}
	w := simnet.NewWorld(1, time.Now())
	host := w.Host("server", link, netip.MustParseAddr("45.0.0.1"))
	var clientHost *simnet.Host
	if nat {
		box := w.NAT("box", simnet.Profile{}, simnet.NATConfig{
			Pool:    []netip.Addr{netip.MustParseAddr("45.0.0.2")},
			Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent,
			Ports: simnet.Random,
		})
		clientHost = box.Host("client", link, netip.MustParseAddr("192.168.1.2"))
	} else {
		clientHost = w.Host("client", link, netip.MustParseAddr("45.0.0.2"))
	}
	n := simnet.Start(w)
	defer n.Close()

	sconn, err := n.Listen(host, 443)
	if err != nil {
		t.Fatal(err)
	}
	cconn, err := n.Listen(clientHost, 0)
	if err != nil {
		t.Fatal(err)
	}
	qc := &quic.Config{InitialPacketSize: 1200, DisablePathMTUDiscovery: true}
	server, client := &quic.Transport{Conn: sconn}, &quic.Transport{Conn: cconn}
	defer server.Close()
	defer client.Close()
	ln, err := server.Listen(&tls.Config{
		Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"test"},
	}, qc)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // echoes one stream
		c, err := ln.Accept(context.Background())
		if err != nil {
			return
		}
		s, err := c.AcceptStream(context.Background())
		if err != nil {
			return
		}
		io.Copy(s, s)
		s.Close()
	}()

	begin := time.Now()
	c, err := client.Dial(context.Background(), sconn.LocalAddr(),
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}, ServerName: "p2pos"}, qc)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d != 2*oneWay {
		t.Errorf("Dial took %v, want one round trip of %v", d, 2*oneWay)
	}
	s, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(s, "hello")
	s.Close()
	b, err := io.ReadAll(s)
	if err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
	if d := time.Since(begin); d != 4*oneWay {
		t.Errorf("the echo took %v, want two round trips of %v", d, 2*oneWay)
	}
	c.CloseWithError(0, "")
}
