// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "time"

// Method is how two nodes get a direct path.
type Method uint8

// The methods, from the cheapest to none.
const (
	NoMethod     Method = iota // relayed; Plan.Reason says why
	Local                      // same network or same NAT: host, middle and hairpin addresses
	Straight                   // one side can be written to
	Simultaneous               // both know the other's port: both send
	JustSend                   // the side with changing ports sends, the other sees where from
	ChosenPort                 // ports agreed on, which the NAT keeps
	Search                     // one side opens sockets, the other tries ports
	Sweep                      // both try all ports of the other's block, from a socket or two
	AimAhead                   // both aim ahead of the other's port counter
	Cross                      // a burst at an agreed port, then a slow search beside a relayed call
	OverTCP                    // UDP doesn't pass
)

// String returns the method in one or two words.
func (m Method) String() string {
	names := [...]string{
		"none", "local", "straight", "simultaneous", "just send", "chosen port", "search", "sweep", "aim ahead", "cross", "tcp",
	}
	if int(m) < len(names) {
		return names[m]
	}
	return "unknown"
}

// Role is a side's part in a Method. The other side's plan has the other part.
type Role uint8

// The roles.
const (
	Either   Role = iota // both sides do the same
	Opener               // opens sockets and waits to be found
	Searcher             // tries ports
	Sender               // its packets reach the other unasked
	Receiver             // is reached
)

// String returns the role in one word.
func (r Role) String() string {
	names := [...]string{"either", "opener", "searcher", "sender", "receiver"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// other is the role of the other side.
func (r Role) other() Role {
	switch r {
	case Opener:
		return Searcher
	case Searcher:
		return Opener
	case Sender:
		return Receiver
	case Receiver:
		return Sender
	}
	return Either
}

// Range is a range of ports, both ends included. The zero Range is empty.
type Range struct{ First, Last uint16 }

// Size returns the number of ports.
func (r Range) Size() int {
	if r.First == 0 || r.Last < r.First {
		return 0
	}
	return int(r.Last-r.First) + 1
}

// Has reports whether port is in the range.
func (r Range) Has(port uint16) bool { return r.First != 0 && port >= r.First && port <= r.Last }

// fullRange is where NATs take ports from when nothing else is known.
func fullRange() Range { return Range{1024, 65535} }

// Aim says where the shots of a Step go: always to the peer's address.
type Aim uint8

// The aims.
const (
	AimKnown   Aim = iota // the port it told, or the one agreed on where it chooses its ports
	AimCounter            // a port its counter is about to reach, further on in each round of sockets
	AimPorts              // port after port
	AimRolling            // port after port without end, while a call is relayed; the first is agreed on
)

// String returns the aim in one word.
func (a Aim) String() string {
	names := [...]string{"known", "counter", "ports", "rolling"}
	if int(a) < len(names) {
		return names[a]
	}
	return "unknown"
}

// Step is one thing that a side does during a punch. The steps of a plan run
// beside each other.
type Step struct {
	At      time.Duration // from the start
	Sockets int           // fresh sockets; 0 = the shared one
	Bind    Range         // their local ports are agreed ones in here; zero = any
	Aim     Aim
	Ahead   int           // AimPorts: so many ports after the peer's counter first
	Step    int           // of the peer's counter, for Ahead and AimCounter
	Ranges  [2]Range      // AimPorts, AimRolling: to be gone through in turn
	Shots   int           // AimPorts: at most
	Passes  int           // others but AimRolling: shots of each socket
	Gap     time.Duration // between a socket's passes
	Every   time.Duration // pace of shots
	TTL     uint8         // of the first pass; 0 = as usual
}

// Plan is one side's half of what two nodes do to reach each other. What costs
// nothing - probing each other's candidates - is always done as well, by Paths.
type Plan struct {
	Method Method
	Role   Role
	// Hold is how long to keep the peer's reflexive candidates from Paths,
	// while first shots that don't get far open our own NAT.
	Hold time.Duration
	// After is the head start of cheaper ways before the first Step.
	After time.Duration
	For   time.Duration // from the first Step to giving up
	Steps []Step
	// Mapping is our own NAT's, which decides what of a step is a new mapping.
	Mapping Dependence
	// Chosen and TheirChosen are where this and the other side bind agreed
	// ports; zero = they don't.
	Chosen, TheirChosen Range
	// Live is how many mappings we may hold at a time, standing ones
	// included, each for Life after its last packet.
	Live int
	Life time.Duration
	// Reason says in plain words why no direct path is promised; empty when
	// one is.
	Reason string
}

// PlanOptions is what a plan depends on beside the two behaviours. Whatever
// says Mine and Theirs has to be told to the other side crosswise.
type PlanOptions struct {
	// Share is the part of our port block that the household lends; 0 means
	// a quarter. More than a half is cut to it.
	Share float64
	// Standing is how many mappings our links hold already.
	Standing int
	// LowTTL says that single datagrams can be sent with another TTL.
	LowTTL bool
	// Friendly is a call or a sibling: only then are ports searched.
	Friendly bool
	// MineMapped and TheirsMapped: a port mapping (PCP, NAT-PMP, UPnP) stands.
	MineMapped, TheirsMapped bool
	// SameNAT: both have a public address in common, so that they may share
	// a network, a home NAT or a carrier's, and may have middle addresses.
	SameNAT bool
}

const (
	// defaultShare of a block leaves a household three quarters; at mostShare
	// browsing still works.
	defaultShare = 0.25
	mostShare    = 0.5

	// burstEvery is the pace of 500 shots a second: cheap routers have been
	// seen to die above.
	burstEvery = 2 * time.Millisecond
	// mostShots leaves 200 of an address's 3,000 packets in ten minutes for
	// answers and for the path set, after two searches. With 256 sockets in
	// 64,512 ports they miss once in 270 punches.
	mostShots = 1400
	// mostSockets are opened for a search over the full range.
	mostSockets = 256
	// fewSockets serve a search in a block of up to 2,048 ports: 99 % in 273 shots.
	fewSockets = 32
	// leastSockets serve small blocks: one of 256 is gone through in half a second anyhow.
	leastSockets = 4
	// searchRatio ports of a block for one socket: 1 % are left after 300 shots.
	searchRatio = 64
	// widenAt is when a search leaves the learned block, if it was wrong.
	widenAt = 1200 * time.Millisecond
	// openPasses: the first shot opens, the others are heard by a peer that
	// tried the port too early, or whose try was lost.
	openPasses = 3
	// openGap between them; longer where one pass takes longer.
	openGap = 300 * time.Millisecond

	// sweepSockets at most, each for one mapping (design: ≤ 4).
	sweepSockets = 4

	// aimRounds of aimSockets each aim at the middle of what the round takes
	// from the counter: foreign flows may have moved it by up to half a round.
	aimRounds, aimSockets = 4, 32
	// counterAhead ports are tried for a counter: what 100 foreign flows a
	// second move it by in two seconds, and our own sockets.
	counterAhead = 256

	// choices of an agreed port: the first may be taken by a neighbour.
	choices = 4

	// rollSockets carry a rolling search: a quarter of a block of 512. With an
	// address-and-port-dependent mapping a socket has one for each destination,
	// so that larger shares need no more of them.
	rollSockets = 128
	// rollFor ends it: by then it has failed with φ = 25 % once in 1,800.
	rollFor = 30 * time.Minute
	// rollEvery is the pause between its packets, 30 a second. The first round
	// goes no faster: its mappings would all be gone before their successors
	// are there, which meet them as well.
	rollEvery = time.Second / 30
	// unknownLife is what a mapping whose life was not learned is taken to
	// last: RFC 4787 REQ-5's floor, since too long is only slow.
	unknownLife = 120 * time.Second

	// lowTTL gets past a home router and a carrier's NAT, and not as far as
	// the peer's in most networks.
	lowTTL = 5
	// holdBack lets both sides' first shots go before any that gets through:
	// the two learn of each other at most a trip through an introducer apart.
	holdBack = 100 * time.Millisecond
	// headStart is what cheaper ways get: two round trips of 200 ms.
	headStart = 400 * time.Millisecond
	// lateAnswers is how long after its last shot a punch is waited for.
	lateAnswers = 700 * time.Millisecond
	// leastSearch: the other side begins when the answer to its offer is there.
	leastSearch = time.Second
)
