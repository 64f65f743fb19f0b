// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// locked is a table behind a lock, sharded by label, to compare with.
type locked struct {
	shards [16]struct {
		sync.RWMutex
		m map[End[*int]]*half[*int]
		_ [64]byte
	}
}

func (l *locked) get(e End[*int]) *half[*int] {
	s := &l.shards[e.Label&15]
	s.RLock()
	defer s.RUnlock()
	return s.m[e]
}

// BenchmarkTable compares a table that is replaced with one behind sharded
// locks: what a lookup takes on two cores, and what opening a flow costs.
func BenchmarkTable(b *testing.B) {
	for _, flows := range []int{8, 42, 1000} {
		var l locked
		for i := range l.shards {
			l.shards[i].m = make(map[End[*int]]*half[*int])
		}
		f := NewForwarder[*int](unlimited)
		ends := make([]End[*int], 2*flows)
		peers := make([]int, 2*flows)
		for i := range ends {
			ends[i] = End[*int]{&peers[i], Label(i * 7919)}
			l.shards[ends[i].Label&15].m[ends[i]] = &half[*int]{}
		}
		for i := range flows {
			if err := f.Open(ends[2*i], ends[2*i+1], plenty); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("replaced/%d", flows), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if (*f.table.Load())[ends[i%len(ends)]] == nil {
						panic("lost")
					}
				}
			})
		})
		b.Run(fmt.Sprintf("locked/%d", flows), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if l.get(ends[i%len(ends)]) == nil {
						panic("lost")
					}
				}
			})
		})
		b.Run(fmt.Sprintf("open and close/%d", flows), func(b *testing.B) {
			var peer int
			x, y := End[*int]{&peer, 1}, End[*int]{&peer, 2}
			for b.Loop() {
				if err := f.Open(x, y, plenty); err != nil {
					b.Fatal(err)
				}
				f.Close(x)
			}
		})
	}
}

// BenchmarkForward is the rule alone: no socket.
func BenchmarkForward(b *testing.B) {
	f := NewForwarder[*int](1e12)
	var p, q int
	if err := f.Open(End[*int]{&p, 1}, End[*int]{&q, 2}, Rates{Promised: 1e9, Peak: 2e9}); err != nil {
		b.Fatal(err)
	}
	there := AppendFrame(nil, 1, make([]byte, 160))
	b.ReportAllocs()
	var now time.Duration
	for b.Loop() {
		there[4] = 1
		if _, ok := f.Forward(now, &p, there); !ok {
			b.Fatal("dropped")
		}
		now += 10 * time.Microsecond
	}
}

// BenchmarkConn is a datagram out and one in.
func BenchmarkConn(b *testing.B) {
	c := NewConn[*int]()
	defer c.Close()
	var p int
	e := End[*int]{&p, 1}
	addr, err := c.Open(e, false, func([]byte) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	inner := append([]byte{128}, make([]byte, 160)...)
	there, buf := AppendFrame(nil, 1, inner), make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.WriteTo(inner, addr); err != nil {
			b.Fatal(err)
		}
		c.Deliver(1, &p, there)
		if _, _, err := c.ReadFrom(buf); err != nil {
			b.Fatal(err)
		}
	}
}
