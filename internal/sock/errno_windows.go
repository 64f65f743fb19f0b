// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import "syscall"

// passingErrors returns read errors that are the news of one datagram: on
// Windows a socket reports ICMP messages about what it has sent (WSAECONNRESET,
// WSAENETRESET) and datagrams longer than the buffer (WSAEMSGSIZE).
func passingErrors() []error {
	return []error{
		syscall.WSAECONNRESET,
		syscall.Errno(10040), // WSAEMSGSIZE
		syscall.Errno(10050), // WSAENETDOWN
		syscall.Errno(10051), // WSAENETUNREACH
		syscall.Errno(10052), // WSAENETRESET
		syscall.Errno(10055), // WSAENOBUFS
		syscall.Errno(10061), // WSAECONNREFUSED
		syscall.Errno(10065), // WSAEHOSTUNREACH
		syscall.Errno(1234),  // ERROR_PORT_UNREACHABLE
	}
}
