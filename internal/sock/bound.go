// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

// PeerOn returns whom datagrams from a path belong to, or nil.
func (s *Socket) PeerOn(path Path) *Peer {
	at := s.binding(path.canonical())
	if at == nil || at.peer.expired(s.now()) {
		return nil
	}
	return at.peer
}
