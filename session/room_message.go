// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// What legs of a room carry beyond other calls (design/010-groups.md):
//
//	INVITE 15   flags(1): bit 0 = quiet || roster
//	UPDATE 8    edition(4) || n(1), ≤ 7 || n × (node key(32) || device certificate(vec16))
//	UPDATE 9    roster, to a side that has shown a lower edition

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// maxSeatsField is seven places, each a key and a certificate with its length.
const maxSeatsField = 5 + (MaxMembers-1)*(32+2+224)

const flagQuiet = 1

// GroupCall is what an INVITE says of a group.
type GroupCall struct {
	Roster *GroupRoster
	Quiet  bool // only if the callee is in the room already
}

func (g *GroupCall) append(b []byte) []byte {
	var flags byte
	if g.Quiet {
		flags |= flagQuiet
	}
	return append(append(b, flags), g.Roster.raw...)
}

func parseGroupCall(now time.Time, b []byte) (*GroupCall, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: empty group", ErrMessage)
	}
	r, err := ParseGroupRoster(now, b[1:])
	if err != nil {
		return nil, err
	}
	return &GroupCall{Roster: r, Quiet: b[0]&flagQuiet != 0}, nil
}

// roomWord is what one side of a leg last said of the room.
type roomWord struct {
	seats  []byte // UPDATE field 8; nil = nothing said
	roster []byte // UPDATE field 9; nil = none
}

func appendSeats(b []byte, edition uint32, list []place) []byte {
	list = list[:min(len(list), MaxMembers-1)]
	b = binary.BigEndian.AppendUint32(b, edition)
	b = append(b, byte(len(list)))
	for _, at := range list {
		b = wire.AppendVec16(append(b, at.key...), at.cert.Raw())
	}
	return b
}

// checkSeats reads field 8 without looking at the certificates.
func checkSeats(b []byte) (edition uint32, list []transferPlace, ok bool) {
	r := wire.NewReader(b)
	edition = r.U32()
	n := int(r.U8())
	if r.Err() != nil || n > MaxMembers-1 {
		return 0, nil, false
	}
	for range n {
		list = append(list, transferPlace{r.Bytes(ed25519.PublicKeySize), r.Vec16()})
	}
	return edition, list, r.Done() == nil
}

// verified returns the places whose certificate holds.
func verified(now time.Time, list []transferPlace) (places []place) {
	for _, at := range list {
		if cert, err := identity.ParseCertificate(at.cert, now); err == nil {
			places = append(places, place{cert, bytes.Clone(at.key)})
		}
	}
	return places
}

// RoomSaid reports what the other side of a leg says of the room. Seats are places
// whose devices are who they say; whether they are members is the Room's to judge.
type RoomSaid struct {
	ID      CallID
	Edition uint32 // of the roster there
	Roster  *GroupRoster
	seats   []place
}

func (RoomSaid) event() {}

// TellRoom tells the other side of a leg whose legs stand here, and the roster if
// its own is older; nil = it has it. Error: ErrNoCall.
func (m *Machine) TellRoom(now time.Time, id CallID, edition uint32, seats []place, roster *GroupRoster) error {
	c := m.find(id)
	if c == nil || c.phase != phaseTalk || c.group == (GroupID{}) {
		return fmt.Errorf("%w: room %s", ErrNoCall, id.Short())
	}
	w := roomWord{seats: appendSeats(nil, edition, seats)}
	if roster != nil {
		w.roster = roster.raw
	}
	if old := &c.talk.room; !bytes.Equal(old.seats, w.seats) || !bytes.Equal(old.roster, w.roster) {
		*old = w
		m.tell(now, c)
	}
	return nil
}

// receiveRoom takes the fields of an UPDATE that are about a room.
func (m *Machine) receiveRoom(now time.Time, c *call, u *update) {
	k := &c.talk
	if c.group == (GroupID{}) || u.room.seats == nil || bytes.Equal(u.room.seats, k.theirRoom.seats) && bytes.Equal(u.room.roster, k.theirRoom.roster) {
		return
	}
	if !k.rooms.takeOf(now, 4*MaxMembers, time.Second) {
		return // taken when it comes again
	}
	edition, list, _ := checkSeats(u.room.seats)
	e := RoomSaid{ID: c.id, Edition: edition, seats: verified(now, list)}
	if u.room.roster != nil {
		if r, err := ParseGroupRoster(now, u.room.roster); err == nil && r.ID == c.group {
			e.Roster = r
		}
	}
	k.theirRoom = u.room
	m.emit(e)
}

// full tells whether one more call, of a group or none, is one too many.
func (m *Machine) full(g GroupID) bool {
	if g == (GroupID{}) {
		return m.occupied() >= m.o.MaxCalls
	}
	n := 0
	for _, c := range m.calls {
		if c.group == g {
			n++
		}
	}
	return n >= maxSeats || n == 0 && m.occupied() >= m.o.MaxCalls
}

// peer returns who is at a place.
func (at place) peer() Peer {
	return Peer{Identity: at.cert.Identity, Device: at.cert.DeviceID(), Node: identity.NodeIDOf(at.key)}
}

// sameLine tells whether two calls of a machine occupy one line together.
func sameLine(a, b *call) bool {
	if a.group != b.group {
		return false
	}
	return a.group != (GroupID{}) || a.outgoing && b.outgoing && a.phase != phaseTalk && b.phase != phaseTalk && a.peer.Identity == b.peer.Identity
}

// occupied counts the lines in use: each call is one, but all own unanswered calls
// to one identity are one together, and so are all legs of one group.
func (m *Machine) occupied() (n int) {
	for i, c := range m.calls {
		if !slices.ContainsFunc(m.calls[:i], func(o *call) bool { return sameLine(o, c) }) {
			n++
		}
	}
	return n
}
