// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// Session messages, as carried in a link's SESSION frames:
//
//	type(1) body
//
//	1 PROVE    reach tag(16) nonce(24) sealed(certificate signature(64)), or one byte: denied
//	2 INVITE   enc(32) ciphertext                                   ≤ 3,072 in all
//	3 RINGING  call id(16) fields mac(16)                           ≤   256
//	4 ANSWER   call id(16) enc(32) ciphertext                       ≤ 3,072
//	5 REJECT   as RINGING
//	6 CANCEL   as RINGING
//	7 HANGUP   as RINGING
//	8 RING     reach tag(16) nonce(24) sealed(INVITE)               ≤ 3,129
//	10 PASSED  expires(8) caller's identity(32) as RING             ≤ 3,169
//	9 UPDATE   call id(16) nonce(24) sealed(fields)                 ≤ 3,072
//
// fields of 3, 5, 6 and 7:
//
//	1 reason(1)     of the end; 0 in RINGING
//	2 sequence(4)   rises by one with each message of a direction in a call
//
//	mac = HMAC-SHA256(signal key of the sender's direction, type call-id fields)[:16]
//
// INVITE and ANSWER plain are drawn in invite.go and answer.go, PROVE's seal in
// prove.go, UPDATE in update.go. Every length counts the type byte.

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"

	"github.com/p2pos/p2pos/internal/wire"
)

type messageType uint8

const (
	typeProve   messageType = 1
	typeInvite  messageType = 2
	typeRinging messageType = 3
	typeAnswer  messageType = 4
	typeReject  messageType = 5
	typeCancel  messageType = 6
	typeHangup  messageType = 7
	typeRing    messageType = 8
	typeUpdate  messageType = 9
	typePassed  messageType = 10
)

// Budgets, checked before anything is decrypted (design/001).
const (
	maxProve   = 1024
	maxInvite  = 3072
	maxAnswer  = 3072
	maxControl = 256
)

const macSize = 16

// CallID names one call; the caller draws it. Both sides know it from the
// INVITE on, nobody between them sees it with the identities.
type CallID [16]byte

// String returns the ID in hex.
func (id CallID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first eight characters, for people.
func (id CallID) Short() string { return hex.EncodeToString(id[:4]) }

// LogValue logs the short form.
func (id CallID) LogValue() slog.Value { return slog.StringValue(id.Short()) }

func (id CallID) less(o CallID) bool { return string(id[:]) < string(o[:]) }

func typeOf(b []byte) messageType {
	if len(b) == 0 {
		return 0
	}
	return messageType(b[0])
}

// IsProof tells whether session message b is a PROVE; all others belong to the
// Machine.
func IsProof(b []byte) bool { return typeOf(b) == typeProve }

// control is the content of RINGING, REJECT, CANCEL and HANGUP.
type control struct {
	kind   messageType
	id     CallID
	reason Reason
	seq    uint32
}

func appendControl(b []byte, c control, key *[32]byte) []byte {
	start := len(b)
	b = append(b, byte(c.kind))
	b = append(b, c.id[:]...)
	b = wire.AppendField(b, 1, []byte{byte(c.reason)})
	b = wire.AppendField(b, 2, binary.BigEndian.AppendUint32(nil, c.seq))
	mac := controlMAC(key, b[start:])
	return append(b, mac[:]...)
}

func controlMAC(key *[32]byte, b []byte) [macSize]byte {
	h := hmac.New(sha256.New, key[:])
	h.Write(b)
	var mac [macSize]byte
	copy(mac[:], h.Sum(nil))
	return mac
}

// parseControl reads a control message and returns with it the bytes its MAC
// covers and the MAC: only the call, found by id, has the key to check it.
func parseControl(b []byte) (c control, covered, mac []byte, err error) {
	if len(b) > maxControl {
		return c, nil, nil, fmt.Errorf("%w: control of %d bytes", ErrMessage, len(b))
	}
	r := wire.NewReader(b)
	c.kind = messageType(r.U8())
	r.Fixed(c.id[:])
	n := r.Len() - macSize
	if r.Err() != nil || n < 0 {
		return c, nil, nil, fmt.Errorf("%w: control of %d bytes", ErrMessage, len(b))
	}
	list := r.Bytes(n)
	mac = r.Bytes(macSize)
	err = readFields("control", list, 0x6, func(tag uint8, v []byte) bool {
		switch {
		case tag == 1 && len(v) == 1:
			c.reason = Reason(v[0])
		case tag == 2 && len(v) == 4:
			c.seq = binary.BigEndian.Uint32(v)
		default:
			return tag > 2
		}
		return true
	})
	if err != nil {
		return c, nil, nil, err
	}
	return c, b[:len(b)-macSize], mac, nil
}

func checkControl(key *[32]byte, covered, mac []byte) error {
	want := controlMAC(key, covered)
	if !hmac.Equal(mac, want[:]) {
		return fmt.Errorf("%w: control MAC", ErrForged)
	}
	return nil
}
