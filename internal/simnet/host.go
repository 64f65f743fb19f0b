// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"net/netip"
	"slices"
)

// Host is a computer with one access link and any number of addresses. A
// computer on two networks at once is two Hosts with the same Node on both.
type Host struct {
	site
	addrs []netip.Addr
	ports map[uint16]listener
}

// listener is what stands on a port: a machine's socket or a Conn. It returns
// true when it keeps the datagram, which it then gives back itself.
type listener interface {
	deliver(w *World, p *packet) (kept bool)
}

// Host places a host in the public network. p is its access link, in both
// directions.
func (w *World) Host(name string, p Profile, addrs ...netip.Addr) *Host {
	return w.public.host(name, p, addrs)
}

func (r *realm) host(name string, p Profile, addrs []netip.Addr) *Host {
	h := &Host{ports: map[uint16]listener{}}
	h.site = site{name: name, realm: r, up: newLane(p), down: newLane(p), host: h}
	for _, a := range addrs {
		h.add(a)
	}
	return h
}

// Name returns the name the host or box was given.
func (s *site) Name() string { return s.name }

// SetProfile changes the link in both directions. Datagrams on it arrive as
// they would have; later ones may overtake them.
func (s *site) SetProfile(p Profile) { s.SetProfiles(p, p) }

// SetProfiles changes the link in each direction: up is away from the host or
// box, down towards it.
func (s *site) SetProfiles(up, down Profile) {
	s.up, s.down = newLane(up), newLane(down)
	s.realm.w.traceChange(s.name, "profile")
}

// Cut pulls the cable, with everything that is on it, or plugs it in again.
// Nobody is told: datagrams are lost until someone notices.
func (s *site) Cut(cut bool) {
	if s.cut == cut {
		return
	}
	s.cut = cut
	if cut {
		s.pulled++
		s.realm.w.traceChange(s.name, "cut")
	} else {
		s.realm.w.traceChange(s.name, "mended")
	}
}

// Addrs returns the host's addresses.
func (h *Host) Addrs() []netip.Addr { return slices.Clone(h.addrs) }

// AddAddr gives the host one more address. Datagrams leave from the first
// address of their family, so a host that roams drops the old one.
func (h *Host) AddAddr(a netip.Addr) {
	h.add(a)
	h.realm.w.traceChange(h.name, "has "+a.String())
}

func (h *Host) add(a netip.Addr) {
	a = a.Unmap()
	h.realm.add(&h.site, a)
	h.addrs = append(h.addrs, a)
	if h.realm.box != nil {
		h.realm.box.announce(a)
	}
}

// RemoveAddr takes an address away; what is under way to it is lost.
func (h *Host) RemoveAddr(a netip.Addr) {
	a = a.Unmap()
	i := slices.Index(h.addrs, a)
	if i < 0 {
		return
	}
	h.addrs = slices.Delete(h.addrs, i, i+1)
	delete(h.realm.table, a)
	if h.realm.box != nil {
		h.realm.box.withdraw(a)
	}
	h.realm.w.traceChange(h.name, "lost "+a.String())
}

// Inject sends a datagram with any source address, as a forger would.
func (h *Host) Inject(from, to netip.AddrPort, b []byte) {
	h.realm.w.send(h, from, to, b)
}

func (h *Host) owns(a netip.Addr) bool { return slices.Contains(h.addrs, a) }

// source returns the address a datagram to the given one leaves from.
func (h *Host) source(to netip.Addr) (netip.Addr, bool) {
	if to.IsLoopback() {
		return to, true
	}
	for _, a := range h.addrs {
		if a.Is4() == to.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// write sends from a port. It returns false when the host has no address of
// the destination's family.
func (h *Host) write(port uint16, to netip.AddrPort, b []byte) bool {
	src, ok := h.source(to.Addr())
	if ok {
		h.realm.w.send(h, netip.AddrPortFrom(src, port), to, b)
	}
	return ok
}

func (h *Host) deliver(p *packet) {
	w := h.realm.w
	if !h.owns(p.to.Addr()) && !p.to.Addr().IsLoopback() {
		w.drop(h.name, p, NoRoute) // it has moved since
		return
	}
	l := h.ports[p.to.Port()]
	if l == nil {
		w.drop(h.name, p, NoListener)
		return
	}
	if !l.deliver(w, p) {
		w.recycle(p)
	}
}

// Sockets without a wish get a port where Linux has them, too.
const (
	ephemeralLow  = 32768
	ephemeralHigh = 60999
)

// open puts l on a port, or on a free one when port is 0.
func (h *Host) open(port uint16, l listener) (netip.AddrPort, error) {
	const span = ephemeralHigh - ephemeralLow + 1
	if port == 0 {
		at := h.realm.w.rng.IntN(span)
		for i := range span {
			c := uint16(ephemeralLow + (at+i)%span)
			if h.ports[c] == nil {
				port = c
				break
			}
		}
	}
	if port == 0 || h.ports[port] != nil {
		return netip.AddrPort{}, fmt.Errorf("simnet: listen on port %d of %s: address already in use", port, h.name)
	}
	h.ports[port] = l
	var a netip.Addr
	if len(h.addrs) > 0 {
		a = h.addrs[0]
	}
	return netip.AddrPortFrom(a, port), nil
}
