// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package book

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/wire"
)

// Contact is a person in the address book, as it is stored and as it goes to own
// devices, under the ID:
//
//	1 petname (≤ 64)   2 flags(1): bit 0 verified, 1 blocked   3 added(8, Unix seconds)   4 reach secret(16)   5 ticket (≤ 4,096)
//	6 stamps (6 × 8): gone, there, petname, verified, blocked, reach secret and ticket
type Contact struct {
	ID       identity.ID
	Name     string // as the owner gave it; see Names
	Verified bool
	Blocked  bool
	Added    int64 // Unix seconds
	Reach    identity.Secret
	Ticket   string
	At       Stamps
}

// Stamps say when the fields of a contact were set; 0 = never. What was set
// before Gone does not count.
type Stamps struct{ Gone, There, Name, Verified, Blocked, Way Stamp }

const (
	flagVerified = 1 << iota
	flagBlocked
)

const (
	// maxName and maxTicket bound what is taken from others.
	maxName   = 64
	maxTicket = 4096
	// MaxGone bounds the contacts that are remembered as removed, by 60 bytes
	// each. A device that was away while as many were removed brings the oldest
	// of them back.
	MaxGone = 2000
)

// ErrContact reports bytes that are no contact.
var ErrContact = errors.New("book: damaged contact")

// Present tells whether the person is in the book.
func (c *Contact) Present() bool { return c.At.There > c.At.Gone }

// Last returns the latest stamp in it.
func (c *Contact) Last() Stamp {
	s := c.At
	return max(s.Gone, s.There, s.Name, s.Verified, s.Blocked, s.Way)
}

// normal takes out what does not count, so that two books that say the same are
// the same bytes.
func (c *Contact) normal() {
	gone := c.At.Gone
	if c.At.There <= gone {
		c.At.There, c.Added = 0, 0
	}
	if c.At.Name <= gone {
		c.At.Name, c.Name = 0, ""
	}
	if c.At.Verified <= gone {
		c.At.Verified, c.Verified = 0, false
	}
	if c.At.Blocked <= gone {
		c.At.Blocked, c.Blocked = 0, false
	}
	if c.At.Way <= gone {
		c.At.Way, c.Reach, c.Ticket = 0, identity.Secret{}, ""
	}
}

// Merge returns what two devices' words about one person come to. It is
// commutative, associative and idempotent: of each field the later value, of two
// at one moment the greater one.
func Merge(a, b Contact) Contact {
	m := a
	m.At.Gone = max(a.At.Gone, b.At.Gone)
	if later(a.At.There, b.At.There, cmp.Compare(a.Added, b.Added)) {
		m.At.There, m.Added = b.At.There, b.Added
	}
	if later(a.At.Name, b.At.Name, cmp.Compare(a.Name, b.Name)) {
		m.At.Name, m.Name = b.At.Name, b.Name
	}
	if later(a.At.Verified, b.At.Verified, compareBool(a.Verified, b.Verified)) {
		m.At.Verified, m.Verified = b.At.Verified, b.Verified
	}
	if later(a.At.Blocked, b.At.Blocked, compareBool(a.Blocked, b.Blocked)) {
		m.At.Blocked, m.Blocked = b.At.Blocked, b.Blocked
	}
	if later(a.At.Way, b.At.Way, cmp.Or(bytes.Compare(a.Reach[:], b.Reach[:]), cmp.Compare(a.Ticket, b.Ticket))) {
		m.At.Way, m.Reach, m.Ticket = b.At.Way, b.Reach, b.Ticket
	}
	m.normal()
	return m
}

// later tells whether the second of two values is the one that counts.
func later(a, b Stamp, values int) bool { return b > a || b == a && values < 0 }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Edited returns c, which was old, with the changes stamped. By hand means that
// the user did it: that brings back somebody whom another device has removed
// meanwhile.
func (c Contact) Edited(old Contact, at Stamp, byHand bool) Contact {
	if byHand {
		c.At.There = at
	}
	if c.Name != old.Name {
		c.At.Name = at
	}
	if c.Verified != old.Verified {
		c.At.Verified = at
	}
	if c.Blocked != old.Blocked {
		c.At.Blocked = at
	}
	if c.Reach != old.Reach || c.Ticket != old.Ticket {
		c.At.Way = at
	}
	return c
}

// Removed returns what is remembered of somebody who was taken out of the book.
func (c Contact) Removed(at Stamp) Contact {
	c.At.Gone = at
	c.normal()
	return c
}

// Trim returns which of those that were removed are forgotten: the ones removed
// first, above MaxGone.
func Trim(gone []Contact) []identity.ID {
	if len(gone) <= MaxGone {
		return nil
	}
	gone = slices.Clone(gone)
	order.Sort(gone, func(a, b Contact) int {
		return cmp.Or(cmp.Compare(b.At.Gone, a.At.Gone), bytes.Compare(a.ID[:], b.ID[:]))
	})
	var list []identity.ID
	for _, c := range gone[MaxGone:] {
		list = append(list, c.ID)
	}
	return list
}

// Encode returns the contact's bytes, without the ID.
func (c *Contact) Encode() []byte {
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
	b = wire.AppendField(b, 3, binary.BigEndian.AppendUint64(nil, uint64(c.Added)))
	if c.Reach != (identity.Secret{}) {
		b = wire.AppendField(b, 4, c.Reach[:])
	}
	if c.Ticket != "" {
		b = wire.AppendField(b, 5, []byte(c.Ticket))
	}
	var stamps []byte
	for _, s := range c.At.list() {
		stamps = binary.BigEndian.AppendUint64(stamps, uint64(*s))
	}
	return wire.AppendField(b, 6, stamps)
}

func (s *Stamps) list() []*Stamp {
	return []*Stamp{&s.Gone, &s.There, &s.Name, &s.Verified, &s.Blocked, &s.Way}
}

// ParseContact reads what Encode has written. Error: ErrContact.
func ParseContact(id, b []byte) (Contact, error) {
	var c Contact
	if len(id) != len(c.ID) {
		return Contact{}, ErrContact
	}
	c.ID = identity.ID(id)
	stamped := false
	err := wire.Fields(b, func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			c.Name = string(r.Rest())
		case 2:
			flags := r.U8()
			c.Verified, c.Blocked = flags&flagVerified != 0, flags&flagBlocked != 0
		case 3:
			c.Added = int64(r.U64())
		case 4:
			r.Fixed(c.Reach[:])
		case 5:
			c.Ticket = string(r.Rest())
		case 6:
			stamped = true
			for _, s := range c.At.list() {
				if *s = Stamp(r.U64()); *s > maxStamp {
					return ErrContact
				}
			}
		default:
			return nil
		}
		return r.Done()
	})
	if err == nil && (len(c.Name) > maxName || len(c.Ticket) > maxTicket) {
		err = wire.ErrField
	}
	if err != nil {
		return Contact{}, fmt.Errorf("%w: %w", ErrContact, err)
	}
	if !stamped { // of a program that knew no other devices
		c = c.Edited(Contact{}, StampOf(time.Unix(c.Added, 0)), true)
	}
	c.normal()
	return c, nil
}
