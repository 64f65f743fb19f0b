// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// Spec says how a site is built. The zero value is a host with a public IPv4
// address; otherwise Kernel or Box is set.
type Spec struct {
	Kernel *Kernel           // the NAT next to the Internet is the kernel's
	Box    *simnet.NATConfig // it is simnet's model; Pool is filled in, and Open by IPv6

	// Home is one more NAT between the hosts and that one, which is a
	// carrier's then; it gives its customer an address from 100.64.0.0/10.
	Home *Kernel

	Addresses int  // outside IPv4 addresses of a Box; 0 = 1
	IPv6      IPv6 // not with Home
	NoUDP     bool // the gateway forwards no UDP, of either family

	// PortMap is what the LAN's gateway, a kernel's NAT then, maps ports by,
	// and Says the outside IPv4 address it claims; zero = its own one.
	PortMap PortMap
	Says    netip.Addr
}

// Kernel is a NAT by nftables. The zero value is plain masquerade: ports are
// preserved where free, and answers come from whom was asked only.
type Kernel struct {
	Ports  [2]uint16 // SNAT to this range of ports; zero = masquerade
	Random bool      // fully-random: a new random port for each destination

	// AcceptInput lets the gateway take packets from outside that are for
	// itself. Then an early packet of a peer leaves a conntrack entry which
	// moves the mapping that the peer aims at.
	AcceptInput bool

	// Life of a UDP entry without and with an answer, in whole seconds; 0 =
	// the kernel's 30 s and 120 s. The kernel gives the second one only to an
	// entry that is answered and still in use 2 s after it was made.
	Unreplied, Replied time.Duration
}

// IPv6 says what IPv6 a site has.
type IPv6 uint8

// What there is.
const (
	NoIPv6         IPv6 = iota
	OpenIPv6            // routed, without a filter
	FirewalledIPv6      // routed, in from whom was sent to only (RFC 6092); with a Box, as its Filtering
)

func (s Spec) public() bool { return s.Kernel == nil && s.Box == nil }

func (s Spec) check() error {
	switch {
	case s.Kernel != nil && s.Box != nil:
		return errors.New("natlab: a site is behind a kernel's NAT or a box, not both")
	case s.public() && (s.Home != nil || s.NoUDP || s.IPv6 == FirewalledIPv6):
		return errors.New("natlab: a public host has no gateway")
	case s.Home != nil && s.IPv6 != NoIPv6:
		return errors.New("natlab: no IPv6 behind two NATs")
	case s.PortMap != NoPortMap && s.Kernel == nil && s.Home == nil:
		return errors.New("natlab: only a kernel's NAT maps ports")
	case s.Addresses < 0 || s.Addresses > maxAddresses || s.Addresses > 1 && s.Box == nil:
		return fmt.Errorf("natlab: %d outside addresses", s.Addresses)
	}
	for _, k := range []*Kernel{s.Kernel, s.Home} {
		if k == nil {
			continue
		}
		for _, d := range []time.Duration{k.Unreplied, k.Replied} {
			if d < 0 || d%time.Second != 0 {
				return fmt.Errorf("natlab: the kernel counts whole seconds, not %v", d)
			}
		}
		if k.Ports[0] > k.Ports[1] {
			return fmt.Errorf("natlab: ports %d–%d", k.Ports[0], k.Ports[1])
		}
	}
	return nil
}
