// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"errors"
	"fmt"
)

// CanTTL reports whether a local connection can send single datagrams with a
// TTL of their own: real sockets on Linux can. The socket's own TTL is never
// changed, since others use it at the same time.
func (s *Socket) CanTTL(local int) bool {
	l := s.local(local)
	return ttlWorks && l != nil && l.udp != nil
}

// WriteTTL is WriteTo for a datagram with a TTL, or hop limit, of its own. Where
// that can't be had nothing is sent; the error wraps errors.ErrUnsupported then.
func (s *Socket) WriteTTL(p Path, b []byte, ttl uint8) error {
	l := s.local(p.Local)
	if l == nil {
		return ErrLocal
	}
	if !s.CanTTL(p.Local) {
		return fmt.Errorf("sock: write with a TTL: %w", errors.ErrUnsupported)
	}
	if _, _, err := l.udp.WriteMsgUDPAddrPort(b, ttlMessage(p.Remote.Addr().Is4(), ttl), p.Remote); err != nil {
		return fmt.Errorf("sock: write to %v: %w", p.Remote, err)
	}
	l.sent.Add(uint64(len(b)))
	return nil
}
