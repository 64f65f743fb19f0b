// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !linux

package natlab

import "net/netip"

// Capture sees every IP packet that leaves a host; on Linux alone.
type Capture struct{}

// Sent is where packets went.
type Sent struct {
	To       netip.AddrPort
	Protocol uint8
}

// Capture fails the test.
func (h *Host) Capture() *Capture {
	h.site.lab.must(errNone)
	return nil
}

// Stop returns nothing.
func (*Capture) Stop() map[Sent]int { return nil }
