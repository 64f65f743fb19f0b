// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

const (
	// maxServed bounds the peers that may test through us: more than a node
	// has links.
	maxServed = 256

	// A whole classification is 60 tests over 3 peers or more, and its search
	// for lifetimes 60 over ten minutes.
	testBurst  = 96
	testRefill = 250 * time.Millisecond

	// maxDelay is the longest life of a mapping that is looked for: RFC 4787
	// REQ-5 recommends five minutes, few routers go beyond ten.
	maxDelay = 10 * time.Minute
	// maxDelayed answers wait at a time, maxDelayedEach for one peer: a third
	// of what its two searches need, since they use three peers or more.
	maxDelayed     = 1024
	maxDelayedEach = 32

	// A peer may have us write to addresses we don't know: this often, and
	// never more than maxVictim packets to an address in victimPause.
	forwardBurst  = 12
	forwardRefill = 2 * time.Second
	maxVictim     = 3
	victimPause   = 10 * time.Second
	maxVictims    = 64

	// maxTestOut is above what one input can cause: a few delayed answers due
	// at one instant. More are dropped, oldest first.
	maxTestOut = 16
)

// Vantage answers the tests of peers that want to know their NAT, and helps
// with those of peers' peers. It is a pure machine. Give it every probe request
// before a Paths gets it, drain Poll after every input; calling Advance early
// is harmless; time never goes backwards. It is not safe for concurrent use.
//
// Only known peers are served, each within a budget. One test causes one
// packet: to where it came from, or to another node which sends it there.
type Vantage struct {
	now    time.Time
	rng    *rand.Rand
	second Second
	peers  []*served
	tags   map[[8]byte]*served
	turn   int // of the peers asked to send something on
	queue  []delayed
	recent [maxVictims]victim
	next   int // in recent
	out    [maxTestOut]testSlot
	head,
	waiting int
}

// Second describes a node's second port, which only answers tests.
type Second struct {
	Local int    // its index among the local sockets
	Port  uint16 // as others can write to it, behind the same address as the first; 0 = they can't
	On    bool   // there is one
}

// served is a peer that may test through us.
type served struct {
	peer         Peer
	tag          [8]byte
	mine, theirs *mac // theirs is nil when not known
	theirTag     [8]byte
	path         sock.Path
	tests        bucket
	forwards     bucket
	delayed      int
}

// delayed is an answer that waits for its time.
type delayed struct {
	due  time.Time
	peer *served
	tx   [12]byte
	path sock.Path
}

type victim struct {
	addr netip.AddrPort
	n    int
	at   time.Time
}

type testSlot struct {
	path sock.Path
	n    int
	buf  [maxTest]byte
}

// NewVantage returns a Vantage without peers. rng need not be secret.
func NewVantage(rng *rand.Rand) *Vantage {
	return &Vantage{rng: rng, tags: map[[8]byte]*served{}}
}

// SetSecond tells of the second port.
func (v *Vantage) SetSecond(s Second) { v.second = s }

// SetPeer adds a peer or tells its new path. mine is what the peer was told,
// theirs what it told us; with a zero theirs it is never asked to send
// something on. Peers above a bound are not served.
func (v *Vantage) SetPeer(id Peer, mine, theirs Cred, path sock.Path) {
	p := v.find(id)
	if p == nil {
		if len(v.peers) >= maxServed {
			return
		}
		p = &served{peer: id}
		p.tests = bucket{burst: testBurst, refill: testRefill}
		p.forwards = bucket{burst: forwardBurst, refill: forwardRefill}
		v.peers = append(v.peers, p)
	} else {
		delete(v.tags, p.tag)
	}
	p.tag, p.mine, p.path = mine.Tag, newMAC(mine.Key), unmapped(path)
	p.theirs, p.theirTag = nil, theirs.Tag
	if theirs != (Cred{}) {
		p.theirs = newMAC(theirs.Key)
	}
	v.tags[p.tag] = p
}

// RemovePeer forgets a peer and what it still waits for.
func (v *Vantage) RemovePeer(id Peer) {
	p := v.find(id)
	if p == nil {
		return
	}
	delete(v.tags, p.tag)
	v.peers = slices.DeleteFunc(v.peers, func(o *served) bool { return o == p })
	v.queue = slices.DeleteFunc(v.queue, func(d delayed) bool { return d.peer == p })
}

func (v *Vantage) find(id Peer) *served {
	for _, p := range v.peers {
		if p.peer == id {
			return p
		}
	}
	return nil
}

// Receive takes a probe request. It returns false when the datagram is not a
// test from a peer, and so perhaps a probe for a Paths.
func (v *Vantage) Receive(now time.Time, path sock.Path, b []byte) bool {
	v.now = latest(v.now, now)
	m, t, ok := parseTest(b)
	if !ok || !m.request || !t.wanted && t.forward == nil {
		return false
	}
	p := v.tags[m.tag]
	if p == nil || !p.mine.verify(b, m) {
		return false
	}
	path = unmapped(path)
	if !p.tests.take(v.now) || !probeable(path.Remote) {
		return true
	}
	switch {
	case t.forward != nil:
		v.sendOn(p, path.Local, t.forward)
	case t.want == FromOtherPeer:
		v.askAnother(p, m.tx, path)
	case t.want == FromOtherPort:
		if v.second.On {
			v.answer(p, m.tx, sock.Path{Local: v.second.Local, Remote: path.Remote})
		}
	case t.delay > 0:
		v.answerLater(delayed{due: v.now.Add(min(t.delay, maxDelay)), peer: p, tx: m.tx, path: path})
	default:
		v.answer(p, m.tx, path)
	}
	return true
}

// Advance sends what is due.
func (v *Vantage) Advance(now time.Time) {
	v.now = latest(v.now, now)
	n := 0
	for n < len(v.queue) && n < maxTestOut && !v.now.Before(v.queue[n].due) {
		d := v.queue[n]
		d.peer.delayed--
		v.answer(d.peer, d.tx, d.path)
		n++
	}
	v.queue = slices.Delete(v.queue, 0, n)
}

// Deadline returns when Advance is wanted next; zero means not before another
// input.
func (v *Vantage) Deadline() time.Time {
	if len(v.queue) == 0 {
		return time.Time{}
	}
	return v.queue[0].due
}

// Poll returns the next datagram to send.
func (v *Vantage) Poll() (Datagram, bool) {
	if v.waiting == 0 {
		return Datagram{}, false
	}
	s := &v.out[v.head]
	v.head, v.waiting = (v.head+1)%maxTestOut, v.waiting-1
	return Datagram{Path: s.path, B: s.buf[:s.n:s.n]}, true
}

func (v *Vantage) push(path sock.Path) *testSlot {
	if v.waiting == maxTestOut {
		v.head, v.waiting = (v.head+1)%maxTestOut, v.waiting-1
	}
	s := &v.out[(v.head+v.waiting)%maxTestOut]
	v.waiting++
	s.path = path
	return s
}

func (v *Vantage) answer(p *served, tx [12]byte, path sock.Path) {
	s := v.push(path)
	s.n = len(appendAnswer(s.buf[:0], tx, path.Remote, v.abilities(p, path.Remote), p.mine))
}

func (v *Vantage) abilities(p *served, to netip.AddrPort) Abilities {
	a := Abilities{OtherPort: v.second.On, OtherPeer: v.another(p, to) != nil}
	if v.second.On {
		a.Second = v.second.Port
	}
	return a
}

func (v *Vantage) answerLater(d delayed) {
	if len(v.queue) >= maxDelayed || d.peer.delayed >= maxDelayedEach {
		return
	}
	d.peer.delayed++
	i, _ := slices.BinarySearchFunc(v.queue, d.due, func(o delayed, at time.Time) int {
		if o.due.After(at) {
			return 1
		}
		return -1 // equal ones keep their order
	})
	v.queue = slices.Insert(v.queue, i, d)
}

// another returns the peer whose turn it is to write to an address for p.
func (v *Vantage) another(p *served, to netip.AddrPort) *served {
	for i := range v.peers {
		o := v.peers[(v.turn+i)%len(v.peers)]
		ip := o.path.Remote.Addr()
		if o != p && o.theirs != nil && outside(ip) && ip.Is4() == to.Addr().Is4() && ip != to.Addr() {
			return o
		}
	}
	return nil
}

// askAnother makes the answer and has a node at another address send it.
func (v *Vantage) askAnother(p *served, tx [12]byte, path sock.Path) {
	o := v.another(p, path.Remote)
	if o == nil || !outside(path.Remote.Addr()) {
		return
	}
	v.turn = (slices.Index(v.peers, o) + 1) % len(v.peers)
	var answer [maxAnswer]byte
	a := appendAnswer(answer[:0], tx, path.Remote, v.abilities(p, path.Remote), p.mine)
	var id [12]byte
	for i := range id {
		id[i] = byte(v.rng.Uint32())
	}
	s := v.push(o.path)
	s.n = len(appendForward(s.buf[:0], id, o.theirTag, a, o.theirs))
}

// sendOn writes another node's answer to the address in it.
func (v *Vantage) sendOn(p *served, local int, b []byte) {
	m, _, ok := parseTest(b) // strictly: what is sent on is as if it were ours
	if !ok || m.request || !probeable(m.mapped) || !outside(m.mapped.Addr()) ||
		m.mapped.Addr().Is4() != p.path.Remote.Addr().Is4() || !v.spare(m.mapped) || !p.forwards.take(v.now) {
		return
	}
	s := v.push(sock.Path{Local: local, Remote: m.mapped})
	s.n = copy(s.buf[:], b)
}

// spare reports whether one more packet may go to an address that others name.
func (v *Vantage) spare(a netip.AddrPort) bool {
	for i := range v.recent {
		o := &v.recent[i]
		if o.addr != a || v.now.Sub(o.at) >= victimPause {
			continue
		}
		o.n++
		return o.n <= maxVictim
	}
	v.recent[v.next] = victim{addr: a, n: 1, at: v.now}
	v.next = (v.next + 1) % maxVictims
	return true
}

// outside reports whether an address can be one of the public Internet's:
// what is seen from, or sent to, any other one tells nothing about NATs.
func outside(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !carrierInside(ip)
}

// carrierInside reports whether an address is one that carriers give to
// customers behind their NAT (RFC 6598).
func carrierInside(ip netip.Addr) bool {
	ip = ip.Unmap()
	a := ip.AsSlice()
	return ip.Is4() && a[0] == 100 && a[1]&0xc0 == 64
}
