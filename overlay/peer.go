// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/ed25519"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// A Peer is a node that this one has, or is about to have, a link with. It
// stays the same while links and paths below it change.
type Peer struct {
	o    *Overlay
	node identity.NodeID
	key  ed25519.PublicKey
	sock *sock.Peer
	mine nat.Cred

	link atomic.Pointer[Link]     // the link in use; nil between links
	path atomic.Pointer[PathInfo] // as last announced

	state peerState // owned by the loop
}

// peerState is what the loop knows of a peer.
type peerState struct {
	paths     *nat.Paths
	links     []*Link   // all that stand, the one in use and those that drain
	refs      int       // handshakes and asks that still need the peer
	expires   time.Time // an introduced peer without link is dropped then
	linked    bool      // PeerUp was announced
	dialing   bool
	redialAt  time.Time     // the link was lost and somebody needs the peer
	wait      time.Duration // until the attempt after the next
	punch     punching
	renewal   renewal
	outsideOf netip.AddrPort // the peer's, as it told in its offer
	asked     []*ask         // who waits for a link to this peer
	number    nat.Peer       // the observer's; 0 = it does not know this peer
	media     bool
	shared    bool          // it was told our addresses: a session peer
	heard     time.Time     // latest genuine media the paths know of
	active    sock.Path     // what the socket was told last
	down      time.Time     // since when no path is known to work
	lost      bool          // one did before
	attested  []attestation // what introducers say
	outside   [2]outside    // what this peer sees us at, for each address family
}

type outside struct {
	local int
	addr  netip.AddrPort
}

// PathInfo describes how a peer is reached now.
type PathInfo struct {
	Kind   nat.Kind
	Local  netip.AddrPort
	Remote netip.AddrPort
	RTT    time.Duration // smoothed; 0 = not measured yet
	Up     bool          // false: no path answers at the moment
	Reason string        // why it is not direct; "" when it is
}

// Node returns the peer's node ID.
func (p *Peer) Node() identity.NodeID { return p.node }

// Link returns the link in use, or nil.
func (p *Peer) Link() *Link { return p.link.Load() }

// Path returns how the peer is reached now. The round trip time is fresh, the
// rest as last announced by PathChanged.
func (p *Peer) Path() PathInfo {
	if i := p.path.Load(); i != nil {
		return *i
	}
	return PathInfo{}
}

// Age returns how long the link in use has stood; 0 without one.
func (p *Peer) Age() time.Duration {
	if l := p.link.Load(); l != nil {
		return time.Since(l.since)
	}
	return 0
}

// Send queues a session message on the peer's link. It never blocks. Errors:
// ErrDown, ErrCongested.
func (p *Peer) Send(body []byte) error {
	l := p.link.Load()
	if l == nil {
		return ErrDown
	}
	return l.Send(body)
}

// SendMedia sends one protected media packet on the best path, and on the
// next one too while the best is in doubt. It never blocks.
func (p *Peer) SendMedia(b []byte) error { return p.sock.Send(b) }

// SetMedia says that media flows to and from this peer, so that silence on a
// path is noticed within 100 ms and jitter (design §7).
func (p *Peer) SetMedia(on bool) {
	p.o.loop.Do(p.o.ctx, func(now time.Time) { p.o.core.setMedia(now, p, on) })
}

// Share tells the peer this node's addresses so that it may use more than one
// path. Neighbours don't get them: only call this for a proved identity.
func (p *Peer) Share() {
	p.o.loop.Do(p.o.ctx, func(now time.Time) { p.o.core.share(p) })
}

// Keep holds the peer, and its link, until the returned function is called:
// a session needs it even while it is silent.
func (p *Peer) Keep() (release func()) {
	p.o.loop.Do(p.o.ctx, func(time.Time) { p.state.refs++ })
	return func() { p.o.release(p) }
}
