// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long something that must come may take on a busy machine.
const patience = 20 * time.Second

// rig is a lab with two public hosts that have two sockets each.
type rig struct {
	*testing.T
	*Lab
	x, y           *Host
	x1, x2, y1, y2 *sock
	tags           atomic.Int64
}

// sock is a UDP socket on a host and the address it is reached at there.
type sock struct {
	*net.UDPConn
	at netip.AddrPort
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, Lab: New(t)}
	r.SetDelay(2 * time.Millisecond)
	r.x, r.y = r.Public("x"), r.Public("y")
	r.x1, r.x2 = r.open(r.x, 3478), r.open(r.x, 3479)
	r.y1, r.y2 = r.open(r.y, 3478), r.open(r.y, 3479)
	return r
}

func (r *rig) open(h *Host, port int) *sock { r.Helper(); return r.listen(h, "udp4", port) }

func (r *rig) listen(h *Host, network string, port int) *sock {
	r.Helper()
	c, err := h.Listen(network, fmt.Sprintf(":%d", port))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	a := h.Addr()
	if network == "udp6" {
		a = h.Addr6()
	}
	u := c.(*net.UDPConn)
	return &sock{u, netip.AddrPortFrom(a, u.LocalAddr().(*net.UDPAddr).AddrPort().Port())}
}

func (r *rig) send(from *sock, to netip.AddrPort) (tag string) {
	r.Helper()
	tag = fmt.Sprint("datagram ", r.tags.Add(1))
	if _, err := from.WriteToUDPAddrPort([]byte(tag), to); err != nil {
		r.Fatal(err)
	}
	return tag
}

// wait reads until a datagram comes in and returns its source, and which of
// others came in before.
func (r *rig) wait(at *sock, tag string, others ...string) (from netip.AddrPort, came []bool) {
	r.Helper()
	came = make([]bool, len(others))
	at.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	for {
		n, from, err := at.ReadFromUDPAddrPort(b)
		if err != nil {
			r.Fatalf("waiting for %q: %v", tag, err)
		}
		got := string(b[:n])
		for i, o := range others {
			came[i] = came[i] || got == o
		}
		if got == tag {
			return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), came
		}
	}
}

// observe sends from behind a NAT and returns the source seen outside.
func (r *rig) observe(c, at *sock) netip.AddrPort {
	r.Helper()
	m, _ := r.wait(at, r.send(c, at.at))
	return m
}

// reaches reports whether a datagram sent to the outside address to comes in
// at c. What doesn't come is known not to come, without a time limit, by two
// round trips between c and fence after it.
func (r *rig) reaches(from *sock, to netip.AddrPort, c, fence *sock) bool {
	r.Helper()
	return r.settled(c, fence, r.send(from, to))
}

// settled reports whether a datagram sent already has come in at c.
func (r *rig) settled(c, fence *sock, tag string) bool {
	r.Helper()
	came := false
	for range 2 {
		m := r.observe(c, fence)
		_, is := r.wait(c, r.send(fence, m), tag)
		came = came || is[0]
	}
	return came
}
