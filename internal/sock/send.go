// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"fmt"
	"net"
)

// Send sends one packet to the primary path and a copy to each duplicate. It
// fails only when no path took it: with the primary's error, ErrNoPath, or
// net.ErrClosed after Close.
func (p *Peer) Send(b []byte) error {
	r := p.route.Load()
	if r == nil {
		if p.state.Load() == closed {
			return fmt.Errorf("sock: send: peer is closed: %w", net.ErrClosed)
		}
		return ErrNoPath
	}
	err := p.s.WriteTo(r.primary, b)
	for _, a := range r.also {
		if p.s.WriteTo(a, b) == nil {
			err = nil
		}
	}
	return err
}

// sendQUIC sends what QUIC wrote for this peer. Nothing that happens here is
// QUIC's business: a path that fails is a lost packet.
func (p *Peer) sendQUIC(b []byte) {
	r := p.route.Load()
	if r == nil {
		p.s.drops.add(noPath)
		return
	}
	if p.state.Load() == known { // strangers get no memory
		p.replay.record(&p.s.pool, b, p.s.now())
		if p.state.Load() == closed { // meanwhile: nobody would free it
			p.replay.free(&p.s.pool)
		}
	}
	if p.Send(b) != nil {
		p.s.drops.add(writeFailed)
	}
}
