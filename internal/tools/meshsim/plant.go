// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"cmp"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"
)

// The table rules that planted tables keep: see overlay/mesh, admit.go.
const (
	plantSiblings  = 8
	plantWant      = 4
	plantCap       = 6
	plantInbound   = 3
	plantFew       = 3 // below it a far bucket may have carried links
	plantLinks     = 110
	plantHardLinks = 60
	plantSlack     = 7 // of these, kept for siblings to come
	plantCarried   = 32
	// plantHeard is how many nodes of a bucket a node has heard of when it has
	// filled it: sixteen before its first link there and eighty before the others.
	// With 40, planted networks of 1,000 are as fast as grown ones: 131 ms (99 %:
	// 291) beside 133 (286).
	plantHeard = 40
	maxBuckets = 40
)

// field is a static network: nodes in order of their IDs' first 64 bits, which
// no two share in practice, and the links between them. It holds nothing else,
// so that a million nodes fit.
type field struct {
	ids   []uint64
	sites []site
	odds  odds
	rng   *rand.Rand

	links   [][]link
	all     [][maxBuckets]uint8 // links by bucket
	inbound [][maxBuckets]uint8 // of these, asked for by others
	carried []uint8
	stamp   []int32
}

// link is one end of a link.
type link struct {
	to      int32
	carrier int32 // -1 = direct
	ours    bool
}

func newField(ids []uint64, sites []site, o odds, rng *rand.Rand) *field {
	n := len(ids)
	f := &field{
		ids: ids, sites: sites, odds: o, rng: rng, links: make([][]link, n), all: make([][maxBuckets]uint8, n),
		inbound: make([][maxBuckets]uint8, n), carried: make([]uint8, n), stamp: make([]int32, n),
	}
	for i := range f.stamp {
		f.stamp[i] = -1
	}
	return f
}

// plant makes the links that the machines' rules lead to, at one stroke:
// siblings, then every node fills its buckets with the nearest of those it
// has heard of, then what has to be carried.
func (f *field) plant() {
	order := f.rng.Perm(len(f.ids))
	near := make([][]int32, len(f.ids))
	for _, i := range order {
		near[i] = f.siblings(i)
		for _, o := range near[i] {
			if f.odds.punch(&f.sites[i], &f.sites[o]) {
				f.join(int32(i), o, -1)
			}
		}
	}
	for _, i := range order {
		for b := range maxBuckets {
			lo, hi := f.bucket(i, b)
			if lo == hi || !f.farther(i, b, near[i]) {
				break
			}
			f.fill(int32(i), b, lo, hi, false)
		}
	}
	for _, i := range order {
		for _, o := range near[i] {
			if !f.linked(int32(i), o) {
				f.carry(int32(i), o)
			}
		}
		for b := range maxBuckets {
			lo, hi := f.bucket(i, b)
			if lo == hi || !f.farther(i, b, near[i]) {
				break
			}
			if f.all[i][b] < plantFew {
				f.fill(int32(i), b, lo, hi, true)
			}
		}
	}
}

// siblings returns the nodes nearest to i.
func (f *field) siblings(i int) []int32 {
	lo, hi := i, i+1
	for l := 64; l > 0 && hi-lo <= plantSiblings; l-- {
		lo, hi = f.span(f.ids[i], l-1)
	}
	list := make([]int32, 0, hi-lo)
	for o := lo; o < hi; o++ {
		if o != i {
			list = append(list, int32(o))
		}
	}
	slices.SortFunc(list, func(a, b int32) int { return cmp.Compare(f.ids[a]^f.ids[i], f.ids[b]^f.ids[i]) })
	return list[:min(len(list), plantSiblings)]
}

// span returns the range of nodes that share the first l bits of x.
func (f *field) span(x uint64, l int) (lo, hi int) {
	if l == 0 {
		return 0, len(f.ids)
	}
	low := x &^ (1<<(64-l) - 1)
	lo, _ = slices.BinarySearch(f.ids, low)
	if low += 1 << (64 - l); low == 0 {
		return lo, len(f.ids)
	}
	hi, _ = slices.BinarySearch(f.ids, low)
	return lo, hi
}

// bucket returns the range of nodes that share exactly b bits with i.
func (f *field) bucket(i, b int) (lo, hi int) { return f.span(f.ids[i]^1<<(63-b), b+1) }

// farther reports whether bucket b is one that i looks after: not deeper than
// its farthest sibling.
func (f *field) farther(i, b int, near []int32) bool {
	return len(near) == plantSiblings && b <= f.shared(int32(i), near[len(near)-1])
}

func (f *field) shared(a, b int32) int {
	return min(bits.LeadingZeros64(f.ids[a]^f.ids[b]), maxBuckets-1)
}

// fill gives i links in a bucket.
func (f *field) fill(i int32, b, lo, hi int, carried bool) {
	var room [plantHeard]int32
	heard := room[:0]
	if hi-lo <= plantHeard {
		for o := lo; o < hi; o++ {
			heard = append(heard, int32(o))
		}
	} else {
		for range plantHeard {
			if o := int32(lo + f.rng.IntN(hi-lo)); !slices.Contains(heard, o) {
				heard = append(heard, o)
			}
		}
	}
	slices.SortFunc(heard, func(a, b int32) int {
		return cmp.Compare(f.delay(i, a), f.delay(i, b))
	})
	enough := uint8(plantWant)
	if carried {
		enough = plantFew
	}
	for _, o := range heard {
		switch {
		case f.all[i][b] >= enough || f.full(i):
			return
		case f.full(o) || f.all[o][b] >= plantCap || f.inbound[o][b] >= plantInbound || f.linked(i, o):
		case carried:
			f.carry(i, o)
		case f.odds.punch(&f.sites[i], &f.sites[o]):
			f.join(i, o, -1)
			f.inbound[o][b]++
		}
	}
}

func (f *field) full(i int32) bool {
	if f.sites[i].kind >= hard {
		return len(f.links[i]) >= plantHardLinks-plantSlack
	}
	return len(f.links[i]) >= plantLinks-plantSlack-1
}

func (f *field) linked(a, b int32) bool {
	if len(f.links[b]) < len(f.links[a]) {
		a, b = b, a
	}
	return slices.ContainsFunc(f.links[a], func(l link) bool { return l.to == b })
}

func (f *field) join(a, b, through int32) {
	if f.linked(a, b) {
		return
	}
	k := f.shared(a, b)
	f.all[a][k]++
	f.all[b][k]++
	f.links[a] = append(f.links[a], link{b, through, true})
	f.links[b] = append(f.links[b], link{a, through, false})
}

// carry links two nodes through the common neighbour that carries least.
func (f *field) carry(a, b int32) {
	for _, l := range f.links[a] {
		if l.carrier < 0 {
			f.stamp[l.to] = a
		}
	}
	best := int32(-1)
	for _, l := range f.links[b] {
		if l.carrier < 0 && f.stamp[l.to] == a && f.carried[l.to] < plantCarried && (best < 0 || f.carried[l.to] < f.carried[best]) {
			best = l.to
		}
	}
	for _, l := range f.links[a] {
		f.stamp[l.to] = -1
	}
	if best >= 0 {
		f.carried[best]++
		f.join(a, b, best)
	}
}

func (f *field) delay(a, b int32) time.Duration { return oneWay(&f.sites[a], &f.sites[b]) }

// settle plants a world's first tables.
func (w *world) settle() {
	list := make([]*node, w.n)
	for i := range list {
		list[i] = w.newNode(newSite(w.rng, w.mix, w.n), w.rng.Uint64())
	}
	slices.SortFunc(list, func(a, b *node) int { return a.id.Compare(b.id) })
	ids, sites := make([]uint64, w.n), make([]site, w.n)
	for i, x := range list {
		ids[i], sites[i] = first8(&x.id), x.site
	}
	f := newField(ids, sites, w.odds, w.rng)
	f.plant()
	for _, carried := range []bool{false, true} {
		for i, links := range f.links {
			for _, l := range links {
				if l.ours && (l.carrier >= 0) == carried {
					var through *node
					if carried {
						through = list[l.carrier]
						through.m.Advance(w.time())
					}
					w.link(list[i], list[l.to], nil, through)
				}
			}
		}
	}
	for _, x := range list {
		w.mortal(x)
	}
}
