// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import "github.com/p2pos/p2pos/nat"

// reason says in plain words why a peer is not reached directly.
func (k *punching) reason() string {
	switch {
	case k.plan.Reason != "":
		return k.plan.Reason
	case k.run != nil:
		return "a direct path is still being looked for"
	case !k.tried:
		return "no direct path has been tried yet"
	case len(k.plan.Steps) > 0 && k.end == nat.Nothing: // see startPunch
		return "no ports were searched: that takes a call, and two nodes of different networks that see the other side"
	case len(k.plan.Steps) > 0 && k.end != nat.Won:
		return "ports were searched in vain: " + k.end.String()
	case k.plan.Method == nat.Straight:
		return "the side that everybody should reach did not answer"
	}
	return "both sides wrote to each other's addresses, and nothing came through"
}
