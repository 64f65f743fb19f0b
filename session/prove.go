// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// PROVE shows who is behind a link: each side's certificate and a signature of
// its device key over this very link, readable only by the two of them.
//
//	reach tag(16) || nonce(24) || XChaCha20-Poly1305(certificate || signature(64))
//
//	key       = HKDF(reach secret, "p2pos prove v1" || exporter(32) || role(1)), the tag is authenticated too
//	signature = device key over exporter || role || signer's node ID || other's node ID, context "p2pos prove v1"
//
// The asker holds the callee's reach secret (from a ticket) and speaks first
// with role 1; the answerer replies with role 2 under the same secret, or with
// one byte that says no and nothing else. The exporter makes a proof worthless
// on any other link, the node IDs make it worthless in other hands.

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

const contextProve = "p2pos prove v1"

// MaxReachSecrets bounds how many own secrets one proof is tried with: a node
// that rotates its ticket each month keeps more than a year of them.
const MaxReachSecrets = 16

// Binding is one authenticated link seen from one side.
type Binding struct {
	Exporter   [32]byte // TLS exporter of the link, equal on both sides
	Self, Peer identity.NodeID
}

// Role says which of the two proofs of a link one is.
type Role uint8

// The asker proves itself first, the answerer in reply.
const (
	Asker    Role = 1
	Answerer Role = 2
)

func proofKey(s identity.Secret, exporter [32]byte, role Role) (k [32]byte) {
	info := append([]byte(contextProve), exporter[:]...)
	info = append(info, byte(role))
	copy(k[:], must(hkdf.Key(sha256.New, s[:], nil, string(info), len(k))))
	return k
}

func proofSigned(exporter [32]byte, role Role, signer, other identity.NodeID) []byte {
	b := append(make([]byte, 0, 97), exporter[:]...)
	b = append(b, byte(role))
	b = append(b, signer[:]...)
	return append(b, other[:]...)
}

// NewProof makes the PROVE message of self in role for link l. The secret is
// the reach secret of callee: for an Asker the one in the callee's ticket, for
// an Answerer its own, as OpenProof returned it.
func NewProof(now time.Time, self *identity.Device, l Binding, role Role, callee identity.ID, secret identity.Secret) []byte {
	tag := identity.ReachTag(secret, callee, identity.Hour(now))
	plain := append([]byte(nil), self.Certificate().Raw()...)
	plain = append(plain, identity.Sign(self.Key(), contextProve, proofSigned(l.Exporter, role, l.Self, l.Peer))...)
	b := append([]byte{byte(typeProve)}, tag[:]...)
	return append(b, identity.SealSecret(proofKey(secret, l.Exporter, role), tag[:], plain)...)
}

// Refusal is the answer to a proof that was not accepted. It is the same for
// every cause.
func Refusal() []byte { return []byte{byte(typeProve), 0} }

// OpenProof verifies the other side's PROVE message, made in role for link l
// with one of the reach secrets of callee, and returns the other side's
// certificate and the secret that fitted. An Answerer's certificate must be
// callee's own.
//
// It returns ErrDenied for a refusal, ErrNotForUs when no secret fits the reach
// tag in this hour or its neighbours, ErrMessage or ErrForged otherwise. A node
// that has asked on a link and gets a PROVE there tries it as the Answerer's
// first, then as an Asker's: both may ask at once.
func OpenProof(now time.Time, b []byte, l Binding, role Role, callee identity.ID, secrets []identity.Secret) (identity.Certificate, identity.Secret, error) {
	fail := func(err error) (identity.Certificate, identity.Secret, error) {
		return identity.Certificate{}, identity.Secret{}, err
	}
	if len(b) > maxProve {
		return fail(fmt.Errorf("%w: proof of %d bytes", ErrMessage, len(b)))
	}
	if len(b) == 2 && IsProof(b) {
		return fail(ErrDenied)
	}
	r := wire.NewReader(b)
	if kind := messageType(r.U8()); kind != typeProve {
		return fail(fmt.Errorf("%w: type %d is no proof", ErrMessage, kind))
	}
	var tag [16]byte
	r.Fixed(tag[:])
	sealed := r.Rest()
	if err := r.Err(); err != nil {
		return fail(fmt.Errorf("%w: proof: %w", ErrMessage, err))
	}
	secret, ok := findSecret(now, tag, callee, secrets)
	if !ok {
		return fail(ErrNotForUs)
	}
	plain, err := identity.OpenSecret(proofKey(secret, l.Exporter, role), tag[:], sealed)
	if err != nil {
		return fail(fmt.Errorf("%w: proof: %w", ErrForged, err))
	}
	p := wire.NewReader(plain)
	raw := p.Bytes(p.Len() - 64)
	sig := p.Bytes(64)
	if err := p.Done(); err != nil {
		return fail(fmt.Errorf("%w: proof: %w", ErrMessage, err))
	}
	cert, err := identity.ParseCertificate(raw, now)
	if err != nil {
		return fail(fmt.Errorf("%w: proof: %w", ErrForged, err))
	}
	if !identity.Verify(cert.Device, contextProve, proofSigned(l.Exporter, role, l.Peer, l.Self), sig) {
		return fail(fmt.Errorf("%w: proof signature", ErrForged))
	}
	if role == Answerer && cert.Identity != callee {
		return fail(fmt.Errorf("%w: answered by another identity", ErrForged))
	}
	return cert, secret, nil
}

// findSecret finds the secret behind a tag, tolerating a clock or an hour that
// has just turned.
func findSecret(now time.Time, tag [16]byte, id identity.ID, secrets []identity.Secret) (identity.Secret, bool) {
	h := identity.Hour(now)
	for _, s := range secrets[:min(len(secrets), MaxReachSecrets)] {
		for _, hour := range [...]uint64{h, h - 1, h + 1} {
			if identity.ReachTag(s, id, hour) == tag {
				return s, true
			}
		}
	}
	return identity.Secret{}, false
}
