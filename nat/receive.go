// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// Receive takes a probe request or answer that came over path. It returns false
// when the datagram is not genuine or not for this peer's paths; nothing has
// changed then.
//
// A request from a new source teaches a path, which is checked at once (RFC
// 8445 §7.3.1.4) and used only when it has answered in its turn.
func (p *Paths) Receive(now time.Time, path sock.Path, b []byte) bool {
	p.tick(now)
	m, ok := parse(b)
	if !ok {
		return false
	}
	path = unmapped(path)
	if m.request {
		ok = p.request(path, b, m)
	} else {
		ok = p.answer(path, b, m)
	}
	if ok {
		p.upgrade()
		p.send()
	}
	return ok
}

// request answers a genuine request. Copies and replays of it cost one answer
// each, and USE-CANDIDATE in them has no effect (see nomination).
func (p *Paths) request(path sock.Path, b []byte, m message) bool {
	if m.tag != p.mine.Tag || !p.myMAC.verify(b, m) {
		return false
	}
	e := p.find(path)
	if e == nil && probeable(path.Remote) {
		e = p.insert(path, true)
	}
	if e != nil && e.known() || p.cold.take(p.now) {
		s := p.out.push(path)
		s.n = len(appendResponse(s.buf[:0], m.tx, path.Remote, p.myMAC))
	}
	if e == nil {
		return true
	}
	e.askedAt = p.now
	if m.use {
		p.nominated(e, m.tx)
	}
	switch {
	case p.theirMAC == nil:
	case e.state != Valid:
		p.provoke(e)
	case !e.check.running && p.now.Sub(e.answeredAt) < ownEvidence*p.keepalive:
		// The peer's probe and our answer kept both mappings alive.
		e.timer = p.now.Add(p.jitter(p.keepalive))
	}
	return true
}

// answer takes an answer to one of our probes.
func (p *Paths) answer(path sock.Path, b []byte, m message) bool {
	if p.theirMAC == nil {
		return false
	}
	e, k := p.asked(m.tx)
	if e == nil || !p.theirMAC.verify(b, m) {
		return false
	}
	c := &e.check
	// RFC 8445 §7.2.5.2.1: an answer from elsewhere validates nothing. A
	// second copy, or the answer to an earlier try, has nothing to add.
	if e.path != path || c.done || k < 0 {
		return true
	}
	c.running, c.done = false, true
	e.rtt.add(p.now.Sub(c.start) - c.at[k])
	if p.budget != nil && !e.answered() && !e.attested {
		p.budget.answered(p.now, e.path.Remote)
	}
	e.answeredAt = p.now
	e.fails, e.stale = 0, false
	e.timer = p.now.Add(p.jitter(p.keepalive))
	if e.nominate {
		e.nominate = false
		p.nom.wish = nil
	}
	// A peer that comes from another port of the same address has lost its old
	// mapping, most likely; the path in use shows it only at its next keepalive.
	moved := !e.bound && e.learned && p.primary != nil && !p.doubt.on && e.path.Local == p.primary.path.Local &&
		e.path.Remote.Addr() == p.primary.path.Remote.Addr() && e.askedAt.After(p.primary.askedAt)
	e.state = Valid
	if !e.bound {
		e.bound = true
		p.emit(Bound{Path: e.path})
	}
	if m.mapped != e.reflexive && probeable(m.mapped) {
		e.reflexive = m.mapped
		p.emit(Reflexive{Local: e.path.Local, Addr: m.mapped, Path: e.path})
	}
	switch {
	case p.primary == nil:
		p.up(e)
	case p.nom.choice == e:
		p.nom.choice = nil
		p.follow(e, PeerSaid)
	case p.doubt.on && p.primary == e:
		p.reassured()
	case p.doubt.on:
		p.second()
	case moved:
		p.begun(true)
	}
	return true
}

// open starts the first check of a path, as far as its address may be written
// to unasked.
func (p *Paths) open(e *entry) {
	limit := maxTries
	if !e.known() {
		limit = triesCold - e.cold
	}
	if limit > 0 {
		p.begin(e, opening, limit)
	}
}

// provoke probes a path in return for a genuine request: the peer is there and
// its NAT is open now (RFC 8445 §7.3.1.4). One request provokes one probe.
func (p *Paths) provoke(e *entry) {
	c := &e.check
	switch {
	case c.open():
		c.hurry(p.now)
	case !e.known() && c.used && !c.done && c.tries < maxTries:
		if e.cold >= triesProvoked {
			return
		}
		c.limit, c.running, c.next = c.tries+1, true, p.now.Add(lastWait)
		c.hurry(p.now)
	case !c.used:
		p.open(e)
	case e.known() && !c.running:
		p.begin(e, again, againTries)
	case e.known() && c.tries < maxTries:
		c.limit = c.tries + 1
		c.hurry(p.now)
	}
}

// begin arms a check on e with a fresh transaction.
func (p *Paths) begin(e *entry, why purpose, limit int) {
	if p.theirMAC == nil {
		return
	}
	e.check.begin(p.now, why, limit)
	e.timer = time.Time{}
	base := &e.check.base
	copy(base[:], p.handle[:])
	binary.BigEndian.PutUint64(base[4:], p.rng.Uint64())
	// In doubt, the side that decides says so again: perhaps the peer's media
	// takes another path.
	e.nominate = why == nominate || why == doubted && p.controlling()
	if e.nominate {
		p.nom.stamp(p.now, base, p.theirMAC)
	}
}

// send sends the most urgent probe that is due, one every ta.
func (p *Paths) send() {
	if p.theirMAC == nil || p.now.Before(p.pace) {
		return
	}
	for {
		var e *entry
		for _, o := range p.list {
			if o.check.open() && !p.now.Before(o.check.next) && (e == nil || p.urgent(o, e)) {
				e = o
			}
		}
		switch {
		case e == nil:
			return
		case !e.known() && !p.cold.take(p.now):
			e.check.next = p.now.Add(coldRefill)
		case !p.afford(e):
		default:
			p.transmit(e)
			return
		}
	}
}

// afford takes a probe to an address that hasn't answered from the node's budget,
// or puts it off. Addresses inside are nobody's but our own network's; where the
// peer answers from anyhow, a few probes more to another port are no harm; and what
// a genuine request or answer provoked is bounded by itself: a hole that a search
// has spent the budget on is not to be left for that.
func (p *Paths) afford(e *entry) bool {
	provoked := !e.attested && e.cold >= triesCold || e.attested && e.cold < triesProvoked && (e.proved || !e.askedAt.IsZero())
	if p.budget == nil || e.answered() || e.kind > Direct || !outside(e.path.Remote.Addr()) || provoked || p.lives(e.path.Remote.Addr()) {
		return true
	}
	a := ask{to: e.path.Remote, paths: true, flow: e.cold == 0}
	if e.attested {
		a.trust = Attested
	}
	switch why, at := p.budget.take(p.now, a); {
	case why == NotRefused:
		return true
	case at.IsZero():
		e.check.limit, e.check.next = e.check.tries, latest(e.check.next, p.now) // that was all
	default:
		e.check.next = at
	}
	return false
}

// lives reports whether the peer has answered from an IP address.
func (p *Paths) lives(ip netip.Addr) bool {
	for _, e := range p.list {
		if e.answered() && e.path.Remote.Addr() == ip && p.now.Sub(e.answeredAt) < giveUpAfter {
			return true
		}
	}
	return false
}

// urgent reports whether a is to be probed before b.
func (p *Paths) urgent(a, b *entry) bool {
	if a.nominate != b.nominate {
		return a.nominate
	}
	if (a == p.primary) != (b == p.primary) {
		return a == p.primary
	}
	return a.kind.class() < b.kind.class()
}

func (p *Paths) transmit(e *entry) {
	c := &e.check
	s := p.out.push(e.path)
	s.n = len(appendRequest(s.buf[:0], c.tx(c.tries), p.theirs.Tag, e.nominate, p.theirMAC))
	c.sent(p.now, &e.rtt)
	p.pace = p.now.Add(ta)
	if !e.answered() {
		e.cold++
	}
	if e.state == Waiting {
		e.state = Checking
	}
	if e == p.primary && !p.doubt.on && (c.why == alive && c.tries == aliveDoubt+1 || c.why == nominate && c.tries == nominateTries-1) {
		p.begun(false)
	}
}

// nomination orders USE-CANDIDATE requests in time, so that a copy from last
// week or a late one from before the latest change has no effect. The last four
// bytes of a nominating transaction id hold a number that only rises, masked
// with an HMAC over the others so that it looks as random as the rest; the low
// three bits count the tries (RFC 8489 §5 wants 96 random bits; MESSAGE-INTEGRITY
// is what protects us).
type nomination struct {
	last   uint32 // the number of ours
	seen   uint32 // the peer's latest
	any    bool   // seen is set
	choice *entry // the peer's choice, used as soon as it is valid
	wish   *entry // the peer's choice that met a nomination of ours
}

const (
	nominationMask = 1<<29 - 1
	nominationTag  = "nominate"
)

// stamp makes id that of a new nomination. Numbers start at the clock, since a
// peer may remember those of an earlier Paths with the same Cred.
func (n *nomination) stamp(now time.Time, id *[12]byte, key *mac) {
	n.last = max(n.last+1, uint32(now.Unix()&nominationMask)) & nominationMask
	binary.BigEndian.PutUint32(id[8:], n.last<<3^nominationPad(id, key))
}

// newer reads the number of the peer's nomination and reports whether it is the
// newest so far (serial arithmetic, RFC 1982).
func (n *nomination) newer(id *[12]byte, key *mac) bool {
	seq := (binary.BigEndian.Uint32(id[8:]) ^ nominationPad(id, key)) >> 3
	ahead := (seq - n.seen) & nominationMask
	if n.any && (ahead == 0 || ahead > nominationMask/2) {
		return false
	}
	n.seen, n.any = seq, true
	return true
}

func nominationPad(id *[12]byte, key *mac) uint32 {
	key.pad = append(append(key.pad[:0], nominationTag...), id[:8]...)
	return binary.BigEndian.Uint32(key.over(key.pad))
}

// nominated takes the peer's word that its side uses e now.
func (p *Paths) nominated(e *entry, tx [12]byte) {
	n := &p.nom
	if !n.newer(&tx, p.myMAC) {
		return
	}
	n.choice, n.wish = nil, nil
	switch c := p.primary; {
	case e == c:
	case c != nil && p.controlling() && c.check.running && c.nominate:
		// Both changed over at once. Ours stands if it is answered; else
		// the peer's is next, and soon.
		n.wish = e
		c.check.limit = min(c.check.limit, c.check.tries+1)
	case c != nil && e.state == Valid:
		p.follow(e, PeerSaid)
	default:
		n.choice = e
	}
}
