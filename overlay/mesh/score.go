// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

// deliveryScore says how well messages arrive that were given to a neighbour.
type deliveryScore struct{}
