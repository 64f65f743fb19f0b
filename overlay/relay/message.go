// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// Messages between a relay and its neighbours, on the link's control stream:
//
//	type(1) || fields
//
//	type       from    must have            may have
//	1 RESERVE  user    1 2(peer) 3
//	2 GRANT    relay   1 5 11               12
//	3 OPEN     user    1 2(target) 3        5 6 7 8
//	4 INVITE   relay   1 2(opener) 3 4 11   7 8 10 13 14
//	5 ACCEPT   target  1 4
//	6 OPENED   relay   1 4 10 11            12 14
//	7 REFUSED  either  1 9                  12
//	8 RENEW    user    1 4
//	9 CLOSE    either  4 9
//
//	field  bytes         field  bytes
//	1      4  request    8      ≤ 512  blob for the target, sealed end to end
//	2     32  node ID    9      1  reason
//	3      1  kind       10     4  kbit/s, peak, each way
//	4      4  label      11     4  life, seconds
//	5  ≤ 256  voucher    12     1  load of the relay, percent
//	6  n·32   via, n ≤ 4 13     8  serial of the voucher shown
//	                         14 6/18  where the relay reaches the other end: IP, port
//	7      1  flags: bit 0 inner datagrams may be relayed frames (NESTED),
//	                 bit 1 a relay asks for somebody: go no further (LAST)
//
// Request numbers with the top bit set are a relay's own (INVITE, and an OPEN
// that it passes on), the others a user's: so both parts of a node know their
// answers. GRANT answers RESERVE, OPENED answers OPEN and RENEW, ACCEPT answers
// INVITE, REFUSED any of them but ACCEPT: one that comes too late gets a CLOSE.
// Streams lose nothing, so nothing is repeated.
const (
	typeReserve = 1 + iota
	typeGrant
	typeOpen
	typeInvite
	typeAccept
	typeOpened
	typeRefused
	typeRenew
	typeClose
	typeLast = typeClose
)

const (
	fieldRequest = 1 + iota
	fieldNode
	fieldKind
	fieldLabel
	fieldVoucher
	fieldVia
	fieldFlags
	fieldBlob
	fieldReason
	fieldRate
	fieldLife
	fieldLoad
	fieldSerial
	fieldSeen
)

const (
	// MaxBlob bounds what an opener can tell the target through the relay: a
	// sealed name of a call and what is needed to trust it.
	MaxBlob = 512

	// MaxVia bounds the second relays of a request: the few neighbours that a
	// node names in its record.
	MaxVia = 4

	// maxMessage bounds a message: an OPEN with everything takes 952 bytes.
	maxMessage = 1024

	flagNested = 1
	flagLast   = 2

	relayRequest = 1 << 31 // set in the request numbers of relays
)

type message struct {
	typ      byte
	request  uint32
	node     identity.NodeID
	kind     Kind
	label    Label
	voucher  []byte
	via      []identity.NodeID
	flags    byte
	blob     []byte
	reason   Reason
	rate     uint32 // kbit/s
	life     uint32 // s
	load     uint8
	serial   uint64
	bySerial bool // serial is there
	seen     netip.AddrPort
}

func bits(fields ...uint) (set uint32) {
	for _, f := range fields {
		set |= 1 << f
	}
	return set
}

// layout returns which fields a type must have and which it may have; must is
// 0 for types that are not known.
func layout(typ byte) (must, may uint32) {
	switch typ {
	case typeReserve:
		return bits(fieldRequest, fieldNode, fieldKind), 0
	case typeGrant:
		return bits(fieldRequest, fieldVoucher, fieldLife), bits(fieldLoad)
	case typeOpen:
		return bits(fieldRequest, fieldNode, fieldKind), bits(fieldVoucher, fieldVia, fieldFlags, fieldBlob)
	case typeInvite:
		return bits(fieldRequest, fieldNode, fieldKind, fieldLabel, fieldLife), bits(fieldFlags, fieldBlob, fieldRate, fieldSerial, fieldSeen)
	case typeAccept:
		return bits(fieldRequest, fieldLabel), 0
	case typeOpened:
		return bits(fieldRequest, fieldLabel, fieldRate, fieldLife), bits(fieldLoad, fieldSeen)
	case typeRefused:
		return bits(fieldRequest, fieldReason), bits(fieldLoad)
	case typeRenew:
		return bits(fieldRequest, fieldLabel), 0
	case typeClose:
		return bits(fieldLabel, fieldReason), 0
	}
	return 0, 0
}

// encode returns the message's bytes. It panics on an oversized field: callers
// check theirs.
func (m *message) encode() []byte {
	if len(m.blob) > MaxBlob || len(m.via) > MaxVia || len(m.voucher) > maxVoucher {
		panic("relay: oversized message")
	}
	must, may := layout(m.typ)
	b := []byte{m.typ}
	field := func(tag uint8, there bool, v []byte) {
		if must&(1<<tag) != 0 || may&(1<<tag) != 0 && there {
			b = wire.AppendField(b, tag, v)
		}
	}
	var via []byte
	for _, n := range m.via {
		via = append(via, n[:]...)
	}
	field(fieldRequest, true, u32(m.request))
	field(fieldNode, true, m.node[:])
	field(fieldKind, true, []byte{byte(m.kind)})
	field(fieldLabel, true, u32(uint32(m.label)))
	field(fieldVoucher, len(m.voucher) > 0, m.voucher)
	field(fieldVia, len(via) > 0, via)
	field(fieldFlags, m.flags != 0, []byte{m.flags})
	field(fieldBlob, len(m.blob) > 0, m.blob)
	field(fieldReason, true, []byte{byte(m.reason)})
	field(fieldRate, m.rate != 0, u32(m.rate))
	field(fieldLife, true, u32(m.life))
	field(fieldLoad, m.load != 0, []byte{m.load})
	field(fieldSerial, m.bySerial, binary.BigEndian.AppendUint64(nil, m.serial))
	if m.seen.IsValid() {
		field(fieldSeen, true, binary.BigEndian.AppendUint16(m.seen.Addr().Unmap().AsSlice(), m.seen.Port()))
	}
	return b
}

// parseMessage decodes a message; its slices alias b. Fields that the type
// doesn't have are skipped like unknown ones.
func parseMessage(b []byte) (m message, err error) {
	if len(b) == 0 || len(b) > maxMessage {
		return m, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	m.typ = b[0]
	must, may := layout(m.typ)
	if must == 0 {
		return message{}, fmt.Errorf("%w: type %d", errMessage, b[0])
	}
	var have uint32
	err = wire.Fields(b[1:], func(tag uint8, v []byte) error {
		if tag >= 32 || (must|may)&(1<<tag) == 0 {
			return nil
		}
		have |= 1 << tag
		return m.field(tag, v)
	})
	if err == nil && have&must != must {
		err = fmt.Errorf("%w: a field is missing", errMessage)
	}
	if err != nil {
		return message{}, fmt.Errorf("relay: message of type %d: %w", b[0], err)
	}
	return m, nil
}

func (m *message) field(tag uint8, v []byte) error {
	var one [1]byte
	var four [4]byte
	number := func() uint32 { return binary.BigEndian.Uint32(four[:]) }
	var err error
	switch tag {
	case fieldRequest:
		err = fixed(four[:], v)
		m.request = number()
	case fieldNode:
		err = fixed(m.node[:], v)
	case fieldKind:
		err = fixed(one[:], v)
		m.kind = Kind(one[0])
	case fieldLabel:
		err = fixed(four[:], v)
		m.label = Label(number())
	case fieldVoucher:
		m.voucher = v
		err = bounded(v, maxVoucher)
	case fieldVia:
		if err = bounded(v, MaxVia*len(m.node)); err == nil && len(v)%len(m.node) != 0 {
			err = errMessage
		}
		for r := wire.NewReader(v); err == nil && r.Len() > 0; {
			var n identity.NodeID
			r.Fixed(n[:])
			m.via = append(m.via, n)
		}
	case fieldFlags:
		err = fixed(one[:], v)
		m.flags = one[0]
	case fieldBlob:
		m.blob = v
		err = bounded(v, MaxBlob)
	case fieldReason:
		err = fixed(one[:], v)
		m.reason = Reason(one[0])
	case fieldRate:
		err = fixed(four[:], v)
		m.rate = number()
	case fieldLife:
		err = fixed(four[:], v)
		m.life = number()
	case fieldLoad:
		err = fixed(one[:], v)
		m.load = one[0]
	case fieldSerial:
		var eight [8]byte
		err = fixed(eight[:], v)
		m.serial, m.bySerial = binary.BigEndian.Uint64(eight[:]), true
	case fieldSeen:
		if len(v) != 6 && len(v) != 18 {
			return errMessage
		}
		a, _ := netip.AddrFromSlice(v[:len(v)-2])
		m.seen = netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(v[len(v)-2:]))
	}
	return err
}

func bounded(v []byte, most int) error {
	if len(v) > most {
		return errMessage
	}
	return nil
}
