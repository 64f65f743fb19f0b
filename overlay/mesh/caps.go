// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"encoding/binary"
	"net/netip"
)

// Diversity caps (design §6): addresses are what a Sybil has to pay for, and
// introducers what it would use to fill a table.
const (
	perPrefixInBucket = 2
	perPrefixInTable  = 10
	// viaShare: at most one link in four may have come through one
	// introducer, and viaFree always may. Whoever starts a node introduces its
	// first eight; from then on there are others to ask.
	viaShare = 4
	viaFree  = 8
)

// prefix is a /24 of IPv4 or a /48 of IPv6; zero when the address is unknown.
type prefix uint64

// local is the prefix of every address inside a LAN and on loopback: who is
// there is no Sybil of the Internet, and no cap applies.
const local prefix = 1

// prefixOf returns the prefix for which an address counts.
func prefixOf(a netip.Addr) prefix {
	a = a.Unmap()
	switch {
	case !a.IsValid():
		return 0
	case a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast():
		return local
	case a.Is4():
		b := a.As4()
		return 1<<56 | prefix(b[0])<<16 | prefix(b[1])<<8 | prefix(b[2])
	}
	b := a.As16()
	return 2<<56 | prefix(binary.BigEndian.Uint64(b[:])>>16)
}

// diverse reports whether one more link would keep the caps. self may be in
// the table already; it is not counted. Spare links are not, they go; anchors
// are invited.
//
// Which buckets they are in does not matter for the first few links: in a small
// network all may be behind one carrier's NAT, and must not fall apart into pairs.
func (c *core) diverse(id ID, p prefix, via ID) bool {
	if c.noCaps || p == local {
		return true
	}
	bucket := prefixLen(&c.id, &id)
	var inBucket, inTable, sameVia, all int
	for _, n := range c.table.list {
		if n.spare || n.id == id {
			continue
		}
		all++
		if n.anchor {
			continue
		}
		if p != 0 && n.prefix == p {
			inTable++
			if int(n.bucket) == bucket {
				inBucket++
			}
		}
		if !via.IsZero() && n.via == via {
			sameVia++
		}
	}
	return (inBucket < perPrefixInBucket || all < siblings) && inTable < perPrefixInTable && sameVia < max(viaFree, (all+1)/viaShare)
}
