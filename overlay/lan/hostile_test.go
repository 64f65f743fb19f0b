// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// claim is an announcement, from whomever.
type claim struct {
	from     string
	index    int
	instance string
	port     uint16
	tag      [4]byte
	addrs    []netip.Addr
	change   func(*dnsmessage.Message)
}

func (c claim) send(t testing.TB, m *machine, now time.Time) {
	t.Helper()
	who := newSelf(c.instance, c.port, c.tag)
	b, err := who.answer(response{ttl: ttl}, c.addrs)
	if err != nil {
		t.Fatal(err)
	}
	if c.change != nil {
		var d dnsmessage.Message
		if err := d.Unpack(b); err != nil {
			t.Fatal(err)
		}
		c.change(&d)
		b = pack(t, d)
	}
	m.receive(now, c.index, netip.MustParseAddrPort(c.from), b)
}

func victim(t testing.TB) (*machine, time.Time) {
	w := newCable(t)
	a := w.add("victim", testTag, "10.0.0.1/24", "fe80::1/64", "fd00::1/64")
	w.run(time.Minute)
	return a.machine, w.now
}

// What is not a node on this very LAN is not given out, and counted.
func TestHostileAnswers(t *testing.T) {
	good := func() claim {
		return claim{from: "10.0.0.66:5353", index: 3, instance: "mallory", port: 5000, tag: testTag, addrs: []netip.Addr{ip("10.0.0.66")}}
	}
	for name, c := range map[string]struct {
		change func(*claim)
		why    string
	}{
		"off the LAN":              {func(c *claim) { c.from, c.addrs = "10.0.1.66:5353", []netip.Addr{ip("10.0.1.66")} }, dropSource},
		"of the Internet":          {func(c *claim) { c.from, c.addrs = "8.8.8.8:5353", []netip.Addr{ip("8.8.8.8")} }, dropSource},
		"from loopback":            {func(c *claim) { c.from, c.addrs = "127.0.0.1:5353", []netip.Addr{ip("127.0.0.1")} }, dropSource},
		"from the broadcast one":   {func(c *claim) { c.from, c.addrs = "10.0.0.255:5353", []netip.Addr{ip("10.0.0.255")} }, dropSource},
		"by another interface":     {func(c *claim) { c.index = 4 }, dropSource},
		"IPv6 off the LAN":         {func(c *claim) { c.from, c.addrs = "[fd01::66]:5353", []netip.Addr{ip("fd01::66")} }, dropSource},
		"about a third party":      {func(c *claim) { c.addrs = []netip.Addr{ip("10.0.0.9")} }, dropAddress},
		"about the Internet":       {func(c *claim) { c.addrs = []netip.Addr{ip("8.8.8.8")} }, dropAddress},
		"without an address":       {func(c *claim) { c.addrs = nil }, dropAddress},
		"of another network":       {func(c *claim) { c.tag[0]++ }, dropNetwork},
		"port 0":                   {func(c *claim) { c.port = 0 }, dropPort},
		"from another port":        {func(c *claim) { c.from = "10.0.0.66:5354" }, dropPort},
		"in many pieces":           {func(c *claim) { c.change = func(m *dnsmessage.Message) { m.Answers = m.Answers[:2] } }, dropTXT},
		"without a TXT record":     {func(c *claim) { c.change = func(m *dnsmessage.Message) { m.Answers[2] = m.Answers[1] } }, dropTXT},
		"of a later version":       {func(c *claim) { c.change = txtOf("v=2", "net=01020304") }, dropVersion},
		"with nonsense in the TXT": {func(c *claim) { c.change = txtOf("v=1", "net=\xff\x00") }, dropTXT},
		"too many records": {func(c *claim) {
			c.change = func(m *dnsmessage.Message) {
				for range maxRecords {
					m.Answers = append(m.Answers, m.Answers[3])
				}
			}
		}, dropMessage},
	} {
		m, now := victim(t)
		g := good()
		c.change(&g)
		g.send(t, m, now)
		if a, ok := m.found(); ok {
			t.Errorf("%s: gave out %v", name, a)
		}
		if m.dropped[c.why] == 0 {
			t.Errorf("%s: counted as %v", name, m.dropped)
		}
	}
	// The same from a node that is one, by a system that names no interfaces too.
	for _, index := range []int{3, 0} {
		m, now := victim(t)
		g := good()
		g.index = index
		g.send(t, m, now)
		if a, ok := m.found(); !ok || a != netip.MustParseAddrPort("10.0.0.66:5000") {
			t.Errorf("gave out %v %v", a, ok)
		}
	}
}

func txtOf(list ...string) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) { m.Answers[2].Body = &dnsmessage.TXTResource{TXT: list} }
}

// A flood of made-up nodes fills no more than the table, keeps out nobody who
// announces itself, and leads to few dials.
func TestFlood(t *testing.T) {
	m, now := victim(t)
	given := 0
	drain := func() (last netip.AddrPort) {
		for a, ok := m.found(); ok; a, ok = m.found() {
			given, last = given+1, a
		}
		return last
	}
	for i := range 20_000 {
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + i%250)})
		c := claim{
			from: netip.AddrPortFrom(a, port).String(), index: 3, instance: fmt.Sprintf("m%d", i), port: uint16(1 + i/250), tag: testTag,
			addrs: []netip.Addr{a},
		}
		c.send(t, m, now)
		if i%2 == 0 { // 2,000 a second
			now = now.Add(time.Millisecond)
			m.Advance(now)
		}
		for _, ok := m.poll(); ok; _, ok = m.poll() {
		}
		drain()
	}
	if n := len(m.table.list); n > maxEntries {
		t.Errorf("%d entries", n)
	}
	if given > tellBurst+11 {
		t.Errorf("%d addresses given out in 10 s", given)
	}
	honest := claim{from: "10.0.0.99:5353", index: 3, instance: "honest", port: 4000, tag: testTag, addrs: []netip.Addr{ip("10.0.0.99")}}
	m.table.tokens = 1 // as there is every second
	honest.send(t, m, now)
	if got := drain(); got != netip.MustParseAddrPort("10.0.0.99:4000") {
		t.Errorf("gave out %v", got)
	}

	m, now = victim(t)
	for i := range 1000 { // of one host
		c := honest
		c.instance, c.port = fmt.Sprintf("m%d", i), uint16(1+i)
		c.send(t, m, now)
	}
	if len(m.table.list) != maxPerHost || m.dropped[dropHost] != 1000-maxPerHost {
		t.Errorf("%d entries of one host, %v", len(m.table.list), m.dropped)
	}
	if len(m.table.out) > maxEvents {
		t.Errorf("%d addresses wait", len(m.table.out))
	}
}

// Addresses that nobody reads make room for newer ones.
func TestNewestWait(t *testing.T) {
	tab := table{tokens: tellBurst}
	now := time.Unix(1_800_000_000, 0)
	for i := range 200 {
		now = now.Add(time.Second)
		tab.hear(now, entry{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1), heard: now, life: time.Hour})
	}
	if len(tab.out) != maxEvents || tab.out[maxEvents-1].Addr() != ip("10.0.0.199") {
		t.Errorf("%d wait, the last is %v", len(tab.out), tab.out[len(tab.out)-1])
	}
}

// A flood of questions is answered once a second.
func TestQuestionFlood(t *testing.T) {
	m, now := victim(t)
	q, _ := testSelf.question(nil)
	answers := 0
	for i := range 10_000 {
		now = now.Add(time.Millisecond)
		m.receive(now, 3, netip.MustParseAddrPort("10.0.0.66:5353"), q)
		if i%3 == 0 {
			m.Advance(now)
		}
		for p, ok := m.poll(); ok; p, ok = m.poll() {
			if r, _ := parse(p.b); r.response && !p.v6 {
				answers++
			}
		}
	}
	if answers < 8 || answers > 11 {
		t.Errorf("%d answers in 10 s", answers)
	}
}

// Records with hardly any life, or an endless one, are kept within ours.
func TestLives(t *testing.T) {
	for seconds, want := range map[uint32]time.Duration{1: leastLife, 120: ttl, 1 << 31: mostLife} {
		m, now := victim(t)
		c := claim{from: "10.0.0.66:5353", index: 3, instance: "m", port: 5000, tag: testTag, addrs: []netip.Addr{ip("10.0.0.66")}}
		c.change = func(m *dnsmessage.Message) {
			for i := range m.Answers {
				m.Answers[i].Header.TTL = seconds
			}
		}
		c.send(t, m, now)
		if got := m.table.list[0].life; got != want {
			t.Errorf("ttl %d s: kept for %v", seconds, got)
		}
	}
}

func TestHolds(t *testing.T) {
	l := link{view: view{name: "eth0", prefixes: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("192.168.7.4/31"), netip.MustParsePrefix("fd00::1/64"),
	}}}
	for a, want := range map[string]bool{
		"10.0.0.2": true, "10.0.0.254": true, "10.0.0.255": false, "10.0.1.2": false, "192.168.7.5": true, "192.168.7.6": false,
		"169.254.3.3": true, "255.255.255.255": false, "224.0.0.251": false, "0.0.0.0": false, "127.0.0.1": false, "100.64.0.1": false,
		"fd00::2": true, "fd00::2%eth0": true, "fd01::2": false, "fe80::9%eth0": true, "fe80::9": true, "ff02::fb": false, "::1": false,
		"::ffff:10.0.0.2": false, "2001:db8::1": false,
	} {
		if l.holds(ip(a)) != want {
			t.Errorf("%s: %v", a, !want)
		}
	}
	if (&link{}).holds(netip.Addr{}) {
		t.Error("holds no address")
	}
}

func TestLinkOf(t *testing.T) {
	v := view{3, "eth0", []netip.Prefix{
		netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.5.1/24"),
	}}
	for name, c := range map[string]struct {
		bound []netip.Addr
		want  []netip.Addr
	}{
		"all":         {[]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, []netip.Addr{ip("10.0.0.1"), ip("10.0.5.1"), ip("fe80::1"), ip("2001:db8::1")}},
		"IPv4":        {[]netip.Addr{netip.IPv4Unspecified()}, []netip.Addr{ip("10.0.0.1"), ip("10.0.5.1")}},
		"one address": {[]netip.Addr{ip("10.0.5.1")}, []netip.Addr{ip("10.0.5.1")}},
		"elsewhere":   {[]netip.Addr{ip("10.0.9.1")}, nil},
	} {
		l, ok := linkOf(v, c.bound)
		if ok != (c.want != nil) || !slices.Equal(l.addrs, c.want) {
			t.Errorf("%s: %v %v", name, l.addrs, ok)
		}
	}
}

func TestConfig(t *testing.T) {
	loopback := []netip.Addr{ip("127.0.0.1"), ip("::1")}
	if _, err := Start(Config{Port: 4000, Addrs: loopback}); err != ErrLoopback {
		t.Errorf("bound to loopback: %v", err)
	}
	for name, c := range map[string]Config{
		"no port": {}, "long name": {Port: 1, Instance: fmt.Sprintf("%064d", 0)}, "a dot": {Port: 1, Instance: "a.b"}, "a space": {Port: 1, Instance: "Anna's phone"},
	} {
		if s, err := Start(c); err == nil {
			s.Close()
			t.Errorf("%s: taken", name)
		}
	}
	a, _ := Config{Port: 1, Addrs: append(loopback, ip("10.0.0.1"))}.check()
	b, _ := Config{Port: 1}.check()
	if !slices.Equal(a.Addrs, []netip.Addr{ip("10.0.0.1")}) || len(b.Addrs) != 2 {
		t.Errorf("%v, %v", a.Addrs, b.Addrs)
	}
	if len(a.Instance) != 2*instanceBytes || a.Instance == b.Instance {
		t.Errorf("named %q and %q", a.Instance, b.Instance)
	}
	if system, list, err := interfaces(func(net.Interface) bool { return false }); err != nil || len(system)+len(list) > 0 {
		t.Errorf("interfaces that were not chosen: %v, %v", list, err)
	}
}

// Whatever comes, from wherever, the machine stays within its bounds and time
// goes on.
func FuzzReceive(f *testing.F) {
	b, _ := newSelf("b", 9, testTag).answerSeed()
	f.Add(uint8(66), uint16(5353), b)
	q, _ := testSelf.question(nil)
	f.Add(uint8(66), uint16(5353), q)
	f.Add(uint8(66), uint16(9), q)
	f.Fuzz(func(t *testing.T, host uint8, from uint16, b []byte) {
		m := newMachine(newSelf("a", 4000, testTag), []netip.Addr{netip.IPv4Unspecified()}, rand.New(rand.NewPCG(1, 2)))
		now := time.Unix(1_800_000_000, 0)
		m.setLinks(now, []view{{3, "eth0", []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}})
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, host}), from)
		for range 3 {
			m.receive(now, 3, src, b)
			m.Advance(now)
			now = now.Add(time.Second)
		}
		for range 100 {
			at := m.Deadline()
			if at.IsZero() {
				t.Fatal("nothing more to do")
			}
			now = latest(now, at)
			m.Advance(now)
			for a, ok := m.found(); ok; a, ok = m.found() {
				if a.Addr() != src.Addr() {
					t.Errorf("%v is given out, from %v", a, src)
				}
			}
			for p, ok := m.poll(); ok; p, ok = m.poll() {
				if _, err := parse(p.b); err != nil && !p.to.IsValid() {
					t.Errorf("says %x: %v", p.b, err)
				}
			}
		}
		if now.Sub(time.Unix(1_800_000_000, 0)) < 10*time.Second {
			t.Error("a hundred deadlines in ten seconds")
		}
	})
}

func (s self) answerSeed() ([]byte, error) {
	return s.answer(response{ttl: ttl}, []netip.Addr{ip("10.0.0.66")})
}

// Nobody says goodbye for a node on another host, and a known answer that is
// about to end is given again.
func TestForgedGoodbye(t *testing.T) {
	m, now := victim(t)
	c := claim{from: "10.0.0.66:5353", index: 3, instance: "b", port: 5000, tag: testTag, addrs: []netip.Addr{ip("10.0.0.66")}}
	c.send(t, m, now)
	gone := newSelf("b", 5000, testTag)
	bye, _ := gone.answer(response{}, c.addrs)
	m.receive(now, 3, netip.MustParseAddrPort("10.0.0.67:5353"), bye)
	if len(m.table.list) != 1 {
		t.Error("another host's goodbye was believed")
	}
	q, _ := testSelf.question([]string{m.me.instance})
	var d dnsmessage.Message
	if err := d.Unpack(q); err != nil {
		t.Fatal(err)
	}
	d.Answers[1].Header.TTL = uint32(ttl/time.Second)/2 - 1
	m.receive(now, 3, netip.MustParseAddrPort("10.0.0.66:5353"), pack(t, d))
	if m.links[0].answerAt.IsZero() {
		t.Error("a known answer that is about to end is not given")
	}
}
