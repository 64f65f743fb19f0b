// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// rig drives one Paths by hand; the test is its peer.
type rig struct {
	t      *testing.T
	p      *Paths
	mine   Cred
	theirs Cred
	now    time.Time
	nom    nomination // the peer's
	n      byte
	// reply answers a probe after the time it returns; negative: never.
	reply   func(path sock.Path) time.Duration
	pending []reply
	sent    []probe
	told    []Event
}

type probe struct {
	at   time.Duration // since epoch
	path sock.Path
	m    message
}

type reply struct {
	at   time.Time
	path sock.Path
	b    []byte
}

var (
	pathA = sock.Path{Local: 0, Remote: netip.MustParseAddrPort("203.0.113.1:1")}
	pathB = sock.Path{Local: 1, Remote: netip.MustParseAddrPort("203.0.113.1:2")}
	pathC = sock.Path{Local: 1, Remote: netip.MustParseAddrPort("203.0.113.1:3")}
	pathL = sock.Path{Local: 0, Remote: netip.MustParseAddrPort("192.168.7.7:1")}
	seen  = netip.MustParseAddrPort("198.51.100.1:4000")
)

func newRig(t *testing.T, controlling bool, o Options) *rig {
	r := &rig{t: t, now: epoch}
	r.mine, r.theirs = creds()
	if !controlling {
		r.mine, r.theirs = r.theirs, r.mine
	}
	r.reply = func(sock.Path) time.Duration { return -1 }
	r.p = NewPaths(r.mine, r.theirs, rand.New(rand.NewPCG(1, 1)), o)
	return r
}

// alive makes paths answer after d each.
func (r *rig) alive(d time.Duration, paths ...sock.Path) {
	before := r.reply
	r.reply = func(path sock.Path) time.Duration {
		for _, p := range paths {
			if p == path {
				return d
			}
		}
		return before(path)
	}
}

// drain collects what was sent and returns its answers to the calendar.
func (r *rig) drain() {
	r.t.Helper()
	for {
		e, ok := r.p.NextEvent()
		if !ok {
			break
		}
		r.told = append(r.told, e)
	}
	for {
		d, ok := r.p.Poll()
		if !ok {
			return
		}
		m, ok := parse(d.B)
		k := r.theirs
		if !m.request {
			k = r.mine
		}
		if !ok || !key(k).verify(d.B, m) || m.request && m.tag != r.theirs.Tag {
			r.t.Fatalf("sent %x: not a message of ours", d.B)
		}
		r.sent = append(r.sent, probe{r.now.Sub(epoch), d.Path, m})
		if after := r.reply(d.Path); m.request && after >= 0 {
			r.pending = append(r.pending, reply{r.now.Add(after), d.Path, appendResponse(nil, m.tx, seen, key(r.theirs))})
		}
	}
}

// run lets d pass, in the steps that the machine asks for.
func (r *rig) run(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for {
		r.drain()
		next, i := r.p.Deadline(), -1
		for j, a := range r.pending {
			if next.IsZero() || a.at.Before(next) {
				next, i = a.at, j
			}
		}
		if next.IsZero() || next.After(end) {
			r.now = end
			return
		}
		r.now = next
		if i < 0 {
			r.p.Advance(r.now)
			continue
		}
		a := r.pending[i]
		r.pending = append(r.pending[:i], r.pending[i+1:]...)
		known := r.p.find(a.path) != nil
		if !r.p.Receive(r.now, a.path, a.b) && known {
			r.t.Fatalf("answer on %v refused", a.path)
		}
	}
}

// request makes a genuine request of the peer's.
func (r *rig) request(use bool) []byte {
	r.n++
	tx := [12]byte{9, 9, 9, 9, r.n}
	if use {
		r.nom.stamp(r.now, &tx, key(r.mine))
	}
	return appendRequest(nil, tx, r.mine.Tag, use, key(r.mine))
}

// receive hands b to the machine.
func (r *rig) receive(path sock.Path, b []byte) bool {
	ok := r.p.Receive(r.now, path, b)
	r.drain()
	return ok
}

// probes returns when path was probed, in ms since epoch, and forgets it all.
func (r *rig) probes(path sock.Path) string {
	var out []string
	keep := r.sent[:0]
	for _, s := range r.sent {
		switch {
		case s.path != path:
			keep = append(keep, s)
		case s.m.request && s.m.use:
			out = append(out, fmt.Sprintf("%dU", s.at.Milliseconds()))
		case s.m.request:
			out = append(out, fmt.Sprint(s.at.Milliseconds()))
		default:
			out = append(out, fmt.Sprintf("%dR", s.at.Milliseconds()))
		}
	}
	r.sent = keep
	return strings.Join(out, " ")
}

func (r *rig) forget() {
	r.events()
	r.sent = nil
}

// events returns what was told, one word and path each.
func (r *rig) events() string {
	name := func(p sock.Path) string {
		for n, q := range map[string]sock.Path{"A": pathA, "B": pathB, "C": pathC, "L": pathL} {
			if q == p {
				return n
			}
		}
		return p.Remote.String()
	}
	var out []string
	r.drain()
	for _, e := range r.told {
		s := ""
		switch e := e.(type) {
		case Up:
			s = "up:" + name(e.Path)
			if e.Again {
				s += ":again"
			}
		case Switched:
			s = fmt.Sprintf("%s>%s:%v", name(e.From), name(e.To), e.Why)
			if e.Replay {
				s += ":replay"
			}
		case Doubt:
			s = "doubt:" + name(e.Path)
		case Cleared:
			s = "cleared:" + name(e.Path)
		case Down:
			s = "down"
		case Reflexive:
			s = fmt.Sprintf("seen:%d/%v", e.Local, e.Addr)
		case Bound:
			s = "bound:" + name(e.Path)
		case Unbound:
			s = "unbound:" + name(e.Path)
		}
		out = append(out, s)
	}
	r.told = nil
	return strings.Join(out, " ")
}

func (r *rig) expect(what, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("at %v, %s: got %q, want %q", r.now.Sub(epoch), what, got, want)
	}
}

// active returns the names of the primary and the second path.
func (r *rig) active() string {
	primary, also, ok := r.p.Active()
	if !ok {
		return ""
	}
	s := fmt.Sprintf("%d/%v", primary.Local, primary.Remote)
	for _, a := range also {
		s += fmt.Sprintf("+%d/%v", a.Local, a.Remote)
	}
	return s
}

func name(paths ...sock.Path) string {
	s := ""
	for i, p := range paths {
		if i > 0 {
			s += "+"
		}
		s += fmt.Sprintf("%d/%v", p.Local, p.Remote)
	}
	return s
}
