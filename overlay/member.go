// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// In a network with a roster, HELLO field 7 shows whose device this is:
//
//	AES-256-GCM(key, nonce 0) of: vec16 device certificate || signature(64)
//	key = HKDF-SHA256(network key, salt: TLS exporter, info: "p2pos member v1" || role(1))
//
// The signature is the device key's, context "p2pos member v1", over role(1) ||
// exporter(32) || node ID(32), so that it holds on this connection alone.
// Outsiders can't read it: they don't have the network key.
const memberContext = "p2pos member v1"

var errMember = errors.New("overlay: no proof of membership")

func memberCipher(networkKey [32]byte, r role, exporter [32]byte) cipher.AEAD {
	key, err := hkdf.Key(sha256.New, networkKey[:], exporter[:], memberContext+string(rune(r)), 32)
	if err != nil {
		panic(err) // lengths are ours
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func memberSigned(r role, exporter [32]byte, node identity.NodeID) []byte {
	b := append([]byte{byte(r)}, exporter[:]...)
	return append(b, node[:]...)
}

// sealMember makes the field.
func sealMember(d *identity.Device, networkKey [32]byte, r role, exporter [32]byte, self identity.NodeID) []byte {
	plain := wire.AppendVec16(nil, d.Certificate().Raw())
	plain = append(plain, identity.Sign(d.Key(), memberContext, memberSigned(r, exporter, self))...)
	aead := memberCipher(networkKey, r, exporter)
	return aead.Seal(nil, make([]byte, aead.NonceSize()), plain, nil)
}

// openMember returns whose device the other side is. The network proof has been
// checked before.
func openMember(now time.Time, field []byte, networkKey [32]byte, r role, exporter [32]byte, node identity.NodeID) (identity.ID, error) {
	aead := memberCipher(networkKey, r, exporter)
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), field, nil)
	if err != nil {
		return identity.ID{}, errMember
	}
	in := wire.NewReader(plain)
	raw, sig := in.Vec16(), in.Rest()
	if in.Err() != nil {
		return identity.ID{}, errMember
	}
	cert, err := identity.ParseCertificate(raw, now)
	if err != nil {
		return identity.ID{}, fmt.Errorf("%w: %w", errMember, err)
	}
	if !identity.Verify(cert.Device, memberContext, memberSigned(r, exporter, node), sig) {
		return identity.ID{}, fmt.Errorf("%w: false signature", errMember)
	}
	return cert.Identity, nil
}
