// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

const (
	// mtu is what all interfaces have, as Ethernet.
	mtu = 1500

	// headers are what simnet's links assume around a payload: IPv4 and UDP.
	// Here whole packets are the payload.
	headers = 20 + 8

	linkPort = 1 // the one port of each of simnet's hosts here

	// A TCP connection's mapping in a box lives so long: RFC 5382 REQ-5.
	tcpUnreplied = 4 * time.Minute
	tcpReplied   = 124 * time.Minute
)

// router is the Internet: it moves packets between the TUN devices of sites,
// through their boxes and over their access links. One simnet world is the
// link model: each site is a host in it, each IP packet a payload there.
type router struct {
	net     *simnet.Net
	readers sync.WaitGroup

	// The rest belongs to net.Do, as all ends do.
	ends  map[int]*end
	drops map[string]uint64
	hops  int // between any two sites
}

// end is a site's end of the Internet.
type end struct {
	r    *router
	n    int // the site's number
	tun  *os.File
	link *simnet.Host
	at   netip.AddrPort // of link

	conf      *simnet.NATConfig // nil without a box
	udp, tcp  *simnet.Box
	rng       *rand.Rand
	profile   simnet.Profile
	own, took uint64 // packets sent into and received from the Internet
}

var _ simnet.Node = (*end)(nil)

func newRouter() *router {
	// Searches for ports must not depend on one lucky seed.
	w := simnet.NewWorld(rand.Uint64(), time.Now())
	return &router{net: simnet.Start(w), ends: map[int]*end{}, drops: map[string]uint64{}, hops: 1}
}

// attach connects site n's TUN to the Internet. at is the site's address.
func (r *router) attach(n int, tun *os.File, at netip.Addr, p simnet.Profile, conf *simnet.NATConfig, pool []netip.Addr) *end {
	e := &end{r: r, n: n, tun: tun, at: netip.AddrPortFrom(at, linkPort), profile: p}
	if conf != nil {
		c := *conf
		e.conf = &c
	}
	r.net.Do(func(w *simnet.World) {
		e.rng = w.Rand()
		e.reset(w, pool)
		e.link = w.Host(at.String(), wide(p), at)
		e.link.Attach(linkPort, e)
		r.ends[n] = e
	})
	r.readers.Go(e.read)
	return e
}

// close stops all and waits. What is under way is lost.
func (r *router) close() {
	for _, e := range r.ends { // nobody adds any more
		e.tun.Close()
	}
	r.readers.Wait()
	r.net.Close()
}

// wide returns a profile for packets of which p's payload is a part.
func wide(p simnet.Profile) simnet.Profile {
	if p.MTU == 0 {
		p.MTU = mtu
	} else {
		p.MTU += headers
	}
	return p
}

// reset makes the box forget everything and use the addresses of pool.
func (e *end) reset(w *simnet.World, pool []netip.Addr) {
	if e.conf == nil {
		return
	}
	c := *e.conf
	c.Pool = pool
	e.udp = simnet.NewBox(c, e.rng, w.Now())
	c.Unreplied, c.Replied, c.Absolute, c.Quota = tcpUnreplied, tcpReplied, 0, 0
	e.tcp = simnet.NewBox(c, e.rng, w.Now())
}

// read takes what comes out of the site until the TUN is closed.
func (e *end) read() {
	buf := make([]byte, 1<<16)
	for {
		n, err := e.tun.Read(buf)
		if err != nil {
			return // closed, or its namespace is gone
		}
		e.r.net.Do(func(w *simnet.World) { e.outbound(w, buf[:n]) })
	}
}

// outbound sends a packet from the site into the Internet.
func (e *end) outbound(w *simnet.World, b []byte) {
	p, ok := parse(b)
	if !ok {
		e.r.drop("malformed")
		return
	}
	if a := p.dst.Addr(); a.IsMulticast() || a.IsLinkLocalUnicast() || p.src.Addr().IsLinkLocalUnicast() {
		return // kernels talk to their neighbours; there are none on a TUN
	}
	if e.conf != nil {
		box := e.box(&p)
		if box == nil {
			e.r.drop("not for a box")
			return
		}
		v := box.Outbound(w.Now(), p.src, p.dst)
		if v.Drop != 0 {
			e.r.drop("box: " + v.Drop.String())
			return
		}
		p.setSource(v.From)
		p.setDestination(v.To)
		if v.Inside {
			e.write(&p)
			return
		}
	}
	to := e.r.ends[siteOf(p.dst.Addr())]
	switch {
	case siteOf(p.src.Addr()) != e.n:
		e.r.drop("foreign source") // as RFC 2827 asks of a network's edge
	case to == nil || to == e:
		e.r.drop("no route")
	case !e.r.far(&p):
		e.r.drop("hop limit")
	default:
		e.own++
		e.link.Inject(e.at, to.at, p.b)
	}
}

// Receive takes a packet off the site's link.
func (e *end) Receive(now time.Time, _ int, _ netip.AddrPort, b []byte) {
	p, ok := parse(b)
	if !ok {
		e.r.drop("malformed")
		return
	}
	e.took++
	if e.conf != nil {
		box := e.box(&p)
		if box == nil {
			e.r.drop("not for a box")
			return
		}
		v := box.Inbound(now, p.src, p.dst)
		if v.Drop != 0 {
			e.r.drop("box: " + v.Drop.String())
			return
		}
		p.setSource(v.From)
		p.setDestination(v.To)
	}
	e.write(&p)
}

// Advance does nothing: an end has no deadline.
func (e *end) Advance(time.Time) {}

// Deadline returns none.
func (e *end) Deadline() time.Time { return time.Time{} }

// Poll returns nothing: an end sends by Inject.
func (e *end) Poll() (int, netip.AddrPort, []byte, bool) { return 0, netip.AddrPort{}, nil, false }

func (e *end) box(p *packet) *simnet.Box {
	switch {
	case p.l4 == 0:
		return nil
	case p.proto == protoTCP:
		return e.tcp
	}
	return e.udp
}

func (e *end) write(p *packet) {
	if _, err := e.tun.Write(p.b); err != nil {
		e.r.drop("interface down")
	}
}

// far takes the hops between two sites off a packet's limit, and reports whether
// it gets that far.
func (r *router) far(p *packet) bool {
	for range r.hops {
		if !p.hop() {
			return false
		}
	}
	return true
}

func (r *router) drop(why string) { r.drops[why]++ }

// pass changes an end's link.
func (e *end) pass(p simnet.Profile) {
	e.r.net.Do(func(*simnet.World) {
		e.profile = p
		e.link.SetProfile(wide(p))
	})
}
