// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"crypto/rand"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

const (
	// serverRTO doubles with each of serverTries (RFC 8489 §6.2.1, which goes
	// on for 39.5 s; whoever waits for a verdict doesn't).
	serverRTO   = 500 * time.Millisecond
	serverTries = 3
)

// ServerResult is what an RFC 5780 server showed of the NAT.
type ServerResult struct {
	Mapping   Dependence     // by the tests of §4.3
	Filtering Dependence     // by those of §4.4
	Seen      netip.AddrPort // the first socket's outside address
}

// serverTest is one of the tests, in this order.
type serverTest uint8

const (
	mapHere      serverTest = iota // §4.3 test I: also finds the other address
	mapOtherAddr                   // II: its other address, the same port
	mapOtherPort                   // III: its other address and port
	filterOpen                     // §4.4 test I, from a socket of its own
	filterBoth                     // II: answer from the other address and port
	filterPort                     // III: answer from the other port
	serverTests
)

// ServerCheck tests a NAT with an RFC 5780 server. It is a pure machine of its
// own: after every input drain Poll; calling Advance early is harmless; time never
// goes backwards. Mapping is tested from local socket 0 and filtering from
// local socket 1, which must be a fresh one, since what the first one wrote
// opens filters (§4.4). It is not safe for concurrent use.
//
// The server's word is proved by nothing, so it is one voice among others: see
// Classifier.SetServer.
type ServerCheck struct {
	server netip.AddrPort
	other  netip.AddrPort
	now    time.Time
	test   serverTest
	tx     [12]byte
	tries  int
	due    time.Time
	sent   bool // the datagram was taken
	mapped [serverTests]netip.AddrPort
	result ServerResult
	done   bool
	buf    [headerLen + 8]byte
}

// NewServerCheck starts a check.
func NewServerCheck(now time.Time, server netip.AddrPort) *ServerCheck {
	s := &ServerCheck{now: now, server: netip.AddrPortFrom(server.Addr().Unmap(), server.Port())}
	if !probeable(s.server) {
		s.done = true
		return s
	}
	s.begin(mapHere)
	return s
}

// Result returns what is known, and whether that is all.
func (s *ServerCheck) Result() (ServerResult, bool) { return s.result, s.done }

// Deadline returns when Advance is wanted next; zero means never.
func (s *ServerCheck) Deadline() time.Time {
	if s.done {
		return time.Time{}
	}
	return s.due
}

func (s *ServerCheck) begin(t serverTest) {
	s.test, s.tries = t, 0
	rand.Read(s.tx[:]) // RFC 8489 §5: not to be guessed
	s.again()
}

func (s *ServerCheck) again() {
	s.tries++
	s.sent = false
	s.due = s.now.Add(serverRTO << (s.tries - 1))
}

// Advance does what is due.
func (s *ServerCheck) Advance(now time.Time) {
	s.now = latest(s.now, now)
	switch {
	case s.done || s.now.Before(s.due):
	case s.tries < serverTries:
		s.again()
	default:
		s.silent()
	}
}

// Poll returns the next datagram to send.
func (s *ServerCheck) Poll() (Datagram, bool) {
	if s.done || s.sent {
		return Datagram{}, false
	}
	s.sent = true
	path, change := s.aim()
	n := 0
	if change != 0 {
		n = 8
	}
	b := appendHeader(s.buf[:0], typeRequest, n, s.tx)
	if change != 0 {
		b = append(b, attrChange>>8, attrChange&0xff, 0, 4, 0, 0, 0, change)
	}
	return Datagram{Path: path, B: b}, true
}

// aim returns where the present test goes and what it wants changed.
func (s *ServerCheck) aim() (sock.Path, byte) {
	switch s.test {
	case mapOtherAddr:
		return sock.Path{Remote: netip.AddrPortFrom(s.other.Addr(), s.server.Port())}, 0
	case mapOtherPort:
		return sock.Path{Remote: s.other}, 0
	case filterOpen:
		return sock.Path{Local: 1, Remote: s.server}, 0
	case filterBoth:
		return sock.Path{Local: 1, Remote: s.server}, changeAddr | changePort
	case filterPort:
		return sock.Path{Local: 1, Remote: s.server}, changePort
	}
	return sock.Path{Remote: s.server}, 0
}

// origin returns where the answer to the present test has to come from.
func (s *ServerCheck) origin() netip.AddrPort {
	switch s.test {
	case filterBoth:
		return s.other
	case filterPort:
		return netip.AddrPortFrom(s.server.Addr(), s.other.Port())
	}
	path, _ := s.aim()
	return path.Remote
}

// Receive takes a datagram. It returns false when it does not answer the
// present test.
func (s *ServerCheck) Receive(now time.Time, path sock.Path, b []byte) bool {
	s.now = latest(s.now, now)
	m, ok := parseServer(b)
	if !ok || s.done || m.tx != s.tx {
		return false
	}
	aim, _ := s.aim()
	from := unmapped(path).Remote
	if path.Local != aim.Local || m.failed && from != s.server || !m.failed && from != s.origin() {
		return false
	}
	// An origin that names another address than it came from: somebody
	// rewrites what the server says, or it did not do as asked.
	if m.origin.IsValid() && m.origin != from {
		return false
	}
	if m.failed { // it can't do this test (RFC 5780 §6.1)
		s.finish()
		return true
	}
	s.mapped[s.test] = m.mapped
	switch s.test {
	case mapHere:
		s.result.Seen = m.mapped
		if !s.usable(m.other) {
			s.finish()
			return true
		}
		s.other = m.other
		s.begin(mapOtherAddr)
	case mapOtherAddr:
		if m.mapped == s.mapped[mapHere] {
			s.result.Mapping = EndpointIndependent
			s.begin(filterOpen)
			break
		}
		s.begin(mapOtherPort)
	case mapOtherPort:
		s.result.Mapping = AddressAndPortDependent
		if m.mapped == s.mapped[mapOtherAddr] {
			s.result.Mapping = AddressDependent
		}
		s.begin(filterOpen)
	case filterOpen:
		s.begin(filterBoth)
	case filterBoth:
		s.result.Filtering = EndpointIndependent
		s.finish()
	case filterPort:
		s.result.Filtering = AddressDependent
		s.finish()
	}
	return true
}

// usable reports whether the other address may be written to: it must differ
// in both parts (RFC 5780 §7.4), and a server outside can't send us to an
// address inside.
func (s *ServerCheck) usable(a netip.AddrPort) bool {
	return probeable(a) && a.Addr() != s.server.Addr() && a.Port() != s.server.Port() &&
		a.Addr().Is4() == s.server.Addr().Is4() && outside(a.Addr()) == outside(s.server.Addr()) &&
		a.Addr().IsLoopback() == s.server.Addr().IsLoopback()
}

// silent draws the conclusion from a test that was not answered.
func (s *ServerCheck) silent() {
	switch s.test {
	case filterBoth:
		s.begin(filterPort)
	case filterPort:
		s.result.Filtering = AddressAndPortDependent
		s.finish()
	case mapOtherAddr, mapOtherPort: // the mapping stays open
		s.begin(filterOpen)
	default:
		s.finish()
	}
}

func (s *ServerCheck) finish() { s.done = true }
