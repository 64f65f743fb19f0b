// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/p2pos/p2pos/internal/sock"
)

// TURN is a TURN server of somebody else's, a company's say, that the node may
// use as one more relay (RFC 8656). DialTURN makes use of it.
type TURN struct {
	// URL is "turn:host", "turn:host:port", "turn:host?transport=tcp" or
	// "turns:host" (RFC 7065). The ports are 3478 and 5349 where none is given;
	// turns is TLS on TCP.
	URL string

	// Username and Password are long-term credentials (RFC 8489 §9.2), or what
	// a service gives out for a while.
	Username, Password string

	// TLS is for turns; nil verifies the server's name with the system's roots.
	TLS *tls.Config
}

// Check reports a URL that is none. It does no I/O.
func (t TURN) Check() error {
	_, err := parseTURNURL(t.URL)
	return err
}

// TURNError reports a TURN server that answered and refused.
type TURNError struct {
	Server string // host:port
	Code   int    // 401 means wrong credentials, 486 a quota, 508 no room (RFC 8656 §19)
	Reason string
}

func (e *TURNError) Error() string {
	return fmt.Sprintf("relay: TURN server %s refuses: %d %s", e.Server, e.Code, e.Reason)
}

// turnURL is a TURN URL taken apart.
type turnURL struct {
	host, port string
	tcp, tls   bool
}

func (u turnURL) String() string { return net.JoinHostPort(u.host, u.port) }

func parseTURNURL(s string) (turnURL, error) {
	var u turnURL
	bad := fmt.Errorf("relay: %q is no TURN URL (turn:host:port, turns:host:port)", s)
	scheme, rest, ok := strings.Cut(s, ":")
	rest, query, asks := strings.Cut(rest, "?")
	switch {
	case !ok:
		return u, bad
	case scheme == "turn":
		u.port = "3478"
	case scheme == "turns":
		u.port, u.tcp, u.tls = "5349", true, true
	default:
		return u, bad
	}
	switch {
	case !asks:
	case query == "transport=tcp":
		u.tcp = true
	case query == "transport=udp" && !u.tls: // DTLS is not spoken here
	default:
		return u, bad
	}
	u.host = rest
	if host, port, err := net.SplitHostPort(rest); err == nil {
		u.host, u.port = host, port
	} else {
		u.host = strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")
	}
	if n, err := strconv.ParseUint(u.port, 10, 16); err != nil || n == 0 {
		return u, bad
	}
	if _, err := netip.ParseAddr(u.host); err != nil && (u.host == "" || strings.ContainsAny(u.host, ":/@[]% ")) {
		return u, bad
	}
	return u, nil
}

const (
	// maxTURNMessage bounds one message to or from a TURN server: a datagram
	// of 1,500 bytes in an indication with every attribute there is.
	maxTURNMessage = 2048

	channelHeader = 4
	stunHeader    = 20
)

// validTURN reports whether b is a message that the TURN library may be given:
// a STUN message that is exact in every length (see sock.ValidSTUN, and
// CVE-2026-54909), or ChannelData with no more behind it than padding. Every
// byte from the network passes here first, on the client's side and on the
// server's.
func validTURN(b []byte) bool {
	if len(b) > maxTURNMessage || len(b) < channelHeader {
		return false
	}
	switch b[0] >> 6 {
	case 0:
		return sock.ValidSTUN(b)
	case 1: // RFC 8656 §12.4; RFC 5766 allowed numbers up to 0x7fff
		rest := len(b) - channelHeader - int(binary.BigEndian.Uint16(b[2:]))
		return 0 <= rest && rest < 4
	}
	return false
}

// turnErrorCode returns the error in a valid STUN message: the method's number
// without class, and the code; 0 when the message is no error response.
func turnErrorCode(b []byte) (method uint16, code int, reason string) {
	typ := binary.BigEndian.Uint16(b)
	if typ&0x0110 != 0x0110 {
		return 0, 0, ""
	}
	for a := b[stunHeader:]; len(a) >= 4; {
		n := int(binary.BigEndian.Uint16(a[2:]))
		if v := a[4 : 4+n]; binary.BigEndian.Uint16(a) == 0x0009 && n >= 4 { // RFC 8489 §14.8
			return typ &^ 0x0110, int(v[2]&7)*100 + int(v[3]), printable(v[4:])
		}
		a = a[4+(n+3)&^3:]
	}
	return typ &^ 0x0110, 0, ""
}

// printable makes a stranger's words fit for a terminal and a log line.
func printable(b []byte) string {
	b = b[:min(len(b), 80)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b))
}
