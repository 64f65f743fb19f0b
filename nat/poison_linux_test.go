// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
	"github.com/p2pos/p2pos/internal/sock"
)

// poisonNode is one side of a punch over a real socket: a driver of Puncher and
// Paths, as the overlay is one.
type poisonNode struct {
	s     *sock.Socket
	paths *Paths
	punch *Puncher
	in    chan poisonPacket // capacity 64: a punch of this kind has ten
	held  []sock.Path
	until time.Time
	up    bool
	ready chan struct{} // closed when it is up
}

type poisonPacket struct {
	path sock.Path
	b    []byte
}

func (n *poisonNode) drain(now time.Time) {
	for {
		d, ok := n.punch.Poll()
		if !ok {
			break
		}
		if d.TTL != 0 {
			n.s.WriteTTL(d.Path, d.B, d.TTL)
		} else {
			n.s.WriteTo(d.Path, d.B)
		}
	}
	for e, ok := n.punch.NextEvent(); ok; e, ok = n.punch.NextEvent() {
		if h, hit := e.(Hit); hit {
			n.paths.AddAttested(now, h.Path)
		}
	}
	for d, ok := n.paths.Poll(); ok; d, ok = n.paths.Poll() {
		n.s.WriteTo(d.Path, d.B)
	}
	for e, ok := n.paths.NextEvent(); ok; e, ok = n.paths.NextEvent() {
		if _, ok := e.(Up); ok && !n.up {
			n.up = true
			close(n.ready)
		}
	}
}

// run drives the node until ctx ends.
func (n *poisonNode) run(ctx context.Context) {
	for ctx.Err() == nil {
		due := n.paths.Deadline()
		due = sooner(due, n.punch.Deadline())
		if len(n.held) > 0 {
			due = sooner(due, n.until)
		}
		wait := time.Hour
		if !due.IsZero() {
			wait = max(time.Until(due), time.Millisecond)
		}
		timer := time.NewTimer(wait)
		select {
		case p := <-n.in:
			now := time.Now()
			if !n.punch.Receive(now, p.path, p.b) {
				n.paths.Receive(now, p.path, p.b)
			}
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		now := time.Now()
		if len(n.held) > 0 && !now.Before(n.until) {
			for _, p := range n.held {
				n.paths.AddAttested(now, p)
			}
			n.held = nil
		}
		n.punch.Advance(now)
		n.paths.Advance(now)
		n.drain(now)
	}
}

// TestKernelPoison: two home routers that keep ports and take packets from
// outside for their own (netfilter with an open INPUT chain). The first packet
// that gets through moves the port that it aims at, and the pair is lost; a first
// shot that dies on the way opens both routers before.
func TestKernelPoison(t *testing.T) {
	natlab.Need(t)
	for _, low := range []bool{false, true} {
		t.Run(map[bool]string{false: "the trap", true: "low TTL first"}[low], func(t *testing.T) {
			t.Parallel()
			l := natlab.New(t)
			l.SetHops(10)
			home := natlab.Spec{Kernel: &natlab.Kernel{AcceptInput: true}}
			hosts := []*natlab.Host{l.Build("a", home), l.Build("b", home)}
			ca, cb := creds()
			mine := []Cred{ca, cb}
			b := Behaviour{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: Preserved}
			plan := MakePlan(b, b, PlanOptions{Friendly: true, LowTTL: low})
			if low != (plan.Hold > 0) {
				t.Fatalf("plan %+v", plan)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
			defer cancel()
			var nodes []*poisonNode
			for i, h := range hosts {
				conn, err := h.Listen("udp4", ":4000")
				if err != nil {
					t.Fatal(err)
				}
				n := &poisonNode{in: make(chan poisonPacket, 64), ready: make(chan struct{})}
				n.s = sock.Open(sock.Config{Conns: []net.PacketConn{conn}, STUN: func(p sock.Path, b []byte) {
					select {
					case n.in <- poisonPacket{p, slices.Clone(b)}:
					default:
					}
				}})
				defer n.s.Close()
				n.paths = NewPaths(mine[i], mine[1-i], rand.New(rand.NewPCG(1, uint64(i))), Options{})
				nodes = append(nodes, n)
			}
			// The one that hears of the other first begins 30 ms earlier.
			done := make(chan struct{})
			for i, n := range nodes {
				go func() {
					defer func() { done <- struct{}{} }()
					<-time.After(time.Duration(i) * 30 * time.Millisecond)
					now := time.Now()
					path := sock.Path{Remote: netip.AddrPortFrom(hosts[1-i].Site().Addr(), 4000)}
					n.punch = NewPuncher(now, PunchConfig{
						Mine: mine[i], Theirs: mine[1-i], Plan: plan, Remote: path.Remote, Trust: Attested,
					}, NewBudget(now), rand.New(rand.NewPCG(2, uint64(i))))
					n.held, n.until = []sock.Path{path}, now.Add(plan.Hold)
					n.drain(now)
					n.run(ctx)
				}()
			}
			for _, n := range nodes {
				select {
				case <-n.ready:
				case <-ctx.Done():
				}
			}
			cancel()
			for range nodes {
				<-done
			}
			for i, n := range nodes {
				if n.up != low {
					t.Errorf("%s has a path: %v", hosts[i].Name(), n.up)
				}
			}
		})
	}
}
