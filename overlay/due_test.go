// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The heap keeps the earliest peer on top, whatever is moved and removed, and
// of those due at once the one that came first.
func TestSchedule(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Unix(1e9, 0)
	var d schedule
	peers := make([]*Peer, 60)
	for i := range peers {
		peers[i] = &Peer{}
		peers[i].state.due.nth = uint64(i)
	}
	want := map[*Peer]time.Time{}
	check := func() {
		t.Helper()
		if len(d.heap) != len(want) {
			t.Fatalf("%d peers, want %d", len(d.heap), len(want))
		}
		if len(want) == 0 {
			return
		}
		var first *Peer
		for _, p := range peers {
			if at, ok := want[p]; ok && (first == nil || at.Before(want[first])) {
				first = p
			}
		}
		if d.heap[0] != first {
			t.Fatalf("peer %d is on top, want %d", d.heap[0].state.due.nth, first.state.due.nth)
		}
		for i, p := range d.heap {
			if p.state.due.place != i || !p.state.due.at.Equal(want[p]) {
				t.Fatalf("peer %d is at %d, due %v", p.state.due.nth, i, p.state.due.at)
			}
		}
	}
	for range 3000 {
		p := peers[rng.IntN(len(peers))]
		switch rng.IntN(4) {
		case 0:
			d.remove(p)
			delete(want, p)
		case 1:
			d.set(p, time.Time{})
			delete(want, p)
		default:
			at := start.Add(time.Duration(rng.IntN(40)) * time.Second)
			d.set(p, at)
			want[p] = at
		}
		check()
	}
	var order []*Peer
	for len(d.heap) > 0 {
		p := d.heap[0]
		order = append(order, p)
		d.remove(p)
		delete(want, p)
		check()
	}
	if len(order) == 0 || slices.Contains(order, nil) {
		t.Error("nothing came out")
	}
}
