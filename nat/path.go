// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// Kind says what sort of way a path is.
type Kind uint8

// The kinds of paths, best first. Relay and TCP are ranked alike.
const (
	LAN    Kind = iota // a private or loopback address
	Direct             // any other address of the peer's own or its NAT's
	Relay              // through a third node
	TCP                // where UDP doesn't pass
)

// String returns the kind in one word.
func (k Kind) String() string {
	switch k {
	case LAN:
		return "lan"
	case Direct:
		return "direct"
	case Relay:
		return "relay"
	case TCP:
		return "tcp"
	}
	return "unknown"
}

// class puts kinds in the order of preference.
func (k Kind) class() int { return int(min(k, Relay)) }

// KindOf judges a path by its remote address alone: LAN for private, link-local
// and loopback addresses, else Direct. It is what Options.Kind defaults to.
// 100.64.0.0/10 is a carrier's inside (RFC 6598), not a LAN. See also OnLink.
func KindOf(p sock.Path) Kind {
	ip := p.Remote.Addr()
	if ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
		return LAN
	}
	return Direct
}

// State is what is known of a path.
type State uint8

// The states of a path.
const (
	Waiting  State = iota // not probed yet
	Checking              // probed, no answer yet
	Valid                 // answered with the right key
	Failed                // stopped answering, or never did
)

// String returns the state in one word.
func (s State) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Checking:
		return "checking"
	case Valid:
		return "valid"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// Options tunes a Paths. The zero value works.
type Options struct {
	// Keepalive is the pause between probes on an idle path; 0 means 15 s
	// (RFC 8445 §11), which all but a few NATs outlast. Values below 1 s
	// are raised to it.
	Keepalive time.Duration
	// Kind judges a path; nil means KindOf. It is asked when a path is learned.
	// Whoever has relayed or TCP paths, or knows its LANs (OnLink), supplies
	// one that tells them apart.
	Kind func(sock.Path) Kind
	// Budget is the node's: probes to addresses that haven't answered are taken
	// from it, so that punches and paths together stay within what anybody may get.
	// nil = none.
	Budget *Budget
}

// PathInfo describes one path in a Snapshot.
type PathInfo struct {
	Path      sock.Path
	Kind      Kind
	State     State
	Primary   bool           // traffic goes here
	Doubted   bool           // and on a second path as well
	RTT       time.Duration  // smoothed; 0 = not measured
	Age       time.Duration  // since the path was learned, as of the last input
	Answered  time.Time      // last answer; zero = never
	Reflexive netip.AddrPort // our address as the peer sees it there
}

// Datagram is one probe message to send. B is valid until the next call of
// any method but Poll.
type Datagram struct {
	Path sock.Path
	B    []byte
}

// Why says what made a Paths switch.
type Why uint8

// The reasons for a switch.
const (
	Dead     Why = iota // the old path stopped answering
	LostSock            // the old path's local socket is gone
	PeerSaid            // the peer changed over: USE-CANDIDATE
	Better              // the new path is of a better kind, or faster for a while
	Followed            // the peer's media comes here and not on the old path
	Renewed             // the old path was about to end: see Retire
)

// String returns the reason in one word.
func (w Why) String() string {
	switch w {
	case Dead:
		return "dead"
	case LostSock:
		return "socket"
	case PeerSaid:
		return "peer"
	case Better:
		return "better"
	case Followed:
		return "followed"
	case Renewed:
		return "renewed"
	}
	return "unknown"
}

// Event is what a Paths tells its driver: Up, Switched, Doubt, Cleared, Down,
// Reflexive, Bound or Unbound. Read Active after each.
type Event interface{ event() }

// Up reports the first valid path, or with Again the first one after Down:
// then packets were lost, and a replay is wanted.
type Up struct {
	Path  sock.Path
	Again bool
}

// Switched reports another primary path. With Replay the last packets may have
// been lost on the old one and should be sent again.
type Switched struct {
	From, To sock.Path
	Why      Why
	Replay   bool
}

// Doubt reports that the primary path Path may be dead: Active names a second
// one, if there is any, to use as well. It is repeated when that one changes.
type Doubt struct{ Path sock.Path }

// Cleared reports that the primary path is well after all.
type Cleared struct{ Path sock.Path }

// Down reports that no valid path is left. Probing goes on for a while.
type Down struct{}

// Reflexive reports our address on a local socket as the peer sees it over
// Path, when it is new there.
type Reflexive struct {
	Local int
	Addr  netip.AddrPort
	Path  sock.Path
}

// Bound reports a path from which this peer's traffic may come from now on.
type Bound struct{ Path sock.Path }

// Unbound takes Bound back.
type Unbound struct{ Path sock.Path }

func (Up) event()        {}
func (Switched) event()  {}
func (Doubt) event()     {}
func (Cleared) event()   {}
func (Down) event()      {}
func (Reflexive) event() {}
func (Bound) event()     {}
func (Unbound) event()   {}
