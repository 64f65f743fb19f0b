// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build race

package nat

// raceOn says that the race detector slows everything down.
const raceOn = true
