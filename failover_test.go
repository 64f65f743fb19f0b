// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media"
)

// A trial is one call between two sites, with relays that can be switched off.
type trial struct {
	*sim
	a, b   computer
	nodes  [2]*Node
	calls  [2]*Call
	ears   [2]*witness
	relays map[identity.NodeID]*simnet.Host
	crooks map[identity.NodeID]*crook // their sockets
}

// witness notes when frames were played, and when some were missing.
type witness struct {
	done chan struct{}

	mu     sync.Mutex // guards what follows
	played []time.Time
	lost   []time.Time
	last   uint64 // number of the frame played last
	wrong  int    // frames played that the other side never said, or not after the last one
}

func (s *sim) witness(c *Call) *witness {
	in, _ := c.Tracks()
	w := &witness{done: make(chan struct{})}
	s.wg.Go(func() {
		defer close(w.done)
		var f media.Frame
		for {
			err := in.ReadFrame(context.Background(), &f)
			if errors.Is(err, io.EOF) {
				return
			}
			w.mu.Lock()
			switch {
			case err == nil && f.Lost:
				w.lost = append(w.lost, time.Now())
			case err == nil && len(f.Payload) > 0:
				w.played = append(w.played, time.Now())
				if n, ok := numberOf(f.Payload); ok && n > w.last {
					w.last = n
				} else {
					w.wrong++
				}
			}
			w.mu.Unlock()
		}
	})
	return w
}

// say writes a numbered frame each 20 ms until the call ends.
func (s *sim) say(c *Call) {
	_, out := c.Tracks()
	s.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := uint64(1); out.WriteFrame(&media.Frame{Payload: numbered(n)}) == nil; n++ {
			<-tick.C
		}
	})
}

// numbered is a frame of speech with a number in it.
func numbered(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{opusSpeech[0], 1}, n) }

func numberOf(b []byte) (n uint64, ok bool) {
	if len(b) == len(numbered(0)) {
		n = binary.BigEndian.Uint64(b[2:])
	}
	return n, bytes.Equal(b, numbered(n))
}

// since counts frames that were missing after an instant, and says when the
// first was played then.
func (w *witness) since(at time.Time) (lost int, first time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.lost {
		if !t.Before(at) {
			lost++
		}
	}
	for _, t := range w.played {
		if !t.Before(at) {
			return lost, t
		}
	}
	return lost, time.Time{}
}

// gap is the longest time without a played frame from an instant on.
func (w *witness) gap(from time.Time) (most time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := from
	for _, t := range append(w.played, time.Now()) {
		if t.After(from) {
			most, last = max(most, t.Sub(last)), t
		}
	}
	return most
}

// hold sets up a call that both sides talk in, and lets it settle.
func (s *sim) hold(kindA, kindB string, publics int, limits RelayLimits) *trial {
	s.t.Helper()
	tr := &trial{sim: s, a: s.computer("a", kindA), b: s.computer("b", kindB), relays: make(map[identity.NodeID]*simnet.Host), crooks: make(map[identity.NodeID]*crook)}
	var join []string
	for i := range publics {
		var h *simnet.Host
		s.net.Do(func(w *simnet.World) {
			h = w.Host(fmt.Sprintf("r%d", i), access, netip.AddrFrom4([4]byte{45, byte(10 + i), 0, 1}))
		})
		c := &crook{PacketConn: s.listen(h, 4000)}
		n := s.start(h.Name(), Config{Join: join, Relay: limits}, s.opener(h), c)
		if err := n.Join(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		for _, to := range join {
			if _, err := n.ov.Dial(s.t.Context(), netip.MustParseAddrPort(to)); err != nil {
				s.t.Fatal(err)
			}
		}
		tr.relays[n.ov.Node()], tr.crooks[n.ov.Node()] = h, c
		join = append(join, n.Status().Listen[0].String())
	}
	tr.nodes[0], tr.nodes[1] = s.pairAt(tr.a, tr.b, join)
	incoming := tr.nodes[1].Incoming(s.t.Context())
	answered := make(chan *Call, 1)
	s.wg.Go(func() {
		for c := range incoming {
			if c.Answer() == nil {
				answered <- c
			}
			return
		}
	})
	call, err := tr.nodes[0].Call(s.t.Context(), s.ticket(tr.nodes[1]), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := call.Answered(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	tr.calls = [2]*Call{call, <-answered}
	for i, c := range tr.calls {
		s.say(c)
		tr.ears[i] = s.witness(c)
	}
	time.Sleep(6 * time.Second)
	return tr
}

// cut pulls or plugs a host's cable.
func (tr *trial) cut(h *simnet.Host, cut bool) { tr.net.Do(func(*simnet.World) { h.Cut(cut) }) }

// effect is what the worse side of a call heard of an event.
type effect struct {
	arrivals time.Duration // longest between two packets
	gap      time.Duration // longest between two played frames
	lost     int           // frames missing
	back     time.Duration // the first frame played after it
}

// watch does something to the network and says what was heard of it in d.
func (tr *trial) watch(d time.Duration, f func()) (e effect) {
	var s media.Stats
	for _, c := range tr.calls {
		in, _ := c.Tracks()
		in.Stats(&s) // the longest gap starts anew
	}
	at := time.Now()
	f()
	time.Sleep(d)
	synctest.Wait() // until what is due now has been played
	for i, c := range tr.calls {
		in, _ := c.Tracks()
		in.Stats(&s)
		lost, first := tr.ears[i].since(at)
		e.arrivals, e.gap, e.lost = max(e.arrivals, s.LongestGap), max(e.gap, tr.ears[i].gap(at)), max(e.lost, lost)
		if first.IsZero() {
			e.back = d
		}
		e.back = max(e.back, first.Sub(at))
	}
	return e
}

// end hangs up and checks that the other side is told.
func (tr *trial) end() {
	tr.calls[0].HangUp()
	<-tr.ears[0].done
	<-tr.ears[1].done
	for i, e := range tr.ears {
		if e.wrong > 0 {
			tr.t.Errorf("side %d played %d frames that nobody said there", i, e.wrong)
		}
	}
	<-tr.calls[1].Done() // its tracks end a moment before
	if _, reason, _ := tr.calls[1].End(); reason != "hangup" {
		tr.t.Errorf("the callee's call ended: %q", reason)
	}
}

// killRelay cuts the relay that leads, as side i sees it.
func (tr *trial) killRelay(i int) bool {
	vias := tr.calls[i].Path().Vias
	if len(vias) == 0 {
		tr.t.Errorf("no relay: %+v", tr.calls[i].Path())
		return false
	}
	tr.cut(tr.relays[vias[0]], true)
	delete(tr.relays, vias[0])
	return true
}

// newAddress gives a site's box, or its machine where there is none, another
// address.
func (tr *trial) newAddress(m computer, boot bool) {
	tr.hosts++
	fresh := netip.AddrFrom4([4]byte{46, byte(tr.hosts), 0, 1})
	tr.net.Do(func(*simnet.World) {
		switch {
		case m.box != nil && boot:
			m.box.Reboot(fresh)
		case m.box != nil:
			m.box.Reboot()
		default:
			old := m.v4.Addrs()[0]
			m.v4.RemoveAddr(old)
			m.v4.AddAddr(fresh)
		}
	})
}

// What breaks under a call is hardly heard, and the call goes on. The limits are the
// targets (docs/numbers.md), for whichever of the seeds is the worst.
func TestFailover(t *testing.T) {
	t.Parallel()
	const (
		unheard = 100 * time.Millisecond // the longest gap between packets
		gap     = time.Second
		outage  = 0 // then back counts
		back    = 150 * time.Millisecond
	)
	nobody := RelayLimits{Rate: -1}
	cases := []struct {
		name, a, b string
		most       time.Duration
		limits     RelayLimits // of the nodes around
		do         func(*trial) effect
	}{
		{"relay killed", "edm", "edm", unheard, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.killRelay(0) })
		}},
		{"both relays killed, 6 s apart", "edm", "cgn-block", unheard, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(12*time.Second, func() {
				tr.killRelay(0)
				time.Sleep(6 * time.Second)
				tr.killRelay(1)
			})
		}},
		{"both relays killed at once", "double", "edm", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(8*time.Second, func() {
				tr.killRelay(0)
				if vias := tr.calls[0].Path().Vias; len(vias) > 1 {
					tr.cut(tr.relays[vias[1]], true)
				}
			})
		}},
		{"mappings dropped, direct", "eim-apdf", "cgn-block", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.b, false) })
		}},
		{"mappings dropped, relayed", "edm", "edm", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.a, false) })
		}},
		{"callee's router with a new address", "eim-apdf", "eim-apdf", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.b, true) })
		}},
		{"caller's router with a new address", "eim-apdf", "eim-apdf", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.a, true) })
		}},
		{"new address to a public one", "eim-apdf", "none", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.a, true) })
		}},
		{"new address, relayed", "edm", "edm", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.b, true) })
		}},
		{"callee roams", "eim-apdf", "none", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.b, true) })
		}},
		{"callee roams, both public", "none", "none", gap, RelayLimits{}, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.b, true) })
		}},
		{"callee roams, and nobody relays", "eim-apdf", "none", gap, nobody, func(tr *trial) effect {
			return tr.watch(5*time.Second, func() { tr.newAddress(tr.b, true) })
		}},
		{"5 s without network, direct", "eim-apdf", "eim-apdf", outage, RelayLimits{}, func(tr *trial) effect { return tr.outage(5 * time.Second) }},
		{"5 s without network, relayed", "edm", "edm", outage, RelayLimits{}, func(tr *trial) effect { return tr.outage(5 * time.Second) }},
		{"5 s without network, callee", "none", "edm", outage, RelayLimits{}, func(tr *trial) effect { return tr.outage(5 * time.Second) }},
	}
	for i, c := range cases {
		if i%2 == 1 && os.Getenv("P2POS_LONG") == "" {
			continue // every other change and kind of path is enough for a look
		}
		t.Run(c.name, func(t *testing.T) {
			var arrivals, gaps, backs []time.Duration
			lost := 0
			for seed := range seeds(1, 40) {
				simSeed(t, uint64(seed+1), func(t *testing.T, s *sim) {
					tr := s.hold(c.a, c.b, 5, c.limits)
					before := tr.calls[0].Path()
					e := c.do(tr)
					arrivals, gaps, backs = append(arrivals, e.arrivals), append(gaps, e.gap), append(backs, e.back)
					lost = max(lost, e.lost)
					t.Logf("%d: %+v, from %s to %s", seed, e, before.Kind, tr.calls[0].Path().Kind)
					tr.end()
				})
			}
			t.Logf("gap between packets p50 %d p95 %d ms, between played frames p95 %d ms, at most %d frames lost; back p95 %d ms",
				percentile(arrivals, 50).Milliseconds(), percentile(arrivals, 95).Milliseconds(), percentile(gaps, 95).Milliseconds(), lost, percentile(backs, 95).Milliseconds())
			if p := percentile(arrivals, 100); c.most != outage && p > c.most {
				t.Errorf("gap of %v", p)
			}
			if p := percentile(backs, 100); c.most == outage && p > back {
				t.Errorf("sound is back after %v", p)
			}
		})
	}
}

// outage cuts everybody off for a while. back counts from its end.
func (tr *trial) outage(d time.Duration) effect {
	all := []*simnet.Host{tr.a.v4, tr.b.v4}
	for _, h := range all {
		tr.cut(h, true)
	}
	time.Sleep(d)
	return tr.watch(5*time.Second, func() {
		for _, h := range all {
			tr.cut(h, false)
		}
	})
}

// A machine that was asleep for a minute talks on when it wakes up, whoever it is and
// however the call was carried. Nothing moves meanwhile: mappings end, links may break.
func TestAsleepForAMinute(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, a, b string
		who        int
	}{
		{"caller, direct", "eim-apdf", "eim-apdf", 0}, {"callee, relayed", "cgn-block", "edm", 1},
		{"callee, direct", "eim-apdf", "none", 1}, {"caller, relayed", "edm", "edm", 0},
	}
	for _, c := range cases[:seeds(2, len(cases))] {
		t.Run(c.name, func(t *testing.T) {
			for seed := range seeds(1, 20) {
				simSeed(t, uint64(seed+1), func(t *testing.T, s *sim) {
					tr := s.hold(c.a, c.b, 5, RelayLimits{})
					h := []*simnet.Host{tr.a.v4, tr.b.v4}[c.who]
					tr.cut(h, true)
					time.Sleep(time.Minute)
					e := tr.watch(10*time.Second, func() { tr.cut(h, false) })
					t.Logf("sound is back after %v", e.back)
					if e.back > time.Second {
						t.Errorf("sound is back after %v", e.back)
					}
					tr.end()
				})
			}
		})
	}
}

// The link under a call between people who met over the route may break, and come back:
// either can still hang up.
func TestMetLinkBreaks(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"eim-apdf", "edm"} {
		t.Run(kind, func(t *testing.T) {
			simSeed(t, 1, func(t *testing.T, s *sim) {
				tr := s.hold(kind, kind, 5, RelayLimits{})
				for range 2 {
					peers, err := tr.nodes[0].ov.Peers(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for _, p := range peers {
						if p.Node() == tr.nodes[1].NodeID() {
							p.Link().Abort()
						}
					}
					if e := tr.watch(10*time.Second, func() {}); e.lost > 0 {
						t.Errorf("%d frames lost", e.lost)
					}
				}
				tr.end()
			})
		})
	}
}
