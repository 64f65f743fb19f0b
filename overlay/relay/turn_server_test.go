// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func serveTURN(t testing.TB, cfg TURNServerConfig) *TURNServer {
	t.Helper()
	cfg.Listen, cfg.Relay, cfg.Bind = "127.0.0.1:0", loopback, loopback
	s, err := ServeTURN(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func anyPeer(netip.Addr) bool { return true }

// guest returns what a guest would use.
func guest(s *TURNServer, name string) TURN {
	c := s.Credentials(name)
	return TURN{URL: c.URL, Username: c.Username, Password: c.Password}
}

// eventually waits for a state that others bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for i := 0; !ok(); i++ {
		if i == 4000 {
			t.Fatal("never: " + what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestTURNServer(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{AllowPeer: anyPeer})
	c := dialTURN(t, guest(s, "bob"))
	if c.Relayed().Addr() != loopback || s.Stats().Allocations != 1 {
		t.Errorf("relayed at %v, %+v", c.Relayed(), s.Stats())
	}
	talk(t, c, listenLoopback(t), 64)
	talk(t, c, listenLoopback(t), 8)
	if st := s.Stats(); st.Relayed == 0 || st.Filtered+st.Refused+st.Limited > 0 {
		t.Errorf("%+v", st)
	}
	c.Close()
	eventually(t, "the allocation is given back", func() bool { return s.Stats().Allocations == 0 })
	again := dialTURN(t, guest(s, "bob"))
	talk(t, again, listenLoopback(t), 8)
	if s.Close() != nil || s.Close() != nil || s.Stats().Allocations != 0 {
		t.Errorf("closed: %+v", s.Stats())
	}
}

// A guest sends what kills the library, from the address of its allocation,
// and everybody goes on (CVE-2026-54909).
func TestTURNServerMalformed(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{AllowPeer: anyPeer})
	c := dialTURN(t, guest(s, "mallory"))
	peer := listenLoopback(t)
	talk(t, c, peer, 8)
	for _, b := range evil() {
		if _, err := c.wire.conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are filtered", func() bool { return s.Stats().Filtered == uint64(len(evil())) })
	talk(t, c, peer, 8)
}

func TestTURNServerCredentials(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{AllowPeer: anyPeer})
	good := s.Credentials("a:b\n" + strings.Repeat("x", 100))
	if _, name, ok := turnExpiry(good.Username); !ok || !strings.HasPrefix(name, "abx") || len(name) > maxTURNName || good.Expires.Before(time.Now()) {
		t.Errorf("%+v", good)
	}
	user := turnUser(time.Now().Add(-time.Second), "late")
	for _, c := range []TURN{
		{Username: user, Password: turnPassword(s.secret, user)},                 // over
		{Username: good.Username, Password: "guess"},                             // wrong
		{Username: good.Username + "x", Password: good.Password},                 // another name
		{Username: "9999999999", Password: turnPassword(s.secret, "9999999999")}, // not ours
		{Username: "09999999999:x", Password: turnPassword(s.secret, "09999999999:x")},
	} {
		c.URL = good.URL
		_, err := DialTURN(t.Context(), c)
		var e *TURNError
		if !errors.As(err, &e) || e.Code != 400 {
			t.Errorf("%q: %v", c.Username, err)
		}
	}
	if st := s.Stats(); st.Allocations != 0 {
		t.Errorf("%+v", st)
	}
}

// Who holds an allocation keeps it beyond the hour, and gets no second one.
func TestTURNServerRenewal(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{})
	from := netip.MustParseAddrPort("192.0.2.1:1")
	auth := func(expired time.Duration, holds bool) bool {
		user := turnUser(time.Now().Add(-expired), "carol")
		if holds {
			s.ledger.take(user, from)
			defer s.ledger.give(user, from)
		}
		_, ok := s.authenticate(user, "p2pos", net.UDPAddrFromAddrPort(from))
		return ok
	}
	if !auth(-time.Minute, false) || auth(time.Minute, false) || !auth(time.Minute, true) || auth(maxTURNSession+time.Minute, true) {
		t.Error("the wrong ones are admitted")
	}
}

func TestTURNServerQuota(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{AllowPeer: anyPeer, MaxPerUser: 1, MaxAllocations: 2})
	bob := guest(s, "bob")
	first := dialTURN(t, bob)
	refused := func(cfg TURN) {
		t.Helper()
		_, err := DialTURN(t.Context(), cfg)
		var e *TURNError
		if !errors.As(err, &e) || e.Code != 508 {
			t.Error(err)
		}
	}
	refused(bob)
	second := dialTURN(t, guest(s, "carol"))
	refused(guest(s, "dave"))
	peer := listenLoopback(t)
	talk(t, first, peer, 8)
	talk(t, second, peer, 8)
	first.Close()
	eventually(t, "a place is free", func() bool { return s.Stats().Allocations == 1 })
	talk(t, dialTURN(t, guest(s, "dave")), peer, 8)
}

// What stands behind the server is not for guests.
func TestTURNServerPeers(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{})
	c := dialTURN(t, guest(s, "mallory"))
	if _, err := c.WriteTo([]byte("x"), listenLoopback(t).LocalAddr()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is refused", func() bool { return s.Stats().Refused == 1 && c.Stats().Dropped == 1 })
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "192.168.1.1": false, "172.16.0.1": false, "169.254.1.1": false,
		"100.64.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false,
		"198.18.0.1": false, "192.0.0.8": false, "fd00::1": false, "fe80::1": false, "ff02::1": false, "::ffff:127.0.0.1": false,
	} {
		if outside(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s is outside: %v", addr, !want)
		}
	}
}

func TestTURNServerRate(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{AllowPeer: anyPeer, Rate: 8}) // a byte a second, after the burst
	c := dialTURN(t, guest(s, "bob"))
	peer := listenLoopback(t)
	talk(t, c, peer, 8)
	to := peer.LocalAddr()
	eventually(t, "most is dropped", func() bool {
		if _, err := c.WriteTo(make([]byte, 1000), to); err != nil {
			t.Fatal(err)
		}
		return s.Stats().Limited > 20
	})
	if r := s.Stats().Relayed; r > turnBurst+1000 {
		t.Errorf("%d bytes relayed", r)
	}
}

// Refusals go out at a bounded rate.
func TestTURNServerReflects(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{})
	c := listenLoopback(t)
	eventually(t, "some are not answered", func() bool {
		for range maxTURNRefusals {
			if _, err := c.WriteToUDPAddrPort(stunMessage(0x0003, 0x0019, "\x11\x00\x00\x00"), s.Addr()); err != nil {
				t.Fatal(err)
			}
		}
		return s.Stats().Limited > maxTURNRefusals/2
	})
}

// The server forgets an allocation: the guest hears of it.
func TestTURNGone(t *testing.T) {
	s := serveTURN(t, TURNServerConfig{AllowPeer: anyPeer})
	c := dialTURN(t, guest(s, "bob"))
	stale := stunMessage(0x0114, 0x0009, "\x00\x00\x04\x26Stale Nonce", 0x0015, "nonce")
	mismatch := stunMessage(0x0114, 0x0009, "\x00\x00\x04\x25Allocation Mismatch")
	for _, b := range [][]byte{stale, mismatch} {
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.conn.PacketConn.WriteTo(b, c.wire.conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	<-c.Done()
	if err := c.Err(); !errors.Is(err, ErrTURNGone) {
		t.Error(err)
	}
}

func TestServeTURNRefuses(t *testing.T) {
	for _, relay := range []string{"::1", "0.0.0.0"} {
		if s, err := ServeTURN(TURNServerConfig{Listen: "127.0.0.1:0", Relay: netip.MustParseAddr(relay)}); err == nil {
			s.Close()
			t.Errorf("relays at %s", relay)
		}
	}
	if _, err := ServeTURN(TURNServerConfig{Listen: "192.0.2.1:1", Relay: loopback}); err == nil {
		t.Error("listens at a strange address")
	}
}

func TestTURNLedger(t *testing.T) {
	l := newTURNLedger(10, 3, 4)
	at := func(i, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i), 1}), uint16(port))
	}
	type step struct {
		user string
		from netip.AddrPort
		want bool
	}
	for i, c := range []step{
		{"a", at(1, 1), true}, {"a", at(2, 1), true}, {"a", at(3, 1), true}, {"a", at(4, 1), false}, // per user
		{"b", at(1, 2), true}, {"c", at(1, 3), true}, {"d", at(1, 4), true}, {"e", at(1, 5), false}, // per prefix
		{"e", at(5, 1), true}, {"e", at(6, 1), true}, {"f", at(7, 1), true}, {"f", at(8, 1), true}, {"g", at(9, 1), false}, // in all
	} {
		if got := l.take(c.user, c.from); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	if !l.holds("a", at(2, 1)) || l.holds("b", at(2, 1)) || l.holds("a", at(9, 9)) {
		t.Error("who holds what?")
	}
	if l.permit(0, at(9, 9), loopback) {
		t.Error("no allocation, and permitted")
	}
	peer := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}) }
	for i := range maxTURNHosts {
		if !l.permit(0, at(1, 1), peer(i)) {
			t.Fatalf("peer %d is refused", i)
		}
	}
	if l.permit(0, at(1, 1), peer(200)) || !l.permit(0, at(1, 1), peer(3)) {
		t.Error("peers aren't bounded, or known ones are refused")
	}
	later := turnPermission + time.Second
	if !l.permit(later, at(1, 1), peer(200)) || len(l.guests[at(1, 1)].peers) != 1 {
		t.Error("permissions that are over still count")
	}
	n := 0
	for l.permit(later, at(1, 1), peer(200)) {
		n++
	}
	if n > maxTURNGrants || n < maxTURNGrants/2 {
		t.Errorf("%d requests at once", n)
	}
	for _, c := range []step{
		{"a", at(1, 1), true}, {"a", at(2, 1), true}, {"a", at(3, 1), true}, {"b", at(1, 2), true}, {"c", at(1, 3), true},
		{"d", at(1, 4), true}, {"e", at(5, 1), true}, {"e", at(6, 1), true}, {"f", at(7, 1), true}, {"f", at(8, 1), true},
	} {
		l.give(c.user, c.from)
	}
	if l.open != 0 || len(l.users)+len(l.prefixes)+len(l.guests) != 0 {
		t.Errorf("left: %+v", l)
	}
}

// coturn makes and checks such credentials too.
func TestCoturnSecret(t *testing.T) {
	s := startCoturn(t, "--use-auth-secret", "--static-auth-secret", "open sesame")
	user := turnUser(time.Now().Add(time.Hour), "ali")
	c := dialTURN(t, TURN{URL: fmt.Sprintf("turn:127.0.0.1:%d", s.port), Username: user, Password: turnPassword([]byte("open sesame"), user)})
	talk(t, c, listenLoopback(t), 8)
}
