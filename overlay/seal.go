// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
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

func sealQuestion(secret identity.Secret, t tag, o nat.Offer) (question, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return question{}, fmt.Errorf("overlay: reply key: %w", err)
	}
	copy(o.Reply[:], key.PublicKey().Bytes())
	sealed := identity.SealSecret(offerKey(secret, t), t[:], o.Append(nil))
	return question{sealed: sealed, key: key}, nil
}

func openQuestion(secret identity.Secret, t tag, sealed []byte, now time.Time) (nat.Offer, error) {
	plain, err := identity.OpenSecret(offerKey(secret, t), t[:], sealed)
	if err != nil {
		return nat.Offer{}, fmt.Errorf("overlay: offer: %w", err)
	}
	return nat.ParseOffer(plain, now)
}

func replyInfo(sealedQuestion []byte) []byte {
	h := sha256.Sum256(sealedQuestion)
	return append([]byte("p2pos offer reply v1"), h[:]...)
}

func sealReply(to [32]byte, sealedQuestion []byte, o nat.Offer) ([]byte, error) {
	return identity.Seal(to, replyInfo(sealedQuestion), o.Append(nil))
}

func (q *question) open(sealed []byte, now time.Time) (nat.Offer, error) {
	plain, err := identity.Unseal(q.key, replyInfo(q.sealed), sealed)
	if err != nil {
		return nat.Offer{}, fmt.Errorf("overlay: offer reply: %w", err)
	}
	return nat.ParseOffer(plain, now)
}
