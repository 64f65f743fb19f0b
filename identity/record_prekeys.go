// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

// Prekeys are a record of 3,456 bytes: drawn as in record.go, with a sealed body
// of 3,250 bytes and, as epoch, a period of 14 days. Its place and keys have
// purposes of their own. Body, 3,210 bytes before sealing:
//
//	fields (vec16) || zeros
//	1 device certificate   8 bundle (≤ 2,900)
//
// They are published for this and the next period, so they are found for at
// least 14 days after their owner was seen last.
const (
	// PrekeysSize is the length of every object of prekeys: one routed message.
	PrekeysSize = 3456

	// MaxBundle is how long a bundle may be: two hybrid keys of 1,216 bytes with
	// what belongs to them.
	MaxBundle = 2900

	periodHours = 14 * 24
)

// PrekeyPeriod returns the number of the period that t lies in.
func PrekeyPeriod(t time.Time) uint64 { return Hour(t) / periodHours }

// PrekeysKey returns the place of an identity's prekeys in the overlay during
// one period. Who holds the reach secret can compute it, nobody else.
func PrekeysKey(s Secret, id ID, period uint64) [32]byte {
	return facePlace(faceOf(blindPrekeys, id, s, period))
}

func prekeysKind() recordKind {
	return recordKind{blindPrekeys, blindPrekeysSub, "p2pos prekeys body v1", PrekeysSize, GrantPrekeys}
}

// Prekeys is an opened object of prekeys: what a device published for those who
// want to write to it while it is away.
type Prekeys struct {
	Slot     uint8
	Period   uint64
	Sequence uint64 // the device's own, comparable between periods
	Device   Certificate
	Bundle   []byte // says what the layer above likes; it is not looked at
}

// MakePrekeys makes an object of prekeys of device d. The plan's epoch is a
// period, and its location is not used. The errors are those of MakeRecord, and
// one for a bundle that is too long.
func MakePrekeys(d *Device, p RecordPlan, bundle []byte) ([]byte, error) {
	if p.Reach == (Secret{}) {
		return nil, errors.New("identity: prekeys: without a reach secret anybody could read them")
	}
	if len(bundle) > MaxBundle {
		return nil, fmt.Errorf("identity: prekeys: bundle of %d bytes, at most %d fit", len(bundle), MaxBundle)
	}
	cert := d.Certificate()
	return prekeysKind().make(d, p, wire.AppendField(wire.AppendField(nil, 1, cert.raw), 8, bundle))
}

// OpenPrekeys verifies and opens an object of prekeys found with a ticket, as
// OpenRecord does with a record. The device certificate is genuine, and may
// have expired since it was published: Certificate.Check tells. The error is
// ErrRecord.
func OpenPrekeys(b []byte, id ID, reach Secret, now time.Time) (Prekeys, error) {
	k := prekeysKind()
	r, fields, err := k.open(b, id, reach, now)
	if err != nil {
		return Prekeys{}, err
	}
	p := Prekeys{Slot: r.Slot, Period: r.Epoch, Sequence: r.Sequence}
	raw, err := field(fields, 1)
	if err != nil {
		return Prekeys{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	bundle, err := field(fields, 8)
	if err != nil || len(bundle) > MaxBundle {
		return Prekeys{}, fmt.Errorf("%w: no bundle", ErrRecord)
	}
	if p.Device, err = parseCertificate(raw); err != nil {
		return Prekeys{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	subkey, err := blindPublic(p.Device.Device, blindFactor(k.subkey, p.Device.Device, reach, r.Epoch))
	if err != nil || p.Device.Identity != id || !bytes.Equal(subkey[:], b[46:78]) {
		return Prekeys{}, fmt.Errorf("%w: device certificate of another", ErrRecord)
	}
	p.Bundle = bytes.Clone(bundle)
	return p, nil
}
