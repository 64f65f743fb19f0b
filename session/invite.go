// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// INVITE plain, sealed to the callee's sealing key:
//
//	version(1)=1 || fields || signature(64) by the caller's device key, context "p2pos invite v1"
//	 1 call id(16)          2 caller certificate(≤ 256)   3 callee identity(32)   4 callee device key(32)
//	 5 caller node ID(32)   6 callee node ID(32)          7 expires(8, Unix seconds)
//	 8 H(nonce)(32)         9 hybrid KEM key(1,216)      10 offer(≤ 512)
//	11 caller name(≤ 64)   12 signal secret(32)          13 caller's reach secret(16, optional)
//	14 who transfers the caller (transfer.go, ≤ 304)     15 group (room_message.go, ≤ 701), both optional
//
// The signature names both ends of the link and the callee's device, so an
// INVITE that is opened and sealed again for someone else, or carried to
// another link, is refused there.

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

const (
	contextInvite = "p2pos invite v1"
	versionInvite = 1

	maxName = 64
	// maxToken is a time, a nonce, a signature and a certificate.
	maxToken = 8 + 8 + 64 + 224

	// inviteLife is how long an INVITE may ring; clockSkew how wrong a clock
	// may be, as for certificates. A callee therefore takes expiries from one
	// hour ago to an hour and a minute ahead, and its list of seen calls
	// (replay.go), not the clock, stops a second use inside that window.
	inviteLife = 60 * time.Second
	clockSkew  = time.Hour
)

// invite is a decoded and verified INVITE.
type invite struct {
	id      CallID
	caller  identity.Certificate
	expires time.Time
	kem     []byte
	offer   Offer
	name    string
	secret  [32]byte
	reach   identity.Secret // the caller's own; zero = not told
	token   []byte          // who transfers the caller; nil = nobody
	by      identity.ID     // verified; zero = nobody
	passed  time.Time       // when the token expires
	group   *GroupCall      // of a leg of a room; nil = none
	hash    [32]byte        // of the caller's nonce, which goes into the safety words
	sealed  []byte
}

// invitation is what the caller keeps of an INVITE it sent.
type invitation struct {
	id     CallID
	offer  Offer
	kem    hpke.PrivateKey
	secret [32]byte
	nonce  [32]byte // shown after the ANSWER
	sealed []byte
}

// inviteField is a field that not every INVITE has, of a tag above 13; they rise.
type inviteField struct {
	tag   uint8
	value []byte
}

// newInvite makes the INVITE message for callee and what its answer will be
// checked with.
func newInvite(now time.Time, self *identity.Device, node identity.NodeID, name string,
	callee identity.Certificate, calleeNode identity.NodeID, id CallID, offer Offer, more ...inviteField) (invitation, []byte, error) {
	kem, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return invitation{}, nil, fmt.Errorf("session: invite: %w", err)
	}
	inv := invitation{id: id, offer: offer, kem: kem}
	rand.Read(inv.secret[:])
	rand.Read(inv.nonce[:])
	nonceHash := sha256.Sum256(inv.nonce[:])
	calleeID := callee.Identity

	b := []byte{versionInvite}
	b = wire.AppendField(b, 1, id[:])
	b = wire.AppendField(b, 2, self.Certificate().Raw())
	b = wire.AppendField(b, 3, calleeID[:])
	b = wire.AppendField(b, 4, callee.Device)
	b = wire.AppendField(b, 5, node[:])
	b = wire.AppendField(b, 6, calleeNode[:])
	b = wire.AppendField(b, 7, binary.BigEndian.AppendUint64(nil, uint64(now.Add(inviteLife).Unix())))
	b = wire.AppendField(b, 8, nonceHash[:])
	b = wire.AppendField(b, 9, kem.PublicKey().Bytes())
	b = wire.AppendField(b, 10, appendOffer(nil, offer))
	b = wire.AppendField(b, 11, []byte(cleanName(name)))
	b = wire.AppendField(b, 12, inv.secret[:])
	reach := self.Reach() // whoever I call may call me back
	b = wire.AppendField(b, 13, reach[:])
	for _, f := range more {
		b = wire.AppendField(b, f.tag, f.value)
	}
	b = append(b, identity.Sign(self.Key(), contextInvite, b)...)

	inv.sealed, err = identity.Seal(callee.Sealing, []byte(contextInvite), b)
	if err != nil {
		return invitation{}, nil, fmt.Errorf("session: invite: %w", err)
	}
	return inv, append([]byte{byte(typeInvite)}, inv.sealed...), nil
}

// openInvite opens, decodes and verifies an INVITE that came from peer. When
// the error is ErrExpired the invite is returned as well: it is genuine, so the
// caller may be told.
func openInvite(now time.Time, self *identity.Device, node identity.NodeID, peer Peer, b []byte) (*invite, error) {
	if len(b) > maxInvite {
		return nil, fmt.Errorf("%w: invite of %d bytes", ErrMessage, len(b))
	}
	sealed := b[1:]
	plain, err := self.Unseal([]byte(contextInvite), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: invite: %w", ErrForged, err)
	}
	inv, to, signed, sig, err := parseInvite(plain, now)
	if err != nil {
		return nil, err
	}
	cert := self.Certificate()
	switch {
	case inv.caller.Identity != peer.Identity || inv.caller.DeviceID() != peer.Device || to.callerNode != peer.Node:
		return nil, fmt.Errorf("%w: invite passed on by another peer", ErrForged)
	case to.identity != self.ID() || !bytes.Equal(to.device, cert.Device):
		return nil, fmt.Errorf("%w: invite for another device", ErrForged)
	case to.calleeNode != node:
		return nil, fmt.Errorf("%w: invite for another node", ErrForged)
	case !identity.Verify(inv.caller.Device, contextInvite, signed, sig):
		return nil, fmt.Errorf("%w: invite signature", ErrForged)
	}
	if inv.token != nil {
		if inv.by, inv.passed, err = openToken(now, inv.token, self.ID(), inv.caller.Identity); err != nil {
			return nil, err
		}
	}
	inv.sealed = bytes.Clone(sealed)
	if inv.expires.Before(now.Add(-clockSkew)) || inv.expires.After(now.Add(inviteLife+clockSkew)) {
		return inv, fmt.Errorf("%w: at %d", ErrExpired, inv.expires.Unix())
	}
	return inv, nil
}

// address is whom an INVITE says it is for and from which node.
type address struct {
	identity   identity.ID
	device     []byte
	callerNode identity.NodeID
	calleeNode identity.NodeID
}

// parseInvite decodes the plain form. The certificate is verified here, the
// signature by the caller of parseInvite after the cheap comparisons.
func parseInvite(plain []byte, now time.Time) (inv *invite, to address, signed, sig []byte, err error) {
	signed, sig, list, err := splitSigned(plain, versionInvite)
	if err != nil {
		return nil, to, nil, nil, fmt.Errorf("%w: invite: %w", ErrMessage, err)
	}
	inv = new(invite)
	var rawCert, rawOffer, rawGroup []byte
	err = readFields("invite", list, 0x1ffe, func(tag uint8, v []byte) bool {
		ok := true
		switch tag {
		case 1:
			ok = fill(inv.id[:], v)
		case 2:
			rawCert = v
		case 3:
			ok = fill(to.identity[:], v)
		case 4:
			to.device, ok = v, len(v) == 32
		case 5:
			ok = fill(to.callerNode[:], v)
		case 6:
			ok = fill(to.calleeNode[:], v)
		case 7:
			inv.expires, ok = unixTime(v)
		case 8:
			ok = fill(inv.hash[:], v)
		case 9:
			inv.kem, ok = bytes.Clone(v), len(v) == kemKeySize
		case 10:
			rawOffer, ok = v, len(v) <= maxOffer
		case 11:
			inv.name, ok = cleanName(string(v)), len(v) <= maxName
		case 12:
			ok = fill(inv.secret[:], v)
		case 13:
			ok = fill(inv.reach[:], v)
		case 14:
			inv.token, ok = bytes.Clone(v), len(v) <= maxToken
		case 15:
			rawGroup = v
		}
		return ok
	})
	if err != nil {
		return nil, to, nil, nil, err
	}
	if inv.offer, err = parseOffer(rawOffer); err != nil {
		return nil, to, nil, nil, err
	}
	if inv.caller, err = identity.ParseCertificate(rawCert, now); err != nil {
		return nil, to, nil, nil, fmt.Errorf("%w: invite: %w", ErrForged, err)
	}
	if rawGroup != nil {
		if inv.group, err = parseGroupCall(now, rawGroup); err != nil {
			return nil, to, nil, nil, err
		}
	}
	return inv, to, signed, sig, nil
}

// splitSigned takes a signed plain message apart: what the signature covers,
// the signature, and the field list behind the version byte.
func splitSigned(plain []byte, version uint8) (signed, sig, list []byte, err error) {
	r := wire.NewReader(plain)
	if v := r.U8(); r.Err() == nil && v != version {
		return nil, nil, nil, fmt.Errorf("unknown version %d", v)
	}
	list = r.Bytes(r.Len() - 64)
	sig = r.Bytes(64)
	if err := r.Done(); err != nil {
		return nil, nil, nil, err
	}
	return plain[:1+len(list)], sig, list, nil
}

func fill(dst, v []byte) bool {
	copy(dst, v)
	return len(v) == len(dst)
}

// unixTime reads Unix seconds. Values past year 9999 are refused: they are
// nonsense and would overflow later sums.
func unixTime(v []byte) (time.Time, bool) {
	const year10000 = 253402300800
	if len(v) != 8 {
		return time.Time{}, false
	}
	s := binary.BigEndian.Uint64(v)
	return time.Unix(int64(s), 0), s < year10000
}

// cleanName makes a name fit to be sent and shown: valid UTF-8, no control
// characters and none that reverse the text around them, at most maxName bytes.
func cleanName(s string) string {
	b := make([]byte, 0, maxName)
	for _, c := range s {
		if c == utf8.RuneError || unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) {
			continue
		}
		if len(b)+utf8.RuneLen(c) > maxName {
			break
		}
		b = utf8.AppendRune(b, c)
	}
	return string(b)
}
