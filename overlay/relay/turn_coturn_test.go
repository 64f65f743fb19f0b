// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// coturn is a real TURN server on loopback, with one user.
type coturn struct {
	port, tlsPort int
	roots         *x509.CertPool
}

func (s coturn) config(transport string) TURN {
	cfg := TURN{Username: "alice", Password: "wonderland"}
	switch transport {
	case "tls":
		cfg.URL = fmt.Sprintf("turns:localhost:%d", s.tlsPort)
		cfg.TLS = &tls.Config{RootCAs: s.roots}
	default:
		cfg.URL = fmt.Sprintf("turn:127.0.0.1:%d?transport=%s", s.port, transport)
	}
	return cfg
}

// certificate writes a self-signed one for localhost.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: priv},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}

func startCoturn(t *testing.T, more ...string) coturn {
	t.Helper()
	bin, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("no turnserver here (Debian package coturn)")
	}
	dir := t.TempDir()
	s := coturn{port: 20000 + mrand.IntN(20000), roots: certificate(t, dir)}
	s.tlsPort = s.port + 2
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, append([]string{
		"-n", "-L", "127.0.0.1", "-a", "-u", "alice:wonderland", "-r", "test.example",
		"--listening-port", fmt.Sprint(s.port), "--alt-listening-port", fmt.Sprint(s.port + 4),
		"--tls-listening-port", fmt.Sprint(s.tlsPort), "--alt-tls-listening-port", fmt.Sprint(s.port + 6),
		"--cert", filepath.Join(dir, "cert.pem"), "--pkey", filepath.Join(dir, "key.pem"),
		"--no-dtls", "--allow-loopback-peers", "--cli-password", "unused", "--no-cli", "--log-file", "stdout",
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"),
	}, more...)...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("%s", out.Bytes()[max(0, out.Len()-3000):])
		}
	})
	for range 200 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.tlsPort)); err == nil {
			c.Close()
			return s
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal("turnserver does not listen")
	return s
}

func listenLoopback(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func dialTURN(t testing.TB, cfg TURN) *TURNConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := DialTURN(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// talk sends datagrams between a TURN address and a peer, each way, in windows
// of eight; those of the first window wait for the permission.
func talk(t testing.TB, c *TURNConn, peer *net.UDPConn, count int) {
	t.Helper()
	buf := make([]byte, 2048)
	to := net.UDPAddrFromAddrPort(peer.LocalAddr().(*net.UDPAddr).AddrPort())
	for i := 0; i < count; i += 8 {
		for k := range 8 {
			d := binary.BigEndian.AppendUint32(make([]byte, 0, 1200), uint32(i+k))
			if n, err := c.WriteTo(append(d, make([]byte, 50*k)...), to); err != nil || n != 4+50*k {
				t.Fatal(n, err)
			}
		}
		for k := range 8 {
			n, from, err := peer.ReadFromUDPAddrPort(buf)
			if err != nil || from != c.Relayed() || n != 4+50*k || binary.BigEndian.Uint32(buf) != uint32(i+k) {
				t.Fatalf("datagram %d at the peer: %d bytes from %v, %v", i+k, n, from, err)
			}
			if _, err := peer.WriteToUDPAddrPort(buf[:n], from); err != nil {
				t.Fatal(err)
			}
			m, back, err := c.ReadFrom(buf)
			if err != nil || back.String() != to.String() || m != n || binary.BigEndian.Uint32(buf) != uint32(i+k) {
				t.Fatalf("datagram %d back: %d bytes from %v, %v", i+k, m, back, err)
			}
		}
	}
}

func TestCoturn(t *testing.T) {
	s := startCoturn(t)
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			c := dialTURN(t, s.config(transport))
			if !c.Relayed().Addr().IsLoopback() || c.LocalAddr().String() != c.Relayed().String() {
				t.Errorf("relayed at %v", c.Relayed())
			}
			a, b := listenLoopback(t), listenLoopback(t)
			talk(t, c, a, 64)
			talk(t, c, b, 16)
			talk(t, c, a, 16)
			if st := c.Stats(); st != (TURNStats{}) {
				t.Errorf("%+v", st)
			}
			if err := c.Err(); err != nil {
				t.Error(err)
			}
			c.Close()
			if _, _, err := c.ReadFrom(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if _, err := c.WriteTo([]byte("x"), a.LocalAddr()); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
	}
	t.Run("both ends", func(t *testing.T) {
		a, b := dialTURN(t, s.config("udp")), dialTURN(t, s.config("tcp"))
		buf := make([]byte, 100)
		for i := range 100 { // until each has let the other in
			if i == 99 {
				t.Fatal("nothing arrives")
			}
			for _, w := range [][2]*TURNConn{{a, b}, {b, a}} {
				if _, err := w[0].WriteTo([]byte("hello"), w[1].LocalAddr()); err != nil {
					t.Fatal(err)
				}
			}
			_ = b.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			n, from, err := b.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
			if err != nil || string(buf[:n]) != "hello" || from.String() != a.LocalAddr().String() {
				t.Fatalf("%q from %v, %v", buf[:n], from, err)
			}
			return
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		for _, transport := range []string{"udp", "tcp"} {
			cfg := s.config(transport)
			cfg.Password = "looking-glass"
			_, err := DialTURN(t.Context(), cfg)
			var e *TURNError
			if !errors.As(err, &e) || e.Code != 401 {
				t.Error(err)
			}
		}
	})
	t.Run("unknown authority", func(t *testing.T) {
		cfg := s.config("tls")
		cfg.TLS = nil
		var e *tls.CertificateVerificationError
		if _, err := DialTURN(t.Context(), cfg); !errors.As(err, &e) {
			t.Error(err)
		}
	})
}

func TestCoturnQuota(t *testing.T) {
	s := startCoturn(t, "--user-quota", "1")
	c := dialTURN(t, s.config("udp"))
	_, err := DialTURN(t.Context(), s.config("udp"))
	var e *TURNError
	if !errors.As(err, &e) || e.Code != 486 {
		t.Error(err)
	}
	talk(t, c, listenLoopback(t), 8)
	// Given back, it can be had again: Close told the server.
	c.Close()
	for i := 0; ; i++ {
		again, err := DialTURN(t.Context(), s.config("udp"))
		if err == nil {
			again.Close()
			break
		}
		if i == 50 {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// An address the server doesn't relay to costs that peer alone.
func TestCoturnForbidden(t *testing.T) {
	s := startCoturn(t, "--denied-peer-ip", "127.0.0.7")
	c := dialTURN(t, s.config("udp"))
	denied := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.7:9"))
	for range 3 {
		if _, err := c.WriteTo([]byte("x"), denied); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; c.Stats().Dropped < 3; i++ {
		if i == 400 {
			t.Fatalf("%+v", c.Stats())
		}
		<-time.After(50 * time.Millisecond)
	}
	talk(t, c, listenLoopback(t), 16)
	if n, err := c.WriteTo([]byte("x"), denied); n != 1 || err != nil || c.Stats().Dropped != 4 {
		t.Errorf("asked again at once: %v, %+v", err, c.Stats())
	}
}
