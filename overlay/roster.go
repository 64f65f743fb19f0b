// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// A network may have a roster, signed by its admin: then both ends of a link
// show whose device they are, and a roster spreads from link to link
// (design/016-roster.md). Messages, in frames of type 0x32:
//
//	HAVE   1 || number(8)                                     I have the roster with this number
//	WANT   2 || number(8)                                     send it
//	PART   3 || number(8) || index(1) || count(1) || bytes    in order, each but the last of 4,000 bytes
const (
	rosterHave = 1
	rosterWant = 2
	rosterPart = 3

	partBytes = 4000
	maxParts  = (identity.MaxRoster + partBytes - 1) / partBytes

	// fetchTime is how long a neighbour may take to send a roster before another
	// one is asked.
	fetchTime = 10 * time.Second
	// rosterLook is how often links are held against the roster: somebody's time,
	// or the roster's, may be over.
	rosterLook = 15 * time.Second
)

// rosterParts cuts a roster into the bodies of frames.
func rosterParts(r *identity.Roster) (list [][]byte) {
	raw := r.Raw()
	count := (len(raw) + partBytes - 1) / partBytes
	for i := range count {
		b := binary.BigEndian.AppendUint64([]byte{rosterPart}, r.Number)
		b = append(b, byte(i), byte(count))
		list = append(list, append(b, raw[i*partBytes:min(len(raw), (i+1)*partBytes)]...))
	}
	return list
}

// rosterPieces puts a roster together.
type rosterPieces struct {
	number uint64
	next   int
	b      []byte
}

// add takes the rest of a PART, behind its first byte. whole is the roster when
// this was its last part.
func (p *rosterPieces) add(body []byte) (whole []byte, err error) {
	r := wire.NewReader(body)
	number, index, count := r.U64(), int(r.U8()), int(r.U8())
	part := r.Rest()
	switch {
	case r.Err() != nil, count == 0, count > maxParts, index >= count, len(part) > partBytes, index+1 < count && len(part) != partBytes:
		return nil, fmt.Errorf("%w: part of a roster", errFrame)
	case index == 0:
		*p = rosterPieces{number: number}
	case number != p.number || index != p.next:
		return nil, nil // of one that was given up
	}
	p.next++
	p.b = append(p.b, part...)
	if p.next < count {
		return nil, nil
	}
	whole = p.b
	*p = rosterPieces{}
	return whole, nil
}

// spreading holds the rules by which a roster goes from link to link. It is part
// of the core and owned by the loop. It hands out nothing to a node before
// the link with it stands, which takes a member.
type spreading struct {
	known  map[identity.NodeID]uint64 // the numbers that linked neighbours have
	order  []identity.NodeID          // of known, as they came
	from   identity.NodeID            // who was asked; zero = nobody
	until  time.Time                  // the answer is waited for until then
	pieces rosterPieces
	lookAt time.Time
}

// rosterSay is a message to a neighbour.
type rosterSay struct {
	to   identity.NodeID
	body []byte
}

func rosterNumber(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, n)
}

// up takes a neighbour with the number that its HELLO gave.
func (s *spreading) up(now time.Time, node identity.NodeID, theirs, ours uint64) (say []rosterSay) {
	if _, ok := s.known[node]; !ok {
		s.order = append(s.order, node)
	}
	if s.known == nil {
		s.known = make(map[identity.NodeID]uint64)
	}
	s.known[node] = theirs
	if ours > theirs {
		say = append(say, rosterSay{node, rosterNumber(rosterHave, ours)})
	}
	return append(say, s.fetch(now, ours)...)
}

func (s *spreading) down(now time.Time, node identity.NodeID, ours uint64) []rosterSay {
	delete(s.known, node)
	s.order = slices.DeleteFunc(s.order, func(id identity.NodeID) bool { return id == node })
	if s.from != node {
		return nil
	}
	s.from, s.pieces = identity.NodeID{}, rosterPieces{}
	return s.fetch(now, ours)
}

// fetch asks the neighbour with the newest roster for it, if it is newer.
func (s *spreading) fetch(now time.Time, ours uint64) []rosterSay {
	if s.from != (identity.NodeID{}) {
		return nil
	}
	best := ours
	for _, id := range s.order {
		if n := s.known[id]; n > best {
			best, s.from = n, id
		}
	}
	if s.from == (identity.NodeID{}) {
		return nil
	}
	s.until = now.Add(fetchTime)
	return []rosterSay{{s.from, rosterNumber(rosterWant, best)}}
}

// advance gives up a neighbour that doesn't send what it has.
func (s *spreading) advance(now time.Time, ours uint64) []rosterSay {
	if s.from == (identity.NodeID{}) || now.Before(s.until) {
		return nil
	}
	s.known[s.from] = 0 // it says so again when it has another one
	s.from, s.pieces = identity.NodeID{}, rosterPieces{}
	return s.fetch(now, ours)
}

func (s *spreading) deadline() time.Time {
	if s.from != (identity.NodeID{}) {
		return earlier(s.until, s.lookAt)
	}
	return s.lookAt
}

// receive takes a message. raw is a roster that has come whole, send is true
// when the neighbour wants ours.
func (s *spreading) receive(now time.Time, node identity.NodeID, body []byte, ours uint64) (say []rosterSay, raw []byte, send bool, err error) {
	r := wire.NewReader(body)
	switch kind := r.U8(); kind {
	case rosterHave, rosterWant:
		n := r.U64()
		if r.Done() != nil {
			return nil, nil, false, fmt.Errorf("%w: roster", errFrame)
		}
		if kind == rosterWant {
			return nil, nil, n <= ours && ours > 0, nil
		}
		if _, ok := s.known[node]; ok {
			s.known[node] = n
		}
		return s.fetch(now, ours), nil, false, nil
	case rosterPart:
		if node != s.from {
			return nil, nil, false, nil // not asked for
		}
		raw, err := s.pieces.add(r.Rest())
		if raw != nil {
			s.from = identity.NodeID{}
		}
		return nil, raw, false, err
	default:
		if r.Err() != nil {
			return nil, nil, false, fmt.Errorf("%w: roster", errFrame)
		}
		return nil, nil, false, nil // of a later version
	}
}

// refused notes that what a neighbour sent was no newer roster.
func (s *spreading) refused(now time.Time, node identity.NodeID, ours uint64) []rosterSay {
	if _, ok := s.known[node]; ok {
		s.known[node] = 0
	}
	return s.fetch(now, ours)
}

// adopted tells all neighbours of a newer roster, but those that have it.
func (s *spreading) adopted(ours uint64) (say []rosterSay) {
	for _, id := range s.order {
		if s.known[id] < ours {
			say = append(say, rosterSay{id, rosterNumber(rosterHave, ours)})
		}
	}
	return say
}
