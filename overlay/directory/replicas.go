// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"net/netip"
	"slices"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
)

const (
	// Copies is how many nodes hold a key. With the median session of an hour
	// all eight are lost within 10 minutes with probability 2·10⁻⁸, even if no new
	// holder got the key meanwhile; when half of all nodes die at once, 0.4 %.
	Copies = 8

	// perNarrow and perWide keep one operator from being all holders of a key:
	// one of a /24 or /48, two of a /16 or /32.
	perNarrow = 1
	perWide   = 2
)

// Candidate is a node that could hold a key.
type Candidate struct {
	ID   identity.NodeID
	Addr netip.Addr // where it is reached (its carrier when relayed); zero = not known, private network
}

// Replicas returns the n of the candidates that should hold a key, nearest
// first: no two from one /24 (/48 for IPv6) and no three from one /16 (/32).
// Where that leaves fewer than n, the nearest of the rest follow, for a record
// in one place is better than one lost. Addresses that mean nothing outside
// (private, loopback, zero) are not counted. The order of the candidates has
// no influence; one named twice counts once.
func Replicas(key Key, candidates []Candidate, n int) []identity.NodeID {
	list := slices.Clone(candidates)
	order.Sort(list, func(a, b Candidate) int {
		if d := distance(key, a.ID, b.ID); d != 0 {
			return d
		}
		return a.Addr.Compare(b.Addr)
	})
	list = slices.CompactFunc(list, func(a, b Candidate) bool { return a.ID == b.ID })

	// A handful of candidates: searching slices beats making maps.
	var narrow, wide []netip.Prefix
	var chosen, rest []identity.NodeID
	for _, c := range list {
		if len(chosen) == n {
			break
		}
		near, far := PrefixOf(c.Addr), widePrefix(c.Addr)
		if near.IsValid() && (count(narrow, near) >= perNarrow || count(wide, far) >= perWide) {
			rest = append(rest, c.ID)
			continue
		}
		narrow, wide = append(narrow, near), append(wide, far)
		chosen = append(chosen, c.ID)
	}
	return append(chosen, rest[:max(min(n-len(chosen), len(rest)), 0)]...)
}

// PrefixOf returns the network that an address counts for in quotas: its /24,
// or /48 for IPv6; the zero Prefix for addresses that mean nothing outside.
func PrefixOf(a netip.Addr) netip.Prefix { return prefix(a, 24, 48) }

func widePrefix(a netip.Addr) netip.Prefix { return prefix(a, 16, 32) }

func prefix(a netip.Addr, v4, v6 int) netip.Prefix {
	a = a.Unmap()
	if !a.IsValid() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return netip.Prefix{}
	}
	bits := v6
	if a.Is4() {
		bits = v4
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func count(list []netip.Prefix, p netip.Prefix) (n int) {
	for _, q := range list {
		if q == p {
			n++
		}
	}
	return n
}
