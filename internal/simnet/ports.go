// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
)

// ports chooses the outside ports of a box. A 10⁵-node simulation has as many
// boxes as nodes, so it keeps no map of its own for what the mappings tell.
type ports struct {
	rng    *rand.Rand
	outer  map[netip.AddrPort]*mapping // the box's; nil for a port that rests
	pool   []poolAddr
	blocks map[netip.AddrPort]bool // first ports of blocks that belong to a host
}

// poolAddr is an address of the pool and what is taken of it.
type poolAddr struct {
	netip.Addr
	taken int    // ports mapped or resting
	last  uint16 // port that Sequential gave out; 0 = none yet
}

// randomTries is how often a random port is drawn before the ports are gone
// through one by one: at three quarters full that many misses in a row happen once
// in 10,000 times.
const randomTries = 32

func (p *ports) reset(c *NATConfig, outer map[netip.AddrPort]*mapping) {
	p.outer, p.blocks = outer, map[netip.AddrPort]bool{}
	p.pool = nil
	for _, a := range c.Pool {
		p.pool = append(p.pool, poolAddr{Addr: a})
	}
}

// at returns the pool's entry for an address.
func (p *ports) at(a netip.Addr) *poolAddr {
	for i := range p.pool {
		if p.pool[i].Addr == a {
			return &p.pool[i]
		}
	}
	return nil
}

// address draws an outside address of in's family; there must be one.
func (p *ports) address(in netip.Addr) netip.Addr {
	n := 0
	for i := range p.pool {
		if p.pool[i].Is4() == in.Is4() {
			n++
		}
	}
	k := 0
	if n > 1 {
		k = p.rng.IntN(n)
	}
	for i := range p.pool {
		if p.pool[i].Is4() != in.Is4() {
			continue
		}
		if k == 0 {
			return p.pool[i].Addr
		}
		k--
	}
	panic("simnet: no outside address for " + in.String())
}

// take chooses an outside address and port for a host's new mapping; it is
// taken once the caller has put it into outer.
func (p *ports) take(c *NATConfig, h *subscriber, want uint16) (netip.AddrPort, bool) {
	a := h.pool
	if !a.IsValid() {
		a = p.address(h.addr)
	}
	o := p.at(a)
	port, ok := p.choose(c, h, o, want)
	if !ok {
		return netip.AddrPort{}, false
	}
	o.taken++
	return netip.AddrPortFrom(a, port), true
}

func (p *ports) free(out netip.AddrPort) bool {
	_, taken := p.outer[out]
	return !taken
}

func (p *ports) choose(c *NATConfig, h *subscriber, o *poolAddr, want uint16) (uint16, bool) {
	a := o.Addr
	low, span := c.Block[0], int(c.Block[1])-int(c.Block[0])+1
	if o.taken >= span {
		return 0, false
	}
	switch c.Ports {
	case Preserve:
		if want >= low && want <= c.Block[1] && p.free(netip.AddrPortFrom(a, want)) {
			return want, true
		}
	case Sequential:
		at := 0
		if o.last != 0 {
			at = int(o.last-low) + c.Step
		} else {
			at = p.rng.IntN(span) // it has been running for a while
		}
		port, ok := p.from(a, low, span, at)
		o.last = port
		return port, ok
	case Block:
		if c.BlockSize > 0 {
			return p.inBlocks(c, h, a)
		}
	}
	return p.random(a, low, span)
}

// random returns a free port among span ports from low on.
func (p *ports) random(a netip.Addr, low uint16, span int) (uint16, bool) {
	for range randomTries {
		port := low + uint16(p.rng.IntN(span))
		if p.free(netip.AddrPortFrom(a, port)) {
			return port, true
		}
	}
	return p.from(a, low, span, p.rng.IntN(span))
}

// from returns the first free port at or after low+at, going round once.
func (p *ports) from(a netip.Addr, low uint16, span, at int) (uint16, bool) {
	for i := range span {
		port := low + uint16((at+i)%span)
		if p.free(netip.AddrPortFrom(a, port)) {
			return port, true
		}
	}
	return 0, false
}

// inBlocks returns a free port in one of the host's blocks, and gives it one
// more when they are full (RFC 6888 §2, RFC 7422).
func (p *ports) inBlocks(c *NATConfig, h *subscriber, a netip.Addr) (uint16, bool) {
	for _, first := range h.blocks {
		if port, ok := p.random(a, first, c.BlockSize); ok {
			return port, true
		}
	}
	if len(h.blocks) >= c.Blocks {
		return 0, false
	}
	n := (int(c.Block[1]) - int(c.Block[0]) + 1) / c.BlockSize
	at := p.rng.IntN(n)
	for i := range n {
		first := c.Block[0] + uint16((at+i)%n*c.BlockSize)
		if key := netip.AddrPortFrom(a, first); !p.blocks[key] {
			port, ok := p.random(a, first, c.BlockSize)
			if !ok {
				continue // still resting from its last owner
			}
			p.blocks[key] = true
			h.blocks = append(h.blocks, first)
			h.pool = a // its blocks are there
			return port, true
		}
	}
	return 0, false
}

// release makes a port free again.
func (p *ports) release(out netip.AddrPort) {
	delete(p.outer, out)
	p.at(out.Addr()).taken--
}

// leave takes a host's blocks back.
func (p *ports) leave(h *subscriber) {
	for _, first := range h.blocks {
		delete(p.blocks, netip.AddrPortFrom(h.pool, first))
	}
	h.blocks = slices.Delete(h.blocks, 0, len(h.blocks))
}
