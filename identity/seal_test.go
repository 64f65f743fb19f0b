// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
)

func TestSignContexts(t *testing.T) {
	key := ed25519.NewKeyFromSeed(seed(1, 32))
	pub := key.Public().(ed25519.PublicKey)
	sig := Sign(key, "p2pos a v1", []byte("msg"))
	if !Verify(pub, "p2pos a v1", []byte("msg"), sig) {
		t.Fatal("own signature is not valid")
	}
	for what, ok := range map[string]bool{
		"another context":     Verify(pub, "p2pos b v1", []byte("msg"), sig),
		"another message":     Verify(pub, "p2pos a v1", []byte("msh"), sig),
		"shifted border":      Verify(pub, "p2pos a v1\x00m", []byte("sg"), sig),
		"another key":         Verify(ed25519.NewKeyFromSeed(seed(2, 32)).Public().(ed25519.PublicKey), "p2pos a v1", []byte("msg"), sig),
		"short signature":     Verify(pub, "p2pos a v1", []byte("msg"), sig[:63]),
		"no key":              Verify(nil, "p2pos a v1", []byte("msg"), sig),
		"a key of wrong size": Verify(pub[:31], "p2pos a v1", []byte("msg"), sig),
	} {
		if ok {
			t.Errorf("%s is accepted", what)
		}
	}
}

func TestSeal(t *testing.T) {
	d := testDevice(t, now, "")
	info, plain := []byte("p2pos test v1"), []byte("a message")
	sealed, err := Seal(d.Certificate().Sealing, info, plain)
	if err != nil {
		t.Fatal(err)
	}
	if len(sealed) != len(plain)+48 {
		t.Errorf("%d bytes for %d", len(sealed), len(plain))
	}
	if got, err := d.Unseal(info, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("Unseal = %q, %v", got, err)
	}
	if _, err := d.Unseal([]byte("p2pos other v1"), sealed); !errors.Is(err, ErrUnseal) {
		t.Errorf("another info: %v", err)
	}
	other, err := NewDevice(now, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Unseal(info, sealed); !errors.Is(err, ErrUnseal) {
		t.Errorf("another device: %v", err)
	}
	for i := range sealed {
		if _, err := d.Unseal(info, sealed[:i]); !errors.Is(err, ErrUnseal) {
			t.Fatalf("first %d bytes: %v", i, err)
		}
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x80
		if _, err := d.Unseal(info, bad); !errors.Is(err, ErrUnseal) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	if _, err := Seal([32]byte{}, info, plain); err == nil {
		t.Error("sealed to a key of small order")
	}
}

func TestSealSecret(t *testing.T) {
	key, aad, plain := [32]byte{1}, []byte("aad"), []byte("a message")
	sealed := SealSecret(key, aad, plain)
	if len(sealed) != len(plain)+40 {
		t.Errorf("%d bytes for %d", len(sealed), len(plain))
	}
	if bytes.Equal(sealed, SealSecret(key, aad, plain)) {
		t.Error("two boxes are equal: the nonce is not fresh")
	}
	if got, err := OpenSecret(key, aad, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("OpenSecret = %q, %v", got, err)
	}
	if _, err := OpenSecret([32]byte{2}, aad, sealed); !errors.Is(err, ErrUnseal) {
		t.Errorf("another key: %v", err)
	}
	if _, err := OpenSecret(key, []byte("bad"), sealed); !errors.Is(err, ErrUnseal) {
		t.Errorf("another aad: %v", err)
	}
	for i := range sealed {
		if _, err := OpenSecret(key, aad, sealed[:i]); !errors.Is(err, ErrUnseal) {
			t.Fatalf("first %d bytes: %v", i, err)
		}
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x80
		if _, err := OpenSecret(key, aad, bad); !errors.Is(err, ErrUnseal) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}
