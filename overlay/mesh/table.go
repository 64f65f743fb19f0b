// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"net/netip"
	"slices"
	"time"
)

// neighbour is a live link and what is known about its other end. There are
// some 75 of them in a table, so it holds no map and no slice.
type neighbour struct {
	id      ID
	card    Card
	addr    netip.AddrPort
	via     ID
	carrier ID
	rtt     time.Duration // zero = not measured
	since   time.Duration // when the link came up, see core.since

	ours    bool
	relayed bool
	anchor  bool
	spare   bool // handed back to the driver: carries nothing of the mesh but what is for this node itself

	score deliveryScore // owned by the router
}

func (n *neighbour) class() Class { return n.card.Class }
func (n *neighbour) leaf() bool   { return n.card.Leaf }

// table is the set of live links, in order of distance from our own ID.
type table struct {
	id   ID
	list []*neighbour
}

// find returns the neighbour of that ID, nil when there is none.
func (t *table) find(id ID) *neighbour {
	if i, ok := t.index(&id); ok {
		return t.list[i]
	}
	return nil
}

func (t *table) index(id *ID) (int, bool) {
	return slices.BinarySearchFunc(t.list, id, func(n *neighbour, id *ID) int {
		switch {
		case n.id == *id:
			return 0
		case nearer(&t.id, &n.id, id):
			return -1
		}
		return 1
	})
}

// nearest appends the n neighbours nearest to key to dst, nearest first,
// without those that skip names and without spare links. It does not allocate
// when dst has room for n more. Leaves are among them: skip says.
func (t *table) nearest(dst []*neighbour, key ID, n int, skip func(*neighbour) bool) []*neighbour {
	from := len(dst)
	for _, c := range t.list {
		if full := len(dst)-from == n; full && (n == 0 || !nearer(&key, &c.id, &dst[len(dst)-1].id)) || c.spare && c.id != key || skip != nil && skip(c) {
			continue
		} else if full {
			dst = dst[:len(dst)-1]
		}
		dst = append(dst, c)
		for i := len(dst) - 1; i > from && nearer(&key, &dst[i].id, &dst[i-1].id); i-- {
			dst[i], dst[i-1] = dst[i-1], dst[i]
		}
	}
	return dst
}

func (t *table) add(n *neighbour) {
	i, _ := t.index(&n.id)
	t.list = slices.Insert(t.list, i, n)
}

func (t *table) remove(n *neighbour) {
	if i, ok := t.index(&n.id); ok {
		t.list = slices.Delete(t.list, i, i+1)
	}
}
