// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/wire"
)

// Roster, drawn in design/016-roster.md:
//
//	version(1)=1 || fields || signature(64) by the admin key, context "p2pos roster v1"
//	1 admin key (32)   2 network tag (4)   3 number (8)   4 issued, expires (8+8, Unix seconds)
//	5 names of roles, each a vec8, at most 16
//	6, 7, 8 members, rising: identity key (32) || until (4, Unix minutes; 0 = as long as the roster) || roles (2, a bit for each)
const (
	rosterVersion = 1
	rosterContext = "p2pos roster v1"
	memberSize    = 32 + 4 + 2
	membersField  = 1500 // in one field of 16-bit length
	memberFields  = 3

	// MaxMembers of a roster: 152 KiB, which a node sends its neighbours within a
	// second or two.
	MaxMembers = 4000
	// MaxRoles of a roster, and MaxRoleName the bytes of one.
	MaxRoles    = 16
	MaxRoleName = 24
	// MaxRoster bounds the bytes of a roster.
	MaxRoster = 1024 + MaxMembers*memberSize
	// RosterSkew is how far ahead of this clock a roster may be issued.
	RosterSkew = time.Hour
)

// Why a roster is not accepted, or somebody not on it.
var (
	// ErrRoster reports bytes that are no roster, or a signature that is not the
	// admin's.
	ErrRoster = errors.New("identity: not a roster of this network's admin")
	// ErrRosterAdmin reports a roster of another admin.
	ErrRosterAdmin = errors.New("identity: the roster is signed by another admin")
	// ErrRosterNetwork reports a roster of another network.
	ErrRosterNetwork = errors.New("identity: the roster is of another network")
	// ErrRosterExpired reports a roster whose time is over: the admin has to sign
	// a new one.
	ErrRosterExpired = errors.New("identity: the roster has expired")
	// ErrRosterFuture reports a roster that is issued later than this clock says.
	ErrRosterFuture = errors.New("identity: the roster is from the future; is this clock right?")
	// ErrRosterOld reports a roster that is not newer than the one that is known.
	ErrRosterOld = errors.New("identity: the roster is not newer than the one in force")
	// ErrNotMember reports somebody who isn't on the roster, or not any more.
	ErrNotMember = errors.New("identity: not on the network's roster")
)

// Member is one person on a roster.
type Member struct {
	ID    ID
	Until time.Time // to the minute; zero = as long as the roster
	Roles []string
}

// Roster says who belongs to a network, until when, and with which roles. Its
// members are sorted by ID.
type Roster struct {
	Admin   Admin
	Network [4]byte // Network.Tag
	Number  uint64  // rises with each roster of an admin
	Issued  time.Time
	Expires time.Time
	Members []Member

	raw []byte
}

// Raw returns the signed bytes; nil for a roster that wasn't read or signed.
func (r *Roster) Raw() []byte { return bytes.Clone(r.raw) }

// Check returns nil when somebody belongs to the network now, else an error
// that is ErrRosterExpired or ErrNotMember.
func (r *Roster) Check(now time.Time, id ID) error {
	if !now.Before(r.Expires) {
		return fmt.Errorf("%w at %s", ErrRosterExpired, utc(r.Expires))
	}
	m, ok := r.Find(id)
	switch {
	case !ok:
		return fmt.Errorf("%w: %s", ErrNotMember, id.Short())
	case !m.Until.IsZero() && !now.Before(m.Until):
		return fmt.Errorf("%w: %s was until %s", ErrNotMember, id.Short(), utc(m.Until))
	}
	return nil
}

// Find returns somebody's entry.
func (r *Roster) Find(id ID) (Member, bool) {
	i, ok := slices.BinarySearchFunc(r.Members, id, func(m Member, id ID) int { return bytes.Compare(m.ID[:], id[:]) })
	if !ok {
		return Member{}, false
	}
	return r.Members[i], true
}

// Sign sorts the members and returns the signed roster. Network, Number, Issued
// and Expires have to be set; Admin is taken from the key. Errors: members or
// roles that are too many, doubled or misnamed.
func (k AdminKey) Sign(r Roster) (*Roster, error) {
	if len(r.Members) > MaxMembers {
		return nil, fmt.Errorf("identity: roster: %d members, at most %d are possible", len(r.Members), MaxMembers)
	}
	if !r.Issued.Before(r.Expires) || r.Number == 0 {
		return nil, errors.New("identity: roster: it needs a number, and has to expire after it is issued")
	}
	key := k.key()
	r.Admin = k.Admin()
	r.Issued, r.Expires = r.Issued.Truncate(time.Second), r.Expires.Truncate(time.Second)
	r.Members = slices.Clone(r.Members)
	order.Sort(r.Members, func(a, b Member) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	var roles []string
	for i, m := range r.Members {
		if i > 0 && m.ID == r.Members[i-1].ID {
			return nil, fmt.Errorf("identity: roster: %s is on it twice", m.ID.Short())
		}
		for _, role := range m.Roles {
			if !goodRole(role) {
				return nil, fmt.Errorf("identity: roster: role %q: 1 to %d bytes of a-z, 0-9 and -", role, MaxRoleName)
			}
			roles = append(roles, role)
		}
	}
	slices.Sort(roles)
	if roles = slices.Compact(roles); len(roles) > MaxRoles {
		return nil, fmt.Errorf("identity: roster: %d roles, at most %d are possible", len(roles), MaxRoles)
	}
	b := r.append([]byte{rosterVersion}, roles)
	return ParseRoster(append(b, Sign(key, rosterContext, b)...))
}

func (r *Roster) append(b []byte, roles []string) []byte {
	b = wire.AppendField(b, 1, r.Admin[:])
	b = wire.AppendField(b, 2, r.Network[:])
	b = wire.AppendField(b, 3, binary.BigEndian.AppendUint64(nil, r.Number))
	times := binary.BigEndian.AppendUint64(nil, uint64(r.Issued.Unix()))
	b = wire.AppendField(b, 4, binary.BigEndian.AppendUint64(times, uint64(r.Expires.Unix())))
	var names []byte
	for _, role := range roles {
		names = wire.AppendVec8(names, []byte(role))
	}
	b = wire.AppendField(b, 5, names)
	tag := uint8(6)
	for part := range slices.Chunk(r.Members, membersField) {
		v := make([]byte, 0, len(part)*memberSize)
		for _, m := range part {
			v = append(v, m.ID[:]...)
			until := uint32(0)
			if !m.Until.IsZero() {
				until = uint32(max(1, m.Until.Unix()/60))
			}
			v = binary.BigEndian.AppendUint32(v, until)
			var mask uint16
			for _, role := range m.Roles {
				i, _ := slices.BinarySearch(roles, role)
				mask |= 1 << i
			}
			v = binary.BigEndian.AppendUint16(v, mask)
		}
		b = wire.AppendField(b, tag, v)
		tag++
	}
	return b
}

// goodRole keeps roles to what can be written anywhere.
func goodRole(s string) bool {
	if s == "" || len(s) > MaxRoleName {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// ParseRoster reads a roster and checks its signature, by whatever admin: see
// Accept. The error is ErrRoster.
func ParseRoster(b []byte) (*Roster, error) {
	if len(b) < 1+ed25519.SignatureSize || len(b) > MaxRoster || b[0] != rosterVersion {
		return nil, fmt.Errorf("%w: %d bytes", ErrRoster, len(b))
	}
	body, sig := b[:len(b)-ed25519.SignatureSize], b[len(b)-ed25519.SignatureSize:]
	r := &Roster{raw: bytes.Clone(b)}
	var roles []string
	var have uint8
	err := wire.Fields(body[1:], func(tag uint8, v []byte) error {
		in := wire.NewReader(v)
		switch tag {
		case 1:
			have |= 1
			in.Fixed(r.Admin[:])
		case 2:
			have |= 2
			in.Fixed(r.Network[:])
		case 3:
			have |= 4
			r.Number = in.U64()
		case 4:
			have |= 8
			r.Issued, r.Expires = unixTime(in.U64()), unixTime(in.U64())
		case 5:
			for in.Len() > 0 && in.Err() == nil {
				roles = append(roles, string(in.Vec8()))
			}
			if len(roles) > MaxRoles || !slices.IsSorted(roles) || slices.ContainsFunc(roles, func(s string) bool { return !goodRole(s) }) {
				return ErrRoster
			}
		case 6, 6 + 1, 6 + memberFields - 1:
			for in.Len() > 0 && in.Err() == nil {
				if err := r.readMember(in, roles); err != nil {
					return err
				}
			}
		default:
			return nil
		}
		return in.Done()
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrRoster, err)
	case have != 15 || r.Number == 0 || !r.Issued.Before(r.Expires):
		return nil, fmt.Errorf("%w: incomplete", ErrRoster)
	case !Verify(r.Admin[:], rosterContext, body, sig):
		return nil, fmt.Errorf("%w: false signature", ErrRoster)
	}
	return r, nil
}

// unixTime keeps to times that can be written.
func unixTime(sec uint64) time.Time { return time.Unix(int64(min(sec, 1<<40)), 0) }

func (r *Roster) readMember(in *wire.Reader, roles []string) error {
	var m Member
	in.Fixed(m.ID[:])
	if until := in.U32(); until != 0 {
		m.Until = time.Unix(60*int64(until), 0)
	}
	mask := in.U16()
	if in.Err() != nil {
		return in.Err()
	}
	if n := len(r.Members); n == MaxMembers || n > 0 && bytes.Compare(r.Members[n-1].ID[:], m.ID[:]) >= 0 {
		return ErrRoster
	}
	for i, role := range roles {
		if mask&(1<<i) != 0 {
			m.Roles = append(m.Roles, role)
		}
	}
	r.Members = append(r.Members, m)
	return nil
}

// utc writes a time for people.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// Accept returns nil when a roster may take the place of known, which is nil
// when there is none: it is of this admin and network, newer, and in force.
// Errors: ErrRosterAdmin, ErrRosterNetwork, ErrRosterOld, ErrRosterExpired,
// ErrRosterFuture.
func (r *Roster) Accept(now time.Time, admin Admin, network Network, known *Roster) error {
	switch {
	case r.Admin != admin:
		return fmt.Errorf("%w: it is %v's, this network has %v", ErrRosterAdmin, r.Admin, admin)
	case r.Network != network.Tag():
		return ErrRosterNetwork
	case known != nil && r.Number == known.Number && bytes.Equal(r.raw, known.raw):
		return fmt.Errorf("%w: it is that one, number %d", ErrRosterOld, r.Number)
	case known != nil && r.Number == known.Number:
		return fmt.Errorf("%w: that one is another with number %d; sign again with a higher number", ErrRosterOld, r.Number)
	case known != nil && r.Number < known.Number:
		return fmt.Errorf("%w: that one has number %d, this one %d", ErrRosterOld, known.Number, r.Number)
	case r.Issued.After(now.Add(RosterSkew)):
		return fmt.Errorf("%w: it was issued at %s, and here it is %s", ErrRosterFuture, utc(r.Issued), utc(now))
	case !now.Before(r.Expires):
		return fmt.Errorf("%w at %s, and here it is %s; the admin has to sign a new one", ErrRosterExpired, utc(r.Expires), utc(now))
	}
	return nil
}
