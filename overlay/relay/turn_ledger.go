// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"net/netip"
	"time"
)

const (
	// maxTURNGrants bounds what one allocation may ask for in a burst, and
	// turnGrantRate afterwards, for each second. Each costs a timer, and a
	// channel lives for 10 minutes; a browser asks about 30 times a call, and
	// twice every 4 minutes.
	maxTURNGrants = 120
	turnGrantRate = 1

	// turnPermission is how long a permission lives (RFC 8656 §9).
	turnPermission = 5 * time.Minute
)

// turnLedger counts what guests hold.
type turnLedger struct {
	total, perUser, perPrefix int

	users    map[string]int
	prefixes map[netip.Prefix]int
	guests   map[netip.AddrPort]*turnGuest // by where they come from
	open     int
}

// turnGuest is who holds an allocation.
type turnGuest struct {
	user   string
	open   int // 1, or 2 while the library looks for an even port
	grants bucket
	peers  map[netip.Addr]time.Duration // until when; at most maxTURNHosts
}

func newTURNLedger(total, perUser, perPrefix int) *turnLedger {
	return &turnLedger{
		total: total, perUser: perUser, perPrefix: perPrefix,
		users: make(map[string]int), prefixes: make(map[netip.Prefix]int), guests: make(map[netip.AddrPort]*turnGuest),
	}
}

// take reports whether a user may have one more allocation, and counts it.
func (l *turnLedger) take(user string, from netip.AddrPort) bool {
	p := prefix(from.Addr())
	if l.open >= l.total || l.users[user] >= l.perUser || l.prefixes[p] >= l.perPrefix {
		return false
	}
	g := l.guests[from]
	if g == nil {
		g = &turnGuest{user: user, peers: make(map[netip.Addr]time.Duration)}
		g.grants.set(8*turnGrantRate, maxTURNGrants) // a "byte" is one request
		l.guests[from] = g
	}
	g.open++
	l.open++
	l.users[user]++
	l.prefixes[p]++
	return true
}

// give returns what take has granted.
func (l *turnLedger) give(user string, from netip.AddrPort) {
	p := prefix(from.Addr())
	l.open--
	if l.users[user]--; l.users[user] == 0 {
		delete(l.users, user)
	}
	if l.prefixes[p]--; l.prefixes[p] == 0 {
		delete(l.prefixes, p)
	}
	if g := l.guests[from]; g != nil {
		if g.open--; g.open == 0 {
			delete(l.guests, from)
		}
	}
}

// holds reports whether a user has an allocation from there.
func (l *turnLedger) holds(user string, from netip.AddrPort) bool {
	g := l.guests[from]
	return g != nil && g.user == user
}

// permit reports whether a guest may send to one more peer, or go on to.
func (l *turnLedger) permit(now time.Duration, from netip.AddrPort, peer netip.Addr) bool {
	g := l.guests[from]
	if g == nil || !g.grants.take(now, 1) {
		return false
	}
	if _, known := g.peers[peer]; !known && len(g.peers) == maxTURNHosts {
		for a, until := range g.peers {
			if until < now {
				delete(g.peers, a)
			}
		}
		if len(g.peers) == maxTURNHosts {
			return false
		}
	}
	g.peers[peer] = now + turnPermission
	return true
}

// outside reports whether an address is one on the Internet: a guest must not
// look through the server at what stands behind it.
func outside(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10),   // RFC 6598
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 0}), 24), // RFC 6890
		netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18}), 15),   // RFC 2544
		netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4),
	} {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
