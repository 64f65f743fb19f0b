// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"fmt"
	"time"
)

// State is where a transfer stands.
type State uint8

// The states. A transfer whose other side is away keeps its state.
const (
	Offered State = 1 + iota // nobody has accepted yet
	Active                   // accepted; goes on whenever the other side is there
	Paused                   // by either side
	Ended                    // see Reason
)

// String returns a word for it.
func (s State) String() string {
	switch s {
	case Offered:
		return "offered"
	case Active:
		return "active"
	case Paused:
		return "paused"
	case Ended:
		return "ended"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// maxWants bounds the chunks that a receiver may ask for ahead in one transfer.
const maxWants = 256

// Sender holds the rules of one file that is sent to one device. After every
// call drain Poll; time never goes backwards.
type Sender struct {
	offer Offer
	tree  *Tree
	pages []Hash
	meter Meter

	up     bool // there is a lane
	taken  bool
	ours   bool // paused by us
	theirs bool // paused by them
	ended  Reason

	out   []message // before anything that was asked for
	wants []want
	ahead int       // chunks in wants
	piece int       // offset within the first wanted chunk
	epoch int       // rises when what was asked for is void
	again time.Time // when the offer is repeated, if nothing happens
}

// offerAgain is after how long of silence an offer is repeated: whatever was
// lost with a lane of the other side is asked for anew then.
const offerAgain = time.Minute

type want struct {
	what         uint8
	first, count uint32
}

// NewSender returns the Sender of a file with the hashes t. taken and paused
// are what is remembered from an earlier start.
func NewSender(o Offer, t *Tree, taken, paused bool) *Sender {
	return &Sender{offer: o, tree: t, pages: t.pages(), taken: taken, ours: paused}
}

// Offer returns what is sent.
func (s *Sender) Offer() Offer { return s.offer }

// State returns where the transfer stands.
func (s *Sender) State() State { return state(s.ended, s.taken, s.ours || s.theirs) }

func state(ended Reason, taken, paused bool) State {
	switch {
	case ended != 0:
		return Ended
	case !taken:
		return Offered
	case paused:
		return Paused
	}
	return Active
}

// Reason returns why it is over; 0 before.
func (s *Sender) Reason() Reason { return s.ended }

// Taken reports whether the receiver has accepted.
func (s *Sender) Taken() bool { return s.taken }

// Up tells that there is a lane to the device, or that the device has begun a
// new one to here: the offer is sent.
func (s *Sender) Up(now time.Time) {
	s.up, s.again = true, now.Add(offerAgain)
	s.void()
	s.out = nil
	if s.ended == 0 {
		s.theirs = false // it will say so again
		s.say(kindOffer)
		if s.ours {
			s.say(kindPause)
		}
	}
}

// Down tells that the lane is gone.
func (s *Sender) Down() {
	s.up = false
	s.out = nil
	s.void()
	s.meter.Stop()
}

func (s *Sender) void() {
	s.wants, s.ahead, s.piece = nil, 0, 0
	s.epoch++
}

// holds tells whether a piece is still wanted.
func (s *Sender) holds(p Piece) bool { return p.Length > 0 && p.epoch == s.epoch }

func (s *Sender) say(k kind) {
	if s.up {
		s.out = append(s.out, message{kind: k, id: s.offer.ID, offer: s.offer, reason: s.ended})
	}
}

// Pause stops sending until Continue.
func (s *Sender) Pause() {
	if s.ended == 0 && !s.ours {
		s.ours = true
		s.void()
		s.meter.Stop()
		s.say(kindPause)
	}
}

// Continue ends Pause.
func (s *Sender) Continue() {
	if s.ended == 0 && s.ours {
		s.ours = false
		s.say(kindGo)
	}
}

// End gives the transfer up.
func (s *Sender) End(r Reason) {
	if s.ended == 0 {
		s.ended = r
		s.void()
		s.meter.Stop()
		s.say(kindEnd)
	}
}

// errRule says which rule a message breaks.
func errRule(what string) error { return fmt.Errorf("%w: %s", ErrMessage, what) }

// receive takes a message for this transfer. The error is ErrMessage: the lane
// should be given up.
func (s *Sender) receive(now time.Time, m message) error {
	s.again = now.Add(offerAgain)
	if s.ended != 0 {
		if (m.kind == kindTake || m.kind == kindWant) && len(s.out) == 0 {
			s.say(kindEnd) // it has missed the end
		}
		return nil
	}
	switch m.kind {
	case kindTake:
		s.taken, s.theirs = true, false
		s.void() // the receiver starts anew
	case kindPause:
		s.theirs = true
		s.void()
		s.meter.Stop()
	case kindGo:
		s.theirs = false
	case kindEnd:
		s.ended = m.reason
		s.void()
		s.meter.Stop()
	case kindWant:
		return s.want(m)
	default:
		return errRule("from a receiver")
	}
	return nil
}

func (s *Sender) want(m message) error {
	if s.ours || s.theirs {
		return nil // sent before the pause was known
	}
	n, limit := uint64(m.count), uint64(0)
	switch m.what {
	case wantList, wantPage:
		limit = uint64(len(s.pages))
	case wantChunks:
		limit = uint64(len(s.tree.Chunks))
	default:
		return errRule("asks for something unknown")
	}
	switch {
	case !s.taken:
		return errRule("asks before it accepts")
	case n == 0 || uint64(m.first)+n > limit:
		return errRule("asks for what the file doesn't have")
	case len(s.wants) >= maxWants:
		return errRule("asks for too much")
	}
	if m.what == wantChunks {
		if s.ahead += int(n); s.ahead > maxWants {
			return errRule("asks for too much")
		}
	}
	s.wants = append(s.wants, want{m.what, m.first, m.count})
	return nil
}

// Piece is part of a chunk that is to be sent next.
type Piece struct {
	Chunk  int
	From   int
	Length int
	Hash   Hash // of the whole chunk

	epoch int
}

// poll returns the next message, or piece of the file, to send. Of an empty
// message, kind 0, there is a piece. A piece counts as sent.
func (s *Sender) poll(now time.Time) (m message, p Piece, ok bool) {
	if !s.up {
		return m, p, false
	}
	if len(s.out)+len(s.wants) > 0 {
		s.again = now.Add(offerAgain)
	} else if s.ended == 0 && !now.Before(s.again) {
		s.Up(now)
	}
	if len(s.out) > 0 {
		m, s.out = s.out[0], s.out[1:]
		return m, p, true
	}
	if len(s.wants) == 0 {
		return m, p, false
	}
	w := &s.wants[0]
	switch w.what {
	case wantList:
		n := min(w.count, pageChunks)
		m = message{kind: kindList, id: s.offer.ID, first: w.first, hashes: appendHashes(nil, s.pages[w.first:w.first+n])}
		w.first, w.count = w.first+n, w.count-n
	case wantPage:
		m = message{kind: kindHashes, id: s.offer.ID, first: w.first, hashes: appendHashes(nil, s.tree.page(int(w.first)))}
		w.first, w.count = w.first+1, w.count-1
	case wantChunks:
		i := int(w.first)
		size := chunkLen(s.offer.Size, i)
		p = Piece{Chunk: i, From: s.piece, Length: min(pieceSize, size-s.piece), Hash: s.tree.Chunks[i], epoch: s.epoch}
		if s.piece += p.Length; s.piece == size {
			s.piece = 0
			s.ahead--
			w.first, w.count = w.first+1, w.count-1
		}
		s.meter.Add(now, p.Length, int64(i)*ChunkSize+int64(p.From+p.Length))
	}
	if w.count == 0 {
		s.wants = s.wants[1:]
	}
	return m, p, true
}

// Progress returns how far the transfer is.
func (s *Sender) Progress(now time.Time) Progress { return s.meter.progress(now, s.offer.Size) }
