// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import "net/netip"

// NAT is a Box in a World: outside it has an access link and the addresses of
// its pool, inside there is a network of its own.
type NAT struct {
	site
	box    *Box
	inside realm
}

// NAT places a box in the public network. p is its access link, in both
// directions.
func (w *World) NAT(name string, p Profile, c NATConfig) *NAT { return w.public.newNAT(name, p, c) }

// Host places a host behind the box. Addresses of a family the box translates
// need to be unique behind it only; the others are known outside as well, as
// far as no box on the way translates them, except that private ones never get
// into the public network.
func (n *NAT) Host(name string, p Profile, addrs ...netip.Addr) *Host {
	return n.inside.host(name, p, addrs)
}

// NAT places another box behind this one; the addresses of its pool are inside
// addresses here.
func (n *NAT) NAT(name string, p Profile, c NATConfig) *NAT { return n.inside.newNAT(name, p, c) }

func (r *realm) newNAT(name string, p Profile, c NATConfig) *NAT {
	w := r.w
	n := &NAT{box: NewBox(c, w.Rand(), w.start)}
	n.site = site{name: name, realm: r, up: newLane(p), down: newLane(p), nat: n}
	n.inside = realm{w: w, box: n, table: map[netip.Addr]*site{}}
	n.box.watch = func(a Action, in, out netip.AddrPort) {
		if w.trace != nil {
			w.trace(TraceEvent{At: w.Now(), Action: a, Where: name, From: in, To: out})
		}
	}
	n.take(n.box.c.Pool)
	return n
}

// Len returns how many mappings and holes in its filter the box has now.
func (n *NAT) Len() (mappings, holes int) { return n.box.Len(n.realm.w.Now()) }

// Reboot makes the box forget everything, and take other addresses (of the
// same families) where some are given.
func (n *NAT) Reboot(addrs ...netip.Addr) {
	if len(addrs) > 0 {
		for _, a := range n.box.c.Pool {
			n.leave(a)
		}
		n.box.c.Pool = nil
		for _, a := range addrs {
			n.box.c.Pool = append(n.box.c.Pool, a.Unmap())
		}
		n.take(n.box.c.Pool)
	}
	n.box.clear()
	n.realm.w.traceChange(n.name, "rebooted")
}

// take makes the box's own addresses known outside.
func (n *NAT) take(pool []netip.Addr) {
	for _, a := range pool {
		n.realm.add(&n.site, a)
		if n.realm.box != nil {
			n.realm.box.announce(a)
		}
	}
}

func (n *NAT) leave(a netip.Addr) {
	delete(n.realm.table, a)
	if n.realm.box != nil {
		n.realm.box.withdraw(a)
	}
}

// announce makes an inside address known outside when it stays what it is there.
func (n *NAT) announce(a netip.Addr) {
	if n.box.translates(a) || n.realm.box == nil && a.IsPrivate() {
		return
	}
	n.realm.add(&n.site, a)
	if n.realm.box != nil {
		n.realm.box.announce(a)
	}
}

func (n *NAT) withdraw(a netip.Addr) {
	if n.realm.table[a] == &n.site && !n.box.owns(a) {
		n.leave(a)
	}
}

// outbound takes a datagram that has no destination inside.
func (n *NAT) outbound(p *packet) {
	w := n.realm.w
	v := n.box.Outbound(w.Now(), p.from, p.to)
	if v.Drop != 0 {
		w.drop(n.name, p, v.Drop)
		return
	}
	p.from, p.to = v.From, v.To
	if v.Inside {
		n.descend(p)
	} else {
		w.cross(&n.site, false, p)
	}
}

// inbound takes a datagram off the outside link.
func (n *NAT) inbound(p *packet) {
	w := n.realm.w
	v := n.box.Inbound(w.Now(), p.from, p.to)
	if v.Drop != 0 {
		w.drop(n.name, p, v.Drop)
		return
	}
	p.from, p.to = v.From, v.To
	n.descend(p)
}

// descend sends a translated datagram on to its inside host, never out again.
func (n *NAT) descend(p *packet) {
	if s := n.inside.table[p.to.Addr()]; s != nil {
		n.realm.w.cross(s, true, p)
	} else {
		n.realm.w.drop(n.name, p, NoRoute)
	}
}
