// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"fmt"
	"net/netip"
	"strings"
)

// rules returns the nftables rules of a gateway, which replace all that are
// there. Its LAN is lan0, its way out wan0; k is nil where it only forwards.
// With portMap there are chains for miniupnpd.
//
// Unsolicited input is dropped by a filter, that is before conntrack confirms
// an entry, so it leaves no trace behind, unless k says otherwise.
func rules(k *Kernel, outside netip.Addr, v6 IPv6, noUDP, portMap bool) string {
	var b strings.Builder
	b.WriteString("flush ruleset\n")
	if k == nil && !noUDP {
		return b.String() // no conntrack either
	}
	if k != nil {
		nat := "masquerade"
		if k.Ports != [2]uint16{} {
			nat = fmt.Sprintf("meta l4proto { tcp, udp } snat to %v:%d-%d", outside, k.Ports[0], k.Ports[1])
		}
		if k.Random {
			nat += " fully-random"
		}
		fmt.Fprintf(&b, "table ip nat {\n\tchain post {\n\t\ttype nat hook postrouting priority srcnat;\n\t\toifname wan0 %s\n", nat)
		if k.Ports != [2]uint16{} {
			b.WriteString("\t\toifname wan0 masquerade\n") // what has no ports
		}
		b.WriteString("\t}\n}\n")
	}

	b.WriteString("table inet guard {\n")
	for _, hook := range []string{"prerouting", "output"} {
		// Neighbour discovery and multicast reports are no mappings.
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority raw;\n\t\tmeta l4proto igmp notrack\n"+
			"\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, "+
			"mld-listener-query, mld-listener-report, mld2-listener-report } notrack\n\t}\n", hook, hook)
	}
	if k != nil && !k.AcceptInput {
		b.WriteString("\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n" +
			"\t\tct state established,related accept\n\t\tiifname { lo, lan0 } accept\n\t}\n")
	}
	if portMap {
		b.WriteString(portMapChains)
	}
	b.WriteString("\tchain forward {\n\t\ttype filter hook forward priority filter;")
	if k == nil {
		b.WriteString("\n\t\tmeta l4proto udp drop\n\t}\n}\n")
		return b.String()
	}
	b.WriteString(" policy drop;\n")
	if noUDP {
		b.WriteString("\t\tmeta l4proto udp drop\n")
	}
	b.WriteString("\t\tct state established,related accept\n\t\tiifname lan0 oifname wan0 accept\n")
	if portMap {
		b.WriteString("\t\tiifname wan0 jump miniupnpd\n")
	}
	if v6 == OpenIPv6 {
		b.WriteString("\t\tiifname wan0 meta nfproto ipv6 accept\n")
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
