// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// Contact is a person in the address book of this node.
type Contact struct {
	ID identity.ID
	// Name is the petname: what the owner of this node calls the person, never
	// what that person or anybody else says. It is unique in the book but for
	// case; "" = none given.
	Name     string
	Verified bool // safety words were compared: see Contacts.Verify
	Blocked  bool // neither rings, nor writes, nor learns whether we are here
	Added    time.Time
	// Reachable says that a reach secret is known, from a ticket or a call:
	// the person can be found wherever it is.
	Reachable bool
}

// LogValue logs the short ID alone: petnames are private.
func (c Contact) LogValue() slog.Value { return c.ID.LogValue() }

// contact is what is stored of one, under its ID in the room of contacts:
//
//	1 petname (≤ 64)   2 flags(1): bit 0 verified, 1 blocked   3 added(8, Unix seconds)   4 reach secret(16)   5 ticket (≤ 4,096)
type contact struct {
	Contact
	reach  identity.Secret
	ticket string // as it was added; its addresses help while the network doesn't
}

const (
	flagVerified = 1 << iota
	flagBlocked
)

func (c *contact) encode() []byte {
	var b []byte
	if c.Name != "" {
		b = wire.AppendField(b, 1, []byte(c.Name))
	}
	var flags byte
	if c.Verified {
		flags |= flagVerified
	}
	if c.Blocked {
		flags |= flagBlocked
	}
	b = wire.AppendField(b, 2, []byte{flags})
	b = wire.AppendField(b, 3, binary.BigEndian.AppendUint64(nil, uint64(c.Added.Unix())))
	if c.reach != (identity.Secret{}) {
		b = wire.AppendField(b, 4, c.reach[:])
	}
	if c.ticket != "" {
		b = wire.AppendField(b, 5, []byte(c.ticket))
	}
	return b
}

var errContact = errors.New("p2pos: damaged contact")

func decodeContact(id, b []byte) (*contact, error) {
	c := &contact{}
	if len(id) != len(c.ID) {
		return nil, errContact
	}
	c.ID = identity.ID(id)
	err := wire.Fields(b, func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			c.Name = string(r.Rest())
		case 2:
			flags := r.U8()
			c.Verified, c.Blocked = flags&flagVerified != 0, flags&flagBlocked != 0
		case 3:
			c.Added = time.Unix(int64(r.U64()), 0)
		case 4:
			r.Fixed(c.reach[:])
		case 5:
			c.ticket = string(r.Rest())
		default:
			return nil
		}
		return r.Done()
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errContact, err)
	}
	c.Reachable = c.reach != (identity.Secret{})
	return c, nil
}

// maxPetname bounds a petname in bytes, as maxName does a name that others see.
const maxPetname = 64

// ErrName reports a name that can't be used: too long, not UTF-8, with
// characters that can't be seen or that change what stands beside them, or one
// that another contact has.
var ErrName = errors.New("p2pos: that name can't be used")

// cleanPetname returns a name without spaces around it and with single ones
// within, or says why it can't be used. Nothing in it is cut or replaced in
// silence: two names that looked alike would be two people that look alike.
func cleanPetname(name string) (string, error) {
	if len(name) > 16*maxPetname {
		return "", fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrName, len(name), maxPetname)
	}
	if !utf8.ValidString(name) {
		return "", fmt.Errorf("%w: it is not UTF-8 text", ErrName)
	}
	for _, r := range name {
		// Control and format characters: line ends, escapes, text that runs
		// backwards, spaces without a width.
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) && r != '\u200d' && r != '\t' {
			return "", fmt.Errorf("%w: it has the character %U, which can't be seen", ErrName, r)
		}
	}
	name = strings.Join(strings.Fields(name), " ")
	if len(name) > maxPetname {
		return "", fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrName, len(name), maxPetname)
	}
	if identity.IsTicket(name) {
		return "", fmt.Errorf("%w: it is a ticket", ErrName)
	}
	if _, err := identity.ParseID(name); err == nil {
		return "", fmt.Errorf("%w: it is somebody's ID", ErrName)
	}
	return name, nil
}
