// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/p2pos/p2pos/internal/wire"
)

// PCP, RFC 6887: 24 bytes of header (§7), 36 of MAP (§11.1), options behind.
//
//	request   version(1)=2 opcode(1) 0(2) lifetime(4) client address(16)
//	response  version(1)=2 0x80|opcode(1) 0(1) result(1) lifetime(4) epoch(4) 0(12)
//	MAP       nonce(12) protocol(1) 0(3) internal port(2) external port(2) external address(16)
const (
	pcpPort         = 5351
	pcpAnnouncePort = 5350 // clients hear of a restart there (§14.1.1)

	pcpVersion = 2
	pcpReply   = 0x80 // the R bit

	opAnnounce = 0
	opMap      = 1

	pcpNotAuthorized = 2 // §7.4

	protoUDP = 17

	pcpHeader = 24
	pcpMap    = pcpHeader + 36
	pcpMax    = 1100 // §7
)

type nonce [12]byte

// mapRequest is a MAP request. Lifetime 0 withdraws the mapping.
type mapRequest struct {
	lifetime uint32
	internal netip.AddrPort
	external netip.AddrPort // wished for; zero = any
	nonce    nonce
}

func (r mapRequest) append(b []byte) []byte {
	b = appendPCPHeader(b, opMap, r.lifetime, r.internal.Addr())
	b = append(b, r.nonce[:]...)
	b = append(b, protoUDP, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, r.internal.Port())
	b = binary.BigEndian.AppendUint16(b, r.external.Port())
	ext := r.external.Addr()
	if !ext.IsValid() {
		// "All zeros" of the family that is wished for, §11.1.
		if ext = netip.IPv6Unspecified(); r.internal.Addr().Is4() {
			ext = netip.IPv4Unspecified()
		}
	}
	a := ext.As16()
	return append(b, a[:]...)
}

// appendAnnounce appends an ANNOUNCE request: are you there, since when (§14.1).
func appendAnnounce(b []byte, client netip.Addr) []byte {
	return appendPCPHeader(b, opAnnounce, 0, client)
}

func appendPCPHeader(b []byte, op byte, lifetime uint32, client netip.Addr) []byte {
	b = append(b, pcpVersion, op, 0, 0)
	b = binary.BigEndian.AppendUint32(b, lifetime)
	a := client.As16()
	return append(b, a[:]...)
}

// pcpResponse is any response; what follows epoch is filled for MAP only.
type pcpResponse struct {
	op       byte
	result   byte
	lifetime uint32
	epoch    uint32
	nonce    nonce
	protocol byte
	internal uint16
	external netip.AddrPort
}

// errOldVersion is the answer of a router that speaks NAT-PMP or an older PCP:
// a NAT-PMP header with result 1, or result UNSUPP_VERSION (§9).
var errOldVersion = errors.New("portmap: router speaks another version of the protocol")

func parsePCP(b []byte) (p pcpResponse, err error) {
	if len(b) >= 4 && b[0] < pcpVersion && b[1]&pcpReply != 0 && b[3] == 1 {
		return p, errOldVersion
	}
	if len(b) > pcpMax || len(b)%4 != 0 {
		return p, fmt.Errorf("%w: PCP message of %d bytes", ErrUnusable, len(b))
	}
	r := wire.NewReader(b)
	version, op := r.U8(), r.U8()
	r.U8()
	p.result, p.lifetime, p.epoch = r.U8(), r.U32(), r.U32()
	r.Bytes(12)
	if r.Err() != nil || version != pcpVersion || op&pcpReply == 0 {
		return pcpResponse{}, fmt.Errorf("%w: not a PCP response", ErrUnusable)
	}
	p.op = op &^ pcpReply
	if p.op == opMap {
		r.Fixed(p.nonce[:])
		p.protocol = r.U8()
		r.Bytes(3)
		p.internal = r.U16()
		port := r.U16()
		var a [16]byte
		r.Fixed(a[:])
		p.external = netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), port)
	}
	// Options (§7.3) are skipped: we ask for none that is answered by one.
	for r.Err() == nil && r.Len() > 0 {
		r.Bytes(2)
		n := int(r.U16())
		r.Bytes((n + 3) &^ 3)
	}
	if r.Err() != nil {
		return pcpResponse{}, fmt.Errorf("%w: truncated PCP response", ErrUnusable)
	}
	return p, nil
}

// pcpText names the result codes of §7.4.
func pcpText(code byte) string {
	names := [...]string{
		"success", "unsupported version", "not authorized", "malformed request", "unsupported opcode",
		"unsupported option", "malformed option", "network failure", "no resources", "unsupported protocol",
		"user exceeded quota", "cannot provide external", "address mismatch", "excessive remote peers",
	}
	if int(code) < len(names) {
		return names[code]
	}
	return "unknown"
}

// announcement is what a router sends to everybody on its link after it lost
// its state: PCP's ANNOUNCE (§14.1.3), an unsolicited MAP response (§14.2) or
// NAT-PMP's new address (RFC 6886 §3.2.1).
type announcement struct {
	method   Method
	epoch    uint32
	external netip.Addr // NAT-PMP only
}

func parseAnnouncement(b []byte) (announcement, error) {
	if len(b) == 12 && b[0] == 0 && b[1] == pcpReply && b[2] == 0 && b[3] == 0 {
		return announcement{NATPMP, binary.BigEndian.Uint32(b[4:]), netip.AddrFrom4([4]byte(b[8:]))}, nil
	}
	p, err := parsePCP(b)
	if err == nil && p.result != 0 {
		err = fmt.Errorf("%w: announcement with result %d", ErrUnusable, p.result)
	}
	if err != nil {
		return announcement{}, err
	}
	return announcement{method: PCP, epoch: p.epoch}, nil
}
