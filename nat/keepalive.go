// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import "time"

const (
	// leastKeepalive: more often costs a phone its battery, and what lives
	// shorter is re-punched anyway.
	leastKeepalive = 5 * time.Second
	// mostKeepalive bounds the pause even where mappings live for longer: the
	// idle path's death is found by these probes, and firewalls on the way
	// that nobody measured forget UDP after one or two minutes.
	mostKeepalive = 60 * time.Second
	// openKeepalive is for a node that has nothing to keep open: what it needs
	// is to notice who has gone.
	openKeepalive = 30 * time.Second
)

// KeepaliveOf returns the pause between probes that keeps our own mappings alive:
// four fifths of their life, where that is known, and RFC 8445 §11's 15 s where
// not. The peer looks after its own.
func KeepaliveOf(b Behaviour) time.Duration {
	life := b.Replied
	if life == 0 {
		life = b.Unreplied // an answer never shortens it
	}
	switch {
	case b.Absolute > 0:
		return leastKeepalive // each new mapping is shown soon, or nobody finds us
	case life > 0:
	case b.Mapping == NoNAT && b.Filtering == NoNAT:
		return openKeepalive
	default:
		return defaultKeepalive
	}
	return min(max(life/5*4, leastKeepalive), mostKeepalive)
}
