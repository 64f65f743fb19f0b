// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"net/netip"
	"time"
)

// Node is a protocol machine in the sense of the project's guide, with
// datagrams addressed the way the world does. A machine that names paths or
// has typed events gets there in a few lines:
//
//	type peer struct{ *nat.Paths }
//
//	func (p peer) Receive(now time.Time, local int, from netip.AddrPort, b []byte) {
//		p.Paths.Receive(now, sock.Path{Local: local, Remote: from}, b)
//	}
//	func (p peer) Poll() (int, netip.AddrPort, []byte, bool) {
//		d, ok := p.Paths.Poll()
//		return d.Path.Local, d.Path.Remote, d.B, ok
//	}
//
// The dynamic type must be comparable: a pointer, or a struct of pointers.
//
// The world drains Poll after every Receive and every Advance, calls Advance
// only once Deadline is due, and asks for Deadline after each input. A command
// given from outside, as a dial or a hang-up, is an input too: call
// [World.Wake] after it.
type Node interface {
	// Receive takes a datagram that came to the machine's socket number local,
	// counted in the order of Attach from 0. b is valid during the call only.
	Receive(now time.Time, local int, from netip.AddrPort, b []byte)

	// Advance tells the machine the time, at Deadline.
	Advance(now time.Time)

	// Deadline returns when Advance is due; zero = never.
	Deadline() time.Time

	// Poll returns the next datagram to send and the socket it leaves from.
	// b may be used again by the machine in its next call.
	Poll() (local int, to netip.AddrPort, b []byte, ok bool)
}

const (
	// maxBurst bounds the datagrams of one Poll round, and the calls of Advance
	// at one instant: beyond any sensible machine, so it has a bug, and the
	// world would never move on.
	maxBurst = 1 << 16
)

// machine is a Node in the world.
type machine struct {
	node    Node
	sockets []*socket       // by local number
	open    int             // of them
	wakes   []time.Duration // of its events, the next one last
	stuck   int             // calls of Advance at
	stuckAt time.Duration   // this instant
}

// socket is a machine's foot on a port.
type socket struct {
	m     *machine
	local int
	host  *Host
	port  uint16
	shut  bool
}

// Attach puts a machine on a port of the host (0 = a free one) and returns its
// address there, with the host's first address. A machine may stand on several
// ports and hosts. The world looks at it first when it runs next.
func (h *Host) Attach(port uint16, n Node) netip.AddrPort {
	w := h.realm.w
	m := w.machines[n]
	if m == nil {
		m = &machine{node: n}
	}
	s := &socket{m: m, local: len(m.sockets), host: h}
	a, err := h.open(port, s)
	if err != nil {
		panic(err.Error())
	}
	s.port = a.Port()
	m.sockets = append(m.sockets, s)
	m.open++
	w.machines[n] = m
	w.wakeAt(m, w.now)
	return a
}

// Detach takes the machine on a port away. Its other sockets keep their numbers;
// what it sends from this one is lost. Without any it is forgotten.
func (h *Host) Detach(port uint16) {
	s, ok := h.ports[port].(*socket)
	if !ok {
		return
	}
	delete(h.ports, port)
	s.shut = true
	s.m.open--
	if s.m.open == 0 {
		delete(h.realm.w.machines, s.m.node)
	}
}

// Wake drains a machine and asks for its deadline again, after a command that
// did not come through the world. A machine that stands on no port is ignored.
func (w *World) Wake(n Node) {
	if m := w.machines[n]; m != nil {
		w.settle(m)
	}
}

func (s *socket) deliver(w *World, p *packet) bool {
	w.stats.Delivered++
	w.tracePacket(Delivered, s.host.name, p)
	s.m.node.Receive(w.Now(), s.local, p.from, p.b)
	w.settle(s.m)
	return false
}

// due runs when an event set by wakeAt comes up.
func (w *World) due(m *machine) {
	m.wakes = m.wakes[:len(m.wakes)-1]
	if m.open == 0 {
		return
	}
	if d := m.node.Deadline(); !d.IsZero() && d.Sub(w.start) <= w.now {
		if m.stuckAt != w.now {
			m.stuck, m.stuckAt = 0, w.now
		}
		if m.stuck++; m.stuck > maxBurst {
			panic(fmt.Sprintf("simnet: %T stays due at %v", m.node, d))
		}
		m.node.Advance(w.Now())
	}
	w.settle(m)
}

// settle sends what the machine has to send and sets its next wake.
func (w *World) settle(m *machine) {
	for n := 0; ; n++ {
		local, to, b, ok := m.node.Poll()
		if !ok {
			break
		}
		if n == maxBurst {
			panic(fmt.Sprintf("simnet: %T has sent %d datagrams in a row", m.node, n))
		}
		if local < 0 || local >= len(m.sockets) {
			panic(fmt.Sprintf("simnet: %T sends from socket %d of %d", m.node, local, len(m.sockets)))
		}
		if s := m.sockets[local]; !s.shut && !s.host.write(s.port, to, b) {
			w.lost(s.host, to, b)
		}
	}
	if d := m.node.Deadline(); !d.IsZero() && m.open > 0 {
		w.wakeAt(m, max(w.now, d.Sub(w.start)))
	}
}

// wakeAt sees that due is called at or before at. Where an earlier event is
// set already it will find the deadline and come back; so a machine's events
// are few, each earlier than the one set before it, and none goes stale.
func (w *World) wakeAt(m *machine, at time.Duration) {
	if n := len(m.wakes); n > 0 && m.wakes[n-1] <= at {
		return
	}
	m.wakes = append(m.wakes, at)
	w.events.push(at, event{m: m})
}
