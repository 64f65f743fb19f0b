// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/overlay/mesh"
)

// holes makes a share of the nodes acknowledge messages and drop them.
func (b *bench) holes(w *world, r *report, part float64) {
	w.corrupt(part)
	n := b.count(w.n)
	// Quickly, so that no score knows anything yet.
	f := w.traffic(min(n, w.n/2), 2*time.Second, 0)
	alone, after := 99.98, 99.9
	ref := map[int]string{10: "98.1 α=3, 99.98 α=8", 20: "88.7 α=3, 99.5 α=8", 30: "74.2 α=3, 95.3 α=8"}[int(100*part)]
	switch {
	case part >= 0.3:
		alone, after = 95, 99
	case part >= 0.2:
		alone = 99.5
	}
	r.add("by copies alone: arrived", f.rate(), "%").atLeast(alone).was(ref)
	r.add("by copies alone: arrived in 3 s", f.rate3(), "%")
	r.add("by copies alone: p50", f.ms(50), "ms")
	r.curve(fmt.Sprintf("%.0f %% holes", 100*part), ms(f))

	// Everybody rings somebody once a minute.
	const minutes = 10
	w.send(minutes*w.n, minutes*time.Minute, 0, w.pair)
	w.run(minutes*time.Minute + ringLife)
	f = w.traffic(n, ringTime(n), 0)
	r.add("with scores of 10 minutes: arrived", f.rate(), "%").atLeast(after)
	r.add("with scores of 10 minutes: arrived in 3 s", f.rate3(), "%")
	r.add("with scores of 10 minutes: p50", f.ms(50), "ms")
	r.curve("10 minutes later", ms(f))
	bad, all := 0, 0
	for _, x := range w.alive {
		if x.evil != nil {
			continue
		}
		for _, t := range x.ties {
			all++
			bad += btoi(t.other(x).evil != nil)
		}
	}
	r.add("links of honest nodes that lead to holes", share(bad, all), "%")
}

const (
	sybilTimes    = 10  // as many as there are honest nodes
	sybilPrefixes = 256 // /24s
	sybilTime     = 10 * time.Minute
	positioned    = 16
)

// sybilSite is a well connected place in one of the attacker's networks.
func sybilSite(w *world, i int) site {
	s := newSite(w.rng, mix{public: 1}, 1)
	s.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, byte(i % sybilPrefixes), byte(i % 7), byte(1 + i/sybilPrefixes%250)}), 4000)
	return s
}

// sybil lets ten times as many hostile nodes join as there are honest ones.
// They keep to all rules but drop whatever is to or from one victim.
func (b *bench) sybil(w *world, r *report) {
	victim := w.some()
	w.excluded[victim] = true
	for i := range sybilTimes * w.n {
		w.after(sybilTime*time.Duration(i)/time.Duration(sybilTimes*w.n), func() {
			x := w.newNode(sybilSite(w, i), w.rng.Uint64())
			x.evil = &evil{victim: victim}
			w.enter(x)
		})
	}
	w.run(sybilTime + 10*time.Minute)
	w.watch(r, "old node", victim)
	// One that joins in the midst of them has it harder.
	young := w.newNode(newSite(w.rng, w.mix, w.n), w.rng.Uint64())
	w.excluded[young] = true
	for _, x := range w.alive {
		if x.evil != nil {
			x.evil = &evil{victim: young}
		}
	}
	w.enter(young)
	w.run(10 * time.Minute)
	w.watch(r, "new node", young)
}

// watch says how a victim fares.
func (w *world) watch(r *report, what string, victim *node) {
	honest := 0
	for _, t := range victim.ties {
		honest += btoi(t.other(victim).evil == nil)
	}
	r.add(what+": links", float64(len(victim.ties)), "")
	r.add(what+": of these, to honest nodes", float64(honest), "").atLeast(1)
	near := 0
	for _, s := range victim.m.Siblings() {
		near += btoi(w.index[s.ID].evil == nil)
	}
	r.add(what+": of its 8 siblings, honest", float64(near), "")
	in := w.send(500, 5*time.Second, 0, func() (a, b *node) { return w.some(), victim })
	out := w.send(500, 5*time.Second, 0, func() (a, b *node) { return victim, w.some() })
	w.run(5*time.Second + ringLife)
	r.add(what+": rings to it arrived", tally(*in).rate(), "%")
	r.add(what+": rings from it arrived", tally(*out).rate(), "%")
}

// eclipse puts hostile nodes around the places of a record: this hour's and
// those of the hours before and after it, where it is looked for as well.
func (b *bench) eclipse(w *world, r *report) {
	o := w.owners[0]
	deed := &evil{}
	for hour := range 3 {
		deed.keys = append(deed.keys, o.key(w.time().Add(time.Duration(hour-1)*time.Hour)))
	}
	for _, key := range deed.keys {
		w.surround(key, deed)
	}
	w.run(10 * time.Minute)
	ask := func(o *owner) float64 {
		list := new([]*lookup)
		for i := range 500 {
			w.after(time.Duration(i)*10*time.Millisecond, func() { *list = append(*list, w.lookUp(w.some(), o)) })
		}
		w.run(5*time.Second + ringLife)
		return tallyLookups(*list).rate()
	}
	r.add(fmt.Sprintf("%d nodes around each of three known keys: found", positioned), ask(o), "%")
	r.add("another owner: found", ask(w.owners[1]), "%").atLeast(99.9)
	next := time.Hour - w.time().Sub(w.time().Truncate(time.Hour))
	w.run(next + 15*time.Minute)
	r.add("in the next hour, with a key they don't know: found", ask(o), "%").atLeast(99.9)

	// Who does not know the keys can only guess.
	blind := w.owners[2]
	deed = &evil{keys: []mesh.ID{blind.key(w.time())}}
	for i := range 3 {
		w.surround(mesh.ID(sha256.Sum256([]byte{byte(i)})), deed)
	}
	w.run(10 * time.Minute)
	r.add(fmt.Sprintf("%d nodes around each of three guessed places: found", positioned), ask(blind), "%").atLeast(99.9)
}

// surround adds hostile nodes nearer to a place than anybody: they try keys
// until they have such IDs.
func (w *world) surround(at mesh.ID, deed *evil) {
	nearest := slices.MinFunc(w.alive, func(a, b *node) int {
		if nearerTo(&at, &a.id, &b.id) {
			return -1
		}
		return 1
	})
	var key [32]byte
	for i, tries := 0, uint64(0); i < positioned; tries++ {
		binary.BigEndian.PutUint64(key[:], tries)
		binary.BigEndian.PutUint64(key[8:], w.seed)
		id := mesh.Card{Key: key}.ID()
		if !nearerTo(&at, &id, &nearest.id) {
			continue
		}
		x := w.nodeWithKey(sybilSite(w, 16*i), key)
		x.evil = deed
		w.enter(x)
		i++
	}
}

func nearerTo(at, a, b *mesh.ID) bool {
	for i := range at {
		if x, y := a[i]^at[i], b[i]^at[i]; x != y {
			return x < y
		}
	}
	return false
}

// compact measures the compact form, steady and after losses.
func (b *bench) compact(s setup, r *report) {
	r.Form = "compact"
	ref := reference(s.n)
	f := newCompact(s)
	var links []int
	relayed, all := 0, 0
	for _, l := range f.links {
		links = append(links, len(l))
		all += len(l)
		for _, e := range l {
			relayed += btoi(e.carrier >= 0)
		}
	}
	slices.Sort(links)
	r.add("links: mean", mean(links), "").was(ref.links)
	r.add("links: p99", at(links, 99), "").atMost(110)
	r.add("relayed links", share(relayed, all), "%")
	n := b.count(s.n)
	t := f.traffic(n, 1, nil, nil)
	r.add("hops: mean", t.meanHops(), "").was(ref.hops)
	r.add("hops: p99", t.hop(99), "")
	rate, p50, _ := r.fates("ring, 1 copy", t)
	rate.atLeast(100)
	p50.was(ref.alone)
	load := make([]int32, s.n)
	t = f.traffic(n, 3, nil, load)
	rate, p50, _ = r.fates("ring, 3 copies", t)
	rate.atLeast(100)
	p50.was(ref.three)
	r.curve(fmt.Sprintf("n = %d", s.n), ms(t))
	for _, part := range []float64{0.3, 0.5} {
		dead := make([]bool, s.n)
		for _, i := range f.rng.Perm(s.n)[:int(part*float64(s.n))] {
			dead[i] = true
		}
		t := f.traffic(n, 3, dead, nil)
		r.add(fmt.Sprintf("%.0f %% dead, no repair: arrived in 3 s", 100*part), t.rate3(), "%").atLeast(99)
		r.add(fmt.Sprintf("%.0f %% dead, no repair: arrived in 8 s", 100*part), t.rate8(), "%").atLeast(99.9)
	}
}
