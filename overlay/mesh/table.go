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
	prefix  prefix
	rtt     time.Duration // zero = not measured
	since   time.Duration // when the link came up, see core.since

	bucket   int16 // length of the prefix we share
	role     role
	claims   claims // what the other side says it needs this link for
	told     uint8  // the state byte of our last CARD to it
	room     uint32 // its buckets that have room for others, as it says
	toldRoom uint32 // ours, as it was told
	ours     bool
	relayed  bool
	anchor   bool
	sibling  bool // among those nearest to us
	spare    bool // handed back to the driver: carries nothing of the mesh but what is for this node itself
	shunned  bool // spare because it does not do its work
	gone     bool // left the table

	spareAt time.Duration // when it was handed back
	asked   time.Duration // when we last asked it for nodes near us
	busy    time.Duration // until then it wants no new work of us
	carried uint8         // how many links it carried when it last said
	work    tokens        // what it may still ask of us
	sought  tokens        // introductions to it that we may still pass on

	score deliveryScore // owned by the router
}

func (n *neighbour) class() Class { return n.card.Class }
func (n *neighbour) leaf() bool   { return n.card.Leaf }

// role says why a link stays in the table.
type role uint8

const (
	member  role = iota // it has a place in its bucket
	claimed             // the other side counts us among its siblings, or has few other ways; beyond the bucket's cap
	guest               // newly come, for a while: a joining node on its way to its place
)

// claims are the reasons for a link that its other end can name.
type claims uint8

const (
	claimSibling claims = 1 << iota // you are among the nodes nearest to me
	claimScarce                     // my bucket with you has hardly any other
)

// maxFar bounds the buckets that are looked after one by one: 2^32 nodes.
// Deeper ones hold siblings, or IDs that somebody has searched for.
const maxFar = 32

// bucketState counts the full links of a bucket: no leaves, none that are
// spare.
type bucketState struct {
	all     uint8 // members, claimed and guests
	members uint8
	inbound uint8 // members that are neither ours nor anchors nor siblings
	claimed uint8
}

// table is the set of live links, in order of distance from our own ID.
type table struct {
	id       ID
	list     []*neighbour
	siblings int // how many of the nearest count as siblings

	// What refresh computes:
	links   int // all but the spare ones
	leaves  int
	guests  int
	needy   int // claimed by nodes that can't be our siblings
	full    int // neither spare nor leaf
	depth   int // bucket of the farthest sibling; 0 while there are too few
	buckets [maxFar + 1]bucketState
}

// find returns the neighbour of that ID, nil when there is none.
func (t *table) find(id ID) *neighbour {
	if i, ok := t.index(&id); ok {
		return t.list[i]
	}
	return nil
}

// index returns where a node of that ID is, or would be.
func (t *table) index(id *ID) (int, bool) {
	lo, hi := 0, len(t.list)
	for lo < hi {
		switch mid := (lo + hi) / 2; {
		case t.list[mid].id == *id:
			return mid, true
		case nearer(&t.id, &t.list[mid].id, id):
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
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
	n.bucket = int16(prefixLen(&t.id, &n.id))
	i, _ := t.index(&n.id)
	t.list = slices.Insert(t.list, i, n)
	t.refresh()
}

func (t *table) remove(n *neighbour) {
	if i, ok := t.index(&n.id); ok {
		t.list = slices.Delete(t.list, i, i+1)
	}
	n.gone = true
	t.refresh()
}

// refresh counts anew: after a link came, went, or changed its role.
func (t *table) refresh() {
	t.links, t.leaves, t.guests, t.needy, t.full, t.depth = 0, 0, 0, 0, 0, 0
	t.buckets = [maxFar + 1]bucketState{}
	for _, n := range t.list {
		n.sibling = false
		if n.spare {
			continue
		}
		t.links++
		if n.leaf() {
			t.leaves++
			continue
		}
		if n.sibling = t.full < t.siblings; n.sibling {
			n.role = member
			if t.full == t.siblings-1 {
				t.depth = min(int(n.bucket), maxFar)
			}
		}
		t.full++
		b := t.bucket(int(n.bucket))
		b.all++
		switch n.role {
		case guest:
			t.guests++
		case claimed:
			b.claimed++
			t.needy += btoi(!t.plausible(int(n.bucket)))
		default:
			b.members++
			if !n.ours && !n.anchor && !n.sibling {
				b.inbound++
			}
		}
	}
}

func (t *table) bucket(i int) *bucketState { return &t.buckets[min(i, maxFar)] }

// wouldSibling reports whether a node of that ID would be among our siblings.
func (t *table) wouldSibling(id *ID) bool {
	n := 0
	for _, s := range t.list {
		if !s.sibling || s.id == *id {
			continue
		}
		if !nearer(&t.id, &s.id, id) {
			return true
		}
		n++
	}
	return n < t.siblings
}

// plausible reports whether a node in that bucket may count us among its own
// siblings. Both of us see the same neighbourhood, so it can't be much
// shallower than ours.
func (t *table) plausible(bucket int) bool { return bucket+claimSlack >= t.depth }
