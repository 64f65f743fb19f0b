// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import "golang.org/x/sys/unix"

const dscpWorks = true

// dscpMessage is a control message for one datagram: others on the same socket
// stay as they are. The DSCP are the upper six bits of the byte.
func dscpMessage(ipv4 bool, dscp uint8) []byte {
	if ipv4 {
		return intMessage(unix.IPPROTO_IP, unix.IP_TOS, uint32(dscp)<<2)
	}
	return intMessage(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, uint32(dscp)<<2)
}
