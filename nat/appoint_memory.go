// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

const (
	// maxMemoryAddrs bounds the addresses of one memory: IPv4, IPv6, a mapped
	// port and a spare.
	maxMemoryAddrs = 4
	memoryVersion  = 1
	// maxMemory is one memory's budget in bytes, twice today's longest.
	maxMemory = 512
	// behaviourLen is the length of an encoded Behaviour.
	behaviourLen = 27
)

// ErrMemory reports stored memories whose bytes make no sense.
var ErrMemory = errors.New("nat: malformed memories")

// AppendMemories appends the stored form:
//
//	version(1)=1 || at most 64 times vec16 of fields:
//	  1 peer (32)   2 key (32)   3 flags (1): bit 0 = first, bit 1 = open   4 our behaviour   5 theirs (27 each)
//	  6 addresses (vec8 of IP and port each, at most 4)   7 met (8, Unix seconds)
//
// It holds keys: keep it as secret as the identity's.
func AppendMemories(b []byte, list []Memory) []byte {
	b = append(b, memoryVersion)
	for _, m := range list[:min(len(list), MaxMemories)] {
		var f []byte
		f = wire.AppendField(f, 1, m.Peer[:])
		f = wire.AppendField(f, 2, m.Key[:])
		flags := byte(0)
		if m.First {
			flags = 1
		}
		if m.Open {
			flags |= 2
		}
		f = wire.AppendField(f, 3, []byte{flags})
		f = wire.AppendField(f, 4, appendBehaviour(nil, m.Mine))
		f = wire.AppendField(f, 5, appendBehaviour(nil, m.Theirs))
		var addrs []byte
		for _, a := range m.Addrs[:min(len(m.Addrs), maxMemoryAddrs)] {
			ip := a.Addr().Unmap().WithZone("").AsSlice()
			addrs = wire.AppendVec8(addrs, binary.BigEndian.AppendUint16(ip, a.Port()))
		}
		f = wire.AppendField(f, 6, addrs)
		f = wire.AppendField(f, 7, binary.BigEndian.AppendUint64(nil, uint64(max(m.Met.Unix(), 0))))
		b = wire.AppendVec16(b, f)
	}
	return b
}

// ParseMemories reads the stored form. Errors are ErrMemory or a VersionError.
func ParseMemories(b []byte) ([]Memory, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrMemory)
	}
	if b[0] != memoryVersion {
		return nil, VersionError(b[0])
	}
	r := wire.NewReader(b[1:])
	var list []Memory
	for r.Len() > 0 {
		v := r.Vec16()
		if r.Err() != nil || len(list) == MaxMemories || len(v) > maxMemory {
			return nil, fmt.Errorf("%w: memory %d", ErrMemory, len(list))
		}
		m, err := parseMemory(v)
		if err != nil {
			return nil, fmt.Errorf("%w: memory %d: %w", ErrMemory, len(list), err)
		}
		list = append(list, m)
	}
	return list, nil
}

func parseMemory(b []byte) (m Memory, err error) {
	var seen uint8
	err = wire.Fields(b, func(tag uint8, v []byte) error {
		ok := true
		switch tag {
		case 1:
			ok = len(v) == copy(m.Peer[:], v) && len(v) == len(m.Peer)
		case 2:
			ok = len(v) == copy(m.Key[:], v) && len(v) == len(m.Key)
		case 3:
			ok = len(v) == 1
			m.First, m.Open = ok && v[0]&1 != 0, ok && v[0]&2 != 0
		case 4:
			m.Mine, ok = parseBehaviour(v)
		case 5:
			m.Theirs, ok = parseBehaviour(v)
		case 6:
			m.Addrs, ok = parseAddrs(v)
			ok = ok && len(m.Addrs) <= maxMemoryAddrs
		case 7:
			if ok = len(v) == 8; ok {
				s := binary.BigEndian.Uint64(v)
				ok = s <= maxExpiry
				m.Met = time.Unix(int64(min(s, maxExpiry)), 0)
			}
		default:
			return nil
		}
		if !ok {
			return fmt.Errorf("field %d", tag)
		}
		seen |= 1 << tag
		return nil
	})
	const all = 1<<8 - 2
	if err == nil && seen != all {
		err = errors.New("fields missing")
	}
	return m, err
}

// appendBehaviour writes what a plan depends on, and lifetimes; public
// addresses are the memory's own.
func appendBehaviour(b []byte, v Behaviour) []byte {
	step := int8(min(max(v.Step, math.MinInt8), math.MaxInt8))
	b = append(b, byte(v.Mapping), byte(v.Filtering), byte(v.Ports), byte(step))
	b = binary.BigEndian.AppendUint16(b, v.Block[0])
	b = binary.BigEndian.AppendUint16(b, v.Block[1])
	b = append(b, byte(v.Arbitrary), byte(v.Hairpin), byte(v.Carrier), byte(v.Chosen), byte(v.IPv6))
	for _, d := range [...]time.Duration{v.Unreplied, v.Replied, v.Absolute} {
		b = binary.BigEndian.AppendUint32(b, uint32(min(max(d.Milliseconds(), 0), math.MaxUint32)))
	}
	c := 0.0
	if v.Confidence > 0 { // false for NaN
		c = min(v.Confidence, 1)
	}
	return binary.BigEndian.AppendUint16(b, uint16(c*math.MaxUint16))
}

func parseBehaviour(b []byte) (v Behaviour, ok bool) {
	if len(b) != behaviourLen {
		return v, false
	}
	r := wire.NewReader(b)
	v.Mapping, v.Filtering, v.Ports = Dependence(r.U8()), Dependence(r.U8()), PortRule(r.U8())
	v.Step = int(int8(r.U8()))
	v.Block = [2]uint16{r.U16(), r.U16()}
	v.Arbitrary, v.Hairpin, v.Carrier, v.Chosen = Tri(r.U8()), Tri(r.U8()), Tri(r.U8()), Tri(r.U8())
	v.IPv6 = IPv6(r.U8())
	for _, d := range [...]*time.Duration{&v.Unreplied, &v.Replied, &v.Absolute} {
		*d = time.Duration(r.U32()) * time.Millisecond
	}
	v.Confidence = float64(r.U16()) / math.MaxUint16
	tri := max(v.Arbitrary, v.Hairpin, v.Carrier, v.Chosen)
	ok = r.Done() == nil && max(v.Mapping, v.Filtering) <= UDPBlocked && v.Ports <= BlockPorts && tri <= No && v.IPv6 <= FirewalledIPv6
	return v, ok
}
