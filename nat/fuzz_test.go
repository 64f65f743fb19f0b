// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// FuzzPaths does everything a driver and a hostile network can do, in any
// order, and holds the machine to its promises after each step.
func FuzzPaths(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 40 {
		script := make([]byte, 20*(n+1))
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 2000 {
			return
		}
		fuzzPaths(t, script)
	})
}

func fuzzPaths(t *testing.T, script []byte) {
	w := newWorld(t, 1)
	mine, theirs := creds()
	h := w.peer("x", mine, theirs, Options{})
	var nom nomination
	var asked [][]byte // probes of ours, and old messages to replay
	var from []sock.Path
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return int(b)
	}
	path := func() sock.Path {
		n := next()
		return sock.Path{Local: n & 1, Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(9 + n&2), 1, 1, 1}), uint16(n>>2))}
	}
	for len(script) > 0 {
		switch next() % 12 {
		case 0:
			h.p.Add(w.now, path())
		case 1:
			h.p.AddAttested(w.now, path())
		case 2:
			h.p.SocketDown(w.now, next()&1)
		case 3:
			h.p.Heard(w.now, path())
		case 4:
			h.p.SetMedia(w.now, next()&1 == 0)
		case 5, 6: // the peer asks
			tx := [12]byte{byte(next())}
			use := next()&1 == 0
			if use {
				nom.stamp(w.now, &tx, key(mine))
			}
			b := appendRequest(nil, tx, mine.Tag, use, key(mine))
			asked, from = append(asked, b), append(from, path())
			h.p.Receive(w.now, from[len(from)-1], b)
		case 7, 8: // the peer answers, or an old message is replayed
			if len(asked) == 0 {
				break
			}
			i := next() % len(asked)
			b, at := bytes.Clone(asked[i]), from[i]
			if next()%4 == 0 {
				at = path()
			}
			if m, ok := parse(b); ok && m.request && m.tag == theirs.Tag {
				b = appendResponse(nil, m.tx, seen, key(theirs))
			}
			if next()%8 == 0 {
				b[next()%len(b)] ^= 1
			}
			h.p.Receive(w.now, at, b)
		case 9:
			w.now = w.now.Add(time.Duration(next()*next()) * ms)
		case 10:
			theirs.Key[0] = byte(next() & 1)
			h.p.SetRemote(w.now, theirs)
		case 11:
			if at := h.p.Deadline(); at.After(w.now) {
				w.now = at
			}
		}
		for range 3 { // drain, let due work be done, drain
			for {
				d, ok := h.p.Poll()
				if !ok {
					break
				}
				asked, from = append(asked, bytes.Clone(d.B)), append(from, d.Path)
			}
			w.drain(h)
			if at := h.p.Deadline(); at.IsZero() || at.After(w.now) {
				break
			}
			h.p.Advance(w.now)
			if at := h.p.Deadline(); !at.IsZero() && !at.After(w.now) {
				t.Fatalf("after Advance at %v the deadline is %v", w.now.Sub(epoch), at.Sub(epoch))
			}
		}
		for _, e := range h.p.list {
			if e.check.tries > maxTries || e.gone || !e.answered() && e.cold > maxTries && !e.attested {
				t.Fatalf("%v: %d tries, %d cold packets, gone %v", e.path, e.check.tries, e.cold, e.gone)
			}
			if e.bound != h.proved[e.path] {
				t.Fatalf("%v: bound %v, told %v", e.path, e.bound, h.proved[e.path])
			}
		}
		if h.p.primary == nil && h.p.doubt.on || len(h.p.events) > 0 {
			t.Fatal("doubt without a path, or events left over")
		}
	}
}
