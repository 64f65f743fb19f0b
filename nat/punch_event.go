// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "github.com/p2pos/p2pos/internal/sock"

// Shot is one packet of a punch to send. B is valid until the next call of any
// method but Poll.
type Shot struct {
	Path sock.Path
	B    []byte
	// TTL is the packet's own, by a control message; 0 = as usual. Where the
	// system can't, plans must not ask for it (PlanOptions.LowTTL).
	TTL uint8
}

// PunchEvent is what a Puncher tells its driver: OpenSockets, CloseSockets, Hit
// or Ended.
type PunchEvent interface{ punch() }

// OpenSockets asks for N fresh sockets, bound to Ports where any are named, else
// to any. The driver answers with SocketsOpened.
type OpenSockets struct {
	N     int
	Ports []uint16
}

// CloseSockets gives sockets back.
type CloseSockets struct{ Locals []int }

// Hit reports a path over which the peer answered: hand it to Paths as
// attested. With Extra its local socket is one that was opened for the punch and
// belongs to the path set from now on.
type Hit struct {
	Path  sock.Path
	Extra bool
}

// Ended is the last event.
type Ended struct {
	Why    End
	Status PunchStatus
}

func (OpenSockets) punch()  {}
func (CloseSockets) punch() {}
func (Hit) punch()          {}
func (Ended) punch()        {}

// End says why a punch is over.
type End uint8

// The ends.
const (
	Won        End = iota // a path was found
	Silence               // all was tried
	Stopped               // the driver wanted it
	Refused               // the system refused to send
	SocketLost            // the shared socket, or its interface, is gone
	NoBudget              // the address or the household has had all that it may get
	Nothing               // the plan leaves it to Paths
)

// String returns the reason in plain words.
func (e End) String() string {
	names := [...]string{
		"a path was found", "no answer to anything that was tried", "stopped", "the system refuses to send",
		"the network connection is gone", "no more packets may be sent", "nothing to do",
	}
	if int(e) < len(names) {
		return names[e]
	}
	return "unknown"
}

// maxShots bounds the packets that wait to be sent: what is due within maxLag,
// an answer and a request in return.
const maxShots = 32

// shotbox is a ring of packets with buffers of its own. Work stops when it is
// full; answers go before.
type shotbox struct {
	ring    [maxShots]shotSlot
	head, n int
}

type shotSlot struct {
	path sock.Path
	ttl  uint8
	n    int
	buf  [maxMessage]byte
}

func (s *shotbox) full() bool { return s.n == maxShots }

func (s *shotbox) push(path sock.Path, ttl uint8) *shotSlot {
	if s.full() {
		s.head, s.n = (s.head+1)%maxShots, s.n-1
	}
	slot := &s.ring[(s.head+s.n)%maxShots]
	s.n++
	slot.path, slot.ttl = path, ttl
	return slot
}

func (s *shotbox) pop() (Shot, bool) {
	if s.n == 0 {
		return Shot{}, false
	}
	slot := &s.ring[s.head]
	s.head, s.n = (s.head+1)%maxShots, s.n-1
	return Shot{Path: slot.path, B: slot.buf[:slot.n:slot.n], TTL: slot.ttl}, true
}
