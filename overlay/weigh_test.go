// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"slices"
	"testing"
)

// A relay is judged by what another one of the same call brings, and only when that is
// enough to judge by.
func TestLight(t *testing.T) {
	for _, c := range []struct {
		came []uint64
		all  uint64
		want []bool
	}{
		{nil, 0, []bool{}},
		{[]uint64{50}, 50, []bool{false}},
		{[]uint64{0}, 0, []bool{false}},
		{[]uint64{50, 50}, 50, []bool{false, false}},
		{[]uint64{50, 25}, 50, []bool{false, false}},
		{[]uint64{24, 50}, 50, []bool{true, false}},
		{[]uint64{0, 10}, 10, []bool{true, false}},                        // DTX
		{[]uint64{0, 7}, 7, []bool{false, false}},                         // hardly anything is said
		{[]uint64{0, 50, 300, 25}, 50, []bool{true, false, false, false}}, // one doubles
	} {
		if got := light(c.came, c.all); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v", c.came, got)
		}
	}
}
