// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/ed25519"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/mesh"
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
	both atomic.Bool              // messages go over link and route; the loop writes it

	state peerState // owned by the loop
}

// peerState is what the loop knows of a peer.
type peerState struct {
	paths     *ways // nil until it is known how to probe it
	due       appointed
	links     []*Link   // all that stand, the one in use and those that drain
	refs      int       // handshakes and asks that still need the peer
	expires   time.Time // an introduced peer without link is dropped then
	linked    bool      // PeerUp was announced
	dialing   bool
	redialAt  time.Time     // the link was lost and somebody needs the peer
	wait      time.Duration // until the attempt after the next
	punch     punching
	renewal   renewal
	offered   nat.Behaviour  // ours, as the latest offer to it said
	reofferAt time.Time      // no earlier is that told anew
	outsideOf netip.AddrPort // the peer's, as it told in its offer
	why       string         // no direct path is to be expected; "" = nothing known
	number    nat.Peer       // the observer's; 0 = it does not know this peer
	media     bool
	mediaAt   time.Time        // since when
	shared    bool             // it was told our addresses: a session peer
	untold    shared           // what it told before anybody here needed it
	told      []netip.AddrPort // its addresses, as it said last on a link
	admitted  admission        // whether anything is carried for it
	atTURN    []netip.AddrPort // where it is reached through TURN servers
	heard     time.Time        // latest genuine media the paths know of
	active    sock.Path        // what the socket was told last
	down      time.Time        // since when no path is known to work
	lost      bool             // one did before
	attested  []attestation    // what introducers say

	// Of the mesh, and of messages over the route while no link stands.
	via         identity.NodeID // who introduced it
	wanted      bool            // this node asked for the link: it dials
	anchor      bool            // a contact's device
	meshed      bool            // the mesh knows of the link
	spareAt     time.Time       // the link goes then: the mesh has no room for it
	route       mesh.Route      // its last message came on
	routeUntil  time.Time
	bothUntil   time.Time // messages go over link and route until then
	routeSecret []byte    // opens the lock of that message; nil once shown
	routePlace  []byte

	// Of relays.
	relayed    bool // as the mesh knows it
	carrier    mesh.ID
	relay      bool      // it may relay for us, and we for it
	relayFails int       // how often it was asked in vain
	refusedAt  time.Time // it refused to relay
	refused    int       // relays that refused to carry a call with it since it was warmed
	shunned    time.Time // until then it is not asked to relay a call
	weighAt    time.Time // what a call's relays bring is looked at
	weighed    uint64    // what had come by then
	opener     bool      // this side asks for the call's relays
	offer      nat.Offer // the peer's latest
	byRoute    bool      // it was met over the route
	called     bool      // a punch was for a call: not for the table alone
	vouched    bool      // relays have said where it is
	near       []near    // the peer's own neighbours
	warmAt     time.Time // not before then again
	lookAt     time.Time // whether there are relays enough
	coolAt     time.Time // without media by then, the relays of a call are given back
	overAt     time.Time // a call ended, or what was to become one
	againAt    time.Time // the next attempt at a direct path
	againWait  time.Duration
	suspected  time.Time // the links to a silent call's relays were looked at
	rescue     rescuing
	deafAt     time.Time // nothing was heard on this side, or most likely on the other

	tie tie // a link that is wanted without a call

	// Of TCP.
	tcp   []netip.AddrPort // where the peer takes it
	tcpAt time.Time        // not before then again
	udp   netip.AddrPort   // where UDP was tried before TCP; zero = never

	// Of appointments.
	behaviour   nat.Behaviour // of its NATs, as it told in an offer
	memory      [32]byte      // under which it is remembered, perhaps since an earlier start; zero = not yet
	greeted     bool          // it was shown whom this node remembers
	shown       int           // how often it did the same
	appointment *appointment  // not nil: a peer without a name
	outside     [2]outside    // what this peer sees us at, for each address family
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
	RTT    time.Duration     // smoothed; 0 = not measured yet
	Up     bool              // false: no path answers at the moment
	Vias   []identity.NodeID // the relays in use, the one that leads first
	Server string            // the TURN server in use, its URL or address; "" = none
	Reason string            // why it is not direct; "" when it is
}

// Node returns the peer's node ID.
func (p *Peer) Node() identity.NodeID { return p.node }

// Key returns the peer's node key.
func (p *Peer) Key() ed25519.PublicKey { return p.key }

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

// Send queues a session message on the peer's link; without one it is sent
// over the route, where it may be lost. It never blocks. Error: ErrCongested.
func (p *Peer) Send(body []byte) error {
	if l := p.link.Load(); l != nil && !p.both.Load() {
		if err := l.Send(body); !errors.Is(err, ErrDown) {
			return err
		}
	}
	return p.Ring(body)
}

// Ring sends a message over the link, if there is one, and over the route as
// well: a silent link may be dead and nobody have noticed. So does Send for a
// while from then on, and when a message has come over the route. The other
// side gets most of it twice.
func (p *Peer) Ring(body []byte) error {
	if l := p.link.Load(); l != nil {
		if err := l.Send(body); err != nil && !errors.Is(err, ErrDown) {
			return err
		}
	}
	p.o.loop.Post(func(now time.Time) { p.o.core.routed(now, p, body) })
	return nil
}

// SendMedia sends one protected media packet on the best path, and on the
// next one too while the best is in doubt. It never blocks.
func (p *Peer) SendMedia(b []byte) error { return p.sock.Send(b) }

// SetMedia says that media flows to and from this peer, so that silence on a
// path is noticed within 100 ms and jitter (design §7). Without, relays are given
// back before long; so it is also for the end of a call that nobody answered.
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
	p.o.loop.Do(p.o.ctx, func(now time.Time) { p.o.core.keep(now, p) })
	return func() { p.o.release(p) }
}
