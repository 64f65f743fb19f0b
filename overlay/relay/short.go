// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// shortIdle is how long a ring's flow waits for its next frame.
	shortIdle = 10 * time.Second

	// shortLife ends it in any case: who has found nothing better in ten
	// minutes must ask for a flow properly, and be counted.
	shortLife = 10 * time.Minute

	// shortGrace is how long a flow that is not used yet is safe from newer
	// rings: two round trips of the longest routes.
	shortGrace = 2 * time.Second

	// shortQuiet is how long a used one is: as long as a phone that rings is
	// silent.
	shortQuiet = 6 * time.Second
)

// Passed makes the small flow that a ring leaves where it passed: between the
// neighbour that brought it and the one it went to, with labels that all
// compute from its trace. Called again it prolongs the flow, and moves it when
// the ring had to take another way. Nobody is told when there is no room: the
// flow does not answer then, and the ends have others.
func (s *Server) Passed(now time.Time, from, to identity.NodeID, trace [16]byte) {
	s.tick(now)
	in, out := s.links[from], s.links[to]
	if in == nil || out == nil || from == to {
		return
	}
	a := Hop{from, ShortLabel(in.salt, trace, from, s.self)}
	b := Hop{to, ShortLabel(out.salt, trace, s.self, to)}
	if f := s.ends[a]; f != nil && f.kind == Short && f.trace == trace && f.a == a {
		if f.b == b {
			f.touched = now
			return
		}
		s.end(f, Closed, identity.NodeID{})
	}
	if s.ends[a] != nil || s.ends[b] != nil {
		s.counts.collisions++ // one in two thousand million: this ring has other routes
		return
	}
	parties := []party{in.party, out.party}
	for {
		why, ok := s.ledger.fits(Short, false, parties...)
		if ok {
			break
		}
		f := s.victim(why, parties)
		if f == nil {
			s.counts.noShort++
			return
		}
		s.end(f, Busy, identity.NodeID{})
	}
	s.ledger.add(Short, false, parties...)
	s.begin(&flow{
		a: a, b: b, kind: Short, rates: s.cfg.Limits.rates(Short, false), parties: parties,
		trace: trace, touched: now,
	})
}

// victim returns the ring's flow that makes room for a newer one: the oldest of
// those never used, for most rings leave such; else the one silent for longest.
// Who has more than his share makes room among his own, at once.
func (s *Server) victim(why Reason, parties []party) (v *flow) {
	if why != Busy && why != Share {
		return nil
	}
	var silent time.Time
	for _, f := range s.flows {
		if f.kind != Short || why == Share && !s.shares(f, parties) {
			continue
		}
		used := s.lastUsed(f)
		switch {
		case used.IsZero() && (why == Share || s.now.Sub(f.touched) >= shortGrace):
			return f // flows are in order of age
		case used.IsZero():
		case s.now.Sub(used) >= shortQuiet && (v == nil || used.Before(silent)):
			v, silent = f, used
		}
	}
	return v
}

// shares says whether a flow counts for one of the parties that have too many.
func (s *Server) shares(f *flow, parties []party) bool {
	for _, p := range parties {
		if !s.ledger.over(Short, p) {
			continue
		}
		for _, x := range f.parties {
			if x.node == p.node || p.net.IsValid() && x.net == p.net {
				return true
			}
		}
	}
	return false
}

func (f *flow) untilShort(used time.Time) (time.Time, Reason) {
	t := f.touched
	if used.After(t) {
		t = used
	}
	if end := f.born.Add(shortLife); end.Before(t.Add(shortIdle)) {
		return end, Over
	}
	return t.Add(shortIdle), Idle
}
