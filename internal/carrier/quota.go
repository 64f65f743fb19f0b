// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import "net/netip"

// quota counts what strangers hold, in all and from one prefix.
type quota struct {
	total, each int
	n           int
	by          map[netip.Prefix]int // at most total
}

func newQuota(total, each int) *quota {
	return &quota{total: total, each: each, by: make(map[netip.Prefix]int)}
}

// take reports whether one more from a is allowed, and counts it then.
func (q *quota) take(a netip.Addr) bool {
	p := prefixOf(a)
	if q.n >= q.total || q.by[p] >= q.each {
		return false
	}
	q.n++
	q.by[p]++
	return true
}

// give returns what take has granted.
func (q *quota) give(a netip.Addr) {
	p := prefixOf(a)
	q.n--
	if q.by[p]--; q.by[p] == 0 {
		delete(q.by, p)
	}
}

// prefixOf returns the network of one subscriber, roughly.
func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, _ := a.WithZone("").Prefix(bits) // the zero Prefix where a is none
	return p
}
