// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"os"
	"strconv"
	"strings"
	"testing"

	"filippo.io/edwards25519"
)

// The vectors in testdata/blind.txt come from an independent implementation
// with big integers, so that others can check theirs against ours.
func TestBlindVectors(t *testing.T) {
	f, err := os.Open("testdata/blind.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		c := strings.Split(lines.Text(), "\t")
		if len(c) != 7 {
			t.Fatalf("line with %d columns", len(c))
		}
		key := ed25519.NewKeyFromSeed(unhex(t, c[0]))
		pub := key.Public().(ed25519.PublicKey)
		epoch, err := strconv.ParseUint(c[3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		factor := blindFactor(strings.ReplaceAll(c[1], "_", " "), pub, Secret(unhex(t, c[2])), epoch)
		if !bytes.Equal(factor[:], unhex(t, c[4])) {
			t.Errorf("line %d: factor %x", n, factor)
		}
		face, err := blindPublic(pub, factor)
		if err != nil || !bytes.Equal(face[:], unhex(t, c[5])) {
			t.Errorf("line %d: blinded key %x, %v", n, face, err)
		}
		blind := blindPrivate(key, factor)
		if blind.pub != face {
			t.Errorf("line %d: private side gives %x", n, blind.pub)
		}
		sig := blind.sign("p2pos test v1", []byte("hello"))
		if !bytes.Equal(sig, unhex(t, c[6])) {
			t.Errorf("line %d: signature %x", n, sig)
		}
		if !Verify(face[:], "p2pos test v1", []byte("hello"), sig) {
			t.Errorf("line %d: signature is not valid", n)
		}
		n++
	}
	if n != 12 {
		t.Errorf("%d vectors", n)
	}
}

// A face depends on each thing it is made of.
func TestBlindFactor(t *testing.T) {
	key := ed25519.PublicKey(seed(1, 32))
	seen := map[[32]byte]string{}
	for what, f := range map[string][32]byte{
		"plain":           blindFactor(blindRecord, key, Secret{1}, 7),
		"another key":     blindFactor(blindRecord, seed(2, 32), Secret{1}, 7),
		"another secret":  blindFactor(blindRecord, key, Secret{2}, 7),
		"another epoch":   blindFactor(blindRecord, key, Secret{1}, 8),
		"another purpose": blindFactor(blindSubkey, key, Secret{1}, 7),
	} {
		if o, ok := seen[f]; ok {
			t.Errorf("%s has the factor of %s", what, o)
		}
		seen[f] = what
	}
}

// One message signed under two faces must not share its nonce: S1-S2 would
// then be a·(k1·h1-k2·h2), from which who knows both factors computes a.
func TestBlindNonces(t *testing.T) {
	key := ed25519.NewKeyFromSeed(seed(1, 32))
	one, two := blindPrivate(key, [32]byte{1}), blindPrivate(key, [32]byte{2})
	if bytes.Equal(one.sign("c", []byte("m"))[:32], two.sign("c", []byte("m"))[:32]) {
		t.Error("two faces share a nonce")
	}
	if bytes.Equal(one.sign("c", []byte("m"))[:32], ed25519.Sign(key, signed("c", []byte("m")))[:32]) {
		t.Error("a face shares a nonce with its key")
	}
}

// badPoints are encodings that a strict decoder refuses.
func badPoints(t *testing.T) map[string][]byte {
	good, err := new(edwards25519.Point).SetBytes(ed25519.NewKeyFromSeed(seed(1, 32)).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	// A point of order eight, RFC 7748 §6's cousins on the Edwards side.
	eight, err := new(edwards25519.Point).SetBytes(unhex(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
	if err != nil {
		t.Fatal(err)
	}
	four := new(edwards25519.Point).Double(eight)
	two := new(edwards25519.Point).Double(four)
	mixed := func(small *edwards25519.Point) []byte { return new(edwards25519.Point).Add(good, small).Bytes() }
	return map[string][]byte{
		"zero":             make([]byte, 32), // order 4
		"identity":         edwards25519.NewIdentityPoint().Bytes(),
		"order 2":          two.Bytes(),
		"order 8":          eight.Bytes(),
		"mixed order 2":    mixed(two),
		"mixed order 4":    mixed(four),
		"mixed order 8":    mixed(eight),
		"not on the curve": append([]byte{2}, make([]byte, 31)...),
		"not canonical":    unhex(t, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // y = p+1
		"minus zero":       unhex(t, "0100000000000000000000000000000000000000000000000000000000000080"),
		"too short":        good.Bytes()[:31],
		"too long":         append(good.Bytes(), 0),
		"none":             nil,
		"highest y":        bytes.Repeat([]byte{0xff}, 32),
	}
}

// No point has two accepted encodings: those of y = p to 2^255-1, and minus
// zero, are refused.
func TestPrimePointCanonical(t *testing.T) {
	for y := range byte(19) {
		for _, sign := range []byte{0x7f, 0xff} {
			b := bytes.Repeat([]byte{0xff}, 32)
			b[0], b[31] = 0xed+y, sign
			if _, err := primePoint(b); err == nil {
				t.Errorf("p+%d is accepted", y)
			}
		}
	}
}

func TestPrimePoint(t *testing.T) {
	for n := range byte(20) {
		pub := ed25519.NewKeyFromSeed(seed(n, 32)).Public().(ed25519.PublicKey)
		if _, err := primePoint(pub); err != nil || !ID(pub).IsKey() {
			t.Errorf("key %d: %v", n, err)
		}
	}
	for what, b := range badPoints(t) {
		if _, err := primePoint(b); err == nil {
			t.Errorf("%s is accepted", what)
		}
		if _, err := blindPublic(b, [32]byte{1}); err == nil {
			t.Errorf("%s is blinded", what)
		}
		if len(b) == 32 && ID(b).IsKey() {
			t.Errorf("%s is a key", what)
		}
	}
}

func FuzzBlindPublic(f *testing.F) {
	f.Add(seed(1, 32), seed(2, 32))
	f.Add(make([]byte, 32), seed(2, 32))
	f.Add([]byte(ed25519.NewKeyFromSeed(seed(1, 32)).Public().(ed25519.PublicKey)), seed(3, 32))
	f.Fuzz(func(t *testing.T, pub, factor []byte) {
		if len(factor) != 32 {
			return
		}
		face, err := blindPublic(pub, [32]byte(factor))
		if err != nil {
			return
		}
		if _, err := primePoint(face[:]); err != nil {
			t.Fatalf("%x becomes %x: %v", pub, face, err)
		}
	})
}

func BenchmarkBlindPublic(b *testing.B) {
	pub := ed25519.NewKeyFromSeed(seed(1, 32)).Public().(ed25519.PublicKey)
	for b.Loop() {
		if _, err := blindPublic(pub, [32]byte{1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBlindPrivate(b *testing.B) {
	key := ed25519.NewKeyFromSeed(seed(1, 32))
	for b.Loop() {
		blindPrivate(key, [32]byte{1})
	}
}
