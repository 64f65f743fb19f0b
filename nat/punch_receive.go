// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// maxReplies bounds the answers and the requests in return of one punch: a
// dozen for each path that may be handed over. Replayed requests cost no more.
const maxReplies = 12 * maxHits

// triggered marks the transaction ids of requests in return.
const triggered = 0x80

// Receive takes a probe that came over path. It returns false when it isn't
// this punch's business, nothing has changed then and it may be Paths'.
func (p *Puncher) Receive(now time.Time, path sock.Path, b []byte) bool {
	p.tick(now)
	m, ok := parse(b)
	if !ok || p.ended {
		return false
	}
	path = unmapped(path)
	if m.request {
		ok = p.requested(path, b, m)
	} else if ok = m.tx == p.tx(path, m.tx[11]) && p.theirs.verify(b, m); ok {
		p.hit(path)
	}
	if ok {
		p.work()
	}
	return ok
}

// requested answers a genuine request to a socket of ours and checks the path
// in return (RFC 8445 §7.3.1.4). One that goes to the shared socket is Paths'.
func (p *Puncher) requested(path sock.Path, b []byte, m message) bool {
	x := slices.IndexFunc(p.extra, func(x extra) bool { return x.local == path.Local && x.open && !x.handed })
	if x < 0 || m.tag != p.c.Mine.Tag || !p.mine.verify(b, m) {
		return false
	}
	trust := p.c.Trust
	if path.Remote.Addr() != p.c.Remote.Addr() {
		trust = Stranger
		p.status.Strangers++
	}
	if !probeable(path.Remote) || p.status.Answers+p.status.Triggered >= maxReplies {
		return true
	}
	a := ask{to: path.Remote, trust: trust, reply: true}
	if why, _ := p.budget.take(p.now, a); why != NotRefused {
		return true
	}
	s := p.shots.push(path, 0)
	s.n = len(appendResponse(s.buf[:0], m.tx, path.Remote, p.mine))
	p.status.Answers++
	if slices.Contains(p.hits, path) {
		return true
	}
	if why, _ := p.budget.take(p.now, a); why == NotRefused {
		p.request(path, triggered|byte(p.status.Triggered&0x7f), 0)
		p.status.Triggered++
	}
	return true
}

// request sends a probe over path.
func (p *Puncher) request(path sock.Path, try, ttl byte) {
	s := p.shots.push(path, ttl)
	s.n = len(appendRequest(s.buf[:0], p.tx(path, try), p.c.Theirs.Tag, false, p.theirs))
}

// tx returns the transaction id of a try on a path. It is a MAC of them under a
// key of our own, so that an answer can be matched - with its path, as RFC 8445
// §7.2.5.2.1 wants - and none of a thousand shots has to be remembered.
func (p *Puncher) tx(path sock.Path, try byte) (id [12]byte) {
	b := binary.BigEndian.AppendUint32(p.idBuf[:0], uint32(path.Local))
	ip := path.Remote.Addr().As16()
	b = append(b, ip[:]...)
	b = append(binary.BigEndian.AppendUint16(b, path.Remote.Port()), try)
	copy(id[:], p.handle[:])
	copy(id[4:11], p.secret.over(b))
	id[11] = try
	return id
}

// hit hands a proved path over.
func (p *Puncher) hit(path sock.Path) {
	if slices.Contains(p.hits, path) || slices.Contains(p.c.Known, path) || len(p.hits) == maxHits {
		return
	}
	p.hits = append(p.hits, path)
	p.status.Hits++
	h := Hit{Path: path}
	for i := range p.extra {
		if x := &p.extra[i]; x.local == path.Local && x.open {
			x.handed, h.Extra = true, true
		}
	}
	p.emit(h)
	if len(p.hits) > p.c.Spares {
		p.quit()
	}
	if len(p.hits) == 1 {
		p.until = sooner(p.until, p.now.Add(spareFor)) // the other side may have ended
	}
}

// quit ends the shooting; answers go on for the grace.
func (p *Puncher) quit() {
	if p.won.IsZero() {
		p.won = p.now
		p.nrun = 0
		p.shots = shotbox{}
	}
}
