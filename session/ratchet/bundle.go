// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// Bundle, at most 2,900 bytes:
//
//	version(1)=1 || fields || signature(64) by the device key, context "p2pos prekeys v1"
//	1 certificate
//	2 created, expires (4+4, Unix minutes)
//	3 base key, X25519 (32)
//	4 hybrid keys, MLKEM768-X25519 (1 or 2 × 1,216)
//
// Its ID is the first 8 bytes of SHA-256 over all of it.
const (
	bundleVersion = 1
	bundleContext = "p2pos prekeys v1"

	// MaxBundle is what an object of the overlay has room for (design/008).
	MaxBundle = 2900
	// maxKeys hybrid keys fit one.
	maxKeys = 2

	hybridSize = 1216 // MLKEM768-X25519: 1,184 + 32
	encSize    = 1120 // 1,088 + 32

	// BundleLife is how long a bundle may be used to start: the overlay keeps it
	// for two periods of 14 days.
	BundleLife = 28 * 24 * time.Hour
	// skew is how wrong a clock may be.
	skew = time.Hour
)

// A BundleID names a bundle.
type BundleID [8]byte

// A Bundle is what a device gives out so that others can write to it while it
// is away.
type Bundle struct {
	Cert    identity.Certificate
	ID      BundleID
	Created time.Time // UTC, whole minutes
	Expires time.Time

	base   *ecdh.PublicKey
	hybrid []hpke.PublicKey
	raw    []byte
}

// Raw returns a copy of the bundle's bytes.
func (b *Bundle) Raw() []byte { return bytes.Clone(b.raw) }

// IsZero reports whether there is nothing in it.
func (b *Bundle) IsZero() bool { return len(b.raw) == 0 }

// ParseBundle reads a bundle and verifies its signatures and times. Errors:
// ErrMessage, ErrForged, ErrExpired, and those of identity.ParseCertificate.
// The result does not alias raw.
func ParseBundle(raw []byte, now time.Time) (*Bundle, error) {
	bad := func(why string) (*Bundle, error) { return nil, fmt.Errorf("%w: bundle: %s", ErrMessage, why) }
	if len(raw) < 65 || len(raw) > MaxBundle {
		return bad(fmt.Sprintf("%d bytes", len(raw)))
	}
	if raw[0] != bundleVersion {
		return bad(fmt.Sprintf("version %d, this program knows version %d", raw[0], bundleVersion))
	}
	b := &Bundle{raw: bytes.Clone(raw)}
	body, sig := b.raw[:len(raw)-64], b.raw[len(raw)-64:]
	var cert []byte
	var from, to uint32
	seen := 0
	err := wire.Fields(body[1:], func(tag uint8, v []byte) (err error) {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			cert = r.Rest()
		case 2:
			from, to = r.U32(), r.U32()
		case 3:
			b.base, err = ecdh.X25519().NewPublicKey(r.Rest())
		case 4:
			for range maxKeys {
				if r.Len() > 0 {
					var k hpke.PublicKey
					if k, err = hpke.MLKEM768X25519().NewPublicKey(r.Bytes(hybridSize)); err != nil {
						return err
					}
					b.hybrid = append(b.hybrid, k)
				}
			}
		default:
			return nil
		}
		seen++
		if err != nil {
			return err
		}
		return r.Done()
	})
	switch {
	case err != nil:
		return bad(err.Error())
	case seen != 4 || len(b.hybrid) == 0:
		return bad("a field is missing")
	}
	if b.Cert, err = identity.ParseCertificate(cert, now); err != nil {
		return nil, err
	}
	if !identity.Verify(b.Cert.Device, bundleContext, body, sig) {
		return nil, fmt.Errorf("%w: bundle signature", ErrForged)
	}
	b.Created = time.Unix(int64(from)*60, 0).UTC()
	b.Expires = time.Unix(int64(to)*60, 0).UTC()
	if b.Expires.Sub(b.Created) > BundleLife || now.Before(b.Created.Add(-skew)) || now.After(b.Expires.Add(skew)) {
		return nil, fmt.Errorf("%w: from %v to %v", ErrExpired, b.Created, b.Expires)
	}
	b.ID = bundleID(b.raw)
	return b, nil
}

func bundleID(raw []byte) BundleID {
	h := sha256.Sum256(raw)
	return BundleID(h[:8])
}

// sealBundle signs a bundle.
func sealBundle(self *identity.Device, created, expires time.Time, base *ecdh.PublicKey, hybrid []hpke.PublicKey) []byte {
	times := binary.BigEndian.AppendUint32(nil, minutes(created))
	times = binary.BigEndian.AppendUint32(times, minutes(expires))
	var keys []byte
	for _, k := range hybrid {
		keys = append(keys, k.Bytes()...)
	}
	b := []byte{bundleVersion}
	b = wire.AppendField(b, 1, self.Certificate().Raw())
	b = wire.AppendField(b, 2, times)
	b = wire.AppendField(b, 3, base.Bytes())
	b = wire.AppendField(b, 4, keys)
	return append(b, identity.Sign(self.Key(), bundleContext, b)...)
}

func minutes(t time.Time) uint32 { return uint32(max(t.Unix(), 0) / 60) }
