// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !linux && !darwin

package carrier

import "net"

// sendBuffer bounds what the kernel holds where nothing finer is known: 100 ms
// at 5 Mbit/s.
const sendBuffer = 64 << 10

// limitUnsent bounds what the kernel keeps.
func limitUnsent(c *net.TCPConn) { _ = c.SetWriteBuffer(sendBuffer) }
