// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package order sorts lists by a comparison, as slices.SortFunc does, in a tenth
// of the code. The compiler makes a copy of slices.SortFunc, some 7 KB of ten
// functions, for every shape of element; with fifty places that sort, these
// copies were 1.5 % of a program that imports P2P OS. Here a shape costs three
// small methods, and the sorting itself is package sort's. What is sorted in this
// project has tens of elements, so that the calls through an interface don't
// matter, and one small allocation for each list does neither; an array on the
// stack moves to the heap, though, which is why overlay/mesh doesn't sort its
// buckets here. Lists of numbers and texts are slices.Sort's.
package order

import "sort"

// Sort sorts list by cmp, which returns a negative number where a comes before
// b. Elements that compare equal may change places, for the same input always in
// the same way.
func Sort[S ~[]E, E any](list S, cmp func(a, b E) int) {
	if len(list) > 1 { // nothing to allocate for less
		sort.Sort(&by[E]{list, cmp})
	}
}

// Stable is Sort that leaves elements which compare equal in their order.
func Stable[S ~[]E, E any](list S, cmp func(a, b E) int) {
	if len(list) > 1 {
		sort.Stable(&by[E]{list, cmp})
	}
}

// by is a list and its order, for package sort.
type by[E any] struct {
	list []E
	cmp  func(a, b E) int
}

func (b *by[E]) Len() int           { return len(b.list) }
func (b *by[E]) Less(i, j int) bool { return b.cmp(b.list[i], b.list[j]) < 0 }
func (b *by[E]) Swap(i, j int)      { b.list[i], b.list[j] = b.list[j], b.list[i] }
