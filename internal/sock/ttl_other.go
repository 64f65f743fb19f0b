// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !linux

package sock

// Elsewhere first shots go out like all others.
const ttlWorks = false

func ttlMessage(bool, uint8) []byte { return nil }
