// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// Plain text of a message: items, each kind(1) || body (vec16), and zeros up to
// a multiple of 64 bytes, so that a length on the wire says little.
//
//	1 ENTRY     see entry
//	2 ACK       n × id(16): these are on my disk
//	3 HAVE      id(16): the last entry of yours in our conversation that I have; zeros = none
//	4 ABOUT     fields: 1 name (≤ 64)   2 reach secret (16)
//	5 DIGEST    SHA-256 over all heads, between devices of one person
//	6 RESTART   empty: I could not read you
//	7 HEADS     flags(1): bit 0 = first, bit 1 = last page || n × (conversation(32) author's device(16) ours(1) id(16)), between devices of one person
const (
	itemEntry   = 1
	itemAck     = 2
	itemHave    = 3
	itemAbout   = 4
	itemDigest  = 5
	itemRestart = 6
	itemHeads   = 7

	padTo = 64
	// maxPlain bounds the plain text of a message.
	maxPlain = 16_000
)

func appendItem(b []byte, kind byte, body []byte) []byte {
	return wire.AppendVec16(append(b, kind), body)
}

func pad(b []byte) []byte {
	if n := len(b) % padTo; n != 0 {
		b = append(b, make([]byte, padTo-n)...)
	}
	return b
}

// items walks the items of a plain text. Unknown kinds are skipped.
func items(b []byte, visit func(kind byte, body []byte) error) error {
	if len(b) > maxPlain {
		return fmt.Errorf("%w: %d bytes", ErrMessage, len(b))
	}
	r := wire.NewReader(b)
	for r.Len() > 0 {
		kind := r.U8()
		if kind == 0 { // zeros to the end
			break
		}
		body := r.Vec16()
		if err := r.Err(); err != nil {
			return fmt.Errorf("%w: items: %w", ErrMessage, err)
		}
		if err := visit(kind, body); err != nil {
			return err
		}
	}
	return nil
}

// about is what a device says of its owner.
type about struct {
	name   string
	secret identity.Secret
}

func (a about) append(b []byte) []byte {
	if a.name != "" {
		b = wire.AppendField(b, 1, []byte(a.name))
	}
	if a.secret != (identity.Secret{}) {
		b = wire.AppendField(b, 2, a.secret[:])
	}
	return b
}

func parseAbout(b []byte) (a about, err error) {
	err = wire.Fields(b, func(tag uint8, v []byte) error {
		switch {
		case tag == 1:
			a.name = cleanName(string(v))
		case tag == 2 && len(v) == len(a.secret):
			a.secret = identity.Secret(v)
		case tag == 2:
			return wire.ErrField
		}
		return nil
	})
	if err != nil {
		return a, fmt.Errorf("%w: about: %w", ErrMessage, err)
	}
	return a, nil
}

// cleanName makes a name that a stranger has given fit a line of a screen:
// valid, without control characters and those that turn the text around them.
func cleanName(s string) string {
	var b strings.Builder
	for _, r := range s[:min(len(s), 4*MaxName)] {
		switch {
		case r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
		case b.Len()+utf8.RuneLen(r) > MaxName:
			return b.String()
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func ids(b []byte) (list []ID, err error) {
	if len(b) == 0 || len(b)%16 != 0 {
		return nil, fmt.Errorf("%w: list of IDs", ErrMessage)
	}
	for ; len(b) > 0; b = b[16:] {
		list = append(list, ID(b[:16]))
	}
	return list, nil
}

func joinIDs(list []ID) (b []byte) {
	for _, id := range list {
		b = append(b, id[:]...)
	}
	return b
}
