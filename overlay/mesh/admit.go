// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

// How many links a node keeps. From the simulation behind design/004-overlay.md:
// twice the links make messages arrive 14 % sooner, half as many lose some.
const (
	// siblings are the nodes nearest to our own ID; as many replicas has a
	// record, and half of all nodes may die without parting a neighbourhood.
	siblings = 8
	// wanted is how many links a bucket is filled to, bucketCap what it holds:
	// the difference is room for those who look for us.
	wanted    = 4
	bucketCap = 6
	// minFar is the least that a far bucket needs to be a way: below it
	// relayed links are allowed.
	minFar = 3
	// maxLinks: 91 ± 20 are to be expected at a million nodes.
	maxLinks = 110
	// maxHardLinks: each link of a node behind an endpoint-dependent NAT costs
	// a mapping, and carriers count those.
	maxHardLinks = 60
	// minQuota is the least that SetQuota can leave: siblings and a way out.
	minQuota = 16
	// One in roomShare of the links is kept for siblings to come, up to eight.
	roomShare = 8

	// leafLinks is what a sleeping node keeps: those nearest to its ID, where
	// messages for it arrive, and contacts.
	leafLinks    = 4
	leafSiblings = 2
	// maxLeaves bounds the sleeping nodes that lean on this one: half of all
	// nodes asleep make four each, unevenly.
	maxLeaves = 24

	// maxGuests bounds newly come links that have no place in the table: a
	// joining node passes some four nodes on its way, a minute each.
	maxGuests = 8
	// guestsPerPrefix of them may be of one prefix.
	guestsPerPrefix = 2

	// claimSlack: how many buckets nearer the far side's neighbourhood may be
	// than ours; three mean eight times as dense.
	claimSlack = 3
	// maxClaimed links of a bucket may stand beyond its cap because their
	// other ends count us among their siblings: eight on average, and as many
	// again.
	maxClaimed = 12
	// maxNeedy bounds the links beyond bucket caps for nodes that have hardly
	// any other way into our half of the network, in the whole table. A direct
	// link spares a third node two carried ones: with a fifth of all nodes
	// behind endpoint-independent NATs, none public, and two in a bucket, 2.4 %
	// of messages were lost; with 24 in the table, 0.1 %.
	maxNeedy = 24
)

// linkable reports whether nodes of these classes can come to a direct link.
// Who does not know its class yet is tried as if it were Easy.
func linkable(a, b Class) bool {
	switch {
	case a == Open || b == Open:
		return true
	case a == Blocked || b == Blocked:
		return false
	}
	return a != Hard || b != Hard
}

// siblings returns how many of the nearest count as such.
func (c *core) siblings() int {
	if c.self.Leaf {
		return leafSiblings
	}
	return siblings
}

// limit returns how many links this node keeps at most.
func (c *core) limit() int {
	n := maxLinks
	switch {
	case c.self.Leaf:
		return leafLinks
	case c.links > 0:
		n = c.links
	case c.self.Class == Hard:
		n = maxHardLinks
	}
	if c.quota > 0 {
		n = min(n, max(c.quota, minQuota))
	}
	return n
}

// farLimit returns how many links there may be for a far one to be added.
func (c *core) farLimit() int {
	l := c.limit()
	return l - min(siblings, l/roomShare)
}

// want returns how many links a far bucket should have, cap how many it may:
// fewer than usual when a quota must do for all buckets.
func (c *core) want() int {
	far := c.table.depth + 1
	return max(1, min(wanted, (c.farLimit()-siblings+far-1)/far))
}

func (c *core) bucketCap() int { return c.want() + bucketCap - wanted }

// applicant is a link that may come to be.
type applicant struct {
	id     ID
	leaf   bool
	prefix prefix
	via    ID
	relay  bool
	near   bool // it says that we are on its way to its place, or near that
	scarce bool // it says that its bucket has less than minFar

	// Promised already to others: places in its bucket, and for guests.
	places, beds int
}

// admit says whether a link that somebody else asks for has room, and as
// what. Nothing ever has to go for it.
func (c *core) admit(a *applicant) (role, bool) {
	t := &c.table
	bucket := prefixLen(&c.id, &a.id)
	if t.links >= c.limit() || !c.diverse(a.id, a.prefix, a.via) {
		return 0, false
	}
	if c.self.Leaf {
		return member, !a.leaf
	}
	if a.leaf {
		return member, t.leaves < maxLeaves
	}
	b := t.bucket(bucket)
	if t.wouldSibling(&a.id) {
		return member, true
	}
	if a.relay && int(b.all) >= minFar && !a.scarce && !(a.near && t.plausible(bucket)) {
		return 0, false
	}
	if t.links < c.farLimit() && c.roomFor(b, a.places, false, a.scarce) {
		return member, true
	}
	if a.near && t.plausible(bucket) && b.claimed < maxClaimed {
		return claimed, true
	}
	if a.scarce && !a.relay && t.links < c.farLimit() && t.needy < maxNeedy && b.claimed < maxClaimed {
		return claimed, true
	}
	if a.near && !a.relay && t.guests+a.beds < maxGuests && (c.noCaps || c.guestsOf(a.prefix) < guestsPerPrefix) {
		return guest, true
	}
	return 0, false
}

// roomFor reports whether a bucket has a place for one more. Half of the
// places are for links that we ask for ourselves: who wants to surround us
// must then be chosen by us, too. One place more is for a node that has hardly
// any way into our half of the network.
func (c *core) roomFor(b *bucketState, promised int, ours, scarce bool) bool {
	most := c.bucketCap()
	promised -= btoi(scarce)
	return int(b.members)+promised < most && (ours || c.noCaps || int(b.inbound)+promised < (most+1)/2)
}

// anywhere is the room of a node that has not said where it has some.
const anywhere = 1<<maxFar - 1

// room returns the buckets that have a place for others.
func (c *core) room() (r uint32) {
	if c.table.links >= c.farLimit() {
		return 0
	}
	for i := range maxFar {
		if c.roomFor(&c.table.buckets[i], 0, false, false) {
			r |= 1 << i
		}
	}
	return r
}

func (c *core) guestsOf(p prefix) int {
	n := 0
	for _, g := range c.table.list {
		if g.role == guest && !g.spare && g.prefix == p && p > local {
			n++
		}
	}
	return n
}
