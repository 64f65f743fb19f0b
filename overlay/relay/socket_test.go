// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/overlay/relay"
	"github.com/quic-go/quic-go"
)

// station is a socket that relays, as the overlay puts one together: links are
// set by hand.
type station struct {
	s     *sock.Socket
	fwd   *relay.Forwarder[*sock.Peer]
	conn  *relay.Conn[*sock.Peer]
	local int // number of conn at s
	start time.Time
	media chan string
	stun  chan string

	mu    sync.Mutex
	peers map[sock.Path]*sock.Peer
}

func newStation(t testing.TB) *station {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	st := &station{
		fwd: relay.NewForwarder[*sock.Peer](relay.Limits{}.TotalRate()), conn: relay.NewConn[*sock.Peer](), start: time.Now(),
		media: make(chan string, 64), stun: make(chan string, 64), peers: make(map[sock.Path]*sock.Peer),
	}
	ready := make(chan struct{})
	st.s = sock.Open(sock.Config{
		Conns: []net.PacketConn{c},
		Media: func(_ sock.Path, b []byte) sock.MediaKind { st.media <- string(b); return sock.Genuine },
		STUN:  func(_ sock.Path, b []byte) { st.stun <- string(b) },
		Relay: func(p sock.Path, b []byte) { <-ready; st.relay(p, b) },
	})
	t.Cleanup(func() { st.s.Close() })
	if st.local, err = st.s.Add(st.conn); err != nil {
		t.Fatal(err)
	}
	close(ready)
	return st
}

func (st *station) relay(p sock.Path, b []byte) {
	st.mu.Lock()
	from := st.peers[p]
	st.mu.Unlock()
	switch to, ok := st.fwd.Forward(time.Since(st.start), from, b); {
	case !ok:
	case to == nil:
		l, _ := relay.LabelOf(b)
		st.conn.Deliver(l, from, b)
	default:
		_ = to.Send(b) // a lost packet
	}
}

// peer makes a peer that is reached over one path.
func (st *station) peer(p sock.Path) *sock.Peer {
	peer := st.s.NewPeer()
	peer.Bind(p)
	peer.Use(p)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.peers[p] = peer
	return peer
}

// direct makes two stations neighbours.
func direct(a, b *station) (atA, atB *sock.Peer) {
	return a.peer(sock.Path{Local: 0, Remote: b.s.LocalAddr(0)}), b.peer(sock.Path{Local: 0, Remote: a.s.LocalAddr(0)})
}

type hop = relay.End[*sock.Peer]

// own opens a flow that ends at a station and returns the path it is there.
func (st *station) own(t testing.TB, e hop, nested bool) sock.Path {
	t.Helper()
	if err := st.fwd.Open(e, hop{}, relay.Rates{Nested: nested}); err != nil {
		t.Fatal(err)
	}
	addr, err := st.conn.Open(e, nested, e.Peer.Send)
	if err != nil {
		t.Fatal(err)
	}
	return sock.Path{Local: st.local, Remote: addr.AddrPort()}
}

// linkRates are those of a relayed link: the smallest that must carry QUIC.
var linkRates = relay.Rates{Promised: 3_000, Peak: 32_000}

// through builds a - r - b and returns the path to b at a, and to a at b.
func through(t testing.TB, rates relay.Rates) (a, r, b *station, toB, toA sock.Path) {
	a, r, b = newStation(t), newStation(t), newStation(t)
	rAtA, aAtR := direct(a, r)
	rAtB, bAtR := direct(b, r)
	if err := r.fwd.Open(hop{Peer: aAtR, Label: 11}, hop{Peer: bAtR, Label: 22}, rates); err != nil {
		t.Fatal(err)
	}
	return a, r, b, a.own(t, hop{Peer: rAtA, Label: 11}, false), b.own(t, hop{Peer: rAtB, Label: 22}, false)
}

func expect(t *testing.T, c chan string, want string) {
	t.Helper()
	select {
	case got := <-c:
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("%q did not arrive", want)
	}
}

// What comes out of a flow passes the socket's filters like what comes from
// outside: a STUN message that would kill its parser doesn't get there.
func TestInnerDatagramsAreFiltered(t *testing.T) {
	a, _, b, toB, _ := through(t, linkRates)
	stun := func(attrs ...byte) []byte {
		h := []byte{0, 1, 0, byte(len(attrs)), 0x21, 0x12, 0xa4, 0x42}
		return append(append(h, "transaction!"...), attrs...)
	}
	killer := stun(0x00, 0x13, 0, 4, 'd', 'a', 't', 'a', 0x00, 0x12, 0, 0) // CVE-2026-54909
	good := stun(0x00, 0x24, 0, 4, 0, 0, 0, 1)
	short := []byte{0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for _, d := range [][]byte{killer, {5, 1}, {20, 1, 2}, short, good, {128, 'm'}} {
		if err := a.s.WriteTo(toB, d); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, b.stun, string(good))
	expect(t, b.media, "\x80m")
	got := b.s.Dropped()
	for _, reason := range []string{"bad stun", "garbage", "dtls", "unknown source"} {
		if got[reason] != 1 {
			t.Errorf("%s: %d", reason, got[reason])
		}
	}
	if err := a.s.WriteTo(toB, []byte{4, 0, 0, 0, 22, 128}); err == nil {
		t.Error("a frame within a frame left")
	}
}

func tlsConfig(t testing.TB) *tls.Config {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		InsecureSkipVerify: true, NextProtos: []string{"test"}, ServerName: "test",
	}
}

// A link and media go through a relay at the rates of a relayed link, and
// nothing above the socket knows.
func TestLinkThroughARelay(t *testing.T) {
	a, r, b, toB, toA := through(t, linkRates)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := tlsConfig(t)
	qc := &quic.Config{InitialPacketSize: 1200, DisablePathMTUDiscovery: true}
	ta, tb := &quic.Transport{Conn: a.s.QUIC()}, &quic.Transport{Conn: b.s.QUIC()}
	defer ta.Close()
	defer tb.Close()
	ln, err := tb.Listen(cfg, qc)
	if err != nil {
		t.Fatal(err)
	}
	peer := a.peer(toB)
	dialled, err := ta.Dial(ctx, peer.Addr(), cfg, qc)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out, err := dialled.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("ring")); err != nil {
		t.Fatal(err)
	}
	in, err := accepted.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "ring" {
		t.Errorf("%q %v", got, err)
	}
	if _, _, ok := b.s.PeerAt(accepted.RemoteAddr()).Route(); !ok {
		t.Error("the link came from nowhere")
	}
	if err := peer.Send([]byte("\x80there")); err != nil {
		t.Error(err)
	}
	if err := b.s.WriteTo(toA, []byte("\x80back")); err != nil {
		t.Error(err)
	}
	expect(t, b.media, "\x80there")
	expect(t, a.media, "\x80back")
	frames, _ := r.fwd.Total()
	if _, n := r.s.Traffic(); frames < 8 || n == 0 {
		t.Errorf("%d frames through the relay", frames)
	}
}

// A relay that is itself reached through a relay: frames within frames, in a
// flow that was opened for it.
func TestNestedFlow(t *testing.T) {
	a, r1, r2, b := newStation(t), newStation(t), newStation(t), newStation(t)
	r1AtA, aAtR1 := direct(a, r1)
	r1AtR2, r2AtR1 := direct(r2, r1)
	bAtR2, r2AtB := direct(r2, b)
	rates := relay.Rates{Promised: 64_000, Peak: 64_000, Nested: true}
	if err := r1.fwd.Open(hop{Peer: aAtR1, Label: 1}, hop{Peer: r2AtR1, Label: 2}, rates); err != nil {
		t.Fatal(err)
	}
	r2AtA := a.peer(a.own(t, hop{Peer: r1AtA, Label: 1}, true))
	aAtR2 := r2.peer(r2.own(t, hop{Peer: r1AtR2, Label: 2}, true))
	rates.Nested = false
	if err := r2.fwd.Open(hop{Peer: aAtR2, Label: 3}, hop{Peer: bAtR2, Label: 4}, rates); err != nil {
		t.Fatal(err)
	}
	toB := a.own(t, hop{Peer: r2AtA, Label: 3}, false)
	toA := b.own(t, hop{Peer: r2AtB, Label: 4}, false)
	if err := a.s.WriteTo(toB, []byte("\x80there")); err != nil {
		t.Error(err)
	}
	if err := b.s.WriteTo(toA, []byte("\x80back")); err != nil {
		t.Error(err)
	}
	expect(t, b.media, "\x80there")
	expect(t, a.media, "\x80back")
}

// Another neighbour's frame with the right label, and a stranger's, go nowhere.
func TestFramesOfOthersOverSockets(t *testing.T) {
	_, r, b, _, _ := through(t, linkRates)
	x := newStation(t)
	rAtX, _ := direct(x, r)
	stranger, err := net.Dial("udp4", r.s.LocalAddr(0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for _, label := range []uint32{11, 22, 0} {
		f := append(binary.BigEndian.AppendUint32([]byte{4}, label), 128, 'x')
		if err := rAtX.Send(bytes.Clone(f)); err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); r.fwd.Dropped()["no such flow"] < 6; <-tick.C {
		if time.Now().After(end) {
			t.Fatal(r.fwd.Dropped())
		}
	}
	if frames, _ := r.fwd.Total(); frames != 0 || len(b.media) != 0 {
		t.Error("a third party's frame was forwarded")
	}
}
