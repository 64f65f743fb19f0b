// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !windows

package store

import "syscall"

var fullErrors = [...]syscall.Errno{syscall.ENOSPC, syscall.EDQUOT}
