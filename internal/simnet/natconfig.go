// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Behaviour is how much of a remote address a box looks at, for mapping and
// for filtering (RFC 4787 §4.1 and §5).
type Behaviour uint8

// The behaviours.
const (
	EndpointIndependent Behaviour = iota
	AddressDependent
	AddressAndPortDependent
)

var behaviourNames = [...]string{"endpoint-independent", "address-dependent", "address-and-port-dependent"}

// String returns RFC 4787's name of the behaviour.
func (b Behaviour) String() string {
	if int(b) < len(behaviourNames) {
		return behaviourNames[b]
	}
	return "?"
}

// PortRule is how a box chooses the outside port of a new mapping.
type PortRule uint8

// The rules.
const (
	Preserve   PortRule = iota // the inside port where it is free and within Block, else Random
	Sequential                 // the next free one after the last mapping of anyone, by Step; wraps
	Random                     // any free one within Block
	Block                      // Random within blocks of BlockSize that belong to one inside host; without BlockSize it is Random
)

var ruleNames = [...]string{"preserve", "sequential", "random", "block"}

// String returns the rule's name.
func (p PortRule) String() string {
	if int(p) < len(ruleNames) {
		return ruleNames[p]
	}
	return "?"
}

// NATConfig describes a box. The zero value of each field works; Pool decides
// what the box is.
type NATConfig struct {
	// Pool holds the box's outside addresses. A family (IPv4 or IPv6) without
	// one is not translated: its inside hosts keep their addresses outside and
	// the box is a firewall to them (RFC 6092), that is, it filters as below.
	Pool []netip.Addr

	Mapping, Filtering Behaviour

	Ports     PortRule
	Block     [2]uint16 // first and last port the box gives out; zero = 1024–65535
	Step      int       // of Sequential; 0 = 1
	BlockSize int       // of Block: ports in one block
	Blocks    int       // of Block: how many one inside host may have; 0 = 1

	// Unreplied is how long a mapping, or a hole in the filter, lasts after the
	// last datagram while nothing has come in through it; 0 = 30 s. Replied is
	// the same after something has; 0 = 120 s, and never less than Unreplied.
	Unreplied, Replied time.Duration
	Absolute           time.Duration // life of a mapping whatever happens; 0 = no limit
	OutboundRefresh    bool          // only outbound datagrams prolong a life (RFC 4787 §4.3 lets a box choose)
	Hold               time.Duration // an outside port rests so long after its mapping (RFC 6888 §2 asks for 120 s); 0 = not

	Hairpin   bool // inside hosts reach each other by their outside addresses
	Arbitrary bool // each mapping takes any address of Pool; else an inside host keeps one (RFC 4787 §4.1, paired)
	Open      bool // no filter for a family that is not translated
	Quota     int  // mappings one inside host may have; 0 = no limit
	Sessions  int  // mappings and holes the box has memory for; 0 = 65,536
}

const (
	defaultUnreplied = 30 * time.Second  // Linux conntrack, UDP
	defaultReplied   = 120 * time.Second // the same, and RFC 4787 REQ-5's floor

	// maxSessions is the largest table of a box: that of a Linux router with
	// much memory. Real home routers have 16,384 to 65,536.
	maxSessions = 1 << 16
)

// checked returns c with its defaults, or panics over what cannot be.
func (c NATConfig) checked() NATConfig {
	c.Pool = slices.Clone(c.Pool)
	for i, a := range c.Pool {
		c.Pool[i] = a.Unmap()
	}
	if c.Block == ([2]uint16{}) {
		c.Block = [2]uint16{1024, 65535}
	}
	orElse(&c.Step, 1)
	orElse(&c.Blocks, 1)
	orElse(&c.Unreplied, defaultUnreplied)
	orElse(&c.Replied, defaultReplied)
	c.Replied = max(c.Replied, c.Unreplied)
	orElse(&c.Sessions, maxSessions)
	span := int(c.Block[1]) - int(c.Block[0]) + 1
	if c.Block[0] == 0 || span < 1 || c.BlockSize < 0 || c.BlockSize > span {
		panic(fmt.Sprintf("simnet: ports %d–%d in blocks of %d", c.Block[0], c.Block[1], c.BlockSize))
	}
	if c.Mapping > AddressAndPortDependent || c.Filtering > AddressAndPortDependent || c.Ports > Block {
		panic(fmt.Sprintf("simnet: unknown behaviour in %+v", c))
	}
	if c.Step < 0 || c.Blocks < 0 || c.Quota < 0 || c.Sessions < 0 || c.Sessions > maxSessions ||
		c.Unreplied < 0 || c.Absolute < 0 || c.Hold < 0 {
		panic(fmt.Sprintf("simnet: value out of range in %+v", c))
	}
	return c
}

func orElse[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
