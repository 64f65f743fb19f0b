// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"fmt"
	"net/netip"

	"github.com/p2pos/p2pos/internal/wire"
)

// mark is what real connections put on packets of media (RFC 2474): the control
// messages of both families, made once for a Socket. nil = nothing.
type mark struct{ v4, v6 []byte }

func newMark(dscp uint8) *mark {
	if dscp == 0 || !dscpWorks {
		return nil
	}
	return &mark{dscpMessage(true, dscp), dscpMessage(false, dscp)}
}

// isMedia tells whether a packet is of voice or picture, also within a relayed
// frame.
func isMedia(b []byte) bool {
	for len(b) > wire.RelayHeader && wire.KindOf(b[0]) == wire.Relay {
		b = b[wire.RelayHeader:]
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
