// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !race

package sock

const raceEnabled = false
