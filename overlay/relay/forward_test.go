// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// end is an End of a neighbour named by a letter; "" is this node itself.
func end(peer string, l Label) End[string] { return End[string]{peer, l} }

var plenty = Rates{Promised: unlimited, Peak: unlimited}

func frame(l Label, inner ...byte) []byte { return AppendFrame(nil, l, inner) }

// sized returns a frame of n bytes in all.
func sized(l Label, n int) []byte { return frame(l, make([]byte, n-HeaderLen)...) }

func open(t *testing.T, f *Forwarder[string], a, b End[string], r Rates) {
	t.Helper()
	if err := f.Open(a, b, r); err != nil {
		t.Fatal(err)
	}
}

func TestFrame(t *testing.T) {
	b := AppendFrame(nil, 0x01020304, []byte{0x80, 9})
	if !bytes.Equal(b, []byte{4, 1, 2, 3, 4, 0x80, 9}) {
		t.Errorf("% x", b)
	}
	for name, c := range map[string]struct {
		b  []byte
		ok bool
	}{
		"empty":        {nil, false},
		"header alone": {b[:5], false},
		"one byte":     {b[:6], true},
		"other kind":   {[]byte{5, 1, 2, 3, 4, 5}, false},
		"largest":      {sized(1, MaxFrame), true},
		"too large":    {sized(1, MaxFrame+1), false},
	} {
		if _, ok := LabelOf(c.b); ok != c.ok {
			t.Errorf("%s: %v", name, ok)
		}
	}
	if l, ok := LabelOf(b); !ok || l != 0x01020304 {
		t.Error(l, ok)
	}
	for name, c := range map[string]struct {
		inner   []byte
		yes, ok bool
	}{
		"media":           {[]byte{128}, false, true},
		"nested":          {frame(7, 128), true, true},
		"nested, cut":     {[]byte{4, 0, 0, 0, 7}, true, false},
		"nested in that":  {frame(7, frame(8, 128)...), true, false},
		"only first byte": {[]byte{4}, true, false},
	} {
		if yes, ok := nested(frame(1, c.inner...)); yes != c.yes || ok != c.ok {
			t.Errorf("%s: %v %v", name, yes, ok)
		}
	}
}

// A frame of either end goes to the other one under its label; everything else
// goes nowhere and changes nothing.
func TestForward(t *testing.T) {
	f := NewForwarder[string](1e6)
	open(t, f, end("a", 1), end("b", 2), plenty)
	open(t, f, end("a", 3), end("", 0), plenty)
	open(t, f, end("c", 1), end("d", 1), Rates{Promised: unlimited, Peak: unlimited, Nested: true})
	for _, c := range []struct {
		name string
		from string
		in   []byte
		to   string
		ok   bool
		out  []byte
	}{
		{"there", "a", frame(1, 128, 7), "b", true, frame(2, 128, 7)},
		{"back", "b", frame(2, 64), "a", true, frame(1, 64)},
		{"for this node, label kept", "a", frame(3, 1), "", true, frame(3, 1)},
		{"same label, other flow", "c", frame(1, 128), "d", true, frame(1, 128)},
		{"other end's label", "a", frame(2, 128), "", false, frame(2, 128)},
		{"third party", "x", frame(1, 128), "", false, frame(1, 128)},
		{"stranger", "", frame(1, 128), "", false, frame(1, 128)},
		{"this node's own label zero", "", frame(0, 128), "", false, frame(0, 128)},
		{"other kind", "a", []byte{3, 0, 0, 0, 1, 9}, "", false, []byte{3, 0, 0, 0, 1, 9}},
		{"nothing inside", "a", []byte{4, 0, 0, 0, 1}, "", false, []byte{4, 0, 0, 0, 1}},
		{"nested", "a", frame(1, frame(9, 128)...), "", false, frame(1, frame(9, 128)...)},
		{"nested, agreed", "c", frame(1, frame(9, 128)...), "d", true, frame(1, frame(9, 128)...)},
		{"nested twice", "c", frame(1, frame(9, frame(9, 1)...)...), "", false, frame(1, frame(9, frame(9, 1)...)...)},
	} {
		to, ok := f.Forward(1, c.from, c.in)
		if to != c.to || ok != c.ok || !bytes.Equal(c.in, c.out) {
			t.Errorf("%s: to %q %v % x, want %q %v % x", c.name, to, ok, c.in, c.to, c.ok, c.out)
		}
	}
	want := map[string]uint64{"malformed frame": 2, "no such flow": 4, "nested frame": 2, "over the rate": 0}
	for k, n := range f.Dropped() {
		if n != want[k] {
			t.Errorf("%s: %d, want %d", k, n, want[k])
		}
	}
	u, ok := f.Usage(end("b", 2))
	if !ok || u.Frames != 2 || u.AtoB != 6 || u.BtoA != 7 || u.Last != 1 {
		t.Errorf("usage %+v %v", u, ok)
	}
	if frames, n := f.Total(); frames != 5 || n != 7+6+6+6+11 {
		t.Errorf("%d frames, %d bytes", frames, n)
	}
	f.Close(end("b", 2))
	f.Close(end("b", 2))
	if _, ok := f.Forward(2, "a", frame(1, 128)); ok || f.Flows() != 3 {
		t.Error("the flow outlived its end")
	}
	f.Drop("d")
	if _, ok := f.Forward(2, "c", frame(1, 128)); ok || f.Flows() != 1 {
		t.Error("the flow outlived a neighbour")
	}
	if _, n := f.Total(); n != 7+6+6+6+11 {
		t.Errorf("%d bytes after the flows' end", n)
	}
}

func TestOpenErrors(t *testing.T) {
	f := NewForwarder[string](1e6)
	open(t, f, end("a", 1), end("b", 2), plenty)
	for name, c := range map[string][2]End[string]{
		"label taken at a": {end("a", 1), end("c", 1)},
		"label taken at b": {end("c", 1), end("b", 2)},
		"nobody":           {end("", 1), end("b", 3)},
		"itself":           {end("c", 1), end("c", 1)},
	} {
		if err := f.Open(c[0], c[1], plenty); !errors.Is(err, ErrFlow) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.Flows() != 2 {
		t.Errorf("%d directions", f.Flows())
	}
	// From a neighbour back to itself is a flow like any other: two labels.
	open(t, f, end("a", 5), end("a", 6), plenty)
	if to, ok := f.Forward(0, "a", frame(5, 1)); to != "a" || !ok {
		t.Error("no way back")
	}
}

func TestMaxFlows(t *testing.T) {
	f := NewForwarder[string](1e6)
	table := map[End[string]]*half[string]{} // opening 4,096 one by one takes seconds
	for i := range 2*MaxFlows - 2 {
		table[end("x", Label(i))] = &half[string]{to: end("y", 0)}
	}
	f.table.Store(&table)
	open(t, f, end("a", 1), end("b", 1), plenty)
	if err := f.Open(end("a", 2), end("b", 2), plenty); !errors.Is(err, ErrFlow) {
		t.Error(err)
	}
}

// push offers frames of n bytes at a steady bit rate for a while and returns
// the rate that got through.
func push(f *Forwarder[string], from string, l Label, n int, bits int64, start, d time.Duration) (passed int64) {
	step := time.Duration(int64(n) * 8 * int64(time.Second) / bits)
	for at := start; at < start+d; at += step {
		if _, ok := f.Forward(at, from, sized(l, n)); ok {
			passed += int64(n) * 8
		}
	}
	return passed * int64(time.Second) / int64(d)
}

// A flow gets its peak, each way, and a burst of a QUIC handshake.
func TestRate(t *testing.T) {
	for _, r := range []Rates{{64_000, 64_000, false}, {0, 32_000, false}, {32_000, 64_000, false}, {0, 0, false}} {
		f := NewForwarder[string](1e6)
		open(t, f, end("a", 1), end("b", 2), r)
		const long = 100 * time.Second
		allowed := r.Peak + burst*8/100
		for i, from := range []End[string]{end("a", 1), end("b", 2)} {
			if got := push(f, from.Peer, from.Label, 200, 10*max(r.Peak, 1000), time.Duration(i)*long, long); got > allowed || got < r.Peak*99/100 {
				t.Errorf("%+v: %d bit/s of a flood from %s, want %d to %d", r, got, from.Peer, r.Peak*99/100, allowed)
			}
		}
		if r.Peak == 0 {
			continue
		}
		if got := push(f, "a", 1, 160, r.Peak*99/100, 3*long, long); got < r.Peak*98/100 {
			t.Errorf("%+v: %d bit/s of a flow that keeps to its rate", r, got)
		}
		n := 0
		for range 20 {
			if _, ok := f.Forward(time.Hour, "a", sized(f.to("b", 2), 1200)); ok {
				n++
			}
		}
		if n != 10 {
			t.Errorf("%+v: a burst of %d packets, want 10", r, n)
		}
		if u, _ := f.Usage(end("a", 1)); u.Refused == 0 || u.Refused != f.Dropped()["over the rate"] {
			t.Errorf("%+v: %d refused, %v", r, u.Refused, f.Dropped())
		}
	}
}

// to returns the label of the other end.
func (f *Forwarder[P]) to(peer P, l Label) Label { return (*f.table.Load())[End[P]{peer, l}].to.Label }

// Flows that flood get no more than the total, and take nothing from a flow
// that keeps to what was promised to it.
func TestFairWhenFull(t *testing.T) {
	const total, floods = 1_000_000, 6
	f := NewForwarder[string](total)
	call := Rates{Promised: 64_000, Peak: 256_000}
	honest := []End[string]{end("a", 1), end("b", 1)}
	open(t, f, honest[0], honest[1], call)
	rng := rand.New(rand.NewPCG(1, 1))
	type source struct {
		end   End[string]
		size  int
		every time.Duration
		sent  int
		got   int
	}
	var sources []*source
	for _, h := range honest { // 50 packets of 156 bytes a second are 62.4 kbit/s
		sources = append(sources, &source{end: h, size: 156, every: 20 * time.Millisecond})
	}
	for i := range floods {
		a, b := end("x", Label(i)), end("y", Label(i))
		open(t, f, a, b, call)
		sources = append(sources, &source{end: a, size: 1200, every: 4 * time.Millisecond}, &source{end: b, size: 60, every: time.Millisecond})
	}
	const seconds = 60
	for now := time.Duration(0); now < seconds*time.Second; now += time.Millisecond {
		rng.Shuffle(len(sources), func(i, j int) { sources[i], sources[j] = sources[j], sources[i] })
		for _, s := range sources {
			if now%s.every == 0 {
				s.sent++
				if _, ok := f.Forward(now, s.end.Peer, sized(s.end.Label, s.size)); ok {
					s.got++
				}
			}
		}
	}
	for _, s := range sources {
		rate := s.got * s.size * 8 / seconds
		if s.end.Label == 1 && (s.end.Peer == "a" || s.end.Peer == "b") {
			if s.got != s.sent {
				t.Errorf("the honest flow from %s lost %d of %d", s.end.Peer, s.sent-s.got, s.sent)
			}
		} else if rate < 60_000 || rate > 260_000 {
			t.Errorf("flood %v got %d bit/s", s.end, rate)
		}
	}
	if _, n := f.Total(); n*8/seconds > total*105/100 {
		t.Errorf("%d bit/s in all", n*8/seconds)
	}
}

// Debt from promised packets is bounded by a burst, and no rate means nothing.
func TestBucket(t *testing.T) {
	var b bucket
	b.set(8000, 1000) // a byte a millisecond
	for range 100 {
		b.charge(0, 1000)
	}
	if b.take(time.Second, 1) || !b.take(1001*time.Millisecond, 1) {
		t.Error("debt of more, or less, than one burst")
	}
	b.set(0, 1000)
	if b.take(time.Hour, 1) {
		t.Error("no rate lets something through")
	}
	b.set(unlimited, 0)
	if b.charge(0, 1<<30); !b.take(0, 1<<30) {
		t.Error("unlimited doesn't")
	}
}

func TestForwardAllocatesNothing(t *testing.T) {
	f := NewForwarder[string](1e6)
	open(t, f, end("a", 1), end("b", 2), plenty)
	open(t, f, end("a", 7), end("b", 7), Rates{})
	there, refused, unknown := frame(1, 128), frame(7, 128), frame(99, 128)
	if n := testing.AllocsPerRun(200, func() {
		f.Forward(1, "a", there)
		there[4] = 1
		f.Forward(1, "a", refused)
		f.Forward(1, "a", unknown)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Flows come and go while frames pass, for the race detector; no frame ever
// comes out anywhere but at the other end of its flow.
func TestForwardConcurrently(t *testing.T) {
	f := NewForwarder[int](unlimited)
	const peers, rounds = 8, 2000
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for p := 1; p <= peers; p++ {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(p), 0))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				l := Label(rng.IntN(16))
				b := AppendFrame(nil, l, []byte{128})
				if to, ok := f.Forward(time.Duration(i), p, b); ok {
					if got, _ := LabelOf(b); to != int(l)%peers+1 || got != l+100*Label(p) {
						t.Errorf("from %d label %d came out at %d with %d", p, l, to, got)
						return
					}
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for range rounds {
		p, l := 1+rng.IntN(peers), Label(rng.IntN(16))
		a := End[int]{p, l}
		switch rng.IntN(8) {
		case 0:
			f.Drop(p)
		case 1, 2:
			f.Close(a)
		default:
			_ = f.Open(a, End[int]{int(l)%peers + 1, l + 100*Label(p)}, plenty) // taken now and then
		}
		f.Usage(a)
		f.Total()
	}
	close(stop)
	wg.Wait()
	if frames, _ := f.Total(); frames == 0 {
		t.Error("nothing was forwarded")
	}
}
