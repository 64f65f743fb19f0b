// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/nat"
)

// An offer travels through an introducer that must not read it
// (design/001-wire.md, "Offer"). The question is sealed under the reach
// secret that the asker has from a ticket; the reply to a key in the question,
// bound to the question's bytes.

const offerLife = 30 * time.Second

// question is an open question of ours.
type question struct {
	sealed []byte
	key    *ecdh.PrivateKey
}

func offerKey(secret identity.Secret, t tag) (key [32]byte) {
	k, err := hkdf.Key(sha256.New, secret[:], t[:], "p2pos offer v1", len(key))
	if err != nil {
		panic(err) // only for lengths above 255 hashes
	}
	copy(key[:], k)
	return key
}

// offerContext separates signatures over offers from all others.
const offerContext = "p2pos offer v1"

// signed appends to an offer the signature of the node key that it names, over
// the offer and what it is part of: nobody can offer in another node's name,
// and no offer works in another place.
func signed(key ed25519.PrivateKey, o nat.Offer, place []byte) []byte {
	b := o.Append(nil)
	return append(b, identity.Sign(key, offerContext, append(bytes.Clone(b), place...))...)
}

var errOfferSignature = errors.New("overlay: offer not signed by the node it names")

// checked undoes signed.
func checked(b, place []byte, now time.Time) (nat.Offer, error) {
	n := len(b) - ed25519.SignatureSize
	if n < 0 {
		return nat.Offer{}, errOfferSignature
	}
	o, err := nat.ParseOffer(b[:n], now)
	if err != nil {
		return nat.Offer{}, err
	}
	if !identity.Verify(o.NodeKey, offerContext, append(bytes.Clone(b[:n]), place...), b[n:]) {
		return nat.Offer{}, errOfferSignature
	}
	return o, nil
}

func sealQuestion(node ed25519.PrivateKey, secret identity.Secret, t tag, o nat.Offer) (question, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return question{}, fmt.Errorf("overlay: reply key: %w", err)
	}
	copy(o.Reply[:], key.PublicKey().Bytes())
	sealed := identity.SealSecret(offerKey(secret, t), t[:], signed(node, o, t[:]))
	return question{sealed: sealed, key: key}, nil
}

func openQuestion(secret identity.Secret, t tag, sealed []byte, now time.Time) (nat.Offer, error) {
	plain, err := identity.OpenSecret(offerKey(secret, t), t[:], sealed)
	if err != nil {
		return nat.Offer{}, fmt.Errorf("overlay: offer: %w", err)
	}
	return checked(plain, t[:], now)
}

func replyInfo(sealedQuestion []byte) []byte {
	h := sha256.Sum256(sealedQuestion)
	return append([]byte("p2pos offer reply v1"), h[:]...)
}

func sealReply(node ed25519.PrivateKey, to [32]byte, sealedQuestion []byte, o nat.Offer) ([]byte, error) {
	info := replyInfo(sealedQuestion)
	return identity.Seal(to, info, signed(node, o, info))
}

func (q *question) open(sealed []byte, now time.Time) (nat.Offer, error) {
	info := replyInfo(q.sealed)
	plain, err := identity.Unseal(q.key, info, sealed)
	if err != nil {
		return nat.Offer{}, fmt.Errorf("overlay: offer reply: %w", err)
	}
	return checked(plain, info, now)
}
