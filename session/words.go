// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// The safety words show two people that nobody stands between them, in case the
// ticket was not the other's: a digest of both sides' nonces over everything
// the two have sent each other, which each hears from the other's own voice.
//
//	caller                                   callee
//	INVITE: H(caller's nonce)       ->
//	                                <-       ANSWER: callee's nonce
//	UPDATE: caller's nonce          ->       checks it against the hash
//
//	words = first 44 bits of HKDF(nonces of caller and callee,
//	    salt = transcript, "p2pos words v1" || caller's ID || callee's ID)
//
// Whoever stands between two calls has chosen all of his nonces before the last
// genuine one of either is shown to him, so he gets one try in 2^44 for each
// call that people hold, and no try in secret.

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/p2pos/p2pos/identity"
)

// Words reports a call's safety words: to the caller with the ANSWER, to the
// callee as soon as the caller's nonce is shown.
type Words struct {
	ID    CallID
	Words []string
}

func (Words) event() {}

func safetyWords(k *Keys, nonce *[32]byte, caller, callee identity.ID) []string {
	secret := append(append(make([]byte, 0, 64), nonce[:]...), k.nonce[:]...)
	info := append([]byte(labelWords), caller[:]...)
	info = append(info, callee[:]...)
	return identity.SafetyWords([32]byte(must(hkdf.Key(sha256.New, secret, k.transcript[:], string(info), 32))))
}

// show announces the words on the caller's side, and shows its nonce.
func (m *Machine) show(c *call, k *Keys) {
	c.talk.words = true
	m.emit(Words{c.id, safetyWords(k, &c.invitation.nonce, m.self.ID(), c.peer.Identity)})
}

// opened takes the nonce that the caller has shown.
func (m *Machine) opened(c *call, nonce [32]byte) error {
	if c.outgoing || c.talk.words || nonce == ([32]byte{}) {
		return nil
	}
	hash := sha256.Sum256(nonce[:])
	if subtle.ConstantTimeCompare(hash[:], c.invite.hash[:]) != 1 {
		return fmt.Errorf("%w: not the nonce that was promised", ErrForged)
	}
	c.talk.words = true
	m.emit(Words{c.id, safetyWords(&c.talk.keys, &nonce, c.peer.Identity, m.self.ID())})
	return nil
}
