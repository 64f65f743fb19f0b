// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// RING carries an INVITE to a node with which no link stands yet:
//
//	type(1)=8 || reach tag(16) || nonce(24) || XChaCha20-Poly1305(INVITE)
//
//	key = HKDF(reach secret, "p2pos ring v1" || caller's node ID(32) || callee's node ID(32)), the tag is authenticated too
//
// Whoever can make one holds the callee's ticket, as an Asker's PROVE shows on
// a link; the INVITE itself is signed by the caller's device for these two
// nodes, so nothing more needs to be proved, now or on a link between them.

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

const contextRing = "p2pos ring v1"

// maxRing is an INVITE with what stands around it.
const maxRing = maxInvite + 1 + 16 + 24 + 16

func ringKey(s identity.Secret, caller, callee identity.NodeID) (k [32]byte) {
	info := append([]byte(contextRing), caller[:]...)
	info = append(info, callee[:]...)
	copy(k[:], must(hkdf.Key(sha256.New, s[:], nil, string(info), len(k))))
	return k
}

// NewRing wraps an INVITE from node caller to node callee, which runs a device
// of id, under the reach secret in id's ticket.
func NewRing(now time.Time, id identity.ID, secret identity.Secret, caller, callee identity.NodeID, invite []byte) []byte {
	tag := identity.ReachTag(secret, id, identity.Hour(now))
	b := append([]byte{byte(typeRing)}, tag[:]...)
	return append(b, identity.SealSecret(ringKey(secret, caller, callee), tag[:], invite)...)
}

// OpenRing unwraps a RING that came from node caller to our node callee, and
// returns the certificate that the INVITE names, and the INVITE: hand both to
// the Machine, which verifies the signature. Errors: ErrNotForUs when no
// secret fits, ErrMessage, ErrForged.
func OpenRing(now time.Time, self *identity.Device, secrets []identity.Secret, caller, callee identity.NodeID, b []byte) (identity.Certificate, []byte, error) {
	fail := func(err error) (identity.Certificate, []byte, error) { return identity.Certificate{}, nil, err }
	if len(b) > maxRing {
		return fail(fmt.Errorf("%w: ring of %d bytes", ErrMessage, len(b)))
	}
	r := wire.NewReader(b)
	kind := messageType(r.U8())
	var tag [16]byte
	r.Fixed(tag[:])
	sealed := r.Rest()
	if r.Err() != nil || kind != typeRing {
		return fail(fmt.Errorf("%w: no ring", ErrMessage))
	}
	secret, ok := findSecret(now, tag, self.ID(), secrets)
	if !ok {
		return fail(ErrNotForUs)
	}
	msg, err := identity.OpenSecret(ringKey(secret, caller, callee), tag[:], sealed)
	if err != nil {
		return fail(fmt.Errorf("%w: ring: %w", ErrForged, err))
	}
	if !IsInvite(msg) || len(msg) > maxInvite {
		return fail(fmt.Errorf("%w: no invite in a ring", ErrMessage))
	}
	plain, err := self.Unseal([]byte(contextInvite), msg[1:])
	if err != nil {
		return fail(fmt.Errorf("%w: invite: %w", ErrForged, err))
	}
	inv, _, _, _, err := parseInvite(plain, now)
	if err != nil {
		return fail(err)
	}
	return inv.caller, msg, nil
}
