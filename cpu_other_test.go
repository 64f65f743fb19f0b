// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !unix

package p2pos

import "time"

// cpuTime is not measured here.
func cpuTime() time.Duration { return 0 }
