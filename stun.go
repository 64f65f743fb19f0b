// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"net/netip"
	"time"
)

// findServers looks up Config.STUN: again while none is found, and in another
// network, which may know others by these names.
func (n *Node) findServers() {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		var list []netip.AddrPort
		for _, s := range n.cfg.STUN {
			addrs, err := resolve(n.ctx, s)
			if err != nil {
				n.log.Debug("STUN server not found", "server", s, "err", err)
			}
			list = append(list, addrs...)
		}
		if len(list) > 0 {
			n.ov.SetServers(list)
		}
		again := time.After(wait)
		if len(list) > 0 {
			again, wait = nil, retryFirst/2
		}
		select {
		case <-again:
		case <-n.moved:
		case <-n.ctx.Done():
			return
		}
	}
}
