// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// phones starts n public nodes and, behind them in the list, two behind symmetric
// NATs, which only relays bring together at first.
func (s *sim) phones(n int, limits func(i int) RelayLimits) (all []*Node) {
	s.t.Helper()
	var join []string
	enter := func(node *Node) {
		if err := node.Join(s.t.Context()); len(all) > 0 && err != nil {
			s.t.Fatal(err)
		}
		all = append(all, node)
	}
	for i := range n {
		var h *simnet.Host
		s.net.Do(func(w *simnet.World) {
			h = w.Host(fmt.Sprintf("r%d", i), access, netip.AddrFrom4([4]byte{45, byte(10 + i), 0, 1}))
		})
		node := s.start(h.Name(), Config{Join: join, Relay: limits(i)}, s.opener(h), s.listen(h, 4000))
		enter(node)
		join = append(join, node.Status().Listen[0].String())
	}
	for _, name := range []string{"a", "b"} {
		m := s.computer(name, "edm")
		enter(s.start(name, Config{Join: join}, s.opener(m.v4), s.listen(m.v4, 4000)))
	}
	<-time.After(5 * time.Second)
	return all
}

// Relays are given back after calls, answered or not, long or hardly begun: a
// node carries two calls, so a few that are kept for nothing end it for all.
func TestRelaysGivenBack(t *testing.T) {
	t.Parallel()
	for seed := range seeds(4, 40) {
		simSeed(t, uint64(seed+1), func(t *testing.T, s *sim) {
			all := s.phones(4, func(int) RelayLimits { return RelayLimits{} })
			a, b := all[4], all[5]
			incoming := make(chan *Call)
			s.wg.Go(func() {
				for c := range b.Incoming(t.Context()) {
					incoming <- c
				}
				close(incoming)
			})
			carried := 0
			for i, talk := range []time.Duration{600 * time.Millisecond, 0, 3 * time.Second, 50 * time.Millisecond, 600 * time.Millisecond} {
				from, to := a, s.ticket(b)
				call, err := from.Call(t.Context(), to, nil)
				if err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
				theirs := <-incoming
				time.Sleep(300 * time.Millisecond) // it rings
				if talk == 0 {
					call.HangUp()
					<-theirs.Done()
				} else {
					theirs.Answer()
					if err := call.Answered(t.Context()); err != nil {
						t.Fatalf("call %d: %v", i, err)
					}
					s.talk(call)
					time.Sleep(talk)
					for _, n := range all {
						carried += n.Status().Relay.Calls
					}
					if i%2 == 0 {
						call.HangUp()
					} else {
						theirs.HangUp()
					}
					<-theirs.Done()
				}
				<-call.Done()
				time.Sleep(time.Duration(i) * time.Second)
			}
			if carried == 0 {
				t.Error("no relay carried any of the calls")
			}
			time.Sleep(15 * time.Second)
			for _, n := range all {
				if c := n.Status().Relay.Calls; c != 0 {
					t.Errorf("seed %d: %v carries %d calls, and there are none", seed, n.NodeID().Short(), c)
				}
			}
		})
	}
}

// A call finds the two relays among many that still take calls, and without
// waiting between one refusal and the next question.
func TestFullRelays(t *testing.T) {
	t.Parallel()
	for seed := range seeds(4, 40) {
		simSeed(t, uint64(seed+1), func(t *testing.T, s *sim) {
			all := s.phones(9, func(i int) RelayLimits {
				if i < 7 {
					return RelayLimits{Calls: -1}
				}
				return RelayLimits{}
			})
			a, b := all[9], all[10]
			ears := s.callee(b)
			call, err := a.Call(t.Context(), s.ticket(b), nil)
			if err == nil {
				err = call.Answered(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			<-ears
			s.talk(call)
			time.Sleep(time.Second)
			if x, y := all[7].Status().Relay.Calls, all[8].Status().Relay.Calls; x != 1 || y != 1 {
				t.Errorf("seed %d: the two relays carry %d and %d calls after a second", seed, x, y)
			}
			call.HangUp()
			<-call.Done()
		})
	}
}

// A link that the mesh has agreed to carry, and that nobody opens a flow for,
// does not count for long: else a node would soon send all others away.
func TestPromisesEnd(t *testing.T) {
	t.Parallel()
	simSeed(t, 1, func(t *testing.T, s *sim) {
		all := s.phones(2, func(int) RelayLimits { return RelayLimits{Links: -1} }) // refuses what the mesh agrees to
		for i := range 6 {
			m := s.computer(fmt.Sprintf("c%d", i), "cgn-block")
			n := s.start(fmt.Sprintf("c%d", i), Config{Join: []string{all[i%2].Status().Listen[0].String()}}, s.opener(m.v4), s.listen(m.v4, 4000))
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Minute)
		least := 1 << 10 // they ask again and again
		for range 120 {
			time.Sleep(time.Second)
			least = min(least, all[0].Status().Carrying+all[1].Status().Carrying)
		}
		if t.Logf("%d are counted", least); least > 28 { // 28 pairs of eight, at each of the two
			t.Errorf("%d links without a flow are counted", least)
		}
	})
}
