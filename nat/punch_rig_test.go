// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/internal/sock"
)

// puncherNode is a small driver on a simulated host: one shared socket, a path
// set, a puncher, and the sockets that it asks for.
type puncherNode struct {
	w      *simnet.World
	host   *simnet.Host
	now    time.Time
	hello  netip.AddrPort // vantage to greet; done when zero
	paths  *Paths
	punch  *Puncher
	budget *Budget
	ports  []uint16 // by local number; 0 = closed
	used   map[uint16]bool
	hold   []func() // to be done when held back long enough
	holdAt time.Time
	shots  map[netip.AddrPort]int // packets by destination, of the puncher alone
	sent   int                    // all packets
	opened int
	limit  int // sockets the system has; 0 = no limit
	fail   func(path sock.Path) (SendError, bool)
	failed []struct {
		path sock.Path
		err  SendError
	}
	got []PunchEvent
}

func (n *puncherNode) attach(port uint16) int {
	if n.used[port] || n.limit > 0 && n.opened >= n.limit {
		return -1
	}
	n.opened++
	a := n.host.Attach(port, n)
	n.used[a.Port()] = true
	n.ports = append(n.ports, a.Port())
	return len(n.ports) - 1
}

func (n *puncherNode) Receive(now time.Time, local int, from netip.AddrPort, b []byte) {
	n.now = now
	path := sock.Path{Local: local, Remote: from}
	if n.punch != nil && n.punch.Receive(now, path, b) {
		return
	}
	if n.paths != nil {
		n.paths.Receive(now, path, b)
	}
}

func (n *puncherNode) Advance(now time.Time) {
	n.now = now
	if !n.holdAt.IsZero() && !now.Before(n.holdAt) {
		n.holdAt = time.Time{}
		for _, f := range n.hold {
			f()
		}
	}
	if n.punch != nil {
		n.punch.Advance(now)
	}
	if n.paths != nil {
		n.paths.Advance(now)
	}
}

func (n *puncherNode) Deadline() time.Time {
	at := n.holdAt
	if n.punch != nil {
		at = sooner(at, n.punch.Deadline())
	}
	if n.paths != nil {
		at = sooner(at, n.paths.Deadline())
	}
	return at
}

func (n *puncherNode) Poll() (int, netip.AddrPort, []byte, bool) {
	if n.hello.IsValid() {
		to := n.hello
		n.hello = netip.AddrPort{}
		return 0, to, []byte("hello"), true
	}
	n.events()
	for n.punch != nil {
		s, ok := n.punch.Poll()
		if !ok {
			break
		}
		n.shots[s.Path.Remote]++
		if n.fail != nil {
			if err, bad := n.fail(s.Path); bad {
				n.failed = append(n.failed, struct {
					path sock.Path
					err  SendError
				}{s.Path, err})
				continue
			}
		}
		n.sent++
		return s.Path.Local, s.Path.Remote, s.B, true
	}
	for _, f := range n.failed {
		n.punch.SendFailed(n.now, f.path, f.err)
	}
	n.failed = n.failed[:0]
	n.events()
	if n.paths != nil {
		if d, ok := n.paths.Poll(); ok {
			n.sent++
			return d.Path.Local, d.Path.Remote, d.B, true
		}
	}
	return 0, netip.AddrPort{}, nil, false
}

// events does what the machines ask for.
func (n *puncherNode) events() {
	for n.punch != nil {
		e, ok := n.punch.NextEvent()
		if !ok {
			break
		}
		n.got = append(n.got, e)
		switch e := e.(type) {
		case OpenSockets:
			var locals []int
			for k := range e.N {
				port := uint16(0)
				if k < len(e.Ports) {
					port = e.Ports[k]
				}
				locals = append(locals, n.attach(port))
			}
			n.punch.SocketsOpened(n.now, locals)
		case CloseSockets:
			for _, l := range e.Locals {
				n.host.Detach(n.ports[l])
				delete(n.used, n.ports[l])
				n.ports[l] = 0
			}
		case Hit:
			n.paths.AddProved(n.now, e.Path)
		}
	}
	for n.paths != nil {
		e, ok := n.paths.NextEvent()
		if !ok {
			break
		}
		if _, up := e.(Up); up && n.punch != nil {
			n.punch.Stop(n.now)
		}
	}
}

// open is a count of sockets besides the shared one that are still open.
func (n *puncherNode) open() (k int) {
	for _, p := range n.ports[1:] {
		if p != 0 {
			k++
		}
	}
	return k
}

func (n *puncherNode) up() bool {
	if n.paths == nil {
		return false
	}
	_, _, ok := n.paths.Active()
	return ok
}

// vantage notes where greetings come from.
type vantage struct{ seen []netip.AddrPort }

func (v *vantage) Receive(_ time.Time, _ int, from netip.AddrPort, _ []byte) {
	v.seen = append(v.seen, from)
}
func (*vantage) Advance(time.Time)   {}
func (*vantage) Deadline() time.Time { return time.Time{} }
func (*vantage) Poll() (int, netip.AddrPort, []byte, bool) {
	return 0, netip.AddrPort{}, nil, false
}

// noise opens a flow through a box every so often, as a household does.
type noise struct {
	rng  *rand.Rand
	rate float64 // a second
	due  time.Time
	out  bool
}

func (*noise) Receive(time.Time, int, netip.AddrPort, []byte) {}
func (n *noise) Advance(now time.Time) {
	n.out = true
	n.due = now.Add(time.Duration(n.rng.ExpFloat64() / n.rate * float64(time.Second)))
}
func (n *noise) Deadline() time.Time { return n.due }
func (n *noise) Poll() (int, netip.AddrPort, []byte, bool) {
	out := n.out
	n.out = false
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 9, byte(n.rng.Uint32()), 9}), uint16(1+n.rng.IntN(60000)))
	return 0, to, []byte("x"), out
}

// punchSite is one end of a simulated punch.
type punchSite struct {
	nat    simnet.NATConfig // Pool is set by the rig
	public bool             // no NAT at all
	b      Behaviour
	noise  float64
}

type punchWorld struct {
	w       *simnet.World
	a, b    *puncherNode
	boxes   [2]*simnet.NAT
	seen    [2]netip.AddrPort
	started time.Time
	inBox   [2]int // most mappings in each box at a time, sampled
}

var punchEpoch = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// newPunchWorld places two sites 20 ms apart one way, has an introducer see
// both, and hands each the other's offer: b a trip earlier than a.
func newPunchWorld(t testing.TB, seed uint64, sites [2]punchSite, loss float64, o [2]PlanOptions, trust Trust) *punchWorld {
	t.Helper()
	w := simnet.NewWorld(seed, punchEpoch)
	v := &vantage{}
	at := w.Host("introducer", simnet.Profile{Delay: 10 * time.Millisecond}, netip.MustParseAddr("45.0.0.9")).Attach(9, v)
	p := &punchWorld{w: w}
	var nodes [2]*puncherNode
	for i, s := range sites {
		outside := netip.AddrFrom4([4]byte{45, 0, byte(i + 1), 1})
		link := simnet.Profile{Delay: 10 * time.Millisecond, Loss: loss / 2}
		var h *simnet.Host
		if s.public {
			h = w.Host("host", link, outside)
		} else {
			s.nat.Pool = []netip.Addr{outside}
			p.boxes[i] = w.NAT("box", link, s.nat)
			h = p.boxes[i].Host("host", simnet.Profile{}, netip.AddrFrom4([4]byte{192, 168, byte(i), 2}))
			if s.noise > 0 {
				other := &noise{rng: w.Rand(), rate: s.noise, due: punchEpoch}
				p.boxes[i].Host("neighbour", simnet.Profile{}, netip.AddrFrom4([4]byte{192, 168, byte(i), 3})).Attach(5, other)
			}
		}
		n := &puncherNode{w: w, host: h, now: punchEpoch, used: map[uint16]bool{}, shots: map[netip.AddrPort]int{}}
		n.budget = NewBudget(punchEpoch)
		n.attach(4000)
		nodes[i] = n
	}
	p.a, p.b = nodes[0], nodes[1]
	w.Run(punchEpoch.Add(time.Second))
	for i, n := range nodes {
		for try := 0; len(v.seen) == i; try++ {
			n.hello = at
			w.Wake(n)
			w.Run(w.Now().Add(40 * time.Millisecond))
		}
		p.seen[i] = v.seen[i]
		v.seen = v.seen[:i+1]
	}
	ca, cb := creds()
	if seed%2 == 1 {
		ca, cb = cb, ca
	}
	start := func(i int, mine, theirs Cred) {
		n := nodes[i]
		n.now = w.Now()
		plan := MakePlan(sites[i].b, sites[1-i].b, o[i])
		n.paths = NewPaths(mine, theirs, w.Rand(), Options{})
		n.punch = NewPuncher(n.now, PunchConfig{
			Mine: mine, Theirs: theirs, Plan: plan, Remote: p.seen[1-i], Trust: trust, Standing: o[i].Standing,
		}, n.budget, w.Rand())
		candidate := func() {
			if trust == Stranger {
				n.paths.Add(n.now, sock.Path{Remote: p.seen[1-i]})
			} else {
				n.paths.AddAttested(n.now, sock.Path{Remote: p.seen[1-i]})
			}
		}
		if plan.Hold > 0 {
			n.hold, n.holdAt = append(n.hold, candidate), n.now.Add(plan.Hold)
		} else {
			candidate()
		}
		if plan.Method == Cross {
			n.punch.SetRelayed(n.now, true)
		}
		w.Wake(n)
	}
	p.started = w.Now()
	start(1, cb, ca)
	w.At(w.Now().Add(20*time.Millisecond), func() { start(0, ca, cb) })
	return p
}

// run lets the punch go on until both sides are up; it returns how long that
// took, and whether it happened within d.
func (p *punchWorld) run(d time.Duration) (time.Duration, bool) {
	events := 0
	ok := p.w.Until(d, func() bool {
		if events++; events%512 == 0 {
			for i, b := range p.boxes {
				if b != nil {
					maps, _ := b.Len()
					p.inBox[i] = max(p.inBox[i], maps)
				}
			}
		}
		return p.a.up() && p.b.up()
	})
	return p.w.Now().Sub(p.started), ok
}
