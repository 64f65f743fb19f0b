// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// Remove forgets a path that is known to be gone for good: a relay has closed
// its flow, a connection has broken.
func (p *Paths) Remove(now time.Time, path sock.Path) {
	p.tick(now)
	e := p.find(unmapped(path))
	if e == nil {
		return
	}
	e.gone = true
	if e == p.primary {
		p.replace(LostSock)
	}
	p.sweep()
	p.send()
}
