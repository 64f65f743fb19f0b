// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// RING carries an INVITE to a node with which no link stands yet:
//
//	type(1)=8 || reach tag(16) || nonce(24) || XChaCha20-Poly1305(INVITE)
//
//	key = HKDF(reach secret, "p2pos ring v1" || caller's node ID(32) || callee's node ID(32)), the tag is authenticated too
//
// Whoever can make one holds the callee's ticket, as an Asker's PROVE shows on
// a link. PASSED does the same for somebody who was transferred and has no
// ticket, with a pass (transfer.go) in place of the reach secret:
//
//	type(1)=10 || expires(8) || caller's identity(32) || RING without its type
//
// The INVITE itself is signed by the caller's device for these two
// nodes, so nothing more needs to be proved, now or on a link between them.

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

const contextRing = "p2pos ring v1"

// maxRing is an INVITE with what stands around it.
const maxRing = maxInvite + 1 + 16 + 24 + 16

// maxPassed is a RING with the pass's part in front.
const maxPassedRing = maxRing + 8 + 32

func ringKey(s identity.Secret, caller, callee identity.NodeID) (k [32]byte) {
	info := append([]byte(contextRing), caller[:]...)
	info = append(info, callee[:]...)
	copy(k[:], must(hkdf.Key(sha256.New, s[:], nil, string(info), len(k))))
	return k
}

// NewRing wraps an INVITE from node caller to node callee, which runs a device
// of id, under the reach secret in id's ticket.
func NewRing(now time.Time, id identity.ID, secret identity.Secret, caller, callee identity.NodeID, invite []byte) []byte {
	return appendRing([]byte{byte(typeRing)}, now, id, secret, caller, callee, invite)
}

func appendRing(b []byte, now time.Time, id identity.ID, secret identity.Secret, caller, callee identity.NodeID, invite []byte) []byte {
	tag := identity.ReachTag(secret, id, identity.Hour(now))
	b = append(b, tag[:]...)
	return append(b, identity.SealSecret(ringKey(secret, caller, callee), tag[:], invite)...)
}

// newPassed wraps an INVITE of caller, made with pass p, as NewRing does.
func newPassed(now time.Time, p *Pass, self identity.ID, caller, callee identity.NodeID, invite []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{byte(typePassed)}, uint64(p.expires.Unix()))
	return appendRing(append(b, self[:]...), now, p.Callee, p.secret, caller, callee, invite)
}

// isRing tells whether a message wraps an INVITE.
func isRing(b []byte) bool { return typeOf(b) == typeRing || typeOf(b) == typePassed }

// OpenRing unwraps a RING that came from node caller to our node callee, and
// returns the certificate that the INVITE names, the secret that fitted, and the
// INVITE: hand it to the Machine, which verifies the signature. Errors: ErrNotForUs when no
// secret fits, ErrMessage, ErrForged.
func OpenRing(now time.Time, self *identity.Device, secrets []identity.Secret, caller, callee identity.NodeID, b []byte) (identity.Certificate, identity.Secret, []byte, error) {
	return openRing(now, self, secrets, nil, caller, callee, b)
}

// openRing is OpenRing, with the secrets of groups as well: such a RING has to be of
// that group.
func openRing(now time.Time, self *identity.Device, secrets []identity.Secret, groups []*GroupRoster, caller, callee identity.NodeID, b []byte) (identity.Certificate, identity.Secret, []byte, error) {
	fail := func(err error) (identity.Certificate, identity.Secret, []byte, error) {
		return identity.Certificate{}, identity.Secret{}, nil, err
	}
	if n := len(b); n > maxPassedRing || n > maxRing && typeOf(b) == typeRing {
		return fail(fmt.Errorf("%w: ring of %d bytes", ErrMessage, len(b)))
	}
	r := wire.NewReader(b)
	kind := messageType(r.U8())
	var by passer
	if kind == typePassed {
		if secrets = by.read(r, self.ID(), secrets); secrets == nil {
			return fail(fmt.Errorf("%w: no pass", ErrMessage))
		}
		groups = nil
	}
	own := len(secrets)
	for _, r := range groups {
		secrets = append(secrets[:len(secrets):len(secrets)], r.secret)
	}
	var tag [16]byte
	r.Fixed(tag[:])
	sealed := r.Rest()
	if r.Err() != nil || !isRing(b) {
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
	if kind == typePassed && !by.fits(inv) {
		return fail(fmt.Errorf("%w: somebody else's pass", ErrForged))
	}
	if i := slices.Index(secrets, secret); i >= own && (inv.group == nil || inv.group.Roster.ID != groups[i-own].ID) {
		return fail(fmt.Errorf("%w: a group's secret for something else", ErrForged))
	}
	return inv.caller, secret, msg, nil
}

// passer is what stands in front of a PASSED's RING.
type passer struct {
	expires time.Time
	caller  identity.ID
}

// read returns what the pass makes of our reach secrets; nil when it is none.
func (p *passer) read(r *wire.Reader, self identity.ID, secrets []identity.Secret) (list []identity.Secret) {
	at := r.Bytes(8)
	r.Fixed(p.caller[:])
	if r.Err() != nil {
		return nil
	}
	var ok bool
	if p.expires, ok = unixTime(at); !ok {
		return nil
	}
	for _, s := range secrets {
		list = append(list, passSecret(s, self, p.caller, p.expires))
	}
	return list
}

// fits tells whether an INVITE is of the person that the pass is for, and says
// itself who has passed him on: that is verified with the rest of it.
func (p *passer) fits(inv *invite) bool {
	return inv.caller.Identity == p.caller && len(inv.token) > 8 &&
		binary.BigEndian.Uint64(inv.token) == uint64(p.expires.Unix())
}
