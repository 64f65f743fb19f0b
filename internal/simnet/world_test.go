// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// epoch is when the worlds of these tests begin.
var epoch = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func at(s string) netip.AddrPort   { return netip.MustParseAddrPort(s) }
func ms(n float64) time.Duration   { return time.Duration(n * float64(time.Millisecond)) }
func (w *World) forward(d float64) { w.Run(w.Now().Add(ms(d))) }

// got is a datagram as a probe received it.
type got struct {
	at    time.Duration // since epoch
	local int
	from  netip.AddrPort
	text  string
}

// probe is a Node that sends what it is told to, remembers what it gets and
// answers "ping".
type probe struct {
	got  []got
	out  []outgoing
	tick time.Duration // sends to peer so often when set
	peer netip.AddrPort
	next time.Time
	left int
}

type outgoing struct {
	local int
	to    netip.AddrPort
	text  string
}

func (p *probe) Receive(now time.Time, local int, from netip.AddrPort, b []byte) {
	p.got = append(p.got, got{now.Sub(epoch), local, from, string(b)})
	if string(b) == "ping" {
		p.out = append(p.out, outgoing{local, from, "pong"})
	}
}

func (p *probe) Advance(now time.Time) {
	if p.left == 0 {
		p.next = time.Time{}
		return
	}
	p.left--
	p.out = append(p.out, outgoing{0, p.peer, fmt.Sprintf("tick %d", p.left)})
	p.next = now.Add(p.tick)
}

func (p *probe) Deadline() time.Time { return p.next }

func (p *probe) Poll() (int, netip.AddrPort, []byte, bool) {
	if len(p.out) == 0 {
		return 0, netip.AddrPort{}, nil, false
	}
	o := p.out[0]
	p.out = p.out[1:]
	return o.local, o.to, []byte(o.text), true
}

// say sends at once.
func (p *probe) say(w *World, local int, to netip.AddrPort, text string) {
	p.out = append(p.out, outgoing{local, to, text})
	w.Wake(p)
}

func (p *probe) texts() (t []string) {
	for _, g := range p.got {
		t = append(t, g.text)
	}
	return t
}

func wantTexts(t *testing.T, p *probe, want ...string) {
	t.Helper()
	if !slices.Equal(p.texts(), want) {
		t.Fatalf("got %q, want %q", p.texts(), want)
	}
}

// pair is two probes on public hosts with the same link.
func pair(seed uint64, p Profile) (w *World, a, b *probe, hb *Host) {
	w = NewWorld(seed, epoch)
	a, b = &probe{}, &probe{}
	w.Host("a", p, addr("45.0.0.1")).Attach(1000, a)
	hb = w.Host("b", Profile{}, addr("45.0.0.2"))
	hb.Attach(2000, b)
	return w, a, b, hb
}

func TestDelayIsTheSumOfBothLinks(t *testing.T) {
	w := NewWorld(1, epoch)
	a, b := &probe{}, &probe{}
	w.Host("a", Profile{Delay: ms(10)}, addr("45.0.0.1")).Attach(1000, a)
	to := w.Host("b", Profile{Delay: ms(15)}, addr("45.0.0.2")).Attach(2000, b)
	a.say(w, 0, to, "ping")
	w.forward(1000)
	if len(b.got) != 1 || b.got[0] != (got{ms(25), 0, at("45.0.0.1:1000"), "ping"}) {
		t.Fatalf("b got %v", b.got)
	}
	if len(a.got) != 1 || a.got[0] != (got{ms(50), 0, at("45.0.0.2:2000"), "pong"}) {
		t.Fatalf("a got %v", a.got)
	}
	if w.Now() != epoch.Add(time.Second) {
		t.Fatalf("clock shows %v", w.Now())
	}
}

func TestDeadlinesAreKeptExactly(t *testing.T) {
	w, a, b, _ := pair(1, Profile{Delay: ms(1)})
	a.peer, a.tick, a.left, a.next = at("45.0.0.2:2000"), ms(7), 3, epoch.Add(ms(5))
	w.Wake(a)
	w.forward(1000)
	want := []time.Duration{ms(6), ms(13), ms(20)}
	for i, g := range b.got {
		if i >= len(want) || g.at != want[i] {
			t.Fatalf("got %v, want at %v", b.got, want)
		}
	}
	if len(b.got) != 3 {
		t.Fatalf("got %v", b.got)
	}
	if w.Step() {
		t.Fatal("an event is left though nothing is due")
	}
}

// A machine that moves its deadline to and fro must not fill the world with
// stale events.
func TestWakesStayFew(t *testing.T) {
	w := NewWorld(1, epoch)
	n := &probe{}
	w.Host("a", Profile{}, addr("45.0.0.1")).Attach(1, n)
	for range 10_000 {
		n.next = w.Now().Add(15 * time.Second)
		w.Wake(n)
		n.next = w.Now().Add(ms(25))
		w.Wake(n)
		n.left = 1
		n.peer = at("45.0.0.9:9")
		w.forward(25)
	}
	if w.events.len() > 4 {
		t.Fatalf("%d events wait for one machine", w.events.len())
	}
}

func TestOneMachineOnSeveralSockets(t *testing.T) {
	w := NewWorld(1, epoch)
	phone, peer := &probe{}, &probe{}
	wifi := w.Host("wifi", Profile{}, addr("45.0.0.1"))
	lte := w.Host("lte", Profile{}, addr("46.0.0.1"))
	wifi.Attach(1000, phone)
	wifi.Attach(1001, phone)
	lte.Attach(1000, phone)
	to := w.Host("peer", Profile{}, addr("47.0.0.1")).Attach(9, peer)
	for local := range 3 {
		phone.say(w, local, to, "ping")
	}
	w.forward(1)
	var from []netip.AddrPort
	for _, g := range peer.got {
		from = append(from, g.from)
	}
	if !slices.Equal(from, []netip.AddrPort{at("45.0.0.1:1000"), at("45.0.0.1:1001"), at("46.0.0.1:1000")}) {
		t.Fatalf("peer saw %v", from)
	}
	if len(phone.got) != 3 || phone.got[0].local != 0 || phone.got[1].local != 1 || phone.got[2].local != 2 {
		t.Fatalf("phone got %v", phone.got)
	}
	wifi.Detach(1000)
	phone.say(w, 0, to, "gone")
	phone.say(w, 2, to, "still")
	w.forward(1)
	wantTexts(t, peer, "ping", "ping", "ping", "still")
}

func TestRoamingAndCables(t *testing.T) {
	w, a, b, hb := pair(1, Profile{Delay: ms(10)})
	first, second := at("45.0.0.2:2000"), at("45.0.0.3:2000")

	hb.SetProfile(Profile{Delay: ms(1)})
	a.say(w, 0, first, "on b's link when b moves")
	w.forward(5)
	a.say(w, 0, first, "on a's link when b moves")
	w.forward(5.5)
	hb.AddAddr(second.Addr())
	hb.RemoveAddr(first.Addr())
	w.forward(100)
	wantTexts(t, b)

	a.say(w, 0, second, "ping")
	w.forward(100)
	wantTexts(t, b, "ping")
	if a.got[0].from != second {
		t.Fatalf("b answers from %v", a.got[0].from)
	}

	ha := w.machines[a].sockets[0].host
	a.say(w, 0, second, "on the cable when it is pulled")
	ha.Cut(true)
	ha.Cut(false)
	w.forward(100)
	ha.Cut(true)
	a.say(w, 0, second, "without a cable")
	w.forward(100)
	wantTexts(t, b, "ping")
	ha.Cut(false)
	a.say(w, 0, second, "mended")
	w.forward(100)
	wantTexts(t, b, "ping", "mended")

	s := w.Stats()
	if s.Sent != 7 || s.Delivered != 3 || s.Dropped[NoRoute] != 2 || s.Dropped[LinkDown] != 2 {
		t.Fatalf("stats %+v", s)
	}
}

func TestWhatHasNoWay(t *testing.T) {
	w, a, b, hb := pair(1, Profile{})
	var events []string
	w.Trace(func(e TraceEvent) { events = append(events, e.String()) })
	a.say(w, 0, at("45.0.0.2:2001"), "no listener")
	a.say(w, 0, at("45.0.0.99:1"), "nobody")
	a.say(w, 0, at("[2001:db8::1]:1"), "no address of that family")
	a.say(w, 0, at("45.0.0.1:1000"), "to itself")
	a.say(w, 0, at("127.0.0.1:1000"), "to itself, too")
	hb.Inject(at("9.9.9.9:9"), at("45.0.0.1:1000"), []byte("forged"))
	w.forward(1)
	s := w.Stats()
	if s.Dropped[NoListener] != 1 || s.Dropped[NoRoute] != 2 {
		t.Fatalf("stats %+v", s)
	}
	wantTexts(t, a, "to itself", "to itself, too", "forged")
	wantTexts(t, b)
	want := []string{
		"00:00:00.000000000 a sent #1 45.0.0.1:1000 > 45.0.0.2:2001 11 bytes",
		"00:00:00.000000000 b dropped #1 45.0.0.1:1000 > 45.0.0.2:2001 11 bytes: no listener",
		"00:00:00.000000000 core dropped #2 45.0.0.1:1000 > 45.0.0.99:1 6 bytes: no route",
	}
	for _, line := range want {
		if !slices.Contains(events, line) {
			t.Errorf("trace lacks %q:\n%q", line, events)
		}
	}
}

func TestScript(t *testing.T) {
	w := NewWorld(1, epoch)
	var order []string
	note := func(s string) func() { return func() { order = append(order, s) } }
	w.At(epoch.Add(ms(20)), note("c"))
	w.At(epoch.Add(ms(10)), note("a"))
	w.At(epoch.Add(ms(10)), note("b"))
	w.At(epoch.Add(-time.Hour), note("past"))
	if w.Until(ms(15), func() bool { return len(order) == 2 }) != true || w.Now() != epoch.Add(ms(10)) {
		t.Fatalf("stopped at %v with %v", w.Now(), order)
	}
	if w.Until(ms(5), func() bool { return false }) || w.Now() != epoch.Add(ms(15)) {
		t.Fatalf("stopped at %v", w.Now())
	}
	w.forward(100)
	if !slices.Equal(order, []string{"past", "a", "b", "c"}) {
		t.Fatalf("order %v", order)
	}
}

func TestMistakesPanic(t *testing.T) {
	w := NewWorld(1, epoch)
	w.Host("a", Profile{}, addr("45.0.0.1")).Attach(1, &probe{})
	for name, f := range map[string]func(){
		"address twice":   func() { w.Host("b", Profile{}, addr("45.0.0.1")) },
		"mapped twice":    func() { w.Host("b", Profile{}, addr("::ffff:45.0.0.1")) },
		"loss over one":   func() { w.Host("c", Profile{Loss: 1.5}) },
		"negative delay":  func() { w.Host("c", Profile{Delay: -1}) },
		"empty block":     func() { w.NAT("n", Profile{}, NATConfig{Block: [2]uint16{9, 8}}) },
		"run in an event": func() { w.At(w.Now(), func() { w.Step() }); w.Step(); w.Step() },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			f()
		})
	}
}
