// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// cable is a LAN of machines in simulated time.
type cable struct {
	t     testing.TB
	now   time.Time
	nodes []*station
	heard func(at time.Duration, from *station, p packet, m message) // of every message
	start time.Time
}

// station is a machine on the cable by interface 3, "eth0".
type station struct {
	*machine
	name  string
	addrs []netip.Prefix
	found map[netip.AddrPort][]time.Duration
	off   bool
}

func newCable(t testing.TB) *cable {
	start := time.Unix(1_800_000_000, 0)
	return &cable{t: t, now: start, start: start}
}

func (c *cable) add(name string, tag [4]byte, addrs ...string) *station {
	s := &station{name: name, found: make(map[netip.AddrPort][]time.Duration)}
	for _, a := range addrs {
		s.addrs = append(s.addrs, netip.MustParsePrefix(a))
	}
	rng := rand.New(rand.NewPCG(uint64(len(c.nodes)), 7))
	s.machine = newMachine(newSelf(name, 4000, tag), []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, rng)
	s.setLinks(c.now, []view{{3, "eth0", s.addrs}})
	c.nodes = append(c.nodes, s)
	return s
}

// source is what the kernel takes for a message to the group.
func (s *station) source(v6 bool) netip.AddrPort {
	for _, p := range s.addrs {
		if a := p.Addr(); a.Is6() == v6 && (!v6 || a.IsLinkLocalUnicast()) {
			if v6 {
				a = a.WithZone("eth0")
			}
			return netip.AddrPortFrom(a, port)
		}
	}
	return netip.AddrPort{}
}

// flush carries everything that waits, to everybody, the sender included.
func (c *cable) flush() {
	for _, s := range c.nodes {
		for p, ok := s.poll(); ok; p, ok = s.poll() {
			if s.off {
				continue
			}
			m, err := parse(p.b)
			if err != nil {
				c.t.Fatalf("%s sends what can't be read: %v", s.name, err)
			}
			if c.heard != nil {
				c.heard(c.now.Sub(c.start), s, p, m)
			}
			for _, to := range c.nodes {
				if !to.off && !p.to.IsValid() && to.source(p.v6).IsValid() {
					to.receive(c.now, 3, s.source(p.v6), p.b)
				}
			}
		}
	}
	for _, s := range c.nodes {
		for a, ok := s.machine.found(); ok; a, ok = s.machine.found() {
			s.found[a] = append(s.found[a], c.now.Sub(c.start))
		}
	}
}

func (c *cable) run(d time.Duration) {
	end := c.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 1_000_000 {
			c.t.Fatal("time stands still")
		}
		var at time.Time
		for _, s := range c.nodes {
			at = earlier(at, s.Deadline())
		}
		if at.IsZero() || at.After(end) {
			break
		}
		c.now = latest(c.now, at)
		for _, s := range c.nodes {
			s.Advance(c.now)
		}
		c.flush()
	}
	c.now = end
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *station) has(t *testing.T, addrs ...string) {
	t.Helper()
	var got []string
	for a := range s.found {
		got = append(got, a.String())
	}
	slices.Sort(got)
	slices.Sort(addrs)
	if !slices.Equal(got, addrs) {
		t.Errorf("%s found %v, not %v", s.name, got, addrs)
	}
}

// Two nodes find each other within a quarter of a second, by IPv4 where both
// have it; nobody finds itself, nor another network.
func TestFind(t *testing.T) {
	for name, c := range map[string]struct{ a, b, findA []string }{
		"IPv4":          {[]string{"10.0.0.1/24"}, []string{"10.0.0.2/24"}, []string{"10.0.0.1:4000"}},
		"both families": {[]string{"10.0.0.1/24", "fe80::1/64"}, []string{"10.0.0.2/24", "fe80::2/64"}, []string{"10.0.0.1:4000"}},
		"IPv6":          {[]string{"fe80::1/64", "fd00::1/64"}, []string{"fe80::2/64"}, []string{"[fe80::1%eth0]:4000"}},
		"no IPv4 in common": {
			[]string{"10.0.0.1/24", "fe80::1/64"}, []string{"10.9.0.2/24", "fe80::2/64"}, []string{"[fe80::1%eth0]:4000"},
		},
		"link-local IPv4": {[]string{"169.254.7.7/16"}, []string{"10.0.0.2/24"}, []string{"169.254.7.7:4000"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newCable(t)
			a, b, x := w.add("a", testTag, c.a...), w.add("b", testTag, c.b...), w.add("x", [4]byte{9}, c.a...)
			w.run(250 * time.Millisecond)
			b.has(t, c.findA...)
			x.has(t)
			if len(a.found) > 1 || name != "link-local IPv4" && len(a.found) != 1 {
				t.Errorf("a found %v", a.found)
			}
			if b.dropped[dropNetwork] == 0 || x.dropped[dropNetwork] == 0 {
				t.Errorf("the other network was not noticed: %v", b.dropped)
			}
		})
	}
}

// Who comes later finds those who are there at once, by asking, even when its
// own announcements got lost.
func TestLateComer(t *testing.T) {
	w := newCable(t)
	a := w.add("a", testTag, "10.0.0.1/24")
	w.run(time.Hour)
	b := w.add("b", testTag, "10.0.0.2/24")
	w.run(time.Second / 2)
	b.has(t, "10.0.0.1:4000")
	a.has(t, "10.0.0.2:4000")
}

// Questions follow each other in growing distances, and an address is given
// out once a minute for as long as its node is there.
func TestPace(t *testing.T) {
	w := newCable(t)
	a := w.add("a", testTag, "10.0.0.1/24")
	var asked []time.Duration
	answers := 0
	w.heard = func(at time.Duration, from *station, _ packet, m message) {
		if !m.response {
			asked = append(asked, at)
		} else {
			answers++
		}
	}
	w.run(24 * time.Hour)
	if len(asked) < 20 || len(asked) > 40 {
		t.Errorf("a node alone asked %d times in a day", len(asked))
	}
	for i := 1; i < len(asked); i++ {
		gap := asked[i] - asked[i-1]
		if gap < time.Second || gap > gapMost || i > 1 && gap < min(gapMost, 2*(asked[i-1]-asked[i-2])) {
			t.Fatalf("asked at %v", asked[:i+1])
		}
	}
	if answers != announcements {
		t.Errorf("a node alone announced itself %d times", answers)
	}
	b := w.add("b", testTag, "10.0.0.2/24")
	w.run(time.Hour)
	for at, told := range a.found {
		if len(told) < 55 || len(told) > 61 {
			t.Errorf("%v was given out %d times in an hour", at, len(told))
		}
		for i := 1; i < len(told); i++ {
			if told[i]-told[i-1] < tellEvery {
				t.Errorf("given out at %v and %v", told[i-1], told[i])
			}
		}
	}
	b.off = true
	n := len(a.found[netip.MustParseAddrPort("10.0.0.2:4000")])
	w.run(time.Hour)
	if more := len(a.found[netip.MustParseAddrPort("10.0.0.2:4000")]) - n; more > 3 {
		t.Errorf("a dead node was given out %d more times", more)
	}
}

// 40 nodes on one LAN all find each other, ask little and never speak twice in
// a second.
func TestMany(t *testing.T) {
	const n = 40
	w := newCable(t)
	for i := range n {
		w.add(fmt.Sprintf("n%d", i), testTag, fmt.Sprintf("10.0.0.%d/24", i+1))
	}
	said := make(map[*station]time.Duration)
	total := 0
	w.heard = func(at time.Duration, from *station, p packet, m message) {
		total += len(p.b)
		if !m.response {
			return
		}
		if last, ok := said[from]; ok && at-last < pace {
			t.Fatalf("%s answered at %v and %v", from.name, last, at)
		}
		said[from] = at
	}
	w.run(time.Minute)
	for _, s := range w.nodes {
		if len(s.found) != n-1 {
			t.Errorf("%s found %d", s.name, len(s.found))
		}
	}
	total = 0
	w.run(10 * time.Minute)
	if rate := total / 600; rate > 500 { // bytes/s
		t.Errorf("%d nodes at rest say %d bytes a second", n, rate)
	} else {
		t.Logf("%d nodes at rest say %d bytes a second", n, rate)
	}
}

func TestGoodbye(t *testing.T) {
	w := newCable(t)
	a, b := w.add("a", testTag, "10.0.0.1/24"), w.add("b", testTag, "10.0.0.2/24")
	w.run(time.Second)
	if len(a.table.list) != 1 {
		t.Fatalf("a holds %v", a.table.list)
	}
	b.bye()
	w.flush()
	if len(a.table.list) != 0 {
		t.Error("b is still known after its goodbye")
	}
	if !b.Deadline().IsZero() {
		t.Error("a machine that has ended wants to do more")
	}
	silent := w.add("c", testTag, "10.0.0.3/24")
	silent.bye()
	if _, ok := silent.poll(); ok {
		t.Error("a goodbye without a word before")
	}
}

// An interface that gets another address is a new one; one that goes takes
// what was found there with it.
func TestLinksChange(t *testing.T) {
	w := newCable(t)
	a, b := w.add("a", testTag, "10.0.0.1/24"), w.add("b", testTag, "10.0.0.2/24")
	w.run(time.Minute)
	b.addrs = []netip.Prefix{netip.MustParsePrefix("10.0.0.77/24")}
	b.setLinks(w.now, []view{{3, "eth0", b.addrs}})
	w.run(time.Second)
	a.has(t, "10.0.0.2:4000", "10.0.0.77:4000")
	before := b.links[0]
	b.setLinks(w.now, []view{{3, "eth0", b.addrs}})
	if b.links[0] != before {
		t.Error("an interface that stayed lost its state")
	}
	a.setLinks(w.now, nil)
	if len(a.table.list) != 0 {
		t.Errorf("no interface, but %d addresses", len(a.table.list))
	}
	if _, ok := a.poll(); ok || !a.Deadline().IsZero() {
		t.Error("a machine without interfaces has something to do")
	}
}

// ask sends a question for a name to a and returns what it says.
func (c *cable) ask(a *station, from string, name string, typ dnsmessage.Type, class dnsmessage.Class) []packet {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 77}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: class}}}
	a.receive(c.now, 3, netip.MustParseAddrPort(from), pack(c.t, m))
	c.now = c.now.Add(2 * time.Second)
	a.Advance(c.now)
	var out []packet
	for p, ok := a.poll(); ok; p, ok = a.poll() {
		if m, _ := parse(p.b); m.response {
			out = append(out, p)
		}
	}
	return out
}

func TestAnswers(t *testing.T) {
	const in, unicast = dnsmessage.ClassINET, dnsmessage.ClassINET | topBit
	w := newCable(t)
	a := w.add("a", testTag, "10.0.0.1/24")
	w.run(time.Minute)
	for _, c := range []struct {
		name  string
		typ   dnsmessage.Type
		class dnsmessage.Class
		want  int
	}{
		{"_p2pos._udp.local.", dnsmessage.TypePTR, in, 1},
		{"_P2POS._UDP.Local.", dnsmessage.TypePTR, in, 1},
		{"_p2pos._udp.local.", dnsmessage.TypePTR, unicast, 1},
		{"_p2pos._udp.local.", dnsmessage.TypeALL, dnsmessage.ClassANY, 1},
		{"_p2pos._udp.local.", dnsmessage.TypeA, in, 0},
		{"_p2pos._udp.local.", dnsmessage.TypePTR, dnsmessage.ClassCHAOS, 0},
		{"a._p2pos._udp.local.", dnsmessage.TypeSRV, in, 1},
		{"a._p2pos._udp.local.", dnsmessage.TypeTXT, in, 1},
		{"a._p2pos._udp.local.", dnsmessage.TypePTR, in, 0},
		{"a.local.", dnsmessage.TypeA, in, 1},
		{"a.local.", dnsmessage.TypeAAAA, in, 1},
		{"_services._dns-sd._udp.local.", dnsmessage.TypePTR, in, 1},
		{"b.local.", dnsmessage.TypeA, in, 0},
		{"b._p2pos._udp.local.", dnsmessage.TypeSRV, in, 0},
		{"_ipp._tcp.local.", dnsmessage.TypePTR, in, 0},
	} {
		got := w.ask(a, "10.0.0.2:5353", c.name, c.typ, c.class)
		if len(got) != c.want {
			t.Errorf("%s %v %v: %d answers", c.name, c.typ, c.class, len(got))
		}
		for _, p := range got {
			if p.to.IsValid() {
				t.Errorf("%s answered to %v", c.name, p.to)
			}
			var m dnsmessage.Message
			if err := m.Unpack(p.b); err != nil || m.ID != 0 || len(m.Questions) != 0 {
				t.Errorf("%s: %+v, %v", c.name, m.Header, err)
			}
			first := m.Answers[0].Header.Name.String()
			if enumerated := first == enumeration; enumerated != (c.name == enumeration) {
				t.Errorf("%s: the answer begins with %s", c.name, first)
			}
		}
	}
	// RFC 6762 §6.7: another port gets an answer of its own, once a second.
	got := w.ask(a, "10.0.0.2:50000", service, dnsmessage.TypePTR, in)
	if len(got) != 1 || got[0].to != netip.MustParseAddrPort("10.0.0.2:50000") {
		t.Fatalf("legacy question: %+v", got)
	}
	var m dnsmessage.Message
	if err := m.Unpack(got[0].b); err != nil || m.ID != 77 || len(m.Questions) != 1 || m.Answers[1].Header.TTL != 10 || m.Answers[1].Header.Class != in {
		t.Errorf("legacy answer %+v, %v", m, err)
	}
	b := pack(t, dnsmessage.Message{Questions: m.Questions})
	for range 10 {
		a.receive(w.now, 3, netip.MustParseAddrPort("10.0.0.2:50000"), b)
	}
	if len(a.packets) != 1 || a.dropped[dropLegacy] != 9 {
		t.Errorf("%d answers to ten questions, %v", len(a.packets), a.dropped)
	}
}

// A question that would get us all that ours would is taken as ours (§7.3), and
// one that lists us gets no answer (§7.1).
func TestKnownAnswers(t *testing.T) {
	w := newCable(t)
	a, b := w.add("a", testTag, "10.0.0.1/24"), w.add("b", testTag, "10.0.0.2/24")
	w.run(5 * time.Second)
	next := a.links[0].queryAt
	foreign, _ := b.me.question([]string{a.me.instance, "stranger." + service})
	a.receive(w.now, 3, b.source(false), foreign)
	if a.links[0].queryAt != next {
		t.Error("a question with an answer known to others only was taken as ours")
	}
	same, _ := b.me.question([]string{a.me.instance})
	a.receive(w.now, 3, b.source(false), same)
	if !a.links[0].queryAt.After(next) {
		t.Error("the same question was not taken as ours")
	}
	if !a.links[0].answerAt.IsZero() {
		t.Error("a known answer is given again")
	}
}
