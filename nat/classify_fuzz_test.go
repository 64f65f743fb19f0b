// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// FuzzClassifier does all that a driver and lying peers can do, in any order,
// and holds the machine to its promises after each step.
func FuzzClassifier(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 40 {
		script := make([]byte, 30*(n+1))
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 3000 {
			return
		}
		fuzzClassifier(t, script)
	})
}

func fuzzClassifier(t *testing.T, script []byte) {
	c := NewClassifier(rand.New(rand.NewPCG(1, 1)), ClassifierOptions{})
	now := epoch
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return int(b)
	}
	peerAt := func(i int) netip.AddrPort {
		if i%8 == 7 {
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(i), 15: 1}), 4000)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(20 + i%8), byte(i), 1, 1}), 4000)
	}
	mine := func() netip.AddrPort {
		n := next()
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n & 3)}), uint16(40000+n>>2*next()))
	}
	var asked []Ask
	open := map[int]bool{}
	for len(script) > 0 {
		switch next() % 14 {
		case 0, 1:
			i := next()
			c.AddPeer(now, VantagePoint{Peer: Peer(i), Addr: peerAt(i), Second: uint16(4001 * (i & 1))})
		case 2:
			c.RemovePeer(now, Peer(next()))
		case 3:
			i := next()
			c.Observe(now, Sighting{Peer: Peer(i), Addr: peerAt(i), Port: 5000, Seen: mine()})
		case 4, 5, 6, 7: // an answer, an honest one or not
			if len(asked) == 0 {
				break
			}
			q := asked[next()%len(asked)]
			r := Reply{ID: q.ID, From: q.To, Seen: mine(), Port: uint16(40000 + next()), Able: Abilities{uint16(4001 * (next() & 1)), next()&1 == 0, next()&1 == 0}}
			switch q.Want {
			case FromOtherPort:
				r.From = netip.AddrPortFrom(q.To.Addr(), 4001)
			case FromOtherPeer:
				r.From = peerAt(next())
			}
			if next()%8 == 0 {
				r.From = peerAt(next())
			}
			c.Answer(now, r)
		case 8:
			if len(asked) > 0 {
				c.Failed(now, asked[next()%len(asked)].ID)
			}
		case 9:
			now = now.Add(time.Duration(next()*next()) * ms)
			c.Advance(now)
		case 10, 11:
			if at := c.Deadline(); at.After(now) {
				now = at
			}
			c.Advance(now)
		case 12:
			switch next() % 4 {
			case 0:
				c.NetworkChanged(now)
			case 1:
				c.SetGateway(now, mine().Addr())
			case 2:
				c.SetServer(now, ServerResult{Mapping: Dependence(next() % 6), Filtering: Dependence(next() % 6)})
			case 3:
				c.SetHosts(now, []netip.Addr{mine().Addr(), netip.MustParseAddr("2001:db8::5")}[:next()%3])
			}
		case 13:
			now = now.Add(time.Minute)
			c.Advance(now)
		}
		for n := 0; ; n++ {
			q, ok := c.Poll()
			if !ok {
				break
			}
			if n > maxAsks {
				t.Fatal("endless asks")
			}
			switch {
			case q.Kind == AskClose:
				delete(open, q.Socket)
				continue
			case q.Socket != 0:
				open[q.Socket] = true
			}
			if !q.To.IsValid() {
				t.Fatalf("asks %+v", q)
			}
			if len(asked) == 300 {
				asked = asked[100:]
			}
			asked = append(asked, q)
		}
		for {
			v, ok := c.NextEvent()
			if !ok {
				break
			}
			if v.Behaviour.Confidence < 0 || v.Behaviour.Confidence > 1 || len(v.Behaviour.Explain()) == 0 {
				t.Fatalf("verdict %+v", v)
			}
		}
		if at := c.Deadline(); !at.IsZero() && !at.After(now) {
			c.Advance(now)
			if at := c.Deadline(); !at.IsZero() && !at.After(now) {
				t.Fatalf("after Advance the deadline is %v, %v ago, in stage %d", at, now.Sub(at), c.round.stage)
			}
			for q, ok := c.Poll(); ok; q, ok = c.Poll() {
				if q.Kind == AskClose {
					delete(open, q.Socket)
				} else if q.Socket != 0 {
					open[q.Socket] = true
				}
			}
		}
		if len(c.asks.open) > maxOpen || len(c.points) > maxPoints || len(c.round.trials) > maxTrials+maxFilters ||
			c.round.probes > maxProbes || len(c.round.samples) > maxSamples || len(open) > maxTrials+2*maxRungs+watchers {
			t.Fatalf("%d open, %d points, %d trials, %d probes, %d samples, %d sockets",
				len(c.asks.open), len(c.points), len(c.round.trials), c.round.probes, len(c.round.samples), len(open))
		}
	}
	// Left alone, it comes to rest and closes all.
	for range 5000 {
		at := c.Deadline()
		if at.IsZero() || at.Sub(now) > time.Hour {
			break
		}
		now = at
		c.Advance(now)
		for q, ok := c.Poll(); ok; q, ok = c.Poll() {
			if q.Kind == AskClose {
				delete(open, q.Socket)
			} else if q.Socket != 0 {
				open[q.Socket] = true
			}
		}
		if c.round.stage == stageIdle && !c.life.running && c.pause == againMost {
			break
		}
	}
	if len(open) > 0 || c.life.running || c.round.stage != stageIdle {
		t.Fatalf("%d sockets stay open %v, lifetimes %v, stage %d", len(open), open, c.life.running, c.round.stage)
	}
}
