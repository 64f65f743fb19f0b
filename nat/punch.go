// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

const (
	// maxSteps bounds a plan; the table's longest has three.
	maxSteps = 4
	// maxExtra bounds the sockets a punch opens: a search's 256 and those of
	// its second step.
	maxExtra = 2*mostSockets + sweepSockets
	// maxPunchEvents is above what one input causes: a request for sockets and
	// their closing for each step, the hits, the end.
	maxPunchEvents = 32
	// maxHits bounds the paths handed over: one is enough, and several found
	// within the grace of the first may be different ones on the two sides.
	maxHits = 8
	// grace is how long a punch goes on answering after its first hit, so
	// that both sides have proved the same path before the others are closed.
	grace = time.Second
	// maxLag is how much of a pace is caught up with after a late Advance;
	// what a sleeping laptop missed is not sent in one burst.
	maxLag = 50 * time.Millisecond
	// lifeMargin is how much later than ours the NAT's count of a mapping's
	// life may start: a trip to the router.
	lifeMargin = 50 * time.Millisecond
	// spareFor is how long a punch goes on for more holes after the first: 350
	// shots at full pace.
	spareFor = 700 * time.Millisecond
	// SlowFor is how long a slow punch goes on: by then it has met the one of
	// 256 sockets in the full range in 85 of 100 cases, and that of a block
	// nearly always.
	SlowFor = 20 * time.Second
	// maxJams is how often a full send buffer is waited for.
	maxJams = 20
	jamWait = 100 * time.Millisecond
)

// PunchConfig is what a Puncher is made of.
type PunchConfig struct {
	// Mine and Theirs are the Creds of the Paths that hits are handed to.
	Mine, Theirs Cred
	Plan         Plan
	// Local is the shared socket's index.
	Local int
	// Remote is the peer's outside address as it told it, of its counter if it
	// has one. Nothing is ever sent to another address than Remote's, but for
	// answers to genuine requests.
	Remote netip.AddrPort
	// Trust says how it is known that Remote is the peer's. No behaviour that
	// the peer claims can raise it.
	Trust Trust
	// Standing is how many mappings our links hold.
	Standing int
	// Spares is how many holes more than one are wanted, within the plan's
	// time; the first is handed over at once all the same.
	Spares int
	// Known are paths that work already: another answer over them is no hit.
	Known []sock.Path
	// Slow is for a new hole beside a live call with that peer: no faster than a
	// rolling search, and like it not charged to an address that the peer's own
	// packets come from all the time.
	Slow bool
}

// Puncher carries out one side's Plan against one peer. It is a pure machine:
// after every input drain Poll and NextEvent; calling Advance early is harmless;
// time never goes backwards. It is not safe for concurrent use.
//
// Give it the probes first that its Paths would get: it takes answers to its own
// shots, and what comes to sockets that it asked for until they are handed over
// with a Hit. Everything else is for Paths.
type Puncher struct {
	c      PunchConfig
	agree  agreement
	budget *Budget
	handle [4]byte
	mine   *mac // makes our answers, proves the peer's requests
	theirs *mac // the other way round
	secret *mac // makes transaction ids, which need not be remembered then
	idBuf  [32]byte

	now     time.Time
	start   time.Time
	until   time.Time
	won     time.Time // first hit
	relayed bool
	ended   bool
	jams    int
	extra   []extra
	runs    [maxSteps]run
	nrun    int
	hits    []sock.Path
	shots   shotbox
	events  []PunchEvent
	status  PunchStatus
}

// extra is a socket that was opened for this punch.
type extra struct {
	local  int
	open   bool
	mapped bool // its first shot was sent
	handed bool // a hit: the path set's now
}

// PunchStatus is what a Puncher shows.
type PunchStatus struct {
	Shots     int // requests sent
	Answers   int // answers sent
	Triggered int // requests in return for the peer's
	Flows     int // first packets from a socket to a destination
	Mappings  int // of our NAT's
	Sockets   int // opened
	Hits      int
	Strangers int // genuine requests from other addresses than the peer's
	Failed    int // packets that the system refused

	denied bool // something was left out for want of budget or trust
}

// NewPuncher returns a Puncher that starts at now. The budget is the node's: all
// its punches share it. rng need not be secret.
func NewPuncher(now time.Time, c PunchConfig, b *Budget, rng *rand.Rand) *Puncher {
	c.Remote = unmapped(sock.Path{Remote: c.Remote}).Remote
	p := &Puncher{
		c: c, budget: b, now: now, agree: newAgreement(c.Mine, c.Theirs),
		mine: newMAC(c.Mine.Key), theirs: newMAC(c.Theirs.Key),
		start: now.Add(c.Plan.After), events: make([]PunchEvent, 0, maxPunchEvents),
	}
	binary.BigEndian.PutUint32(p.handle[:], rng.Uint32())
	var key [32]byte
	for i := range key {
		key[i] = byte(rng.Uint32())
	}
	p.secret = newMAC(key)
	p.until = p.start.Add(c.Plan.For)
	if c.Slow {
		p.until = p.start.Add(SlowFor)
	}
	if !probeable(c.Remote) || len(c.Plan.Steps) == 0 {
		p.end(Nothing)
		return p
	}
	for _, s := range c.Plan.Steps[:min(len(c.Plan.Steps), maxSteps)] {
		p.runs[p.nrun] = p.newRun(s)
		p.nrun++
	}
	return p
}

// Handle returns the first four bytes of every transaction id this punch uses.
func (p *Puncher) Handle() [4]byte { return p.handle }

// Status returns what the punch has done so far.
func (p *Puncher) Status() PunchStatus { return p.status }

// Ended reports whether all is over.
func (p *Puncher) Ended() bool { return p.ended }

// SetRelayed tells whether a call with this peer is being relayed: a rolling
// search goes on only beside one.
func (p *Puncher) SetRelayed(now time.Time, on bool) {
	p.tick(now)
	if on && !p.relayed {
		for i := range p.runs[:p.nrun] {
			p.runs[i].next = latest(p.runs[i].next, p.now)
		}
	}
	p.relayed = on
	p.work()
}

// SetLife tells how long a mapping of our NAT lives unanswered, when that is
// learned while the punch goes on: a rolling search replaces them sooner then.
func (p *Puncher) SetLife(now time.Time, life time.Duration) {
	p.tick(now)
	if life > 0 {
		p.c.Plan.Life = min(max(life, shortLife), longLife)
	}
}

// Stop ends the shooting, as when a path was found without it; the peer may have
// found others, so answers go on for a second.
func (p *Puncher) Stop(now time.Time) {
	p.tick(now)
	p.quit()
}

// SocketsOpened gives the punch sockets that it asked for with OpenSockets, in
// the order of its Ports where it named some; −1 stands for one that could not
// be opened. Fewer than asked for are made do with.
func (p *Puncher) SocketsOpened(now time.Time, locals []int) {
	p.tick(now)
	r := p.waiting()
	for _, l := range locals {
		if r == nil || r.have == r.want || p.ended || len(p.extra) == maxExtra {
			if l >= 0 {
				p.emit(CloseSockets{Locals: []int{l}})
			}
			continue
		}
		if r.have == 0 {
			r.base = len(p.extra)
		}
		p.extra = append(p.extra, extra{local: l, open: l >= 0})
		r.have++
		if l >= 0 {
			p.status.Sockets++
		}
	}
	if r != nil {
		r.want = r.have // that was all
		r.done = r.done || r.have == 0
	}
	p.work()
}

// SocketDown tells that a socket is gone. Without the shared one the punch ends.
func (p *Puncher) SocketDown(now time.Time, local int) {
	p.tick(now)
	if local == p.c.Local {
		p.end(SocketLost)
		return
	}
	for i := range p.extra {
		if p.extra[i].local == local {
			p.extra[i].open = false
		}
	}
	p.work()
}

// SendError says what became of a packet that the system refused.
type SendError uint8

// The errors of sending.
const (
	SendRefused SendError = iota // EPERM, EACCES: a firewall or a full conntrack table; the punch stops at once
	SendJammed                   // ENOBUFS, EAGAIN: the punch waits a little
	SendNoRoute                  // ENETUNREACH and the like: the interface is gone; the punch stops
)

// SendFailed tells that a packet of this punch on path was not sent.
func (p *Puncher) SendFailed(now time.Time, _ sock.Path, err SendError) {
	p.tick(now)
	if p.ended {
		return
	}
	p.status.Failed++
	switch err {
	case SendRefused:
		p.end(Refused)
	case SendNoRoute:
		p.end(SocketLost)
	default:
		if p.jams++; p.jams > maxJams {
			p.end(Refused)
			return
		}
		for i := range p.runs[:p.nrun] {
			p.runs[i].next = latest(p.runs[i].next, p.now.Add(jamWait))
		}
	}
}

// Advance does what is due.
func (p *Puncher) Advance(now time.Time) {
	p.tick(now)
	p.work()
}

// Deadline returns when Advance is wanted next; zero means never.
func (p *Puncher) Deadline() time.Time {
	if p.ended {
		return time.Time{}
	}
	if !p.won.IsZero() {
		return p.won.Add(grace)
	}
	at := p.until
	for i := range p.runs[:p.nrun] {
		r := &p.runs[i]
		if !r.done && !r.stalled(p) {
			at = sooner(at, r.next)
		}
	}
	return at
}

// Poll returns the next packet to send.
func (p *Puncher) Poll() (Shot, bool) { return p.shots.pop() }

// NextEvent returns the next event.
func (p *Puncher) NextEvent() (PunchEvent, bool) {
	if len(p.events) == 0 {
		return nil, false
	}
	e := p.events[0]
	n := copy(p.events, p.events[1:])
	p.events[n] = nil
	p.events = p.events[:n]
	return e, true
}

func (p *Puncher) tick(now time.Time) { p.now = latest(p.now, now) }

func (p *Puncher) emit(e PunchEvent) {
	if len(p.events) < maxPunchEvents {
		p.events = append(p.events, e)
	}
}

// end closes what was opened and not handed over, and says why.
func (p *Puncher) end(why End) {
	if p.ended {
		return
	}
	p.ended = true
	p.shots = shotbox{}
	var idle []int
	for _, x := range p.extra {
		if x.open && !x.handed {
			idle = append(idle, x.local)
		}
	}
	if len(idle) > 0 {
		p.emit(CloseSockets{Locals: idle})
	}
	p.emit(Ended{Why: why, Status: p.status})
}
