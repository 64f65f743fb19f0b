// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// port is mDNS's own.
const port = 5353

const (
	// announcements are sent when a link comes up, a second apart (RFC 6762
	// §8.3: at least two, at most eight).
	announcements = 3
	// pace is the least time between answers to all on one link (§6).
	pace = time.Second
	// An answer waits so long, so that those of many don't collide, and a first
	// question as well (§6, §5.2).
	waitLeast, waitMost = 20 * time.Millisecond, 120 * time.Millisecond
	// Questions follow each other in these growing distances (§5.2).
	gapFirst, gapMost = time.Second, time.Hour
	// renewGap is the least time between questions that renew what is known.
	renewGap = 10 * time.Second
	// maxPackets wait to be sent: two families on every link, three times.
	maxPackets = 6 * maxLinks
)

// packet is a message to send by an interface.
type packet struct {
	link int            // index of the interface
	v6   bool           // to the group of IPv6
	to   netip.AddrPort // instead of the group, if valid
	b    []byte
}

// Why messages and records are not taken; Service.Dropped counts by these.
const (
	dropSource  = "source"  // from off the link, or an interface that isn't used
	dropMessage = "message" // malformed, or too much
	dropPort    = "port"    // an answer from another port than 5353, or port 0 in a record
	dropTXT     = "txt"     // without version and network
	dropVersion = "version" // another one
	dropNetwork = "network" // another one
	dropAddress = "address" // a service elsewhere than the message
	dropHost    = "host"    // one host with too many
	dropLegacy  = "legacy"  // a question from another port, too soon after the last one
)

// machine holds the rules: mDNS on all links. It has no clock: time comes with
// each input and never goes backwards. Drain poll and found after every input;
// calling Advance early is harmless.
type machine struct {
	me      self
	bound   []netip.Addr
	rng     *rand.Rand
	links   []*link
	table   table
	packets []packet
	dropped map[string]uint64
	ended   bool
}

func newMachine(me self, bound []netip.Addr, rng *rand.Rand) *machine {
	return &machine{me: me, bound: bound, rng: rng, table: table{tokens: tellBurst}, dropped: make(map[string]uint64)}
}

// setLinks tells the interfaces there are now. One that is new, or has other
// addresses than before, is announced on and asked on from the beginning.
func (m *machine) setLinks(now time.Time, list []view) {
	var links []*link
	for _, v := range list {
		l, ok := linkOf(v, m.bound)
		if !ok || len(links) == maxLinks {
			continue
		}
		i := slices.IndexFunc(m.links, func(o *link) bool { return o.same(&l) })
		if i >= 0 {
			links = append(links, m.links[i])
			continue
		}
		l.announces = announcements
		l.answerAt, l.queryAt, l.gap = now.Add(m.wait()), now.Add(m.wait()), gapFirst
		links = append(links, &l)
	}
	m.links = links
	m.table.list = slices.DeleteFunc(m.table.list, func(e *entry) bool { return m.link(e.link) == nil })
}

func (m *machine) link(index int) *link {
	for _, l := range m.links {
		if l.index == index {
			return l
		}
	}
	return nil
}

func (m *machine) wait() time.Duration { return waitLeast + m.upTo(waitMost-waitLeast) }

func (m *machine) upTo(d time.Duration) time.Duration { return time.Duration(m.rng.Int64N(int64(d))) }

// arrival finds the link of a message. Where the system doesn't name the
// interface (index 0), the source does.
func (m *machine) arrival(index int, src netip.Addr) *link {
	for _, l := range m.links {
		if (l.index == index || index == 0 && (src.Zone() == "" || src.Zone() == l.name)) && l.holds(src) {
			return l
		}
	}
	return nil
}

// receive takes a message that came by an interface.
func (m *machine) receive(now time.Time, index int, src netip.AddrPort, b []byte) {
	src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	l := m.arrival(index, src.Addr())
	if l == nil { // RFC 6762 §11
		m.dropped[dropSource]++
		return
	}
	msg, err := parse(b)
	if err != nil || len(b) > maxMessage {
		m.dropped[dropMessage]++
		return
	}
	if !msg.response {
		m.question(now, l, src, msg)
		return
	}
	if src.Port() != port { // §6
		m.dropped[dropPort]++
		return
	}
	for _, o := range msg.offers {
		m.offer(now, l, src.Addr(), o)
	}
}

// offer judges an instance that was announced from an address.
func (m *machine) offer(now time.Time, l *link, src netip.Addr, o offer) {
	if o.instance == m.me.instance {
		return
	}
	at := src.WithZone("")
	if at.Is6() && at.IsLinkLocalUnicast() {
		at = at.WithZone(l.name)
	}
	if o.ttl == 0 {
		m.table.bye(o.instance, at)
		return
	}
	f, ok := readTXT(o.txt)
	var why string
	switch {
	case !ok:
		why = dropTXT
	case f.version != version:
		why = dropVersion
	case f.network != m.me.facts.network:
		why = dropNetwork
	case o.port == 0:
		why = dropPort
	case !slices.Contains(o.addrs, at.WithZone("")):
		why = dropAddress
	case at.Is6() && l.v4 && slices.ContainsFunc(o.addrs, func(a netip.Addr) bool { return a.Is4() && l.holds(a) }):
		return // found by its IPv4 message: one address is enough
	case !m.table.hear(now, entry{
		addr: netip.AddrPortFrom(at, o.port), instance: o.instance, link: l.index,
		heard: now, life: min(max(o.ttl, leastLife), mostLife), jitter: m.upTo(time.Second),
	}):
		why = dropHost
	default:
		return
	}
	m.dropped[why]++
}

// question answers what concerns this node.
func (m *machine) question(now time.Time, l *link, src netip.AddrPort, msg message) {
	var first *dnsmessage.Question
	want, enumerate, listing := false, false, false
	for i, q := range msg.questions {
		w, list, e := m.me.wants(q)
		listing, enumerate = listing || list, enumerate || e
		if list && slices.Contains(msg.known, m.me.instance) {
			continue // RFC 6762 §7.1
		}
		if w && first == nil {
			first = &msg.questions[i]
		}
		want = want || w
	}
	if listing && src.Port() == port && !(len(msg.known) > 0 && msg.known[0] == m.me.instance) {
		m.overheard(now, l, msg.known)
	}
	switch {
	case !want || m.ended:
	case src.Port() != port:
		m.legacy(now, l, src, msg.id, first, enumerate)
	default:
		l.enumerate = l.enumerate || enumerate
		at := now.Add(m.wait())
		if next := l.said.Add(pace); !l.said.IsZero() && next.After(at) {
			at = next
		}
		l.answerAt = earlier(l.answerAt, at)
	}
}

// overheard takes another's question as our own when it would get us all that
// ours would (RFC 6762 §7.3).
func (m *machine) overheard(now time.Time, l *link, known []string) {
	ours := m.table.known(now, l.index)
	for _, k := range known {
		if k != m.me.instance && !slices.Contains(ours, k) {
			return
		}
	}
	m.asked(now, l)
}

// asked moves the next question away.
func (m *machine) asked(now time.Time, l *link) {
	l.asked = now
	l.queryAt = now.Add(l.gap)
	l.gap = min(2*l.gap, gapMost)
	for _, e := range m.table.list {
		if at := e.renew(); e.link == l.index && !at.IsZero() && !now.Before(at) {
			e.renewals++
		}
	}
}

// legacy answers one who doesn't speak mDNS (RFC 6762 §6.7), once a second on
// a link: the question's source is easily forged.
func (m *machine) legacy(now time.Time, l *link, src netip.AddrPort, id uint16, q *dnsmessage.Question, enumerate bool) {
	if now.Before(l.legacyAt) {
		m.dropped[dropLegacy]++
		return
	}
	l.legacyAt = now.Add(pace)
	if b, err := m.me.answer(response{id: id, question: q, ttl: legacyTTL, enumerate: enumerate}, l.addrs); err == nil {
		m.push(packet{link: l.index, v6: src.Addr().Is6(), to: src, b: b})
	}
}

// Advance says, asks and tells what is due.
func (m *machine) Advance(now time.Time) {
	if m.ended {
		return
	}
	m.table.expire(now)
	m.table.tell(now)
	for _, l := range m.links {
		if !l.answerAt.IsZero() && !now.Before(l.answerAt) {
			m.say(now, l)
		}
		if !now.Before(m.ask(l)) {
			if b, err := m.me.question(m.table.known(now, l.index)); err == nil {
				m.send(l, b)
			}
			m.asked(now, l)
		}
	}
}

// say announces, or answers, to all on a link.
func (m *machine) say(now time.Time, l *link) {
	if b, err := m.me.answer(response{ttl: ttl, enumerate: l.enumerate}, l.addrs); err == nil {
		m.send(l, b)
	}
	l.said, l.spoke, l.answerAt, l.enumerate = now, true, time.Time{}, false
	if l.announces > 0 {
		if l.announces--; l.announces > 0 {
			l.answerAt = now.Add(pace)
		}
	}
}

// ask returns when to ask next on a link: as the growing distances have it, or
// before something known ends.
func (m *machine) ask(l *link) time.Time {
	at := l.queryAt
	for _, e := range m.table.list {
		if e.link != l.index {
			continue
		}
		if r := e.renew(); !r.IsZero() {
			if next := l.asked.Add(renewGap); r.Before(next) {
				r = next
			}
			at = earlier(at, r)
		}
	}
	return at
}

// Deadline returns when Advance has something to do; zero = never.
func (m *machine) Deadline() time.Time {
	if m.ended {
		return time.Time{}
	}
	at := m.table.deadline()
	for _, l := range m.links {
		at = earlier(earlier(at, l.answerAt), m.ask(l))
	}
	return at
}

// bye takes back what was announced; afterwards the machine is silent.
func (m *machine) bye() {
	m.packets, m.ended = nil, true
	for _, l := range m.links {
		if b, err := m.me.answer(response{}, l.addrs); err == nil && l.spoke {
			m.send(l, b)
		}
	}
}

func (m *machine) send(l *link, b []byte) {
	if l.v4 {
		m.push(packet{link: l.index, b: b})
	}
	if l.v6 {
		m.push(packet{link: l.index, v6: true, b: b})
	}
}

func (m *machine) push(p packet) {
	if len(m.packets) < maxPackets {
		m.packets = append(m.packets, p)
	}
}

// poll returns the next message to send.
func (m *machine) poll() (packet, bool) {
	if len(m.packets) == 0 {
		return packet{}, false
	}
	p := m.packets[0]
	m.packets = m.packets[1:]
	return p, true
}

// found returns the next address to give out.
func (m *machine) found() (netip.AddrPort, bool) {
	if len(m.table.out) == 0 {
		return netip.AddrPort{}, false
	}
	a := m.table.out[0]
	m.table.out = m.table.out[1:]
	return a, true
}
