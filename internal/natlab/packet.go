// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"encoding/binary"
	"net/netip"
)

const (
	protoTCP = 6
	protoUDP = 17

	minV4 = 20
	lenV6 = 40
)

// packet is an IP packet, decoded as far as a NAT looks at it. Its methods
// change the bytes in place.
type packet struct {
	b        []byte
	src, dst netip.AddrPort // ports are 0 where there are none
	proto    byte
	l4       int // offset of the UDP or TCP header; 0 = neither, or a fragment
}

// parse decodes one packet. Bytes after its end are cut off; ok is false when
// it is no whole packet.
func parse(b []byte) (p packet, ok bool) {
	if len(b) == 0 {
		return packet{}, false
	}
	var src, dst netip.Addr
	whole := true
	switch b[0] >> 4 {
	case 4:
		if len(b) < minV4 {
			return packet{}, false
		}
		head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if head < minV4 || total < head || total > len(b) {
			return packet{}, false
		}
		p.b, p.proto, p.l4 = b[:total], b[9], head
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		whole = binary.BigEndian.Uint16(b[6:])&0x3fff == 0 // neither "more fragments" nor an offset
	case 6:
		if len(b) < lenV6 {
			return packet{}, false
		}
		total := lenV6 + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) {
			return packet{}, false
		}
		p.b, p.proto, p.l4 = b[:total], b[6], lenV6
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		if src.Is4In6() || dst.Is4In6() {
			return packet{}, false // RFC 4038 §4.2: not on a wire
		}
	default:
		return packet{}, false
	}
	var sport, dport uint16
	if whole && p.hasPorts() {
		sport, dport = binary.BigEndian.Uint16(p.b[p.l4:]), binary.BigEndian.Uint16(p.b[p.l4+2:])
	} else {
		p.l4 = 0
	}
	p.src, p.dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return p, true
}

// hasPorts reports whether a whole UDP or TCP header is there.
func (p *packet) hasPorts() bool {
	switch p.proto {
	case protoUDP:
		return len(p.b) >= p.l4+8
	case protoTCP:
		return len(p.b) >= p.l4+20
	}
	return false
}

// hop counts one router; false means that the packet ends there.
func (p *packet) hop() bool {
	if p.b[0]>>4 == 6 {
		if p.b[7] <= 1 {
			return false
		}
		p.b[7]--
		return true
	}
	if p.b[8] <= 1 {
		return false
	}
	old := [2]byte{p.b[8], p.b[9]}
	p.b[8]--
	fix(p.b[10:12], old[:], p.b[8:10])
	return true
}

// setSource and setDestination rewrite an end of a packet that has ports. The
// new address must be of the packet's family.
func (p *packet) setSource(a netip.AddrPort) {
	if a != p.src {
		p.set(a, 12, 8, 0)
		p.src = a
	}
}

func (p *packet) setDestination(a netip.AddrPort) {
	if a != p.dst {
		p.set(a, 16, 24, 2)
		p.dst = a
	}
}

// set writes an address at its offset in either family and a port at its
// offset in the transport header, and mends the checksums by what changed
// (RFC 1624), so that a packet that came in broken stays broken.
func (p *packet) set(a netip.AddrPort, at4, at6, port int) {
	var old [18]byte // 16 of an address, 2 of the port
	at, size := at6, 16
	if a.Addr().Is4() {
		at, size = at4, 4
	}
	addr := p.b[at : at+size]
	n := copy(old[:], addr)
	copy(old[n:], p.b[p.l4+port:p.l4+port+2])
	fresh := append(make([]byte, 0, 18), a.Addr().AsSlice()...)
	fresh = binary.BigEndian.AppendUint16(fresh, a.Port())
	copy(addr, fresh[:n])
	copy(p.b[p.l4+port:], fresh[n:])

	if n == 4 {
		fix(p.b[10:12], old[:n], fresh[:n])
	}
	switch p.proto {
	case protoTCP:
		fix(p.b[p.l4+16:p.l4+18], old[:n+2], fresh)
	case protoUDP:
		sum := p.b[p.l4+6 : p.l4+8]
		if n == 4 && sum[0] == 0 && sum[1] == 0 {
			return // RFC 768: the sender made none
		}
		fix(sum, old[:n+2], fresh)
		if sum[0] == 0 && sum[1] == 0 {
			sum[0], sum[1] = 0xff, 0xff
		}
	}
}

// fix changes a checksum for bytes that were replaced: HC' = ~(~HC + ~m + m')
// (RFC 1624 §3, equation 3). Both are of the same even length.
func fix(sum, old, fresh []byte) {
	acc := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i < len(old); i += 2 {
		acc += uint32(^binary.BigEndian.Uint16(old[i:])) + uint32(binary.BigEndian.Uint16(fresh[i:]))
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	binary.BigEndian.PutUint16(sum, ^uint16(acc))
}
