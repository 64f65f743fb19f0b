// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

const (
	// defaultKeepalive is RFC 8445 §11's Tr.
	defaultKeepalive = 15 * time.Second
	minKeepalive     = time.Second
	// maxEvents is far above what one input can cause: each of maxPaths
	// unbound, a switch, and their replacements.
	maxEvents = 64
	// maxOut is far above what one input can cause: an answer and a probe.
	maxOut = 8

	// coldBurst packets, then one per coldRefill, go to addresses that never
	// answered with the key and that nobody attested, whatever the peer
	// claims or an eavesdropper replays: 3 for each of maxPaths, doubled for
	// answers to genuine requests.
	coldBurst  = 2 * triesCold * maxPaths
	coldRefill = 100 * time.Millisecond
)

// Paths is one peer's set of paths: it probes them, says which to use, keeps
// their NAT mappings alive and changes over when one dies. It is a pure
// machine. After every input drain Poll and NextEvent; calling Advance early
// is harmless; time never goes backwards. It is not safe for concurrent use.
//
// A path carries traffic only after an answer with the peer's key came back
// over it (return routability). Each side chooses for itself, with two rules
// that make the choices meet: a USE-CANDIDATE request makes its path the
// receiver's primary as soon as that path is valid, and only one side, the one
// with the larger tag, changes over for a better path. Either side changes over
// when the path in use died.
type Paths struct {
	mine, theirs Cred
	myMAC        *mac
	theirMAC     *mac // nil until the peer's Cred is known
	rng          *rand.Rand
	keepalive    time.Duration
	budget       *Budget
	kind         func(sock.Path) Kind
	handle       [4]byte

	now      time.Time // of the last input
	list     []*entry  // in order of arrival, at most maxPaths
	primary  *entry
	everUp   bool
	downAt   time.Time // when the last valid path went
	pace     time.Time // no probe before
	cold     bucket
	media    media
	doubt    doubt
	rise     rise
	nom      nomination
	alsoBuf  [1]sock.Path
	out      outbox
	events   []Event
	eventBuf [4]Event
}

// NewPaths returns an empty set. mine is what the peer was told, theirs what it
// told us; the zero Cred means that it isn't known yet, then only answers are
// sent. A Cred serves one Paths: two with the same mine couldn't be told apart.
// rng need not be secret.
func NewPaths(mine, theirs Cred, rng *rand.Rand, o Options) *Paths {
	p := &Paths{mine: mine, myMAC: newMAC(mine.Key), rng: rng, kind: o.Kind, keepalive: o.Keepalive, budget: o.Budget}
	if p.keepalive == 0 {
		p.keepalive = defaultKeepalive
	}
	p.keepalive = max(p.keepalive, minKeepalive)
	if p.kind == nil {
		p.kind = KindOf
	}
	p.cold = bucket{burst: coldBurst, refill: coldRefill}
	p.events = p.eventBuf[:0]
	binary.BigEndian.PutUint32(p.handle[:], rng.Uint32())
	if theirs != (Cred{}) {
		p.theirs, p.theirMAC = theirs, newMAC(theirs.Key)
	}
	return p
}

// Handle returns the first four bytes of every transaction id this set sends.
// A driver with many peers keeps a map from it and finds the Paths of an answer
// in one step. It tells an observer nothing new, since each probe shows the
// receiver's tag as well.
func (p *Paths) Handle() [4]byte { return p.handle }

// Pending reports whether an answer with this transaction id answers a probe
// of this set. It looks at maxPaths ids at most.
func (p *Paths) Pending(txid [12]byte) bool {
	e, _ := p.asked(txid)
	return e != nil
}

// SetRemote tells how to probe the peer, when that wasn't known before or has
// changed. With a new Cred every path is checked at once; those in use stay in
// use meanwhile.
func (p *Paths) SetRemote(now time.Time, c Cred) {
	p.tick(now)
	if c == p.theirs {
		return
	}
	p.theirs, p.theirMAC = c, newMAC(c.Key)
	for _, e := range p.list {
		if e.state == Valid {
			p.begin(e, alive, aliveTries)
		} else {
			p.open(e)
		}
	}
	p.send()
}

// Remote returns what SetRemote set last.
func (p *Paths) Remote() Cred { return p.theirs }

// Add adds a candidate path to check: deduplicated, bounded by maxPaths. At most
// 3 unprovoked packets go there before it answers with the key, so that nobody
// can be made a victim by naming an address.
func (p *Paths) Add(now time.Time, path sock.Path) { p.add(now, path, false, false) }

// AddAttested is Add for a path whose remote address is known to be the peer's
// from a third side: introducers see it there on links of their own, or we had
// a link there. It gets the full schedule and is tried again for a while.
func (p *Paths) AddAttested(now time.Time, path sock.Path) { p.add(now, path, true, false) }

// AddProved is AddAttested for a path over which the peer has just answered a
// puncher.
func (p *Paths) AddProved(now time.Time, path sock.Path) { p.add(now, path, true, true) }

func (p *Paths) add(now time.Time, path sock.Path, attested, proved bool) {
	p.tick(now)
	path = unmapped(path)
	e := p.find(path)
	if e == nil {
		if !probeable(path.Remote) {
			return
		}
		if e = p.insert(path, false); e == nil {
			return
		}
	}
	e.learned = false
	e.attested, e.proved = e.attested || attested, e.proved || proved
	if !e.check.running && e.state != Valid {
		p.open(e)
	}
	p.send()
}

// SetKeepalive changes the pause between probes on an idle path, as more is known
// of our NAT (see [KeepaliveOf]); 0 means the default.
func (p *Paths) SetKeepalive(now time.Time, d time.Duration) {
	p.tick(now)
	if d == 0 {
		d = defaultKeepalive
	}
	p.keepalive = max(d, minKeepalive)
	for _, e := range p.list {
		if at := p.now.Add(p.keepalive); e.state == Valid && !e.check.running && at.Before(e.timer) {
			e.timer = at
		}
	}
	p.send()
}

// SocketDown tells that a local socket is gone, and all its paths with it.
func (p *Paths) SocketDown(now time.Time, local int) {
	p.tick(now)
	for _, e := range p.list {
		e.gone = e.gone || e.path.Local == local
	}
	if p.primary != nil && p.primary.gone {
		p.replace(LostSock)
	}
	p.sweep()
	p.send()
}

// NetworkChanged tells that this machine's way to the network is another one:
// every path is checked at once, the one in use as if it had fallen silent and with
// USE-CANDIDATE, since the peer may have to follow us to an address it doesn't know.
func (p *Paths) NetworkChanged(now time.Time) {
	p.tick(now)
	for _, e := range p.list {
		e.reflexive = netip.AddrPort{} // tell it again
		e.fails = 0
		switch {
		case e == p.primary:
		case e.state == Valid:
			p.begin(e, alive, aliveTries)
		case !e.check.running:
			p.open(e)
		}
	}
	if e := p.primary; e != nil && p.theirMAC != nil {
		e.check.running = false // its answer may be to the old address
		p.begun(true)
		if !e.nominate {
			e.nominate = true
			p.nom.stamp(p.now, &e.check.base, p.theirMAC)
		}
	}
	p.send()
}

// Heard tells that genuine traffic other than probes came over path.
func (p *Paths) Heard(now time.Time, path sock.Path) {
	p.tick(now)
	e := p.find(unmapped(path))
	if e == nil {
		return
	}
	e.voice.heard(p.now)
	if e == p.primary {
		p.media.quiet = 0
		if p.doubt.on && p.doubt.silence {
			// It was the silence that cast the doubt. The probes that
			// it set off needn't be answered any more.
			e.check.running = false
			e.timer = p.now.Add(afterDoubt)
			p.clear()
		}
	}
	p.send()
}

// HeardAt is Heard for a driver that looks now and then when traffic came last on
// each path: the same instant counts once.
func (p *Paths) HeardAt(now time.Time, path sock.Path, at time.Time) {
	if e := p.find(unmapped(path)); e != nil && at.After(e.spoke) {
		e.spoke = at
		p.Heard(now, path)
	}
}

// SetMedia tells whether media flows both ways: then silence on the primary
// path is noticed within 100 ms and some jitter.
func (p *Paths) SetMedia(now time.Time, on bool) {
	p.tick(now)
	if on != p.media.on {
		p.media.on, p.media.since, p.media.quiet = on, p.now, 0
		for _, e := range p.list {
			e.voice = voice{}
		}
	}
	p.send()
}

// Advance does what is due.
func (p *Paths) Advance(now time.Time) {
	p.tick(now)
	p.silence()
	for _, e := range p.list {
		p.timers(e)
	}
	p.sweep()
	p.upgrade()
	p.send()
}

// Deadline returns when Advance is wanted next; zero means not before another
// input.
func (p *Paths) Deadline() time.Time {
	at := p.silentAt()
	at = sooner(at, p.riseAt())
	for _, e := range p.list {
		if e != p.primary {
			at = sooner(at, e.retired)
			at = sooner(at, p.fadeAt(e))
		}
		switch c := &e.check; {
		case c.open():
			at = sooner(at, latest(c.next, p.pace))
		case c.running:
			at = sooner(at, c.next)
		case p.theirMAC != nil:
			at = sooner(at, e.timer)
		}
	}
	return at
}

// Poll returns the next datagram to send.
func (p *Paths) Poll() (Datagram, bool) { return p.out.pop() }

// NextEvent returns the next event.
func (p *Paths) NextEvent() (Event, bool) {
	if len(p.events) == 0 {
		return nil, false
	}
	e := p.events[0]
	copy(p.events, p.events[1:])
	p.events[len(p.events)-1] = nil
	p.events = p.events[:len(p.events)-1]
	return e, true
}

// Active returns where to send: the primary path and, while that one is in
// doubt, a second one as well. Both are valid. ok is false when there is none.
// The slice is valid until the next call.
func (p *Paths) Active() (primary sock.Path, also []sock.Path, ok bool) {
	if p.primary == nil {
		return sock.Path{}, nil, false
	}
	if p.doubt.on && p.doubt.also != nil {
		p.alsoBuf[0] = p.doubt.also.path
		also = p.alsoBuf[:]
	}
	return p.primary.path, also, true
}

// Snapshot describes all paths in the order in which they were learned.
func (p *Paths) Snapshot() []PathInfo {
	list := make([]PathInfo, 0, len(p.list))
	for _, e := range p.list {
		list = append(list, PathInfo{
			Path: e.path, Kind: e.kind, State: e.state, Primary: e == p.primary,
			Doubted: e == p.primary && p.doubt.on, RTT: e.rtt.smooth, Age: p.now.Sub(e.added),
			Answered: e.answeredAt, Reflexive: e.reflexive,
		})
	}
	return list
}

// tick takes the time of an input; should a caller's clock step back, it
// stands still.
func (p *Paths) tick(now time.Time) { p.now = latest(p.now, now) }

// emit queues an event; the oldest goes when the driver doesn't drain, since
// Active and Snapshot tell the state anyway.
func (p *Paths) emit(e Event) {
	if len(p.events) == maxEvents {
		copy(p.events, p.events[1:])
		p.events = p.events[:maxEvents-1]
	}
	p.events = append(p.events, e)
}

// controlling reports whether this side changes over for better paths.
func (p *Paths) controlling() bool { return bytes.Compare(p.mine.Tag[:], p.theirs.Tag[:]) > 0 }

// jitter spreads d by a tenth either way.
func (p *Paths) jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(p.rng.Int64N(int64(d/5)+1))
}

func unmapped(path sock.Path) sock.Path {
	if ip := path.Remote.Addr(); ip.Is4In6() {
		path.Remote = netip.AddrPortFrom(ip.Unmap(), path.Remote.Port())
	}
	return path
}

// outbox is a ring of datagrams, drop-oldest, with buffers of its own.
type outbox struct {
	ring    [maxOut]slot
	head, n int
}

type slot struct {
	path sock.Path
	n    int
	buf  [maxMessage]byte
}

func (o *outbox) push(path sock.Path) *slot {
	if o.n == maxOut {
		o.head, o.n = (o.head+1)%maxOut, o.n-1
	}
	s := &o.ring[(o.head+o.n)%maxOut]
	o.n++
	s.path = path
	return s
}

func (o *outbox) pop() (Datagram, bool) {
	if o.n == 0 {
		return Datagram{}, false
	}
	s := &o.ring[o.head]
	o.head, o.n = (o.head+1)%maxOut, o.n-1
	return Datagram{Path: s.path, B: s.buf[:s.n:s.n]}, true
}
