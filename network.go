// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"net"
	"slices"
)

// watchable reports whether changes of this machine's network concern any of
// the sockets: real ones, not on loopback.
func watchable(conns []net.PacketConn) bool {
	return slices.ContainsFunc(conns, func(c net.PacketConn) bool {
		u, ok := c.(*net.UDPConn)
		return ok && !u.LocalAddr().(*net.UDPAddr).IP.IsLoopback()
	})
}

// networkChanged takes the news that this machine's addresses, or its way to
// the network, have become other ones. Sockets on all addresses stay.
func (n *Node) networkChanged() {
	n.ov.NetworkChanged()
	n.ports.refresh()
	n.near.refresh()
	select {
	case n.moved <- struct{}{}:
	default:
	}
}
