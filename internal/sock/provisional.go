// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"encoding/binary"
	"net"
	"slices"
	"time"
)

const (
	// MaxProvisional bounds the peers that have sent an Initial and proved
	// nothing yet: 1 MiB of ours; QUIC sends Retry from 256 on.
	MaxProvisional = 1024

	// ProvisionalLife is how long a stranger has for its handshake: QUIC's own
	// limit, twice its handshake idle timeout.
	ProvisionalLife = 10 * time.Second

	// provisionalStay is how long a stranger is safe from being replaced by the
	// next one when all places are taken: a handshake with Retry over the
	// worst path a call could use. So it takes 1,024 Initials a second, and not
	// 1,024 in ten seconds, to keep everybody else out.
	provisionalStay = time.Second

	// minInitial is the least length of a datagram with an Initial packet
	// (RFC 9000 §14.1).
	minInitial = 1200

	maxConnectionID = 20 // RFC 9000 §17.2

	version1 = 1          // RFC 9000
	version2 = 0x6b3343cf // RFC 9369
)

// isInitial reports whether b begins with an Initial packet of QUIC version 1
// or 2 and is as long as a datagram with one must be.
func isInitial(b []byte) bool {
	if len(b) < minInitial || b[0]&0xc0 != 0xc0 {
		return false
	}
	kind := b[0] >> 4 & 3
	switch binary.BigEndian.Uint32(b[1:]) {
	case version1:
		if kind != 0 {
			return false
		}
	case version2:
		if kind != 1 { // RFC 9369 §3.2
			return false
		}
	default:
		return false
	}
	dst := int(b[5])
	return dst <= maxConnectionID && b[6+dst] <= maxConnectionID
}

// admit returns a provisional peer for an Initial from an unknown path, or nil.
func (s *Socket) admit(path Path, now time.Duration) *Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if at := s.bound[path]; at != nil { // bound since the caller looked
		return at.peer
	}
	if s.known >= MaxPeers {
		s.drops.add(peersFull)
		return nil
	}
	if s.provisional.Len() >= MaxProvisional {
		oldest := s.provisional.Front().Value.(*Peer)
		if now-oldest.born < provisionalStay {
			s.drops.add(provisionalFull)
			return nil
		}
		oldest.forget()
	}
	p := s.newPeer(provisional, now)
	p.pending = s.provisional.PushBack(p)
	p.route.Store(&route{primary: path})
	p.bind(path)
	return p
}

func (p *Peer) expired(now time.Duration) bool {
	return p.state.Load() == provisional && now-p.born >= ProvisionalLife
}

// expire forgets provisional peers whose time is over; s.mu is held.
func (s *Socket) expire(now time.Duration) {
	for e := s.provisional.Front(); e != nil; e = s.provisional.Front() {
		p := e.Value.(*Peer)
		if !p.expired(now) {
			return
		}
		p.forget()
	}
}

// Provisional returns how many peers have sent an Initial and are not
// confirmed yet. quic.Transport.VerifySourceAddress should ask for Retry when
// there are more than 256.
func (s *Socket) Provisional() int {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	return s.provisional.Len()
}

// Confirm says who a provisional peer is, and returns the peer that stands for
// it from now on. With nil it is somebody new: p stays. Otherwise it is the
// same one as into, whose alias p's virtual address becomes: writes to it take
// into's paths, and QUIC packets from any path of into show it as their
// source. The path p came on is bound to into and gets a duplicate of what is
// sent until the next Use, because of all paths it is the one that was alive
// just now; it is the primary when into has none.
//
// When p has expired or is closed, nothing changes and p is returned, or into
// where given: its link can't go on, and the caller closes it (see Closed).
func (p *Peer) Confirm(into *Peer) *Peer {
	s := p.s
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if into == nil || into == p || into.state.Load() == closed {
		p.keep()
		return p
	}
	if p.state.Load() == closed {
		return into
	}
	into.keep()
	aliases, paths, from := p.aliases, p.paths, p.route.Load()
	p.forget()
	for _, a := range aliases {
		into.addAlias(a)
	}
	for _, path := range paths {
		into.bind(path)
	}
	into.shown.Store(aliases[len(aliases)-1])
	into.received.Store(max(into.received.Load(), p.received.Load()))
	into.join(from)
	return into
}

// keep makes a provisional peer a known one; s.mu is held.
func (p *Peer) keep() {
	if p.state.CompareAndSwap(provisional, known) {
		p.s.provisional.Remove(p.pending)
		p.pending = nil
		p.s.known++ // ≤ MaxPeers + MaxProvisional: admit and NewPeer stop at MaxPeers
	}
}

// addAlias gives the peer one more virtual address, in place of its oldest
// alias when it has MaxAliases; s.mu is held.
func (p *Peer) addAlias(a *net.UDPAddr) {
	if len(p.aliases) >= MaxAliases {
		delete(p.s.virtual, p.aliases[1].AddrPort()) // the first is Addr
		p.aliases = slices.Delete(p.aliases, 1, 2)
	}
	p.aliases = append(p.aliases, a)
	p.s.virtual[a.AddrPort()] = p
}

// join adds the route of a merged peer to that of p; s.mu is held.
func (p *Peer) join(from *route) {
	next := from
	if old := p.route.Load(); old != nil && from != nil {
		also := slices.Clone(old.also)
		if len(also) == MaxAlso && from.primary != old.primary && !slices.Contains(also, from.primary) {
			also = also[1:] // the path that is alive matters more
		}
		next = &route{primary: old.primary, also: also}
		next.add(from.primary)
	}
	if next != nil {
		p.route.Store(next)
	}
}
