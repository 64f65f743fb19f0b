// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const ttlWorks = true

// ttlMessage is the control message (ip(7), ipv6(7)):
//
//	length of all (4 or 8 bytes, as the machine's words)   level (4)   type (4)   value (4), padded
func ttlMessage(ipv4 bool, ttl uint8) []byte {
	if ipv4 {
		return intMessage(unix.IPPROTO_IP, unix.IP_TTL, uint32(ttl))
	}
	return intMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, uint32(ttl))
}

func intMessage(level, typ, value uint32) []byte {
	b := make([]byte, 0, 32)
	if unix.SizeofCmsghdr == 16 {
		b = binary.NativeEndian.AppendUint64(b, uint64(unix.CmsgLen(4)))
	} else {
		b = binary.NativeEndian.AppendUint32(b, uint32(unix.CmsgLen(4)))
	}
	b = binary.NativeEndian.AppendUint32(b, level)
	b = binary.NativeEndian.AppendUint32(b, typ)
	b = binary.NativeEndian.AppendUint32(b, value)
	return b[:unix.CmsgSpace(4)]
}
