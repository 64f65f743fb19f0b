// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"cmp"
	"slices"
	"time"
)

const (
	// guestLife: a joining node has found its place in half a minute, jitter
	// included; then the link stays only where it has a place.
	guestLife = time.Minute
	// spareRest: a link that is still there so long after it was handed back
	// is wanted by somebody, so it may as well be used.
	spareRest = 30 * time.Second
	// spareAgain is when an unused link is named once more.
	spareAgain = 5 * time.Minute
)

// settle gives every link its role and hands back those without one.
func (c *core) settle(now time.Time) {
	at := c.since(now)
	for _, n := range c.table.list {
		if n.spare && at-n.spareAt >= spareRest {
			c.reconsider(now, n)
		}
	}
	if c.self.Leaf {
		c.settleLeaf(now)
		return
	}
	t := &c.table
	for i := 0; i < len(t.list); {
		j := i + 1
		for j < len(t.list) && t.list[j].bucket == t.list[i].bucket {
			j++
		}
		c.settleBucket(now, t.list[i:j])
		i = j
	}
	t.refresh()
	c.settleLeaves(now)
	c.settleTotal(now)
}

// settleBucket shares out the places of one bucket. Siblings and contacts need
// none: new ones would take those of older links.
func (c *core) settleBucket(now time.Time, list []*neighbour) {
	var sorted [2 * maxLinks]*neighbour
	rest := sorted[:0]
	var b bucketState
	for _, n := range list {
		switch {
		case n.spare || n.leaf():
		case n.sibling || n.anchor:
			n.role = member
			b.all++
		default:
			rest = append(rest, n)
			b.all++
		}
	}
	slices.SortStableFunc(rest, keepOrder)
	for _, n := range rest {
		claims := n.claims&claimSibling != 0 && c.table.plausible(int(n.bucket)) ||
			n.claims&claimScarce != 0 && n.role == claimed && !n.relayed
		if n.relayed && !claims && n.claims&claimScarce == 0 && b.all > minFar {
			c.release(now, n)
			b.all--
			continue
		}
		switch {
		case c.roomFor(&b, 0, n.ours || n.role == member, n.claims&claimScarce != 0 || n.role == member):
			n.role = member
			b.members++
			if !n.ours {
				b.inbound++
			}
		case claims && b.claimed < maxClaimed:
			n.role = claimed
			b.claimed++
		case c.since(now)-n.since < guestLife:
			n.role = guest
		default:
			c.release(now, n)
			b.all--
		}
	}
}

// keepOrder puts links that are worth more in front. Those that others asked
// for are judged by their age alone: what can be chosen, an RTT or a claim, would
// let them push out an older one.
func keepOrder(a, b *neighbour) int {
	if c := cmp.Or(cmp.Compare(a.role, b.role), cmp.Compare(btoi(b.ours), btoi(a.ours))); c != 0 {
		return c
	}
	if !a.ours {
		return cmp.Compare(a.since, b.since)
	}
	return cmp.Or(
		cmp.Compare(btoi(b.claims&claimScarce != 0), btoi(a.claims&claimScarce != 0)),
		cmp.Compare(btoi(a.relayed), btoi(b.relayed)),
		cmp.Compare(a.speed(), b.speed()),
		cmp.Compare(a.since, b.since),
	)
}

// unmeasured is how slow a link counts before its first measurement: half of
// all links are faster.
const unmeasured = 150 * time.Millisecond

func (n *neighbour) speed() time.Duration {
	if n.rtt == 0 {
		return unmeasured
	}
	return n.rtt
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// settleLeaves hands back the youngest sleeping nodes above their cap.
func (c *core) settleLeaves(now time.Time) {
	for c.table.leaves > maxLeaves {
		var last *neighbour
		for _, n := range c.table.list {
			if n.leaf() && !n.spare && !n.anchor && (last == nil || n.since > last.since) {
				last = n
			}
		}
		if last == nil {
			return
		}
		c.release(now, last)
		c.table.refresh()
	}
}

// settleTotal keeps the limit, after a quota fell or siblings came: the
// slowest link of the fullest bucket goes.
func (c *core) settleTotal(now time.Time) {
	for c.table.links > c.limit() {
		var last *neighbour
		for _, n := range c.table.list {
			if n.spare || n.sibling || n.anchor {
				continue
			}
			if last == nil || cmp.Or(
				cmp.Compare(c.table.bucket(int(last.bucket)).all, c.table.bucket(int(n.bucket)).all),
				keepOrder(last, n)) < 0 {
				last = n
			}
		}
		if last == nil {
			return
		}
		c.release(now, last)
		c.table.refresh()
	}
}

// settleLeaf keeps what a sleeping node needs: siblings, then contacts, then
// whoever is fast.
func (c *core) settleLeaf(now time.Time) {
	var sorted [2 * maxLinks]*neighbour
	rest := sorted[:0]
	for _, n := range c.table.list {
		if !n.spare {
			rest = append(rest, n)
		}
	}
	slices.SortStableFunc(rest, func(a, b *neighbour) int {
		return cmp.Or(
			cmp.Compare(btoi(b.sibling), btoi(a.sibling)),
			cmp.Compare(btoi(b.anchor), btoi(a.anchor)),
			cmp.Compare(btoi(a.leaf()), btoi(b.leaf())),
			keepOrder(a, b))
	})
	for i, n := range rest {
		if n.role = member; i >= leafLinks {
			c.release(now, n)
		}
	}
	c.table.refresh()
}

// release hands a link back to the driver.
func (c *core) release(now time.Time, n *neighbour) {
	n.spare, n.spareAt = true, c.since(now)
	c.events.push(Surplus{n.id})
}

// reconsider takes a link back that its driver keeps for other reasons, when
// it has a place now.
func (c *core) reconsider(now time.Time, n *neighbour) {
	a := applicant{id: n.id, leaf: n.leaf(), prefix: n.prefix, via: n.via, relay: n.relayed}
	if r, ok := c.admit(&a); ok && !n.shunned {
		n.spare, n.role = false, r
		c.table.refresh()
		return
	}
	if c.since(now)-n.spareAt >= spareAgain {
		c.release(now, n)
	}
}

// shun hands back a link that does not do its work, and does not ask for it
// again for a while.
func (c *core) shun(now time.Time, n *neighbour) {
	n.shunned = true
	c.failed.add(c.since(now), failedKey(n.id), shunnedLife)
	c.release(now, n)
	c.table.refresh()
	c.changed = true
}

// shunnedLife: so long a bad neighbour stays out.
const shunnedLife = time.Hour
