// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// UPDATE is how the two sides of an answered call tell each other what changes:
//
//	type(1)=9 || call id(16) || nonce(24) || XChaCha20-Poly1305(fields)           ≤ 3,072
//
//	 1 sequence(4)  rises with each UPDATE of a direction in a call
//	 2 seen(4)      sequence of the other side's latest UPDATE, 0 = none yet
//	 3 wants(1)     1 = send an UPDATE back, 0 = this is only the answer to one
//	 4 state(4)     bit 0 held, 1 records
//	 5 nonce(32)    the caller's, of which INVITE has the hash; the caller's UPDATEs alone
//	 6, 7           a transfer and what became of it: drawn in transfer.go
//	 8, 9           whose legs stand, and the roster: drawn in room_message.go
//
// sealed with the update key of the sender's direction (keys.go); type and call
// ID are authenticated too. Each UPDATE has everything that its sender wants
// known at that time, so a later one makes all earlier ones useless: it does not
// matter which of them are lost, doubled or overtaken, as long as the last one
// comes. That one is sent again until the other side has seen it.

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

const maxUpdate = 3072

const (
	// updateAgain is when an UPDATE that was not seen is sent again; the wait
	// doubles each time. Six times reach over a minute, longer than a call lives
	// without a sign of the other side; a new link begins anew.
	updateAgain = time.Second
	maxUpdates  = 6
)

// State is what one side of a call says of itself, bit by bit.
type State uint32

// The states known today. Unknown bits are kept and mean nothing.
const (
	StateHeld    State = 1 << iota // the other side is on hold: no sound either way
	StateRecords                   // what is said is recorded
)

// update is the content of an UPDATE.
type update struct {
	seq, seen uint32
	wants     bool
	state     State
	nonce     [32]byte // zero = none
	transfer  *transferWord
	verdict   transferVerdict // number 0 = none
	room      roomWord
}

func appendUpdate(b []byte, id CallID, key *[32]byte, u update) []byte {
	start := len(b)
	b = append(b, byte(typeUpdate))
	b = append(b, id[:]...)
	return append(b, identity.SealSecret(*key, b[start:], u.append(nil))...)
}

func (u *update) append(b []byte) []byte {
	var wants byte
	if u.wants {
		wants = 1
	}
	b = wire.AppendField(b, 1, binary.BigEndian.AppendUint32(nil, u.seq))
	b = wire.AppendField(b, 2, binary.BigEndian.AppendUint32(nil, u.seen))
	b = wire.AppendField(b, 3, []byte{wants})
	b = wire.AppendField(b, 4, binary.BigEndian.AppendUint32(nil, uint32(u.state)))
	if u.nonce != ([32]byte{}) {
		b = wire.AppendField(b, 5, u.nonce[:])
	}
	if u.transfer != nil {
		b = wire.AppendField(b, 6, u.transfer.append(nil))
	}
	if v := u.verdict; v.number != 0 {
		b = wire.AppendField(b, 7, []byte{v.number, byte(v.state), byte(v.reason)})
	}
	if u.room.seats != nil {
		b = wire.AppendField(b, 8, u.room.seats)
	}
	if u.room.roster != nil {
		b = wire.AppendField(b, 9, u.room.roster)
	}
	return b
}

// splitUpdate reads the clear part of an UPDATE.
func splitUpdate(b []byte) (id CallID, sealed []byte, err error) {
	if len(b) > maxUpdate {
		return id, nil, fmt.Errorf("%w: update of %d bytes", ErrMessage, len(b))
	}
	r := wire.NewReader(b)
	r.U8()
	r.Fixed(id[:])
	sealed = r.Rest()
	if err := r.Err(); err != nil {
		return id, nil, fmt.Errorf("%w: update: %w", ErrMessage, err)
	}
	return id, sealed, nil
}

func openUpdate(id CallID, key *[32]byte, sealed []byte) (u update, err error) {
	aad := append([]byte{byte(typeUpdate)}, id[:]...)
	plain, err := identity.OpenSecret(*key, aad, sealed)
	if err != nil {
		return u, fmt.Errorf("%w: update: %w", ErrForged, err)
	}
	return parseUpdate(plain)
}

func parseUpdate(plain []byte) (u update, err error) {
	err = readFields("update", plain, 0x1e, func(tag uint8, v []byte) bool {
		ok := true
		switch {
		case tag == 1 && len(v) == 4:
			u.seq = binary.BigEndian.Uint32(v)
		case tag == 2 && len(v) == 4:
			u.seen = binary.BigEndian.Uint32(v)
		case tag == 3 && len(v) == 1:
			u.wants = v[0] != 0
		case tag == 4 && len(v) == 4:
			u.state = State(binary.BigEndian.Uint32(v))
		case tag == 5:
			ok = fill(u.nonce[:], v)
		case tag == 6:
			u.transfer, ok = parseTransfer(v)
		case tag == 7 && len(v) == 3 && v[0] != 0:
			u.verdict = transferVerdict{v[0], TransferState(v[1]), Reason(v[2])}
		case tag == 8 && len(v) <= maxSeatsField:
			_, _, ok = checkSeats(v)
			u.room.seats = v
		case tag == 9 && len(v) > 0 && len(v) <= maxGroupRoster:
			u.room.roster = v
		default:
			ok = tag > 9
		}
		return ok
	})
	if err != nil {
		return update{}, err
	}
	return u, nil
}

// talk is what the two sides of an answered call have told each other.
type talk struct {
	keys           Keys
	sent, received uint32 // sequence of the latest UPDATE each way
	news           uint32 // ours that has to be seen; 0 = has been
	tries          int
	again          time.Time // news is sent again; zero = not any more
	ours, theirs   State
	rate           allowance // of changes of theirs
	rooms          allowance // of what they say of a room, which costs signatures to check
	recording      bool      // that we record, or no longer, is news
	words          bool      // they are known on this side
	transfer       transferring
	room           roomWord // as we told
	theirRoom      roomWord
}

// tell has news for the other side.
func (m *Machine) tell(now time.Time, c *call) {
	c.talk.news, c.talk.tries = c.talk.sent+1, 0
	m.say(now, c)
}

// say sends what this side wants known, and plans to send it again while it is
// news.
func (m *Machine) say(now time.Time, c *call) {
	k := &c.talk
	k.sent++
	u := update{
		seq: k.sent, seen: k.received, wants: k.news != 0, state: k.ours, nonce: c.invitation.nonce, verdict: k.transfer.verdict, room: k.room,
	}
	if p := k.transfer.pass; p != nil {
		u.transfer = p.word(k.transfer.ours)
	}
	m.send(c.peer, appendUpdate(nil, c.id, &k.keys.sendUpdate, u))
	k.again = time.Time{}
	if k.news != 0 && k.tries < maxUpdates {
		k.again = now.Add(updateAgain << k.tries)
		k.tries++
	}
}

// receiveUpdate takes what the other side says.
func (m *Machine) receiveUpdate(now time.Time, p Peer, b []byte) error {
	id, sealed, err := splitUpdate(b)
	if err != nil {
		return err
	}
	c := m.find(id)
	switch {
	case c == nil || c.peer != p:
		return m.late(now, p, id, true)
	case c.phase != phaseTalk:
		return fmt.Errorf("%w: update before the answer of %s", ErrNoCall, id.Short())
	}
	k := &c.talk
	u, err := openUpdate(id, &k.keys.receiveUpdate, sealed)
	if err != nil {
		return err
	}
	if u.seq <= k.received {
		return fmt.Errorf("%w: update %d of %s", ErrReplay, u.seq, id.Short())
	}
	if u.state != k.theirs && !k.rate.take(now) {
		// A person changes nothing so often; what is meant comes again.
		return fmt.Errorf("%w: updates of %s", ErrFlood, id.Short())
	}
	if err := m.opened(c, u.nonce); err != nil {
		return err
	}
	k.received = u.seq
	saw := k.news != 0 && u.seen >= k.news
	if saw {
		k.news, k.again = 0, time.Time{}
	}
	old := k.theirs
	k.theirs = u.state
	m.recorded(c, old, saw)
	if (old^u.state)&StateHeld != 0 {
		m.emit(Held{ID: id, On: u.state&StateHeld != 0})
	}
	m.receiveTransfer(now, c, &u)
	m.receiveRoom(now, c, &u)
	if u.wants {
		m.say(now, c)
	}
	return nil
}

// Hold puts the other side on hold, or takes it back. Hearing it twice is no
// error. Error: ErrNoCall when the call is not answered or over.
func (m *Machine) Hold(now time.Time, id CallID, on bool) error {
	c := m.find(id)
	if c == nil || c.phase != phaseTalk {
		return fmt.Errorf("%w: hold %s", ErrNoCall, id.Short())
	}
	if on == (c.talk.ours&StateHeld != 0) {
		return nil
	}
	c.talk.ours ^= StateHeld
	m.emit(Held{ID: id, On: on, ByUs: true})
	m.tell(now, c)
	return nil
}
