// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
)

// ports knows which outside ports of a box are taken and chooses the next.
type ports struct {
	rng    *rand.Rand
	taken  map[netip.AddrPort]bool // mapped or resting
	count  map[netip.Addr]int      // of taken, by outside address
	last   map[netip.Addr]uint16   // the last port Sequential gave out
	blocks map[netip.AddrPort]bool // first ports of blocks that belong to a host
}

// randomTries is how often a random port is drawn before the ports are gone
// through one by one: at three quarters full that many misses in a row happen once
// in 10,000 times.
const randomTries = 32

func (p *ports) reset(c *NATConfig) {
	p.taken = map[netip.AddrPort]bool{}
	p.count = map[netip.Addr]int{}
	p.blocks = map[netip.AddrPort]bool{}
	p.last = map[netip.Addr]uint16{}
}

// address draws an outside address of in's family.
func (p *ports) address(c *NATConfig, in netip.Addr) netip.Addr {
	var of []netip.Addr
	for _, a := range c.Pool {
		if a.Is4() == in.Is4() {
			of = append(of, a)
		}
	}
	if len(of) == 1 {
		return of[0]
	}
	return of[p.rng.IntN(len(of))]
}

// take reserves an outside address and port for a host's new mapping.
func (p *ports) take(c *NATConfig, h *subscriber, want uint16) (netip.AddrPort, bool) {
	a := h.pool
	if !a.IsValid() {
		a = p.address(c, h.addr)
	}
	port, ok := p.choose(c, h, a, want)
	if !ok {
		return netip.AddrPort{}, false
	}
	out := netip.AddrPortFrom(a, port)
	p.taken[out] = true
	p.count[a]++
	return out, true
}

func (p *ports) choose(c *NATConfig, h *subscriber, a netip.Addr, want uint16) (uint16, bool) {
	low, span := c.Block[0], int(c.Block[1])-int(c.Block[0])+1
	if p.count[a] >= span {
		return 0, false
	}
	switch c.Ports {
	case Preserve:
		if want >= low && want <= c.Block[1] && !p.taken[netip.AddrPortFrom(a, want)] {
			return want, true
		}
	case Sequential:
		var at int
		if last, ok := p.last[a]; ok {
			at = (int(last-low) + c.Step) % span
		} else {
			at = p.rng.IntN(span) // it has been running for a while
		}
		port, ok := p.from(a, low, span, at)
		p.last[a] = port
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
		if !p.taken[netip.AddrPortFrom(a, port)] {
			return port, true
		}
	}
	return p.from(a, low, span, p.rng.IntN(span))
}

// from returns the first free port at or after low+at, going round once.
func (p *ports) from(a netip.Addr, low uint16, span, at int) (uint16, bool) {
	for i := range span {
		port := low + uint16((at+i)%span)
		if !p.taken[netip.AddrPortFrom(a, port)] {
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
	delete(p.taken, out)
	p.count[out.Addr()]--
}

// leave takes a host's blocks back.
func (p *ports) leave(h *subscriber) {
	for _, first := range h.blocks {
		delete(p.blocks, netip.AddrPortFrom(h.pool, first))
	}
	h.blocks = slices.Delete(h.blocks, 0, len(h.blocks))
}
