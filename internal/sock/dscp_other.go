// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !linux

package sock

// Elsewhere packets of media go out like all others.
const dscpWorks = false

func dscpMessage(bool, uint8) []byte { return nil }
