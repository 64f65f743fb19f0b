// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// Hop is one end of a flow: a neighbour and the label on the link to it. It is
// what an End is called where neighbours are node IDs.
type Hop struct {
	Node  identity.NodeID
	Label Label
}

// Out is a message for a neighbour, to go over the link's control stream.
type Out struct {
	To   identity.NodeID
	Body []byte
}

// Event is what a Server or a Client tells its driver.
type Event interface{ event() }

// FlowUp asks the driver of a Server to open a flow in its Forwarder.
type FlowUp struct {
	A, B  Hop
	Kind  Kind
	Rates Rates
}

// FlowDown asks it to close the flow between these ends.
type FlowDown struct {
	A, B   Hop
	Kind   Kind
	Reason Reason
}

// Granted brings a voucher to the node that reserved. It hands the voucher to
// the peer named in Reserve, sealed.
type Granted struct {
	Request uint32
	Relay   identity.NodeID
	Voucher []byte
	Expires time.Time
	Load    uint8 // of the relay, percent
}

// Invited says that From asks for a flow to this node. The application calls
// Accept or Decline; nothing comes through before.
type Invited struct {
	Request uint32
	Relay   identity.NodeID
	From    identity.NodeID // the opener, or the relay in front of this one
	Kind    Kind
	Nested  bool
	TwoHop  bool
	Blob    []byte         // sealed by the opener; whatever a stranger likes
	Seen    netip.AddrPort // where the relay reaches From; zero = not told
}

// Opened says that a flow of this node's own is there: for a request of its
// own, an invitation, a voucher of its own that was shown, or a ring.
type Opened struct {
	Request uint32          // of Open or Accept; 0 otherwise
	At      Hop             // the relay and the label on the link to it
	Peer    identity.NodeID // the node asked for, or that asked; zero for a ring's
	Kind    Kind
	Nested  bool           // inner datagrams may be relayed frames
	Ours    bool           // this node asked
	Peak    int64          // bit/s each way; 0 = not told
	Load    uint8          // of the relay, percent; 0 = not told
	Blob    []byte         // of the opener, when this node was asked
	Seen    netip.AddrPort // where the relay reaches Peer; zero = not told
}

// Refused ends a request of Reserve or Open.
type Refused struct {
	Request uint32
	Relay   identity.NodeID
	Reason  Reason
}

// Down says that a flow of this node's own has ended.
type Down struct {
	At     Hop
	Kind   Kind
	Reason Reason
}

func (FlowUp) event()   {}
func (FlowDown) event() {}
func (Granted) event()  {}
func (Invited) event()  {}
func (Opened) event()   {}
func (Refused) event()  {}
func (Down) event()     {}

// neighbour is what a Server knows of one link.
type neighbour struct {
	party   party
	salt    Salt
	seen    netip.AddrPort
	tokens  float64   // of its messages
	counted time.Time // when tokens was true
	lapses  int       // reservations held for it and never used
	lapsed  time.Time // the latest
}

const (
	// controlBurst messages, and then controlRate a second, are read from one
	// neighbour: a dozen calls set up at once, and signatures for less than a
	// thousandth of a core.
	controlBurst = 32
	controlRate  = 4
)

// allow draws one message from the neighbour's allowance.
func (n *neighbour) allow(now time.Time) bool {
	if d := now.Sub(n.counted); d > 0 {
		n.tokens = min(controlBurst, n.tokens+d.Seconds()*controlRate)
		n.counted = now
	}
	if n.tokens < 1 {
		return false
	}
	n.tokens--
	return true
}

// Neighbour is what a driver says about a link that is up.
type Neighbour struct {
	// Addr is where the neighbour is, for the quota of its network. Leave it
	// zero where networks don't count: on the LAN, in a private network.
	Addr netip.Addr
	// Seen is where this node itself reaches the neighbour. Whoever shares a
	// flow with the neighbour is told: it may have to punch there. Zero says
	// nothing.
	Seen netip.AddrPort
	Salt Salt
}
