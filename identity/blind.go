// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"

	"filippo.io/edwards25519"
)

// Blinding gives a key a new face for each purpose and hour: who knows the key
// and what the factor is made of computes the face, nobody else can tell two
// faces of one key from two keys. After Tor's rend-spec-v3, appendix A.2:
//
//	h  = HMAC-SHA256(reach secret, purpose || 0x00 || A || epoch(8)), clamped (RFC 8032 §5.1.5)
//	A' = h·A        a' = h·a mod l
//	prefix' = SHA-512("p2pos blind nonce v1" || prefix || h)[:32]
//
// a and prefix are the two halves of an Ed25519 key in its expanded form, l is
// the order of the base point. A signature under A' is an ordinary Ed25519
// signature. It differs from Tor in two places. The factor is an HMAC over our
// own inputs. And the prefix depends on the factor: if it did not, one message
// signed under two faces would have one nonce for two keys, and who knows both
// factors could compute a.
const (
	blindRecord      = "p2pos blind record v1"         // an identity's key, by reach secret
	blindInbox       = "p2pos blind inbox v1"          // an identity's key, without a secret
	blindSubkey      = "p2pos blind subkey v1"         // a device's key, by reach secret
	blindInboxSubkey = "p2pos blind inbox subkey v1"   // a device's key, without a secret
	blindPrekeys     = "p2pos blind prekeys v1"        // an identity's key, by reach secret, in a period
	blindPrekeysSub  = "p2pos blind prekeys subkey v1" // a device's key, likewise
	blindNonce       = "p2pos blind nonce v1"
)

// errPoint reports a public key that no key generation makes.
var errPoint = errors.New("not a public key: no canonical point of prime order")

// IsKey tells whether id can be somebody's public key: a canonical point of
// prime order. ParseID does not check that, so an ID that was made up passes
// it; nobody can sign for such an ID and no record of it exists.
func (id ID) IsKey() bool {
	_, err := primePoint(id[:])
	return err == nil
}

// primePoint decodes a public key strictly. Points of small order, or with a
// part of small order, are refused: clamping exists to strip that part, but
// scalars are reduced modulo l here and would keep a piece of it. One key has
// one name: every encoding that is not canonical is of such a point.
func primePoint(pub []byte) (*edwards25519.Point, error) {
	p, err := new(edwards25519.Point).SetBytes(pub)
	if err != nil {
		return nil, errPoint
	}
	// 8·p has prime order; dividing by 8 gives p back only when p has it too.
	q := new(edwards25519.Point).MultByCofactor(p)
	if q.Equal(edwards25519.NewIdentityPoint()) == 1 {
		return nil, errPoint
	}
	q.VarTimeDoubleScalarBaseMult(eighth(), q, edwards25519.NewScalar())
	if q.Equal(p) != 1 {
		return nil, errPoint
	}
	return p, nil
}

// eighth returns 1/8 modulo l.
func eighth() *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{8}, make([]byte, 31)...))
	if err != nil {
		panic(err) // 8 is below l
	}
	return s.Invert(s)
}

// blindFactor returns the bytes of a blinding factor before clamping.
func blindFactor(purpose string, key ed25519.PublicKey, s Secret, epoch uint64) [32]byte {
	m := hmac.New(sha256.New, s[:])
	m.Write([]byte(purpose))
	m.Write([]byte{0})
	m.Write(key)
	m.Write(binary.BigEndian.AppendUint64(nil, epoch))
	return [32]byte(m.Sum(nil))
}

// clamped returns the factor as a scalar.
func clamped(factor [32]byte) *edwards25519.Scalar {
	h, err := edwards25519.NewScalar().SetBytesWithClamping(factor[:])
	if err != nil {
		panic(err) // the factor has its length by type
	}
	return h
}

// blindPublic returns h·A. It fails when pub is no key.
func blindPublic(pub ed25519.PublicKey, factor [32]byte) ([32]byte, error) {
	a, err := primePoint(pub)
	if err != nil {
		return [32]byte{}, fmt.Errorf("identity: blind: %w", err)
	}
	return [32]byte(a.ScalarMult(clamped(factor), a).Bytes()), nil
}

// blindKey is a blinded private key.
type blindKey struct {
	scalar *edwards25519.Scalar
	prefix [32]byte // from which nonces are made, RFC 8032 §5.1.6
	pub    [32]byte
}

// blindPrivate returns the private side of blindPublic.
func blindPrivate(key ed25519.PrivateKey, factor [32]byte) blindKey {
	expanded := sha512.Sum512(key.Seed())
	var k blindKey
	k.scalar = clamped([32]byte(expanded[:32])) // a, clamped like every factor
	k.scalar.Multiply(k.scalar, clamped(factor))
	k.pub = [32]byte(new(edwards25519.Point).ScalarBaseMult(k.scalar).Bytes())

	nonce := sha512.New()
	nonce.Write([]byte(blindNonce))
	nonce.Write(expanded[32:])
	nonce.Write(factor[:])
	copy(k.prefix[:], nonce.Sum(nil))
	clear(expanded[:])
	return k
}

// sign makes the signature that Verify accepts for the blinded public key
// (RFC 8032 §5.1.6, from step 2 on).
func (k *blindKey) sign(context string, msg []byte) []byte {
	m := signed(context, msg)
	r := hashScalar(k.prefix[:], m)
	sig := new(edwards25519.Point).ScalarBaseMult(r).Bytes()
	c := hashScalar(sig, k.pub[:], m)
	return append(sig, c.MultiplyAdd(c, k.scalar, r).Bytes()...)
}

// hashScalar returns SHA-512 of the parts as a scalar.
func hashScalar(parts ...[]byte) *edwards25519.Scalar {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	s, err := edwards25519.NewScalar().SetUniformBytes(h.Sum(nil))
	if err != nil {
		panic(err) // a SHA-512 has the 64 bytes wanted
	}
	return s
}
