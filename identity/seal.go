// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrUnseal reports a sealed message that does not open: it was meant for
// another key or purpose, cut off, or changed.
var ErrUnseal = errors.New("identity: sealed message does not open")

// Seal encrypts plain to the holder of an X25519 key with HPKE in base mode
// (RFC 9180 §5.1.1: DHKEM X25519, HKDF-SHA256, ChaCha20-Poly1305). The result
// is enc(32) || ciphertext, 48 bytes longer than plain. It says nothing about
// the sender. It fails only when to is no usable key.
func Seal(to [32]byte, info, plain []byte) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(to[:])
	if err != nil {
		return nil, fmt.Errorf("identity: sealing key: %w", err)
	}
	k, err := hpke.NewDHKEMPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("identity: sealing key: %w", err)
	}
	b, err := hpke.Seal(k, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, plain)
	if err != nil {
		return nil, fmt.Errorf("identity: seal: %w", err)
	}
	return b, nil
}

// Unseal opens what Seal made for key under the same info. Its error is
// ErrUnseal and does not say why.
func Unseal(key *ecdh.PrivateKey, info, sealed []byte) ([]byte, error) {
	k, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		return nil, ErrUnseal
	}
	b, err := hpke.Open(k, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info, sealed)
	if err != nil {
		return nil, ErrUnseal
	}
	return b, nil
}

// SealSecret encrypts plain under a shared key with XChaCha20-Poly1305 and
// authenticates aad with it. The result is nonce(24) || ciphertext, 40 bytes
// longer than plain; the nonce is random, which is safe at this length.
func SealSecret(key [32]byte, aad, plain []byte) []byte {
	b := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	rand.Read(b)
	return secretAEAD(key).Seal(b, b, plain, aad)
}

// OpenSecret opens what SealSecret made under the same key and aad. Its error
// is ErrUnseal.
func OpenSecret(key [32]byte, aad, sealed []byte) ([]byte, error) {
	if len(sealed) < chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead {
		return nil, ErrUnseal
	}
	nonce, box := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	b, err := secretAEAD(key).Open(nil, nonce, box, aad)
	if err != nil {
		return nil, ErrUnseal
	}
	return b, nil
}

func secretAEAD(key [32]byte) cipher.AEAD {
	a, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // the key has its length by type
	}
	return a
}
