// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import "time"

// epoch watches the counter with which a router tells for how many seconds it
// has kept its mappings. A counter that doesn't fit the time that went by
// means that it forgot them.
type epoch struct {
	known   bool
	seconds uint32
	heard   time.Time
}

// observe takes the counter's value and reports whether the router lost its
// state since the last one (RFC 6887 §8.5). Clocks may differ by a sixteenth
// and two seconds; a step back of one second is reordering.
func (e *epoch) observe(now time.Time, seconds uint32) (lost bool) {
	if e.known {
		client := int64(now.Sub(e.heard) / time.Second)
		server := int64(seconds) - int64(e.seconds)
		lost = server < -1 || client+2 < server-server/16 || server+2 < client-client/16
	}
	*e = epoch{known: true, seconds: seconds, heard: now}
	return lost
}
