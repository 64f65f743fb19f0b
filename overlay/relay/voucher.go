// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// A voucher is a relay's word that one node (owner) agrees to be reached
// through it by another one (peer). The owner reserves it, and hands it to the
// peer in its own, sealed messages; the peer shows it to the relay and gets a
// flow in one round trip, without asking the owner again.
//
//	version(1)=1 || fields || signature(64) by the relay's node key, context "p2pos relay voucher v1"
//	1 relay's node key (32)   2 owner (32)   3 peer (32)   4 kind (1)   5 expires (8, Unix seconds)   6 serial (8)
//
// Both node IDs are in it, so nobody else can show it; the serial is in the
// relay's book, so that it can't be shown for two flows at a time or after the
// owner took it back; the relay alone judges its expiry, by its own clock.
const (
	voucherVersion = 1
	voucherContext = "p2pos relay voucher v1"

	// VoucherLen is the length of a voucher, and maxVoucher what a later
	// version may take.
	VoucherLen = 1 + 32 + 32 + 32 + 1 + 8 + 8 + 6*3 + ed25519.SignatureSize
	maxVoucher = 256

	// voucherLife: an answer and a few attempts, and short enough that one
	// that leaks is worth nothing. Longer calls renew it.
	voucherLife = 5 * time.Minute
)

type voucher struct {
	relay       ed25519.PublicKey
	owner, peer identity.NodeID
	kind        Kind
	expires     int64
	serial      uint64
}

func (v *voucher) sign(key ed25519.PrivateKey) []byte {
	b := []byte{voucherVersion}
	b = wire.AppendField(b, 1, v.relay)
	b = wire.AppendField(b, 2, v.owner[:])
	b = wire.AppendField(b, 3, v.peer[:])
	b = wire.AppendField(b, 4, []byte{byte(v.kind)})
	b = wire.AppendField(b, 5, binary.BigEndian.AppendUint64(nil, uint64(v.expires)))
	b = wire.AppendField(b, 6, binary.BigEndian.AppendUint64(nil, v.serial))
	return append(b, identity.Sign(key, voucherContext, b)...)
}

// parseVoucher decodes a voucher and checks that the key it names has signed
// it. Whose key that is, and whether it is still good, is the caller's to ask.
func parseVoucher(b []byte) (v voucher, err error) {
	n := len(b) - ed25519.SignatureSize
	if n < 1 || len(b) > maxVoucher || b[0] != voucherVersion {
		return v, fmt.Errorf("%w: voucher of %d bytes", errMessage, len(b))
	}
	have := 0
	err = wire.Fields(b[1:n], func(tag uint8, f []byte) error {
		have++
		switch tag {
		case 1:
			v.relay = make(ed25519.PublicKey, ed25519.PublicKeySize)
			return fixed(v.relay, f)
		case 2:
			return fixed(v.owner[:], f)
		case 3:
			return fixed(v.peer[:], f)
		case 4:
			var k [1]byte
			err := fixed(k[:], f)
			v.kind = Kind(k[0])
			return err
		case 5:
			var t [8]byte
			err := fixed(t[:], f)
			v.expires = int64(binary.BigEndian.Uint64(t[:]))
			return err
		case 6:
			var s [8]byte
			err := fixed(s[:], f)
			v.serial = binary.BigEndian.Uint64(s[:])
			return err
		}
		have--
		return nil
	})
	if err == nil && have != 6 {
		err = errMessage
	}
	if err == nil && !identity.Verify(v.relay, voucherContext, b[:n], b[n:]) {
		err = errMessage
	}
	if err != nil {
		return voucher{}, fmt.Errorf("relay: voucher: %w", err)
	}
	return v, nil
}

func fixed(dst, v []byte) error {
	if len(v) != len(dst) {
		return errMessage
	}
	copy(dst, v)
	return nil
}

// VoucherInfo is what the holder of a voucher can read in it.
type VoucherInfo struct {
	Relay, Owner, Peer identity.NodeID
	Kind               Kind
	Expires            time.Time
}

// ReadVoucher returns what a voucher says, once its signature has been
// checked. Whoever gets one from a peer learns here which relay to ask.
func ReadVoucher(b []byte) (VoucherInfo, error) {
	v, err := parseVoucher(b)
	if err != nil {
		return VoucherInfo{}, err
	}
	return VoucherInfo{identity.NodeIDOf(v.relay), v.owner, v.peer, v.kind, time.Unix(v.expires, 0)}, nil
}
