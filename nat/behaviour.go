// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net/netip"
	"time"
)

// Dependence says what a NAT looks at when it chooses a mapping or lets a
// packet in (RFC 4787 §4.1 and §5). The words are those of the softphone's nat
// event.
type Dependence uint8

// The values of Dependence, from the most to the least friendly.
const (
	UnknownDependence Dependence = iota
	NoNAT                        // no translation; for filtering: no filter
	EndpointIndependent
	AddressDependent
	AddressAndPortDependent
	UDPBlocked // nothing comes back at all
)

// String returns the RFC's word.
func (d Dependence) String() string {
	switch d {
	case NoNAT:
		return "none"
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case AddressAndPortDependent:
		return "address-and-port-dependent"
	case UDPBlocked:
		return "udp-blocked"
	}
	return "unknown"
}

// PortRule says how a NAT chooses outside ports.
type PortRule uint8

// The values of PortRule.
const (
	UnknownPorts PortRule = iota
	Preserved             // the inside port, where it is free
	Sequential            // the last one plus Step, over all hosts behind the NAT
	RandomPorts           // any
	BlockPorts            // any within Block
)

// String returns the rule in one word.
func (p PortRule) String() string {
	switch p {
	case Preserved:
		return "preserved"
	case Sequential:
		return "sequential"
	case RandomPorts:
		return "random"
	case BlockPorts:
		return "block"
	}
	return "unknown"
}

// Tri is yes, no, or not known yet.
type Tri uint8

// The values of Tri.
const (
	Unknown Tri = iota
	Yes
	No
)

// IPv6 says what this node has of IPv6.
type IPv6 uint8

// The values of IPv6.
const (
	UnknownIPv6 IPv6 = iota
	NoIPv6
	OpenIPv6       // strangers' packets come in
	FirewalledIPv6 // only answers come in (RFC 6092)
)

// String returns the word of the softphone's nat event.
func (v IPv6) String() string {
	switch v {
	case NoIPv6:
		return "none"
	case OpenIPv6:
		return "open"
	case FirewalledIPv6:
		return "firewalled"
	}
	return "unknown"
}

// Behaviour is what is known about the NATs between a node and the Internet,
// seen as one box. The zero value knows nothing. Zero durations are unknown.
type Behaviour struct {
	Mapping   Dependence
	Filtering Dependence
	Ports     PortRule
	Step      int       // of Sequential; may be negative
	Block     [2]uint16 // first and last port seen as possible; zero = not known
	Public    []netip.Addr
	Arbitrary Tri // several public addresses, chosen anew for each mapping (RFC 4787 §4.1)
	Hairpin   Tri
	Carrier   Tri // a second NAT outside the gateway's: carrier-grade, or two layers at home

	// A mapping's life after its last packet, before and after something came
	// in through it, and whatever happens.
	Unreplied, Replied, Absolute time.Duration

	// Chosen says that binding a local port within Block keeps it outside, so
	// that the node chooses its outside port although Mapping looks random.
	Chosen Tri

	IPv6 IPv6
	// Confidence in Mapping, Filtering and Ports together, 0 to 1.
	Confidence float64
}
