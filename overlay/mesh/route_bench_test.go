// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"encoding/binary"
	"testing"
	"time"
)

// BenchmarkForward is one hop's work for one ring of 2 KB: the message in and
// out, both ACKs, the event, and the reply in and out.
func BenchmarkForward(b *testing.B) {
	g := newRig(b, 60)
	body := make([]byte, 2000)
	var v visited
	h := head{kind: Ring, flags: flagExact, key: g.key, lock: g.lock}
	from, to := g.peers[59].id, g.peers[0].id
	v.merge([]uint16{1, 2, 3, 4})
	in := appendRoute(nil, 0, 1, &v, append(h.append(nil), body...))
	marks, tail := in[4:12], in[12:]
	ack, reply := ackOf(Trace{}), g.reply(Trace{}, 1, g.secret, "ringing")
	give := func(from ID, b []byte) { _ = g.m.router.receive(g.now, g.m.c.table.find(from), b) }
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint32(tail, uint32(i))
		trace := traceOf(tail)
		binary.BigEndian.PutUint16(marks[4:], fingerprint(&trace, &from)) // as an honest neighbour sends it
		binary.BigEndian.PutUint16(marks[6:], fingerprint(&trace, &g.m.c.id))
		copy(ack[1:], trace[:])
		copy(reply[1:], trace[:])
		give(from, in)
		give(to, ack)
		give(to, reply)
		for ok := true; ok; _, ok = g.m.Poll() {
		}
		for ok := true; ok; _, ok = g.m.NextEvent() {
		}
		g.now = g.now.Add(200 * time.Millisecond)
		g.m.router.advance(g.now)
	}
	b.StopTimer()
	// Where a fingerprint falls together with a visited one, another is asked.
	if s := g.m.routing; s.Busy+s.Excess > 0 || s.Stray > 2+uint64(b.N)/1000 {
		b.Errorf("%+v", s)
	}
}

// BenchmarkRoutes prints what becomes of rings in a network of 2,000 nodes, by
// what is wrong with it.
func BenchmarkRoutes(b *testing.B) {
	const n = 2000
	for _, c := range []struct {
		name        string
		bad, killed float64
		minutes     int
	}{
		{"steady", 0, 0, 0}, {"half-dead", 0, 0.5, 0},
		{"holes=10%", 0.1, 0, 0}, {"holes=20%", 0.2, 0, 0}, {"holes=30%", 0.3, 0, 0},
		{"holes=20%,scores", 0.2, 0, 10}, {"holes=30%,scores", 0.3, 0, 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				w := newRouteWorld(b, 1, n)
				w.corrupt(c.bad, sink)
				w.kill(c.killed)
				w.traffic(c.minutes*n, time.Duration(c.minutes)*time.Minute)
				w.moved = 0
				f := fateOf(w.traffic(2000, 20*time.Second))
				b.ReportMetric(f.share(), "%arrived")
				b.ReportMetric(100*float64(f.in3s)/float64(f.n), "%in3s")
				b.ReportMetric(f.hops, "hops")
				b.ReportMetric(float64(f.p50.Milliseconds()), "p50-ms")
				b.ReportMetric(float64(f.p99.Milliseconds()), "p99-ms")
				b.ReportMetric(float64(w.moved)/float64(f.n), "messages/ring")
			}
		})
	}
}
