// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// A roster says who belongs to a group (design/010-groups.md):
//
//	version(1)=1 || fields || signature(64) by a device of the maker, context "p2pos group v1"
//	 1 nonce(16)   2 edition(4)   3 name(≤ 64)   4 maker's device certificate(≤ 224)
//	 5 members, 1–8 × identity(32), ascending, the maker included
//	 6 group secret(16)           7 signed at(8, Unix seconds)
//
//	group ID = SHA-256("p2pos group v1" || maker's identity || nonce)[:16]
//
// The certificate has to hold at the time of the signature, not for ever: a group
// does not end because its maker is away for long.

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/wire"
)

const (
	contextGroup  = "p2pos group v1"
	versionRoster = 1

	// MaxMembers of a group: a mesh of eight is seven voices each way.
	MaxMembers = 8
	idSize     = 32
	// maxGroupRoster bounds a roster's bytes.
	maxGroupRoster = 700
)

// What a roster can't be made of.
var (
	ErrNotMaker = errors.New("session: only the maker of a group changes it")
	ErrMembers  = errors.New("session: a group has eight members at most")
)

// GroupID names one group for ever.
type GroupID [16]byte

// String returns the ID in hex.
func (id GroupID) String() string { return hex.EncodeToString(id[:]) }

// LogValue logs the first eight characters.
func (id GroupID) LogValue() slog.Value { return slog.StringValue(id.String()[:8]) }

// GroupRoster is a verified list of a group's members. It does not change.
type GroupRoster struct {
	ID      GroupID
	Edition uint32
	Name    string
	Maker   identity.ID
	Members []identity.ID // ascending, the maker included

	nonce  [16]byte
	secret identity.Secret
	raw    []byte
}

// NewGroupRoster makes a group of one.
func NewGroupRoster(now time.Time, self *identity.Device, name string) (*GroupRoster, error) {
	r := &GroupRoster{Name: cleanName(name), Maker: self.ID(), Members: []identity.ID{self.ID()}}
	rand.Read(r.nonce[:])
	r.ID = groupID(r.Maker, r.nonce)
	return r.sign(now, self)
}

func groupID(maker identity.ID, nonce [16]byte) (id GroupID) {
	h := sha256.New()
	h.Write([]byte(contextGroup))
	h.Write(maker[:])
	h.Write(nonce[:])
	copy(id[:], h.Sum(nil))
	return id
}

// With returns the next edition, with somebody more in it. Errors: ErrNotMaker,
// ErrMembers.
func (r *GroupRoster) With(now time.Time, self *identity.Device, id identity.ID) (*GroupRoster, error) {
	if r.Has(id) {
		return r, nil
	}
	if len(r.Members) == MaxMembers {
		return nil, ErrMembers
	}
	next := *r
	next.Members = append(slices.Clone(r.Members), id)
	order.Sort(next.Members, func(a, b identity.ID) int { return bytes.Compare(a[:], b[:]) })
	return next.sign(now, self)
}

// Without returns the next edition, with somebody less in it. Error: ErrNotMaker,
// also for the maker himself.
func (r *GroupRoster) Without(now time.Time, self *identity.Device, id identity.ID) (*GroupRoster, error) {
	if id == r.Maker {
		return nil, ErrNotMaker
	}
	if !r.Has(id) {
		return r, nil
	}
	next := *r
	next.Members = without(r.Members, id)
	return next.sign(now, self)
}

// sign makes the next edition, under a new secret.
func (r *GroupRoster) sign(now time.Time, self *identity.Device) (*GroupRoster, error) {
	if self.ID() != r.Maker {
		return nil, ErrNotMaker
	}
	r.Edition++
	rand.Read(r.secret[:])
	b := wire.AppendField([]byte{versionRoster}, 1, r.nonce[:])
	b = wire.AppendField(b, 2, binary.BigEndian.AppendUint32(nil, r.Edition))
	b = wire.AppendField(b, 3, []byte(r.Name))
	b = wire.AppendField(b, 4, self.Certificate().Raw())
	var members []byte
	for _, m := range r.Members {
		members = append(members, m[:]...)
	}
	b = wire.AppendField(b, 5, members)
	b = wire.AppendField(b, 6, r.secret[:])
	b = wire.AppendField(b, 7, binary.BigEndian.AppendUint64(nil, uint64(now.Unix())))
	r.raw = append(b, identity.Sign(self.Key(), contextGroup, b)...)
	return r, nil
}

// ParseGroupRoster decodes and verifies a roster. Errors: ErrMessage, ErrForged.
func ParseGroupRoster(now time.Time, b []byte) (*GroupRoster, error) {
	if len(b) > maxGroupRoster {
		return nil, fmt.Errorf("%w: roster of %d bytes", ErrMessage, len(b))
	}
	signed, sig, list, err := splitSigned(b, versionRoster)
	if err != nil {
		return nil, fmt.Errorf("%w: roster: %w", ErrMessage, err)
	}
	r := &GroupRoster{raw: bytes.Clone(b)}
	var rawCert []byte
	var at time.Time
	err = readFields("roster", list, 0xfe, func(tag uint8, v []byte) bool {
		ok := true
		switch tag {
		case 1:
			ok = fill(r.nonce[:], v)
		case 2:
			if ok = len(v) == 4; ok {
				r.Edition = binary.BigEndian.Uint32(v)
			}
		case 3:
			r.Name, ok = cleanName(string(v)), len(v) <= maxName
		case 4:
			rawCert = v
		case 5:
			r.Members, ok = parseMembers(v)
		case 6:
			ok = fill(r.secret[:], v)
		case 7:
			at, ok = unixTime(v)
		}
		return ok
	})
	if err != nil {
		return nil, err
	}
	if r.secret == (identity.Secret{}) {
		return nil, fmt.Errorf("%w: roster without a secret", ErrMessage)
	}
	cert, err := identity.ParseCertificate(rawCert, at)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: roster: %w", ErrForged, err)
	case at.After(now.Add(clockSkew)):
		return nil, fmt.Errorf("%w: roster of the future", ErrForged)
	case !identity.Verify(cert.Device, contextGroup, signed, sig):
		return nil, fmt.Errorf("%w: roster signature", ErrForged)
	}
	r.Maker = cert.Identity
	r.ID = groupID(r.Maker, r.nonce)
	if !r.Has(r.Maker) {
		return nil, fmt.Errorf("%w: roster without its maker", ErrForged)
	}
	return r, nil
}

// parseMembers reads identities in ascending order, each once.
func parseMembers(v []byte) (list []identity.ID, ok bool) {
	n := len(v) / idSize
	if len(v)%idSize != 0 || n == 0 || n > MaxMembers {
		return nil, false
	}
	for i := range n {
		id := identity.ID(v[i*idSize:][:idSize])
		if i > 0 && bytes.Compare(list[i-1][:], id[:]) >= 0 {
			return nil, false
		}
		list = append(list, id)
	}
	return list, true
}

// Has tells whether somebody is a member.
func (r *GroupRoster) Has(id identity.ID) bool { return slices.Contains(r.Members, id) }

// Raw returns the signed bytes.
func (r *GroupRoster) Raw() []byte { return bytes.Clone(r.raw) }

// Newer tells whether r takes the place of o, a roster of the same group or nil.
func (r *GroupRoster) Newer(o *GroupRoster) bool {
	switch {
	case o == nil:
		return true
	case r.Edition != o.Edition:
		return r.Edition > o.Edition
	}
	return bytes.Compare(r.raw, o.raw) < 0
}
