// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"slices"
	"time"
)

// census is what a network looks like.
type census struct {
	links   []int
	byKind  [kinds][]int
	relayed float64 // percent of links
	carried []int
	near    float64 // percent of the true siblings that nodes have
	lonely  int     // nodes without a link
}

func (w *world) census() *census {
	c := &census{}
	relayed, all := 0, 0
	for _, x := range w.alive {
		if x.evil != nil {
			continue
		}
		s := x.m.Status()
		c.links = append(c.links, s.Links)
		c.byKind[x.kind] = append(c.byKind[x.kind], s.Links)
		c.carried = append(c.carried, len(x.carrying))
		relayed += s.Relayed
		all += s.Links
		c.lonely += btoi(s.Links == 0)
	}
	slices.Sort(c.links)
	slices.Sort(c.carried)
	c.relayed = share(relayed, all)
	c.near = w.siblings()
	return c
}

// siblings returns the share of the true eight nearest living nodes that nodes
// have links with.
func (w *world) siblings() float64 {
	list := slices.Clone(w.alive)
	slices.SortFunc(list, func(a, b *node) int { return a.id.Compare(b.id) })
	f := &field{ids: make([]uint64, len(list))}
	for i, x := range list {
		f.ids[i] = first8(&x.id)
	}
	have, all := 0, 0
	for i, x := range list {
		for _, o := range f.siblings(i) {
			all++
			have += btoi(x.tieTo(list[o]) != nil)
		}
	}
	return share(have, all)
}

// trueSiblings returns the eight living nodes nearest to x.
func (w *world) trueSiblings(x *node) []*node {
	var room [plantSiblings + 1]*node
	near := room[:0]
	for _, o := range w.alive {
		if o == x || len(near) == plantSiblings && !nearerTo(&x.id, &o.id, &near[len(near)-1].id) {
			continue
		}
		near = append(near[:min(len(near), plantSiblings-1)], o)
		for i := len(near) - 1; i > 0 && nearerTo(&x.id, &near[i].id, &near[i-1].id); i-- {
			near[i], near[i-1] = near[i-1], near[i]
		}
	}
	return near
}

// usage is what nodes sent and received, and did, between two moments.
type usage struct {
	bytes, mesh float64 // bits a second for a node, of these for messages
	links       float64 // made a minute for a node
	failed      float64
}

type tallyPoint struct {
	at                      time.Duration
	mesh, making, failing   uint64
	linkSeconds, nodeSecond float64
}

// measure watches the traffic of all nodes for a while. Nodes that die take
// their counts along, so the counts are kept as they come.
func (w *world) measure(d time.Duration) usage {
	const tick = 5 * time.Second
	var sum tallyPoint
	last := make(map[*node]tallyPoint, len(w.alive))
	read := func(x *node) tallyPoint {
		return tallyPoint{mesh: x.in + x.out + x.carriedBytes, making: uint64(x.made), failing: uint64(x.failed)}
	}
	for _, x := range w.alive {
		last[x] = read(x)
	}
	for t := time.Duration(0); t < d; t += tick {
		w.run(tick)
		for _, x := range w.alive {
			now, before := read(x), last[x]
			sum.mesh += now.mesh - before.mesh
			sum.making += now.making - before.making
			sum.failing += now.failing - before.failing
			sum.linkSeconds += float64(len(x.ties)+len(x.carrying)) * tick.Seconds()
			sum.nodeSecond += tick.Seconds()
			last[x] = now
		}
	}
	keep := sum.linkSeconds * keepaliveBytes / keepaliveTime.Seconds()
	made := float64(sum.making)*linkBytes + float64(sum.failing)*failedBytes
	return usage{
		bytes:  8 * (float64(sum.mesh) + keep + made) / sum.nodeSecond,
		mesh:   8 * float64(sum.mesh) / sum.nodeSecond,
		links:  60 * float64(sum.making) / sum.nodeSecond,
		failed: 60 * float64(sum.failing) / sum.nodeSecond,
	}
}

// forwarded returns how many messages each living node passed on since it was
// asked last.
func (w *world) forwarded() []float64 {
	list := make([]float64, 0, len(w.alive))
	for _, x := range w.alive {
		n := x.m.Status().Routing.Forwarded
		list = append(list, float64(n-x.ringsPassed))
		x.ringsPassed = n
	}
	slices.Sort(list)
	return list
}
