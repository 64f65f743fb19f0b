// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha512"
	"fmt"
)

// A node's card is its Ed25519 key, and the key to seal to it is computed from
// that: the birational map of RFC 7748 §4.1. It is never sent, so nobody on the
// way can put in one of their own.

// NodeSealingKey returns the X25519 form of a node's public key. It fails on
// points of small or mixed order and on encodings that are not canonical.
func NodeSealingKey(pub ed25519.PublicKey) ([32]byte, error) {
	p, err := primePoint(pub)
	if err != nil {
		return [32]byte{}, fmt.Errorf("identity: node key: %w", err)
	}
	return [32]byte(p.BytesMontgomery()), nil
}

// SealToNode encrypts plain to the holder of a node key, as Seal does. It
// fails only when pub is no usable key.
func SealToNode(pub ed25519.PublicKey, info, plain []byte) ([]byte, error) {
	k, err := NodeSealingKey(pub)
	if err != nil {
		return nil, err
	}
	return Seal(k, info, plain)
}

// UnsealAsNode opens what SealToNode made for key's public half. Its error is
// ErrUnseal. It panics when key has the wrong length.
func UnsealAsNode(key ed25519.PrivateKey, info, sealed []byte) ([]byte, error) {
	h := sha512.Sum512(key.Seed()) // RFC 8032 §5.1.5; X25519 clamps by itself
	k, err := ecdh.X25519().NewPrivateKey(h[:32])
	clear(h[:])
	if err != nil {
		return nil, ErrUnseal
	}
	return Unseal(k, info, sealed)
}
