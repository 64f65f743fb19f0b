// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/p2pos/p2pos/internal/wire"
)

// errAddress reports an address in a ticket that cannot be one.
var errAddress = errors.New("unusable address")

// ticketAddr returns a in its plain form (IPv4 not mapped into IPv6) and
// whether it can mean anything on another machine. Private and loopback
// addresses may: the two can share a network or a computer.
func ticketAddr(a netip.AddrPort) (netip.AddrPort, bool) {
	ip := a.Addr().Unmap()
	ok := ip.IsValid() && a.Port() != 0 && ip.Zone() == "" &&
		!ip.IsUnspecified() && !ip.IsMulticast() &&
		!(ip.Is6() && ip.IsLinkLocalUnicast()) && // needs a zone, which is local
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return netip.AddrPortFrom(ip, a.Port()), ok
}

// appendAddrs returns the list's bytes: each a vec8 of IP (4 or 16) and port.
func appendAddrs(list []netip.AddrPort, most int) ([]byte, error) {
	if len(list) > most {
		return nil, fmt.Errorf("%d, at most %d fit", len(list), most)
	}
	var b []byte
	for _, a := range list {
		p, ok := ticketAddr(a)
		if !ok {
			return nil, fmt.Errorf("%w %s", errAddress, a)
		}
		v := binary.BigEndian.AppendUint16(p.Addr().AsSlice(), p.Port())
		b = wire.AppendVec8(b, v)
	}
	return b, nil
}

// parseAddrs reads what appendAddrs wrote, to the end of r. Each address has
// one form only.
func parseAddrs(r *wire.Reader, most int) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for r.Len() > 0 {
		v := r.Vec8()
		if err := r.Err(); err != nil {
			return nil, err
		}
		if len(v) != 4+2 && len(v) != 16+2 {
			return nil, fmt.Errorf("%w of %d bytes", errAddress, len(v))
		}
		ip, _ := netip.AddrFromSlice(v[:len(v)-2])
		a := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[len(v)-2:]))
		if p, ok := ticketAddr(a); !ok || p != a {
			return nil, fmt.Errorf("%w %s", errAddress, a)
		}
		if len(list) == most {
			return nil, fmt.Errorf("more than %d addresses", most)
		}
		list = append(list, a)
	}
	return list, nil
}
