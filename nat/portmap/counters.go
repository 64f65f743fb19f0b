// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import "sync/atomic"

// counters is Stats while it grows; any goroutine may add.
type counters struct {
	malformed, mismatched, foreign, oversized atomic.Uint64
	badExternal, badLifetime, refused, events atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		Malformed: c.malformed.Load(), Mismatched: c.mismatched.Load(),
		Foreign: c.foreign.Load(), Oversized: c.oversized.Load(),
		BadExternal: c.badExternal.Load(), BadLifetime: c.badLifetime.Load(),
		Refused: c.refused.Load(), Events: c.events.Load(),
	}
}
