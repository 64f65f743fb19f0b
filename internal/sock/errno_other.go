// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !windows

package sock

import "syscall"

// passingErrors returns read errors that are the news of one datagram, or of
// one moment: ICMP messages about what was sent, a full table, a firewall.
func passingErrors() []error {
	return []error{
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EMSGSIZE,
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN,
		syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM, syscall.EACCES, syscall.EINTR, syscall.EAGAIN,
	}
}
