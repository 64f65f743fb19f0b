// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/p2pos/p2pos/internal/wire"
)

// Control frames travel on the one control stream of a link:
//
//	 0        1                 3
//	+--------+--------+--------+----------------- - -
//	| type   | length (16)     | body, ≤ 4,096 bytes
//	+--------+--------+--------+----------------- - -
//
// The bodies are drawn in design/001-wire.md. Unknown types are skipped.
const (
	frameHello      = 0x01
	frameCandidates = 0x03
	frameStay       = 0x04
	frameHole       = 0x05
	frameOffer      = 0x06
	frameKnown      = 0x07
	frameSession    = 0x20
	frameMesh       = 0x30
	frameRelay      = 0x31
	frameRoster     = 0x32
)

// MaxBody bounds the body of a control frame (design §6: messages of at most
// 4 KiB on link streams).
const MaxBody = 4096

const (
	frameHeader = 3

	// maxCandidates is what an offer may name: every useful interface of a
	// laptop and what its NATs add, and no list for a scanner.
	maxCandidates = 8
)

var errFrame = errors.New("overlay: malformed control frame")

// appendFrame appends a whole control frame. It panics on an oversized body:
// callers check theirs, the network never gets here.
func appendFrame(b []byte, typ byte, body []byte) []byte {
	if len(body) > MaxBody {
		panic(fmt.Sprintf("overlay: body of %d bytes", len(body)))
	}
	return wire.AppendVec16(append(b, typ), body)
}

// readFrame reads one control frame. The body is allocated only once its
// length is known and allowed, so an idle link holds no buffer.
func readFrame(r io.Reader) (typ byte, body []byte, err error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(h[1:]))
	if n > MaxBody {
		return 0, nil, fmt.Errorf("%w: %d bytes", errFrame, n)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return h[0], body, nil
}

// hello is the first frame of each side of a link.
type hello struct {
	major, minor uint8
	proof        [32]byte
	caps         uint32
	tag          [8]byte  // put this into the USERNAME of probes to me
	key          [32]byte // and sign them with this
	observed     netip.AddrPort
	member       string // sealed; see member.go
	roster       uint64 // number of the roster
}

const (
	versionMajor = 1
	versionMinor = 0
)

func (h *hello) append(b []byte) []byte {
	b = append(b, h.major, h.minor)
	b = wire.AppendField(b, 1, h.proof[:])
	b = wire.AppendField(b, 2, binary.BigEndian.AppendUint32(nil, h.caps))
	b = wire.AppendField(b, 3, h.tag[:])
	b = wire.AppendField(b, 4, h.key[:])
	if h.observed.IsValid() {
		b = wire.AppendField(b, 5, appendAddr(nil, h.observed))
	}
	if len(h.member) > 0 {
		b = wire.AppendField(b, 7, []byte(h.member))
		b = wire.AppendField(b, 8, binary.BigEndian.AppendUint64(nil, h.roster))
	}
	return b
}

// parseHello decodes a HELLO. A major version that we do not know is an
// *VersionError, whatever else the frame holds.
func parseHello(b []byte) (h hello, err error) {
	r := wire.NewReader(b)
	h.major, h.minor = r.U8(), r.U8()
	if r.Err() != nil {
		return h, fmt.Errorf("%w: hello: %w", errFrame, r.Err())
	}
	if h.major != versionMajor {
		return h, &VersionError{Theirs: h.major, Ours: versionMajor}
	}
	var have uint8
	err = wire.Fields(r.Rest(), func(tag uint8, v []byte) error {
		switch tag {
		case 1:
			have |= 1
			return fixed(h.proof[:], v)
		case 2:
			if len(v) != 4 {
				return errFrame
			}
			h.caps = binary.BigEndian.Uint32(v)
		case 3:
			have |= 2
			return fixed(h.tag[:], v)
		case 4:
			have |= 4
			return fixed(h.key[:], v)
		case 5:
			r := wire.NewReader(v)
			h.observed = readAddr(r)
			return r.Done()
		case 7:
			h.member = string(v)
		case 8:
			r := wire.NewReader(v)
			h.roster = r.U64()
			return r.Done()
		}
		return nil
	})
	if err == nil && have != 7 {
		err = errFrame
	}
	if err != nil {
		return hello{}, fmt.Errorf("overlay: hello: %w", err)
	}
	return h, nil
}

func fixed(dst, v []byte) error {
	if len(v) != len(dst) {
		return errFrame
	}
	copy(dst, v)
	return nil
}

func appendCandidates(b []byte, what shared) []byte {
	b = wire.AppendField(b, 1, appendAddrs(what.addrs))
	if len(what.near) > 0 {
		b = wire.AppendField(b, 2, appendNear(nil, what.near))
	}
	if len(what.turn) > 0 {
		b = wire.AppendField(b, 3, appendAddrs(what.turn))
	}
	return b
}

func parseCandidates(b []byte) (what shared, err error) {
	err = wire.Fields(b, func(f uint8, v []byte) (err error) {
		switch f {
		case 1:
			what.addrs, err = parseAddrs(v, maxCandidates)
		case 2:
			what.near, err = parseNear(v)
		case 3:
			what.turn, err = parseAddrs(v, MaxTURN)
		}
		return err
	})
	if err != nil {
		return shared{}, fmt.Errorf("overlay: candidates: %w", err)
	}
	return what, nil
}

func appendAddrs(list []netip.AddrPort) (b []byte) {
	for _, a := range list {
		b = appendAddr(b, a)
	}
	return b
}

func parseAddrs(v []byte, most int) (list []netip.AddrPort, err error) {
	for r := wire.NewReader(v); r.Len() > 0; {
		a := readAddr(r)
		if r.Err() != nil || len(list) == most {
			return nil, errFrame
		}
		list = append(list, a)
	}
	return list, nil
}

// appendAddr appends a vec8 of IP (4 or 16 bytes) and port.
func appendAddr(b []byte, a netip.AddrPort) []byte {
	ip := a.Addr().Unmap().AsSlice()
	b = append(b, byte(len(ip)+2))
	b = append(b, ip...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// readAddr returns the zero AddrPort when the input is no address; zones
// cannot be expressed.
func readAddr(r *wire.Reader) netip.AddrPort {
	v := r.Vec8()
	if len(v) != 6 && len(v) != 18 {
		r.Bytes(-1) // poison the cursor
		return netip.AddrPort{}
	}
	ip, _ := netip.AddrFromSlice(v[:len(v)-2])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(v[len(v)-2:]))
}
