// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"crypto/ed25519"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// ID names a node, and a place in the overlay: the distance of two IDs is
// their XOR.
type ID = identity.NodeID

// Class says how others can link to a node, as it says itself. It decides whom
// to introduce to whom; a lie costs the liar failed punches.
type Class uint8

// The classes.
const (
	Unknown Class = iota
	Open          // no NAT, a mapped port, or IPv6 that lets anybody in
	Easy          // endpoint-independent mapping (RFC 4787 §4.1)
	Hard          // endpoint-dependent mapping
	Blocked       // no UDP: over TCP or a relay only
)

// String returns the class's name in status pages and metrics.
func (c Class) String() string {
	if c > Blocked {
		c = Unknown
	}
	return [...]string{"unknown", "open", "easy", "hard", "blocked"}[c]
}

// Card is what nodes tell each other about a node. Its ID is the hash of its
// key.
type Card struct {
	Key   [ed25519.PublicKeySize]byte
	Class Class
	Leaf  bool // asleep: keeps few links, forwards nothing
}

// Link is a live link as the driver reports it.
type Link struct {
	Card    Card
	Addr    netip.AddrPort // where this node itself reaches it; zero when relayed
	RTT     time.Duration  // zero = not measured yet
	Via     ID             // who introduced it; zero = dialled by address
	Ours    bool           // this node asked for it
	Relayed bool           // carried by another node
	Anchor  bool           // a contact's device: invited, so no Sybil; always kept
	Carrier ID             // who carries it when Relayed
}

// Kind says what a routed message is for. The mesh passes on kinds it does not
// know.
type Kind uint8

// The kinds.
const (
	Ring  Kind = 1 + iota // to one node, exact
	Store                 // to the nodes nearest to a key
	Fetch                 // likewise
	Find                  // likewise, answered by the mesh itself: joining, looking for neighbours
)

// Request is a message to be routed.
type Request struct {
	To     ID
	Exact  bool // only To itself takes delivery; else the nearest live node does
	Kind   Kind
	Body   []byte        // ≤ MaxBody
	Lock   [32]byte      // SHA-256 of a secret in the sealed part of Body; zero = none
	Copies int           // disjoint copies at first; 0 = the default of 3
	Next   bool          // only over the link with To, a neighbour: no copies, no detours
	Wait   time.Duration // how long answers count; 0 = the default
}

// MaxBody bounds a routed message's body: with its header it fits a control
// frame of 4,096 bytes.
const MaxBody = 3500

// Out is a message for a neighbour.
type Out struct {
	To   ID
	Body []byte // valid until the next call; not to be changed
}

// Route names a message that was delivered here, to reply to.
type Route uint64

// Event is one of the types below.
type Event interface{ event() }

// Wanted asks the driver for a sealed offer to Node, introduced by Via:
// Introduce or Decline with the same request. Relay: the two can't be linked
// directly, so Via is asked to carry the link as well.
type Wanted struct {
	Request uint32
	Node    Card
	Via     ID
	Relay   bool
}

// Asked brings somebody's sealed offer: the driver opens it and calls Accept
// with its own, or Decline. Seen is where Via sees the asker, zero when it
// can't say. Relay: Via is willing to carry the link; nothing is punched.
type Asked struct {
	Request uint32
	From    Card
	Via     ID
	Relay   bool
	Seen    netip.AddrPort
	Sealed  []byte
}

// Agreed brings the answer to an offer: the driver punches, or links through
// Via when Relay says that it has agreed to carry the link, and reports LinkUp
// or Failed.
type Agreed struct {
	Request uint32
	Node    ID
	Via     ID
	Relay   bool
	Seen    netip.AddrPort
	Sealed  []byte
}

// Refused says that nothing came of a Wanted.
type Refused struct {
	Request uint32
	Node    ID
}

// Carry says that this node has agreed to carry the link of two neighbours:
// the driver makes a flow between them and calls CarryDown when that has
// ended.
type Carry struct{ A, B ID }

// Surplus names a link that the table has no use for. The driver closes it
// unless somebody else needs it.
type Surplus struct{ Node ID }

// Delivered brings a message that ends here. The driver answers with Reply, as
// often as it likes within the message's life, the first time with the lock's
// secret when there is a lock: at once, and also when it wants nothing of the
// message, since what isn't answered counts as lost at every hop.
type Delivered struct {
	Route Route
	To    ID
	Kind  Kind
	Body  []byte
	Hops  int
	From  ID // the neighbour that brought it; our own ID when it never left
	Trace [16]byte
}

// Answered brings a reply to a Request of ours.
type Answered struct {
	Request uint32
	Body    []byte
	Hops    int
	First   ID // the neighbour it came back through
	After   time.Duration
	Proved  bool // it came with the lock's secret
	Trace   [16]byte
}

// Undelivered ends a Request for which nothing came back.
type Undelivered struct{ Request uint32 }

// Passed says that a message of kind Ring goes through this node: from and to
// which neighbour.
type Passed struct {
	From, To ID
	Trace    [16]byte // names the message, the same at each hop
}

func (Wanted) event()      {}
func (Asked) event()       {}
func (Agreed) event()      {}
func (Refused) event()     {}
func (Carry) event()       {}
func (Surplus) event()     {}
func (Delivered) event()   {}
func (Answered) event()    {}
func (Undelivered) event() {}
func (Passed) event()      {}
