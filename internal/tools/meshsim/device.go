// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// makeDevices makes n identities, the same in every run: their keys say where
// in the overlay their records are. New devices take their keys from the
// system, so these are written as key stores, whose layout is fixed, and opened.
func makeDevices(n int) ([]*identity.Device, error) {
	dir, err := os.MkdirTemp("", "meshsim")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	list := make([]*identity.Device, n)
	for i := range list {
		sub := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(sub, 0o700); err != nil {
			return nil, err
		}
		store, err := keyStore(uint32(i))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(sub, "identity.key"), store, 0o600); err != nil {
			return nil, err
		}
		if list[i], err = identity.Open(sub, epoch(), "", nil); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// keyStore returns the bytes of a device's key store, all made from a number.
func keyStore(n uint32) ([]byte, error) {
	seed := func(what byte) []byte {
		h := sha256.Sum256(binary.BigEndian.AppendUint32([]byte{what}, n))
		return h[:]
	}
	sealing, err := ecdh.X25519().NewPrivateKey(seed(3))
	if err != nil {
		return nil, err
	}
	id, device := ed25519.NewKeyFromSeed(seed(1)), ed25519.NewKeyFromSeed(seed(2))
	from := epoch().Unix()
	span := binary.BigEndian.AppendUint64(nil, uint64(from))
	span = binary.BigEndian.AppendUint64(span, uint64(from)+uint64(60*24*time.Hour/time.Second))
	cert := []byte{1}
	cert = wire.AppendField(cert, 1, id.Public().(ed25519.PublicKey))
	cert = wire.AppendField(cert, 2, device.Public().(ed25519.PublicKey))
	cert = wire.AppendField(cert, 3, span)
	cert = wire.AppendField(cert, 4, sealing.PublicKey().Bytes())
	cert = append(cert, identity.Sign(id, "p2pos cert v1", cert)...)

	var fields []byte
	for i, v := range [][]byte{id.Seed(), device.Seed(), sealing.Bytes(), seed(4)[:len(identity.Secret{})], seed(5), cert} {
		fields = wire.AppendField(fields, uint8(i+1), v)
	}
	b := wire.AppendVec16(append([]byte("p2poskey"), 1, 0), fields)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}
