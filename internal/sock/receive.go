// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import "github.com/p2pos/p2pos/internal/wire"

// receive hands one datagram to whoever it is for, and reports whether it kept
// the buffer.
func (s *Socket) receive(p Path, buf *buffer) (kept bool) {
	switch {
	case buf.n == 0:
		s.drops.add(garbage)
		return false
	case buf.n > MaxDatagram:
		s.drops.add(oversize)
		return false
	case p.Remote.Port() == 0 || !p.Remote.Addr().IsValid() || p.Remote.Addr().IsUnspecified() || p.Remote.Addr().IsMulticast():
		s.drops.add(badSource)
		return false
	}
	b := buf.data()
	switch wire.KindOf(b[0]) {
	case wire.QUIC:
		return s.receiveQUIC(p, buf)
	case wire.Media:
		kind := Forged
		if s.cfg.Media != nil {
			kind = s.cfg.Media(p, b)
		}
		if kind == Forged {
			s.drops.add(unsignalled)
		} else if at := s.binding(p); at != nil {
			at.heard.Store(int64(s.now()))
			at.count(kind)
		}
	case wire.STUN:
		if !ValidSTUN(b) {
			s.drops.add(badSTUN)
		} else if s.cfg.STUN == nil {
			s.drops.add(unreadSTUN)
		} else {
			s.cfg.STUN(p, b)
		}
	case wire.Relay:
		if s.cfg.Relay == nil {
			s.drops.add(relayed)
		} else {
			s.cfg.Relay(p, b)
		}
	case wire.DTLS:
		s.drops.add(dtls)
	default:
		s.drops.add(garbage)
	}
	return false
}

func (s *Socket) receiveQUIC(p Path, buf *buffer) (kept bool) {
	var peer *Peer
	now := s.now()
	if at := s.binding(p); at != nil && !at.peer.expired(now) {
		peer = at.peer
	} else if !isInitial(buf.data()) {
		s.drops.add(unknownSource)
		return false
	} else if peer = s.admit(p, now); peer == nil {
		return false
	}
	peer.received.Store(int64(now))
	s.quic.push(peer.shown.Load(), buf)
	return true
}

func (s *Socket) binding(p Path) *binding {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bound[p]
}
