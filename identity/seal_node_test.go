// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"testing"
)

func TestSealToNode(t *testing.T) {
	info, plain := []byte("p2pos test v1"), []byte("a message")
	for n := range byte(8) {
		key := ed25519.NewKeyFromSeed(seed(n, 32))
		pub := key.Public().(ed25519.PublicKey)
		sealed, err := SealToNode(pub, info, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := UnsealAsNode(key, info, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("UnsealAsNode = %q, %v", got, err)
		}
		if _, err := UnsealAsNode(key, []byte("p2pos other v1"), sealed); !errors.Is(err, ErrUnseal) {
			t.Errorf("another info: %v", err)
		}
		if _, err := UnsealAsNode(ed25519.NewKeyFromSeed(seed(n+1, 32)), info, sealed); !errors.Is(err, ErrUnseal) {
			t.Errorf("another node: %v", err)
		}
		sealed[len(sealed)-1] ^= 1
		if _, err := UnsealAsNode(key, info, sealed); !errors.Is(err, ErrUnseal) {
			t.Errorf("changed: %v", err)
		}
		// The map of the public half is the public half of the private one.
		h := sha512.Sum512(seed(n, 32))
		k, err := ecdh.X25519().NewPrivateKey(h[:32])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := NodeSealingKey(pub); err != nil || !bytes.Equal(got[:], k.PublicKey().Bytes()) {
			t.Errorf("sealing key %x, %v", got, err)
		}
	}
}

func TestSealToNodeBadKeys(t *testing.T) {
	for what, b := range badPoints(t) {
		if _, err := SealToNode(b, nil, []byte("x")); err == nil {
			t.Errorf("sealed to %s", what)
		}
	}
}

func BenchmarkSealToNode(b *testing.B) {
	pub := ed25519.NewKeyFromSeed(seed(1, 32)).Public().(ed25519.PublicKey)
	plain := make([]byte, 500)
	for b.Loop() {
		if _, err := SealToNode(pub, nil, plain); err != nil {
			b.Fatal(err)
		}
	}
}
