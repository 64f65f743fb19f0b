// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

var (
	serverAddr = netip.MustParseAddrPort("192.0.2.1:3478")
	serverElse = netip.MustParseAddrPort("192.0.2.2:3479")
)

// serverAnswer builds an answer as an RFC 5780 server does.
func serverAnswer(tx [12]byte, mapped, other, origin netip.AddrPort) []byte {
	b := appendHeader(nil, typeResponse, 0, tx)
	add := func(typ uint16, a netip.AddrPort) {
		if !a.IsValid() {
			return
		}
		ip := a.Addr().AsSlice()
		b = binary.BigEndian.AppendUint16(b, typ)
		b = binary.BigEndian.AppendUint16(b, uint16(4+len(ip)))
		b = append(b, 0, byte(1+len(ip)/16))
		b = binary.BigEndian.AppendUint16(b, a.Port())
		b = append(b, ip...)
	}
	add(attrPlain, mapped)
	add(attrElse, other)
	add(attrOrigin, origin)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-headerLen))
	return b
}

// take takes the one datagram there must be.
func (s *ServerCheck) take(t *testing.T) (sock.Path, [12]byte) {
	t.Helper()
	d, ok := s.Poll()
	if !ok {
		t.Fatal("nothing to send")
	}
	if _, more := s.Poll(); more {
		t.Fatal("a second datagram")
	}
	return d.Path, [12]byte(d.B[8:20])
}

func TestServerCheckSteps(t *testing.T) {
	s := NewServerCheck(epoch, serverAddr)
	path, tx := s.take(t)
	if path.Remote != serverAddr || path.Local != 0 {
		t.Fatalf("test I goes to %v", path)
	}
	for what, b := range map[string][]byte{
		"another transaction": serverAnswer([12]byte{7}, seen, serverElse, serverAddr),
		"another origin":      serverAnswer(tx, seen, serverElse, serverElse),
		"no mapped address":   serverAnswer(tx, netip.AddrPort{}, serverElse, serverAddr),
	} {
		if s.Receive(epoch, path, b) {
			t.Errorf("takes an answer with %s", what)
		}
	}
	if s.Receive(epoch, sock.Path{Remote: serverElse}, serverAnswer(tx, seen, serverElse, serverElse)) {
		t.Error("takes an answer from elsewhere")
	}
	if !s.Receive(epoch, path, serverAnswer(tx, seen, serverElse, serverAddr)) {
		t.Fatal("refuses the answer")
	}
	path, tx = s.take(t)
	if want := netip.MustParseAddrPort("192.0.2.2:3478"); path.Remote != want {
		t.Fatalf("test II goes to %v, want %v", path.Remote, want)
	}
	moved := netip.AddrPortFrom(seen.Addr(), seen.Port()+1)
	s.Receive(epoch, path, serverAnswer(tx, moved, serverElse, path.Remote))
	path, tx = s.take(t)
	if path.Remote != serverElse {
		t.Fatalf("test III goes to %v", path.Remote)
	}
	s.Receive(epoch, path, serverAnswer(tx, moved, serverElse, path.Remote))
	if r, done := s.Result(); r.Mapping != AddressDependent || done {
		t.Errorf("mapping %v, done %v", r.Mapping, done)
	}
	// A lost packet is sent again, and filtering tested from the other socket.
	path, tx = s.take(t)
	s.Advance(s.Deadline())
	again, tx2 := s.take(t)
	if path.Local != 1 || again != path || tx2 != tx {
		t.Errorf("filter test I goes over %v, then %v", path, again)
	}
	s.Receive(epoch, path, serverAnswer(tx, moved, serverElse, path.Remote))
	now := epoch
	for _, done := s.Result(); !done; _, done = s.Result() {
		s.take(t)
		now = s.Deadline()
		s.Advance(now)
	}
	if r, _ := s.Result(); r.Filtering != AddressAndPortDependent || r.Seen != seen {
		t.Errorf("found %+v", r)
	}
	if !s.Deadline().IsZero() || now.Sub(epoch) > 10*time.Second {
		t.Errorf("deadline %v, took %v", s.Deadline(), now.Sub(epoch))
	}
}

// A server can't send us to an address it has no claim to.
func TestServerCheckOther(t *testing.T) {
	for _, other := range []string{
		"192.0.2.1:3479", "192.0.2.2:3478", "192.168.0.1:3479", "127.0.0.1:3479", "224.0.0.1:3479",
		"255.255.255.255:1", "0.0.0.0:3479", "192.0.2.2:0", "[2001:db8::1]:3479", "100.64.0.1:3479",
	} {
		s := NewServerCheck(epoch, serverAddr)
		path, tx := s.take(t)
		if !s.Receive(epoch, path, serverAnswer(tx, seen, netip.MustParseAddrPort(other), serverAddr)) {
			t.Errorf("%s: refused", other)
		}
		if _, more := s.Poll(); more {
			t.Errorf("%s: goes on", other)
		}
		if r, done := s.Result(); !done || r != (ServerResult{Seen: seen}) {
			t.Errorf("%s: %+v, done %v", other, r, done)
		}
	}
}

func TestServerCheckRefused(t *testing.T) {
	s := NewServerCheck(epoch, serverAddr)
	path, tx := s.take(t)
	b := appendHeader(nil, typeError, 8, tx)
	b = append(b, 0, 9, 0, 4, 0, 0, 4, 20) // 420
	if !s.Receive(epoch, path, b) {
		t.Error("a refusal is not taken")
	}
	if _, done := s.Result(); !done {
		t.Error("goes on after a refusal")
	}
	if _, done := NewServerCheck(epoch, netip.MustParseAddrPort("224.0.0.1:1")).Result(); !done {
		t.Error("asks a multicast address")
	}
}

func FuzzServerCheck(f *testing.F) {
	f.Add(serverAnswer([12]byte{}, seen, serverElse, serverAddr), uint8(0))
	f.Add(serverAnswer([12]byte{}, netip.MustParseAddrPort("[2001:db8::1]:5"), serverElse, netip.AddrPort{}), uint8(3))
	f.Add(append(appendHeader(nil, typeError, 8, [12]byte{}), 0, 9, 0, 4, 0, 0, 4, 20), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, where uint8) {
		s := NewServerCheck(epoch, serverAddr)
		for range 40 {
			d, ok := s.Poll()
			if ok {
				if len(b) >= headerLen {
					copy(b[8:], d.B[8:20])
				}
				if ip := d.Path.Remote.Addr(); !outside(ip) {
					t.Fatalf("sends to %v", ip)
				}
			}
			from := []netip.AddrPort{serverAddr, serverElse, netip.AddrPortFrom(serverElse.Addr(), 3478), netip.AddrPortFrom(serverAddr.Addr(), 3479)}[where&3]
			s.Receive(s.now, sock.Path{Local: int(where >> 2 & 1), Remote: from}, b)
			if at := s.Deadline(); !at.IsZero() {
				s.Advance(at)
			}
			where = where*5 + 1
		}
		if _, done := s.Result(); !done {
			t.Fatal("never ends")
		}
	})
}
