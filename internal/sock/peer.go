// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"container/list"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// MaxBound bounds the paths bound to one peer: two local sockets times
	// the eight addresses one CANDIDATES frame can name.
	MaxBound = 16

	// MaxAlso bounds the duplicates of each packet: one for the path in doubt, and
	// two while nothing is heard any more; more only costs the household.
	MaxAlso = 3

	// MaxAliases bounds a peer's virtual addresses. Each is a link of its own
	// while the older ones drain for seconds.
	MaxAliases = 4
)

// The states of a peer. It only moves forward.
const (
	provisional uint32 = iota
	known
	closed
)

// Peer is the other end of links and calls, whatever paths lead there. Its
// methods may be called from any goroutine; after Close, or after it was
// merged into another one, they do nothing.
type Peer struct {
	s    *Socket
	addr *net.UDPAddr
	born time.Duration

	state    atomic.Uint32
	route    atomic.Pointer[route]       // replaced under s.mu
	shown    atomic.Pointer[net.UDPAddr] // the alias that QUIC sees as source
	received atomic.Int64                // latest QUIC packet, since Socket.start
	voice    atomic.Uint64               // different packets of voice
	replay   replay

	// guarded by s.mu
	aliases []*net.UDPAddr // oldest first; the first is addr
	paths   []Path         // bound to this peer, oldest first
	pending *list.Element  // in s.provisional
}

// route is where a peer's packets go. It is never changed, only replaced.
type route struct {
	primary Path
	also    []Path
}

// binding says whom datagrams from a path belong to.
type binding struct {
	peer  *Peer
	heard atomic.Int64  // latest genuine media, since Socket.start
	voice atomic.Uint64 // packets of voice, copies included
}

// count counts packets of voice.
func (b *binding) count(k MediaKind) {
	if k == Voice || k == Copy {
		b.voice.Add(1)
	}
	if k == Voice {
		b.peer.voice.Add(1)
	}
}

// NewPeer returns a peer with a virtual address of its own and no path. It
// returns nil when MaxPeers are known.
func (s *Socket) NewPeer() *Peer {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known >= MaxPeers {
		return nil
	}
	s.known++
	return s.newPeer(known, now)
}

// newPeer makes a peer; s.mu is held.
func (s *Socket) newPeer(state uint32, now time.Duration) *Peer {
	p := &Peer{s: s, addr: s.nextVirtual(), born: now}
	p.state.Store(state)
	p.shown.Store(p.addr)
	p.aliases = []*net.UDPAddr{p.addr}
	s.virtual[p.addr.AddrPort()] = p
	return p
}

// nextVirtual returns an address nobody had yet; s.mu is held.
func (s *Socket) nextVirtual() *net.UDPAddr {
	s.serial++
	ip := append(make(net.IP, 0, net.IPv6len), s.prefix[:]...)
	return &net.UDPAddr{IP: binary.BigEndian.AppendUint64(ip, s.serial), Port: 1}
}

// PeerAt returns the peer with this virtual address, provisional ones
// included, or nil.
func (s *Socket) PeerAt(virtual net.Addr) *Peer {
	p := s.peerAt(addrPort(virtual))
	if p == nil || p.expired(s.now()) {
		return nil
	}
	return p
}

func (s *Socket) peerAt(virtual netip.AddrPort) *Peer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.virtual[virtual]
}

// Addr returns the peer's own virtual address: the one to dial. It has a
// meaning on this socket only and never changes; don't write to it.
func (p *Peer) Addr() *net.UDPAddr { return p.addr }

// Use decides where packets to this peer go from now on: each to primary, and
// a copy to the first MaxAlso of also. It binds nothing.
func (p *Peer) Use(primary Path, also ...Path) {
	r := &route{primary: primary.canonical()}
	for _, a := range also {
		r.add(a.canonical())
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.state.Load() != closed {
		p.route.Store(r)
	}
}

// add appends a duplicate, unless there is no room or it is in the route
// already. Only for a route that nobody else sees yet.
func (r *route) add(a Path) {
	if len(r.also) < MaxAlso && a != r.primary && !slices.Contains(r.also, a) {
		r.also = append(r.also, a)
	}
}

// Route returns the paths in use; ok is false when there are none yet.
func (p *Peer) Route() (primary Path, also []Path, ok bool) {
	r := p.route.Load()
	if r == nil {
		return Path{}, nil, false
	}
	return r.primary, slices.Clone(r.also), true
}

// Bind makes datagrams from path belong to this peer, also when they belonged
// to another. Above MaxBound the path that was bound first is forgotten,
// except those in use.
func (p *Peer) Bind(path Path) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.bind(path.canonical())
}

// bind binds a path as the latest one; s.mu is held.
func (p *Peer) bind(path Path) {
	if p.state.Load() == closed {
		return
	}
	if old := p.s.bound[path]; old != nil {
		old.peer.paths = without(old.peer.paths, path)
		if old.peer == p { // keep what was heard
			p.paths = append(p.paths, path)
			return
		}
	}
	if len(p.paths) >= MaxBound {
		delete(p.s.bound, p.paths[p.oldest()])
		p.paths = slices.Delete(p.paths, p.oldest(), p.oldest()+1)
	}
	p.paths = append(p.paths, path)
	p.s.bound[path] = &binding{peer: p}
}

// oldest returns the index of the path that was bound first and is not in use.
func (p *Peer) oldest() int {
	r := p.route.Load()
	return max(0, slices.IndexFunc(p.paths, func(x Path) bool {
		return r == nil || x != r.primary && !slices.Contains(r.also, x)
	}))
}

// Unbind makes datagrams from path those of a stranger. Packets to the peer
// still go where Use said.
func (p *Peer) Unbind(path Path) {
	path = path.canonical()
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if at := p.s.bound[path]; at != nil && at.peer == p {
		delete(p.s.bound, path)
		p.paths = without(p.paths, path)
	}
}

func without(paths []Path, path Path) []Path {
	return slices.DeleteFunc(paths, func(x Path) bool { return x == path })
}

// Paths returns the paths bound to this peer, latest last.
func (p *Peer) Paths() []Path {
	p.s.mu.RLock()
	defer p.s.mu.RUnlock()
	return slices.Clone(p.paths)
}

// Heard returns when genuine media last came from path, or zero when none has
// since it was bound to this peer.
func (p *Peer) Heard(path Path) time.Time {
	at := p.s.binding(path.canonical())
	if at == nil || at.peer != p {
		return time.Time{}
	}
	return p.s.at(time.Duration(at.heard.Load()))
}

// Voice returns how many packets of voice have come from path since it was bound to
// this peer, copies included, and how many different ones from anywhere.
func (p *Peer) Voice(path Path) (from, all uint64) {
	all = p.voice.Load()
	if at := p.s.binding(path.canonical()); at != nil && at.peer == p {
		from = at.voice.Load()
	}
	return from, all
}

// Closed reports whether the peer was closed, has expired, or was merged into
// another one.
func (p *Peer) Closed() bool {
	return p.state.Load() == closed || p.expired(p.s.now())
}

// Close forgets the peer: its virtual addresses, its bindings and its replay.
// It is safe to call twice.
func (p *Peer) Close() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.forget()
}

// forget closes the peer; s.mu is held.
func (p *Peer) forget() {
	switch p.state.Swap(closed) {
	case closed:
		return
	case known:
		p.s.known--
	}
	if p.pending != nil {
		p.s.provisional.Remove(p.pending)
		p.pending = nil
	}
	for _, a := range p.aliases {
		delete(p.s.virtual, a.AddrPort())
	}
	for _, path := range p.paths {
		delete(p.s.bound, path)
	}
	p.aliases, p.paths = nil, nil
	p.route.Store(nil)
	p.replay.free(&p.s.pool)
}
