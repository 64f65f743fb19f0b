// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// ANSWER plain, sealed to the sealing key in the caller's certificate:
//
//	version(1)=1 || fields || signature(64) by the callee's device key, context "p2pos answer v1"
//	1 call id(16)   2 SHA-256 of the sealed INVITE(32)   3 callee certificate(≤ 256)
//	4 KEM encapsulation(1,120)   5 answer(≤ 512)   6 callee nonce(32)
//
// Field 2 ties it to one INVITE, byte for byte: an ANSWER to another call, or
// to the same call as somebody else saw it, is refused.

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

const (
	contextAnswer = "p2pos answer v1"
	versionAnswer = 1
)

// newAnswer makes the ANSWER message to inv and the callee's media keys.
func newAnswer(self *identity.Device, inv *invite, answer Offer) ([]byte, Keys, error) {
	enc, export, err := encapsulate(inv.kem)
	if err != nil {
		return nil, Keys{}, fmt.Errorf("session: answer: %w", err)
	}
	hash := sha256.Sum256(inv.sealed)
	var nonce [32]byte
	rand.Read(nonce[:])
	cert := self.Certificate()

	b := []byte{versionAnswer}
	b = wire.AppendField(b, 1, inv.id[:])
	b = wire.AppendField(b, 2, hash[:])
	b = wire.AppendField(b, 3, cert.Raw())
	b = wire.AppendField(b, 4, enc)
	b = wire.AppendField(b, 5, appendOffer(nil, answer))
	b = wire.AppendField(b, 6, nonce[:])
	b = append(b, identity.Sign(self.Key(), contextAnswer, b)...)

	sealed, err := identity.Seal(inv.caller.Sealing, []byte(contextAnswer), b)
	if err != nil {
		return nil, Keys{}, fmt.Errorf("session: answer: %w", err)
	}
	msg := append([]byte{byte(typeAnswer)}, inv.id[:]...)
	msg = append(msg, sealed...)
	salt := transcript(inv.sealed, b)
	return msg, Keys{
		Send:         mediaKey(labelSRTP, export, salt, inv.id, cert.Device, fromCallee, 0),
		Receive:      mediaKey(labelSRTP, export, salt, inv.id, inv.caller.Device, fromCaller, 0),
		SendVideo:    mediaKey(labelVideo, export, salt, inv.id, cert.Device, fromCallee, 0),
		ReceiveVideo: mediaKey(labelVideo, export, salt, inv.id, inv.caller.Device, fromCaller, 0),

		sendUpdate:    updateKey(export, salt, inv.id, cert.Device, fromCallee),
		receiveUpdate: updateKey(export, salt, inv.id, inv.caller.Device, fromCaller),
		transcript:    [32]byte(salt), nonce: nonce,
	}, nil
}

// splitAnswer reads the clear part of an ANSWER.
func splitAnswer(b []byte) (id CallID, sealed []byte, err error) {
	if len(b) > maxAnswer {
		return id, nil, fmt.Errorf("%w: answer of %d bytes", ErrMessage, len(b))
	}
	r := wire.NewReader(b)
	r.U8()
	r.Fixed(id[:])
	sealed = r.Rest()
	if err := r.Err(); err != nil {
		return id, nil, fmt.Errorf("%w: answer: %w", ErrMessage, err)
	}
	return id, sealed, nil
}

// openAnswer opens and verifies the sealed part of an ANSWER to inv from peer
// and derives the caller's media keys.
func openAnswer(now time.Time, self *identity.Device, inv *invitation, peer Peer, sealed []byte) (Params, Keys, error) {
	fail := func(err error) (Params, Keys, error) { return Params{}, Keys{}, err }
	plain, err := self.Unseal([]byte(contextAnswer), sealed)
	if err != nil {
		return fail(fmt.Errorf("%w: answer: %w", ErrForged, err))
	}
	a, err := parseAnswer(plain, now)
	if err != nil {
		return fail(err)
	}
	hash := sha256.Sum256(inv.sealed)
	switch {
	case a.cert.Identity != peer.Identity || a.cert.DeviceID() != peer.Device:
		return fail(fmt.Errorf("%w: answer passed on by another peer", ErrForged))
	case a.id != inv.id || !bytes.Equal(a.invite, hash[:]):
		return fail(fmt.Errorf("%w: answer to another invite", ErrForged))
	case !identity.Verify(a.cert.Device, contextAnswer, a.signed, a.sig):
		return fail(fmt.Errorf("%w: answer signature", ErrForged))
	}
	p, err := settle(inv.offer, a.offer)
	if err != nil {
		return fail(err)
	}
	export, err := decapsulate(inv.kem, a.enc)
	if err != nil {
		return fail(fmt.Errorf("%w: answer: %w", ErrForged, err))
	}
	salt := transcript(inv.sealed, plain)
	return p, Keys{
		Send:         mediaKey(labelSRTP, export, salt, inv.id, self.Certificate().Device, fromCaller, 0),
		Receive:      mediaKey(labelSRTP, export, salt, inv.id, a.cert.Device, fromCallee, 0),
		SendVideo:    mediaKey(labelVideo, export, salt, inv.id, self.Certificate().Device, fromCaller, 0),
		ReceiveVideo: mediaKey(labelVideo, export, salt, inv.id, a.cert.Device, fromCallee, 0),

		sendUpdate:    updateKey(export, salt, inv.id, self.Certificate().Device, fromCaller),
		receiveUpdate: updateKey(export, salt, inv.id, a.cert.Device, fromCallee),
		transcript:    [32]byte(salt), nonce: a.nonce,
	}, nil
}

// answered is a decoded ANSWER; its slices alias the plain message.
type answered struct {
	id          CallID
	invite      []byte
	cert        identity.Certificate
	enc         []byte
	offer       Offer
	nonce       [32]byte
	signed, sig []byte
}

func parseAnswer(plain []byte, now time.Time) (a answered, err error) {
	var list, rawCert, rawOffer []byte
	a.signed, a.sig, list, err = splitSigned(plain, versionAnswer)
	if err != nil {
		return a, fmt.Errorf("%w: answer: %w", ErrMessage, err)
	}
	err = readFields("answer", list, 0x7e, func(tag uint8, v []byte) bool {
		ok := true
		switch tag {
		case 1:
			ok = fill(a.id[:], v)
		case 2:
			a.invite, ok = v, len(v) == sha256.Size
		case 3:
			rawCert = v
		case 4:
			a.enc, ok = v, len(v) == kemEncSize
		case 5:
			rawOffer, ok = v, len(v) <= maxOffer
		case 6:
			ok = fill(a.nonce[:], v)
		}
		return ok
	})
	if err != nil {
		return a, err
	}
	if a.offer, err = parseOffer(rawOffer); err != nil {
		return a, err
	}
	if a.cert, err = identity.ParseCertificate(rawCert, now); err != nil {
		return a, fmt.Errorf("%w: answer: %w", ErrForged, err)
	}
	return a, nil
}
