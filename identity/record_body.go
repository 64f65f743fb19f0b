// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/p2pos/p2pos/internal/wire"
)

// Body of a record, 760 bytes before sealing:
//
//	fields (vec16) || zeros
//	1 device certificate (reach records)
//	2 node key (32); absent = withdrawn
//	3 class of the node's NAT (1), capabilities (4)
//	4 introducers, at most 3: each node ID (32), address as in a ticket (vec8, empty = not known)
//	5 addresses, at most 4: each vec8 of IP (4 or 16) and port (2)
//	6 TCP addresses, at most 2, likewise
//	7 X25519 key of the inbox (32; inboxes have this field alone)
//	8 revocations of other devices of the identity (≤ 202)
//
// The longest needs 736 bytes with a certificate of 224: all lists in IPv6.
// How many of each a record tells: three introducers so that one is still
// there after a while, addresses for the issuer's few kinds (LAN, public, IPv6,
// mapped port), and TCP for callers whose network blocks UDP.
const (
	MaxRecordIntroducers = 3
	MaxRecordAddrs       = 4
	MaxRecordTCP         = 2
)

// Introducer is a node with a link to the record's device.
type Introducer struct {
	Node NodeID
	Addr netip.AddrPort // zero when it is not known
}

// Location says where a device is. The zero Location says that it is gone.
type Location struct {
	Node         ed25519.PublicKey // the node key, to seal rings to; its hash is the node ID
	Class        uint8             // the NAT's class, as nodes tell it each other
	Capabilities uint32
	Introducers  []Introducer     // at most MaxRecordIntroducers
	Addrs        []netip.AddrPort // best first, at most MaxRecordAddrs
	TCP          []netip.AddrPort // at most MaxRecordTCP
}

// Gone tells whether l names no node: the device has withdrawn.
func (l Location) Gone() bool { return len(l.Node) == 0 }

// Equal tells whether two locations make the same record.
func (l Location) Equal(o Location) bool {
	a, errA := l.append(nil)
	b, errB := o.append(nil)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// Check returns an error when no record can hold l.
func (l Location) Check() error {
	if _, err := l.append(nil); err != nil {
		return fmt.Errorf("identity: location: %w", err)
	}
	return nil
}

// append appends the fields behind the certificate.
func (l Location) append(b []byte) ([]byte, error) {
	if l.Gone() {
		return b, nil
	}
	if _, err := primePoint(l.Node); err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	if len(l.Introducers) > MaxRecordIntroducers {
		return nil, fmt.Errorf("%d introducers, at most %d fit", len(l.Introducers), MaxRecordIntroducers)
	}
	var intros []byte
	for _, in := range l.Introducers {
		intros = append(intros, in.Node[:]...)
		if !in.Addr.IsValid() {
			intros = append(intros, 0)
			continue
		}
		a, err := appendAddrs([]netip.AddrPort{in.Addr}, 1)
		if err != nil {
			return nil, fmt.Errorf("introducer: %w", err)
		}
		intros = append(intros, a...)
	}
	addrs, err := appendAddrs(l.Addrs, MaxRecordAddrs)
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	tcp, err := appendAddrs(l.TCP, MaxRecordTCP)
	if err != nil {
		return nil, fmt.Errorf("TCP addresses: %w", err)
	}
	b = wire.AppendField(b, 2, l.Node)
	b = wire.AppendField(b, 3, binary.BigEndian.AppendUint32([]byte{l.Class}, l.Capabilities))
	for tag, v := range [][]byte{4: intros, 5: addrs, 6: tcp} {
		if len(v) > 0 {
			b = wire.AppendField(b, uint8(tag), v)
		}
	}
	return b, nil
}

// parseLocation reads fields 2 to 6 of a body.
func parseLocation(fields []byte) (Location, error) {
	var l Location
	err := wire.Fields(fields, func(tag uint8, v []byte) (err error) {
		r := wire.NewReader(v)
		switch tag {
		case 2:
			if _, err := primePoint(v); err != nil {
				return fmt.Errorf("node key: %w", err)
			}
			l.Node = ed25519.PublicKey(bytes.Clone(v))
			return nil
		case 3:
			l.Class, l.Capabilities = r.U8(), r.U32()
		case 4:
			for r.Len() > 0 && r.Err() == nil {
				if len(l.Introducers) == MaxRecordIntroducers {
					return errors.New("too many introducers")
				}
				var in Introducer
				r.Fixed(in.Node[:])
				if a := r.Vec8(); len(a) > 0 {
					one, err := parseAddrs(wire.NewReader(wire.AppendVec8(nil, a)), 1)
					if err != nil {
						return err
					}
					in.Addr = one[0]
				}
				l.Introducers = append(l.Introducers, in)
			}
		case 5:
			l.Addrs, err = parseAddrs(r, MaxRecordAddrs)
		case 6:
			l.TCP, err = parseAddrs(r, MaxRecordTCP)
		default:
			return nil
		}
		if err != nil {
			return err
		}
		return r.Done()
	})
	if err != nil {
		return Location{}, err
	}
	if l.Gone() {
		return Location{}, nil // what it says without a node means nothing
	}
	return l, nil
}

// field returns the value of one field of a list.
func field(fields []byte, want uint8) (found []byte, err error) {
	err = wire.Fields(fields, func(tag uint8, v []byte) error {
		if tag == want {
			found = v
		}
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("field %d is missing", want)
	}
	return found, err
}

// padBody makes a body of size bytes of fields, so that its length tells
// nothing.
func padBody(fields []byte, size int) ([]byte, error) {
	if len(fields) > size-2 {
		return nil, fmt.Errorf("identity: record: body of %d bytes", len(fields))
	}
	b := make([]byte, 0, size)
	return wire.AppendVec16(b, fields)[:size], nil
}

// unpadBody undoes padBody. The padding must be zeros, so that a body has one
// form only.
func unpadBody(plain []byte) ([]byte, error) {
	r := wire.NewReader(plain)
	fields := r.Vec16()
	for _, c := range r.Rest() {
		if c != 0 {
			return nil, errors.New("padding")
		}
	}
	return fields, r.Err()
}
