// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package order

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// card is worth something, and was dealt at a place.
type card struct{ worth, dealt int }

func byWorth(a, b card) int { return a.worth - b.worth }

// Both agree with package slices, on lists of all short lengths and a long one:
// golden traces of simulations depend on where equal elements end up.
func TestAsSlices(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 10, 12, 13, 20, 21, 50, 51, 500} {
		hand := make([]card, n)
		for i := range hand {
			hand[i] = card{worth: rng.IntN(n/3 + 1), dealt: i}
		}
		for _, c := range []struct {
			name      string
			got, want func([]card, func(a, b card) int)
		}{
			{"Sort", Sort[[]card], slices.SortFunc[[]card]},
			{"Stable", Stable[[]card], slices.SortStableFunc[[]card]},
		} {
			got, want := slices.Clone(hand), slices.Clone(hand)
			c.got(got, byWorth)
			c.want(want, byWorth)
			if !slices.Equal(got, want) {
				t.Errorf("%s of %d: %v, want %v", c.name, n, got, want)
			}
		}
	}
}
