// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/wire"
)

// Device list, at most 1,024 bytes:
//
//	version(1)=1 || fields || signature(64) by the identity key, context "p2pos devices v1"
//	1 identity key (32)   2 sequence (8)
//	3 devices, at most 13: each id(16) || slot(1) || flags(1): bit 0 holder, bit 1 revoked
//	  || until(4), hours since 1970 || name (vec8, ≤ 32)
//
// Revocations, at most 202 bytes:
//
//	version(1)=1 || sequence(8) || n(1), 1–8 || n × device id(16)
//	|| signature(64) by the identity key, context "p2pos revoked v1", over identity key || all before
const (
	listVersion    = 1
	listContext    = "p2pos devices v1"
	revokedContext = "p2pos revoked v1"
	maxList        = 1024
	maxListed      = MaxSlots + MaxRevoked

	// MaxRevoked is how many devices of one identity can be revoked at a time:
	// until their certificates have ended. It keeps records inside their size.
	MaxRevoked = 8

	// MaxRevocations is the length of the longest revocations.
	MaxRevocations = 1 + 8 + 1 + 16*MaxRevoked + ed25519.SignatureSize
)

// ErrDevices reports a device list or revocations that are malformed or not
// signed by the identity.
var ErrDevices = errors.New("identity: bad device list")

// DeviceID names a device among those of its identity (Certificate.DeviceID).
type DeviceID = [16]byte

// Listed is a device in a list.
type Listed struct {
	Device  DeviceID
	Slot    uint8
	Holder  bool      // it has the identity key
	Revoked bool      // for ever
	Until   time.Time // what it was given holds until then; whole hours
	Name    string    // at most 32 bytes
}

// DeviceList says which devices an identity has. It is made by a device with
// the identity key, and passed on by all.
type DeviceList struct {
	ID       ID
	Sequence uint64 // a list with a higher one was made later
	Devices  []Listed

	raw []byte
}

// MakeDeviceList signs a list. It fails on a device without the identity key,
// and for more devices than there is room for: five, and eight revoked.
func MakeDeviceList(d *Device, sequence uint64, devices []Listed) (DeviceList, error) {
	if d.identity == nil {
		return DeviceList{}, errors.New("identity: device list: this device does not hold the identity key")
	}
	b := append(make([]byte, 0, maxList), listVersion)
	b = wire.AppendField(b, 1, d.id[:])
	b = wire.AppendField(b, 2, binary.BigEndian.AppendUint64(nil, sequence))
	var list []byte
	sorted := slices.Clone(devices)
	order.Sort(sorted, func(a, b Listed) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	for _, l := range sorted {
		list = append(append(list, l.Device[:]...), l.Slot, boolByte(l.Holder)|boolByte(l.Revoked)<<1)
		list = binary.BigEndian.AppendUint32(list, uint32(max(l.Until.Unix()+3599, 0)/3600))
		list = wire.AppendVec8(list, []byte(cleanName(l.Name)))
	}
	b = wire.AppendField(b, 3, list)
	return ParseDeviceList(append(b, Sign(d.identity, listContext, b)...))
}

// ParseDeviceList reads a list and verifies its signature by the identity that
// it names. The error is ErrDevices.
func ParseDeviceList(b []byte) (DeviceList, error) {
	bad := func(why any) (DeviceList, error) { return DeviceList{}, fmt.Errorf("%w: %v", ErrDevices, why) }
	if len(b) < 1+ed25519.SignatureSize || len(b) > maxList || b[0] != listVersion {
		return bad(fmt.Sprintf("%d bytes", len(b)))
	}
	l := DeviceList{raw: bytes.Clone(b)}
	body, sig := l.raw[:len(b)-ed25519.SignatureSize], l.raw[len(b)-ed25519.SignatureSize:]
	seen := 0
	err := wire.Fields(body[1:], func(tag uint8, v []byte) (err error) {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			r.Fixed(l.ID[:])
		case 2:
			l.Sequence = r.U64()
		case 3:
			l.Devices, err = parseListed(r)
		default:
			return nil
		}
		seen++
		return errors.Join(err, r.Done())
	})
	switch {
	case err != nil:
		return bad(err)
	case seen != 3:
		return bad("a field is missing")
	case l.ID.IsZero() || !Verify(l.ID.Key(), listContext, body, sig):
		return bad("signature")
	}
	return l, nil
}

// parseListed reads the devices, in the order of their IDs, each once.
func parseListed(r *wire.Reader) (list []Listed, err error) {
	active := 0
	for r.Len() > 0 && r.Err() == nil {
		var l Listed
		r.Fixed(l.Device[:])
		var flags uint8
		l.Slot, flags = r.U8(), r.U8()
		l.Holder, l.Revoked = flags&1 != 0, flags&2 != 0
		l.Until = time.Unix(int64(r.U32())*3600, 0).UTC()
		l.Name = string(r.Vec8())
		switch {
		case r.Err() != nil:
			return nil, r.Err()
		case l.Slot >= MaxSlots || l.Name != cleanName(l.Name):
			return nil, errors.New("a device's slot or name")
		case len(list) > 0 && bytes.Compare(list[len(list)-1].Device[:], l.Device[:]) >= 0:
			return nil, errors.New("the order of the devices")
		}
		if !l.Revoked {
			active++
		}
		list = append(list, l)
	}
	if active > MaxSlots || len(list)-active > MaxRevoked {
		return nil, errors.New("too many devices")
	}
	return list, r.Err()
}

// Raw returns a copy of the list's bytes; empty for the zero DeviceList.
func (l DeviceList) Raw() []byte { return bytes.Clone(l.raw) }

// Find returns the entry of a device.
func (l DeviceList) Find(id DeviceID) (Listed, bool) {
	for _, d := range l.Devices {
		if d.Device == id {
			return d, true
		}
	}
	return Listed{}, false
}

// Merge returns the devices of two lists of one identity together: revoked in
// either is revoked. Of a device in both the later list's word counts else.
// Where two devices have one slot, the one with the greater ID gets the lowest
// free one, so that all merge alike. Entries whose time is over at now are left
// out, and what is above the limits.
func (l DeviceList) Merge(o DeviceList, now time.Time) []Listed {
	if o.Sequence > l.Sequence || o.Sequence == l.Sequence && bytes.Compare(o.raw, l.raw) > 0 {
		l, o = o, l
	}
	list := slices.Clone(l.Devices)
	for _, d := range o.Devices {
		i := slices.IndexFunc(list, func(x Listed) bool { return x.Device == d.Device })
		if i < 0 {
			list = append(list, d)
			continue
		}
		list[i].Revoked = list[i].Revoked || d.Revoked
		if d.Until.After(list[i].Until) {
			list[i].Until = d.Until
		}
	}
	return tidy(list, now)
}

// tidy drops what is over and gives every device in use a slot of its own.
func tidy(list []Listed, now time.Time) (out []Listed) {
	list = slices.DeleteFunc(list, func(d Listed) bool { return !d.Until.After(now) })
	order.Sort(list, func(a, b Listed) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	var taken [MaxSlots]bool
	revoked := 0
	var homeless []Listed
	for _, d := range list {
		switch {
		case d.Revoked && revoked < MaxRevoked:
			revoked++
			out = append(out, d)
		case d.Revoked:
		case taken[d.Slot]:
			homeless = append(homeless, d)
		default:
			taken[d.Slot] = true
			out = append(out, d)
		}
	}
	for _, d := range homeless {
		if slot, ok := FreeSlot(out, now); ok {
			d.Slot = slot
			out = append(out, d)
		}
	}
	order.Sort(out, func(a, b Listed) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	return out
}

// FreeSlot returns the lowest slot that no device has, and that no revoked one
// can still use at now.
func FreeSlot(list []Listed, now time.Time) (slot uint8, ok bool) {
	for slot := range uint8(MaxSlots) {
		if !slices.ContainsFunc(list, func(d Listed) bool { return d.Slot == slot && d.Until.After(now) }) {
			return slot, true
		}
	}
	return 0, false
}

// Revocations names devices that an identity has revoked. It is for everybody
// who knows the identity.
type Revocations struct {
	ID       ID
	Sequence uint64
	Devices  []DeviceID

	raw []byte
}

// Revocations signs the revocations of a list; the zero value when there are
// none. It fails on a device without the identity key.
func (l DeviceList) Revocations(d *Device) (Revocations, error) {
	if d.identity == nil {
		return Revocations{}, errors.New("identity: revocations: this device does not hold the identity key")
	}
	b := binary.BigEndian.AppendUint64([]byte{listVersion}, l.Sequence)
	b = append(b, 0)
	revoked := slices.DeleteFunc(slices.Clone(l.Devices), func(x Listed) bool { return !x.Revoked })
	order.Sort(revoked, func(a, b Listed) int { return cmp.Compare(b.Until.Unix(), a.Until.Unix()) })
	for _, x := range revoked[:min(len(revoked), MaxRevoked)] {
		b = append(b, x.Device[:]...)
		b[9]++
	}
	if b[9] == 0 {
		return Revocations{}, nil
	}
	return ParseRevocations(append(b, Sign(d.identity, revokedContext, append(d.id.Key(), b...))...), d.id)
}

// ParseRevocations reads revocations and verifies that id has made them. The
// error is ErrDevices.
func ParseRevocations(b []byte, id ID) (Revocations, error) {
	if len(b) < 10+16+ed25519.SignatureSize || len(b) > MaxRevocations || b[0] != listVersion {
		return Revocations{}, fmt.Errorf("%w: revocations of %d bytes", ErrDevices, len(b))
	}
	r := wire.NewReader(b[1 : len(b)-ed25519.SignatureSize])
	v := Revocations{ID: id, Sequence: r.U64(), raw: bytes.Clone(b)}
	for range r.U8() {
		var d DeviceID
		r.Fixed(d[:])
		v.Devices = append(v.Devices, d)
	}
	n := len(b) - ed25519.SignatureSize
	if r.Done() != nil || len(v.Devices) == 0 || id.IsZero() || !Verify(id.Key(), revokedContext, append(id.Key(), b[:n]...), b[n:]) {
		return Revocations{}, fmt.Errorf("%w: revocations", ErrDevices)
	}
	return v, nil
}

// Raw returns a copy of the bytes; empty for the zero value.
func (v Revocations) Raw() []byte { return bytes.Clone(v.raw) }

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
