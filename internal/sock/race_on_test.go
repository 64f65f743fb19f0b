// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build race

package sock

// raceEnabled: the detector makes sync.Pool forget at random, so nothing can
// be said about allocations.
const raceEnabled = true
