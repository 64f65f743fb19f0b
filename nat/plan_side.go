// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math"
	"time"
)

const (
	// worstStep bounds a counter's step: no NAT is known to skip more ports.
	worstStep = 64
	// shortLife and longLife bound what a mapping's life is believed to be:
	// RFC 4787 §4.3 has seen 30 s, and an hour is as good as for ever.
	shortLife = 5 * time.Second
	longLife  = time.Hour
	// maxLive bounds the mappings that one node holds, whatever its share is.
	maxLive = 2048
	// Where a NAT preserves ports, those bound are in here: systems give out
	// higher ones to other programs, and lower ones are servers'.
	bindFirst, bindLast = 10240, 32767
)

// side is what a plan looks at of one node's behaviour.
type side struct {
	blocked bool // no UDP
	open    bool // strangers' packets come in at a known port
	steady  bool // one outside port, which the other side was told
	// Otherwise:
	chosen     Range // bound ports within are kept outside
	once       bool  // but for a socket's first destination only
	perAddress bool  // one mapping for all ports of the peer's address
	counter    bool  // ports count up or down by step
	step       int
	ports      Range // where its ports are
	block      bool  // and that is less than all of them

	preserves bool // keeps inside ports, for all we know: netfilter, where an early packet from outside moves them
	loose     bool // lets in any port of an address written to
	free      bool // lets in anybody who knows the port
	arbitrary bool // several public addresses, taken at random
	life      time.Duration
}

// known reports whether the other side knows an outside port of this one.
func (s side) known() bool { return s.steady || s.chosen.Size() > 0 }

// reaches reports whether one known outside port can try many ports of the
// peer's.
func (s side) reaches() bool { return s.known() && !s.once }

// sweepable reports whether the side's ports can all be tried.
func (s side) sweepable() bool { return s.block && s.ports.Size() <= mostShots }

// live is how many mappings the side may have at a time. Without a block there
// is nothing a share could be taken of.
func (s side) live(o PlanOptions) int {
	share := o.Share
	if share == 0 || math.IsNaN(share) || share < 0 {
		share = defaultShare
	}
	share = min(share, mostShare)
	if !s.block || s.steady || s.open {
		return maxLive
	}
	return min(int(share*float64(s.ports.Size())), maxLive)
}

func sideOf(b Behaviour, mapped bool) side {
	s := side{
		blocked:   (b.Mapping == UDPBlocked || b.Filtering == UDPBlocked) && !mapped,
		preserves: b.Ports == Preserved || b.Ports == UnknownPorts,
		free:      b.Filtering == EndpointIndependent || b.Filtering == NoNAT,
		arbitrary: b.Arbitrary == Yes && len(b.Public) != 1,
		life:      b.Unreplied,
		ports:     fullRange(),
	}
	s.loose = s.free || b.Filtering == AddressDependent
	if s.life <= 0 {
		s.life = unknownLife
	}
	s.life = min(max(s.life, shortLife), longLife)
	s.open = mapped || b.Mapping == NoNAT && s.free
	if r := (Range{b.Block[0], b.Block[1]}); r.Size() > 0 {
		s.ports, s.block = r, r.Size() < fullRange().Size()/2
	}
	switch b.Mapping {
	case AddressDependent:
		s.perAddress = true
	case AddressAndPortDependent:
	default: // of what isn't known yet the best is hoped
		s.steady = true
		return s
	}
	switch {
	case b.Chosen == Yes && s.block:
		s.chosen = s.ports
	case b.Ports == Preserved && !s.arbitrary:
		// A fresh socket's first destination keeps the port.
		s.chosen, s.once = Range{bindFirst, bindLast}, true
	case b.Ports == Sequential && b.Step != 0 && b.Step >= -worstStep && b.Step <= worstStep:
		s.counter, s.step = true, b.Step
	}
	return s
}

func hasIPv6(b Behaviour) bool { return b.IPv6 == OpenIPv6 || b.IPv6 == FirewalledIPv6 }
