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
	parts       [parts]float64 // bits a second for a node
}

// What traffic is for: messages by their kinds, then what links cost by
// themselves.
const (
	talkFind    = iota // questions for neighbours, and their answers
	talkMeet           // introductions
	talkCard           // news of one's state
	talkRoute          // routed messages, their acknowledgements and replies
	talks              // all messages
	partCarried = iota - 1
	partAlive
	partMade
	partFailed
	parts
)

func partNames() [parts]string {
	return [parts]string{
		"FIND and CARDS", "introductions", "CARD", "routed, mostly records", "what is carried for others",
		"keepalives", "links made", "punches in vain",
	}
}

// talkOf says what a message is for, by its first byte: see overlay/mesh.
func talkOf(first byte) int {
	switch {
	case first >= typeRoute:
		return talkRoute
	case first <= 0x02:
		return talkFind
	case first <= 0x05:
		return talkMeet
	}
	return talkCard
}

type tallyPoint struct {
	at                      time.Duration
	mesh, making, failing   uint64
	carried                 uint64
	linkSeconds, nodeSecond float64
}

// measure watches the traffic of all nodes for a while. Nodes that die take
// their counts along, so the counts are kept as they come.
func (w *world) measure(d time.Duration) usage {
	const tick = 5 * time.Second
	var sum tallyPoint
	last := make(map[*node]tallyPoint, len(w.alive))
	read := func(x *node) tallyPoint {
		return tallyPoint{mesh: x.in + x.out + x.carriedBytes, making: uint64(x.made), failing: uint64(x.failed), carried: x.carriedBytes}
	}
	for _, x := range w.alive {
		last[x] = read(x)
	}
	spoken := w.spoken
	for t := time.Duration(0); t < d; t += tick {
		w.run(tick)
		for _, x := range w.alive {
			now, before := read(x), last[x]
			sum.mesh += now.mesh - before.mesh
			sum.making += now.making - before.making
			sum.failing += now.failing - before.failing
			sum.carried += now.carried - before.carried
			sum.linkSeconds += float64(len(x.ties)+len(x.carrying)) * tick.Seconds()
			sum.nodeSecond += tick.Seconds()
			last[x] = now
		}
	}
	keep := sum.linkSeconds * keepaliveBytes / keepaliveTime.Seconds()
	made, failed := float64(sum.making)*linkBytes, float64(sum.failing)*failedBytes
	u := usage{
		bytes:  8 * (float64(sum.mesh) + keep + made + failed) / sum.nodeSecond,
		mesh:   8 * float64(sum.mesh) / sum.nodeSecond,
		links:  60 * float64(sum.making) / sum.nodeSecond,
		failed: 60 * float64(sum.failing) / sum.nodeSecond,
	}
	for i, before := range spoken { // sent by one and received by another
		u.parts[i] = 8 * 2 * float64(w.spoken[i]-before) / sum.nodeSecond
	}
	for i, b := range map[int]float64{partCarried: float64(sum.carried), partAlive: keep, partMade: made, partFailed: failed} {
		u.parts[i] = 8 * b / sum.nodeSecond
	}
	return u
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
