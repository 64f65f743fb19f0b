// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

var epoch = time.Unix(1_800_000_000, 0)

// world joins a few peers by links with delay, loss and NATs on a virtual
// clock, and holds every machine to its promises after every step.
type world struct {
	t     testing.TB
	now   time.Time
	rng   *rand.Rand
	queue events
	seq   int
	loss  float64
	delay func(from, to netip.AddrPort) time.Duration
	cut   func(from, to netip.AddrPort) bool
	peers []*peer
	trace io.Writer
	sum   func() uint64
	sent  int
}

type peer struct {
	name    string
	w       *world
	p       *Paths
	socks   []*localSock
	got     []Event
	proved  map[sock.Path]bool // ever Bound
	genuine map[sock.Path]int
	media   time.Duration // between packets; 0 = none
	heard   time.Time     // last media from the other
	gap     time.Duration // the longest pause of media heard
}

type localSock struct {
	addr netip.AddrPort
	nat  *natBox
	down bool
}

// natBox maps independently of the endpoint and lets in only whom its inside
// wrote to (RFC 4787: EIM, APDF), or with symmetric gives each remote a port.
type natBox struct {
	ip        netip.Addr
	symmetric bool
	next      uint16
	maps      []*mapping
}

type mapping struct {
	in, remote netip.AddrPort
	out        netip.AddrPort
	allowed    map[netip.AddrPort]bool
}

func (n *natBox) send(in, remote netip.AddrPort) netip.AddrPort {
	for _, m := range n.maps {
		if m.in == in && (!n.symmetric || m.remote == remote) {
			m.allowed[remote] = true
			return m.out
		}
	}
	n.next += 7
	m := &mapping{in: in, remote: remote, out: netip.AddrPortFrom(n.ip, 40000+n.next), allowed: map[netip.AddrPort]bool{remote: true}}
	n.maps = append(n.maps, m)
	return m.out
}

type event struct {
	at time.Time
	n  int
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any     { o := *e; x := o[len(o)-1]; *e = o[:len(o)-1]; return x }

func newWorld(t testing.TB, seed uint64) *world {
	h := fnv.New64a()
	return &world{
		t: t, now: epoch, rng: rand.New(rand.NewPCG(seed, 1)), trace: h, sum: h.Sum64,
		delay: func(netip.AddrPort, netip.AddrPort) time.Duration { return 20 * time.Millisecond },
		cut:   func(netip.AddrPort, netip.AddrPort) bool { return false },
	}
}

// peer adds a peer with sockets; each is "ip:port", or "ip:port>natip".
func (w *world) peer(name string, mine, theirs Cred, o Options, socks ...*localSock) *peer {
	h := &peer{name: name, w: w, socks: socks, proved: map[sock.Path]bool{}}
	h.p = NewPaths(mine, theirs, rand.New(rand.NewPCG(w.rng.Uint64(), 2)), o)
	w.peers = append(w.peers, h)
	return h
}

func behind(n *natBox, addr string) *localSock {
	return &localSock{addr: netip.MustParseAddrPort(addr), nat: n}
}

func (w *world) at(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now.Add(d), w.seq, do})
}

// post carries a datagram from a peer's path.
func (w *world) post(from *peer, path sock.Path, deliver func(to *peer, path sock.Path)) {
	s := from.socks[path.Local]
	src := s.addr
	w.sent++
	if s.nat != nil {
		src = s.nat.send(s.addr, path.Remote)
	}
	if s.down || w.rng.Float64() < w.loss || w.cut(src, path.Remote) {
		return
	}
	w.at(w.delay(src, path.Remote), func() {
		for _, to := range w.peers {
			for i, d := range to.socks {
				in := sock.Path{Local: i, Remote: src}
				if d.down || to == from {
					continue
				}
				if d.nat == nil {
					if d.addr == path.Remote {
						deliver(to, in)
					}
					continue
				}
				for _, m := range d.nat.maps {
					if m.out == path.Remote && m.in == d.addr && m.allowed[src] {
						deliver(to, in)
					}
				}
			}
		}
	})
}

// drain does what a driver does after each input, and checks the promises.
func (w *world) drain(h *peer) {
	for {
		d, ok := h.p.Poll()
		if !ok {
			break
		}
		b := append([]byte(nil), d.B...)
		fmt.Fprintf(w.trace, "%d %s %v %x\n", w.now.Sub(epoch), h.name, d.Path, b)
		w.post(h, d.Path, func(to *peer, path sock.Path) {
			if !to.p.Receive(w.now, path, b) && w.t != nil {
				fmt.Fprintf(w.trace, "refused by %s\n", to.name)
			}
			w.drain(to)
		})
	}
	for {
		e, ok := h.p.NextEvent()
		if !ok {
			break
		}
		fmt.Fprintf(w.trace, "%d %s %T%+v\n", w.now.Sub(epoch), h.name, e, e)
		h.got = append(h.got, e)
		switch e := e.(type) {
		case Bound:
			h.proved[e.Path] = true
		case Unbound:
			delete(h.proved, e.Path)
		}
	}
	h.check()
}

// check holds what is true of a Paths at any time.
func (h *peer) check() {
	t := h.w.t
	t.Helper()
	primary, also, ok := h.p.Active()
	valid, seen := 0, map[sock.Path]bool{}
	list := h.p.Snapshot()
	if len(list) > maxPaths {
		t.Fatalf("%s: %d paths", h.name, len(list))
	}
	state := map[sock.Path]State{}
	for _, i := range list {
		if seen[i.Path] {
			t.Fatalf("%s: %v twice", h.name, i.Path)
		}
		seen[i.Path] = true
		state[i.Path] = i.State
		if i.State == Valid {
			valid++
		}
		if i.Primary != (ok && i.Path == primary) {
			t.Fatalf("%s: %v primary in the snapshot, %v from Active", h.name, i.Path, primary)
		}
	}
	if ok != (valid > 0) {
		t.Fatalf("%s: active %v with %d valid paths", h.name, ok, valid)
	}
	for _, p := range append(also[:len(also):len(also)], primary) {
		if ok && (state[p] != Valid || !h.proved[p]) {
			t.Fatalf("%s sends on unproved path %v (%v)", h.name, p, state[p])
		}
	}
	if len(also) > 0 && also[0] == primary {
		t.Fatalf("%s: second path is the first", h.name)
	}
}

// run lets the world go on for d.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 1e6 {
			w.t.Fatal("the world doesn't come to rest")
		}
		next, who := end, (*peer)(nil)
		for _, h := range w.peers {
			if at := h.p.Deadline(); !at.IsZero() && at.Before(next) {
				next, who = at, h
			}
		}
		if len(w.queue) > 0 && !w.queue[0].at.After(next) {
			e := heap.Pop(&w.queue).(event)
			w.now = e.at
			e.do()
			continue
		}
		if who == nil {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		who.p.Advance(w.now)
		w.drain(who)
		if at := who.p.Deadline(); !at.IsZero() && !at.After(w.now) {
			w.t.Fatalf("%s: after Advance at %v the deadline is %v", who.name, w.now.Sub(epoch), at.Sub(epoch))
		}
	}
}

// talk makes h send media every 20 ms, and both machines know it.
func (w *world) talk(hs ...*peer) {
	for _, h := range hs {
		h.p.SetMedia(w.now, true)
		w.drain(h)
		var tick func()
		tick = func() {
			if primary, also, ok := h.p.Active(); ok {
				for _, path := range append(also[:len(also):len(also)], primary) {
					w.post(h, path, func(to *peer, in sock.Path) {
						if !to.heard.IsZero() {
							to.gap = max(to.gap, w.now.Sub(to.heard))
						}
						to.heard = w.now
						to.p.Heard(w.now, in)
						w.drain(to)
					})
				}
			}
			w.at(20*time.Millisecond, tick)
		}
		tick()
	}
}

// add gives h candidates on local sock i.
func (h *peer) add(attested bool, local int, addrs ...string) {
	for _, a := range addrs {
		path := sock.Path{Local: local, Remote: netip.MustParseAddrPort(a)}
		if attested {
			h.p.AddAttested(h.w.now, path)
		} else {
			h.p.Add(h.w.now, path)
		}
		h.w.drain(h)
	}
}

// active returns the primary path's remote address, "" when there is none.
func (h *peer) active() string {
	if p, _, ok := h.p.Active(); ok {
		return fmt.Sprintf("%d/%v", p.Local, p.Remote)
	}
	return ""
}

func count[E Event](h *peer) (n int) {
	for _, e := range h.got {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}

// creds returns those of two peers, the controlling one first.
func creds() (a, b Cred) {
	a, b = Cred{Tag: [8]byte{2}}, Cred{Tag: [8]byte{1}}
	a.Key[0], b.Key[0] = 1, 2
	return a, b
}

// natted returns two peers behind a NAT each that know each other's outside
// address, as introducers would tell them, b later than a by skew.
func natted(t testing.TB, seed uint64, loss float64, attested bool, skew time.Duration) (w *world, a, b *peer) {
	w = newWorld(t, seed)
	w.loss = loss
	ca, cb := creds()
	if seed%2 == 1 {
		ca, cb = cb, ca
	}
	na := &natBox{ip: netip.MustParseAddr("198.51.100.1")}
	nb := &natBox{ip: netip.MustParseAddr("203.0.113.1")}
	a = w.peer("a", ca, cb, Options{}, behind(na, "192.168.0.2:5000"))
	b = w.peer("b", cb, ca, Options{}, behind(nb, "192.168.0.2:6000"))
	// Both wrote to an introducer, which is how their mappings are known.
	intro := netip.MustParseAddrPort("192.0.2.9:9")
	oa, ob := na.send(a.socks[0].addr, intro), nb.send(b.socks[0].addr, intro)
	a.add(attested, 0, "192.168.0.2:6000", ob.String())
	w.at(skew, func() { b.add(attested, 0, "192.168.0.2:5000", oa.String()) })
	return w, a, b
}
