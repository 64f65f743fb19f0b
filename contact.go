// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/book"
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

// contact is one in the book: as applications see it, and as it is stored and
// goes to own devices.
type contact struct {
	Contact
	e book.Contact
}

// show returns a contact under a name, which is the petname but for two that
// devices have given to two people.
func show(e book.Contact, name string) *contact {
	return &contact{Contact{
		ID: e.ID, Name: name, Verified: e.Verified, Blocked: e.Blocked,
		Added: time.Unix(e.Added, 0), Reachable: e.Reach != (identity.Secret{}),
	}, e}
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
