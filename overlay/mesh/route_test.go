// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"fmt"
	"testing"
	"time"
)

func TestSteady(t *testing.T) {
	for _, n := range []int{2, 10, 64, 300, 2000} {
		w := newRouteWorld(t, 1, n)
		links := 0
		for _, x := range w.nodes {
			links += len(x.c.table.list)
		}
		f := fateOf(w.traffic(1000, 100*time.Second))
		f.log(t, fmt.Sprintf("steady, n=%d, %d links", n, links/n))
		t.Logf("   %d messages a ring", w.moved/f.n)
		if f.ok != f.n || f.answered != f.n {
			t.Errorf("n=%d: %d of %d arrived, %d answered", n, f.ok, f.n, f.answered)
		}
	}
}
