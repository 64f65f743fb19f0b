// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "net/netip"

// ServerResult is what an RFC 5780 server showed of the NAT.
type ServerResult struct {
	Mapping   Dependence     // by the tests of §4.3
	Filtering Dependence     // by those of §4.4
	Seen      netip.AddrPort // our socket's outside address
}
