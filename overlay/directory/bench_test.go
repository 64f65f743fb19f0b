// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/p2pos/p2pos/identity"
)

// Example shows a record's way: published, held, found with the ticket.
func Example() {
	dev, err := identity.NewDevice(now, "desk")
	if err != nil {
		panic(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))

	owner, err := NewPublisher(dev, 0, rng)
	if err != nil {
		panic(err)
	}
	if err := owner.SetReach(now, []Reach{{Secret: dev.Reach()}}, false, nil); err != nil {
		panic(err)
	}
	if err := owner.SetLocation(now, location(7)); err != nil {
		panic(err)
	}
	holder := NewStore(identity.NodeID{1}, rng)
	at := now.Add(hurry)
	owner.Advance(at)
	for ev, ok := owner.NextEvent(); ok; ev, ok = owner.NextEvent() {
		p := ev.(Publish) // the driver routes it; here the holder is next door
		answers, err := holder.Receive(at, p.Body, netip.Prefix{})
		if err != nil {
			panic(err)
		}
		owner.Answer(at, p.Ref, identity.NodeID{1}, answers[0])
	}

	reader, err := NewLookup(at, dev.ID(), dev.Reach())
	if err != nil {
		panic(err)
	}
	for ev, ok := reader.NextEvent(); ok; ev, ok = reader.NextEvent() {
		switch ev := ev.(type) {
		case Ask:
			answers, err := holder.Receive(at, ev.Body, netip.Prefix{})
			if err != nil {
				panic(err)
			}
			reader.Answer(at, ev.Ref, identity.NodeID{1}, answers[0])
		case Found:
			fmt.Println(ev.Record.At.Addrs[0])
		}
	}
	// Output: 192.0.2.7:4000
}

func BenchmarkPut(b *testing.B) {
	d := newDevice(b)
	r := record(b, d, 0, 1)
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			s := NewStore(node(1), newRand(1))
			if o := s.Put(now, r, netip.Prefix{}); o != Stored {
				b.Fatal(o)
			}
		}
	})
	b.Run("same", func(b *testing.B) {
		s := NewStore(node(1), newRand(1))
		s.Put(now, r, netip.Prefix{})
		for b.Loop() {
			s.Put(now, r, netip.Prefix{})
		}
	})
	b.Run("forged", func(b *testing.B) {
		s := NewStore(node(1), newRand(1))
		bad := bytes.Clone(r)
		bad[500] ^= 1
		for b.Loop() {
			s.Put(now, bad, netip.Prefix{})
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	d := newDevice(b)
	s := NewStore(node(1), newRand(1))
	r := record(b, d, 0, 1)
	s.Put(now, r, netip.Prefix{})
	body := RecordsMessage{0, 1, [][]byte{r}}.Append(nil)
	for b.Loop() {
		l, err := NewLookup(now, d.ID(), d.Reach())
		if err != nil {
			b.Fatal(err)
		}
		l.Answer(now, 1, node(1), body)
	}
}

// BenchmarkNeighbours is what a change of neighbours costs a store of the
// usual size.
func BenchmarkNeighbours(b *testing.B) {
	d := newDevice(b)
	s := NewStore(node(1), newRand(1))
	for _, r := range many(b, d, 100) {
		s.Put(now, r, netip.Prefix{})
	}
	lists := [][]Candidate{neighbours(2, 3, 4, 5, 6, 7, 8, 9), neighbours(2, 3, 4, 5, 6, 7, 8, 10)}
	i := 0
	for b.Loop() {
		s.SetNeighbours(now, lists[i%2])
		i++
	}
}
