// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"fmt"
	"net/netip"

	"github.com/p2pos/p2pos/internal/wire"
)

// mark is what a local connection puts on packets of media (RFC 2474): the
// control messages of both families, made once. nil = nothing.
type mark struct{ v4, v6 []byte }

func newMark(dscp uint8) *mark {
	if dscp == 0 || !dscpWorks {
		return nil
	}
	return &mark{dscpMessage(true, dscp), dscpMessage(false, dscp)}
}

// relayHeader is in front of a relayed packet: first byte and flow id.
const relayHeader = 5

// isMedia tells whether a packet is of voice or picture, also within a relayed
// frame.
func isMedia(b []byte) bool {
	for len(b) > relayHeader && wire.KindOf(b[0]) == wire.Relay {
		b = b[relayHeader:]
	}
	return len(b) > 0 && wire.KindOf(b[0]) == wire.Media
}

func (l *local) writeMarked(to netip.AddrPort, b []byte) error {
	oob := l.mark.v6
	if to.Addr().Is4() {
		oob = l.mark.v4
	}
	if _, _, err := l.udp.WriteMsgUDPAddrPort(b, oob, to); err != nil {
		return fmt.Errorf("sock: write to %v: %w", to, err)
	}
	l.sent.Add(uint64(len(b)))
	return nil
}
