// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build race

package mesh

// size makes towns smaller where every step costs ten times as much.
func size(n int) int { return max(min(n, 40), n*2/5) }
