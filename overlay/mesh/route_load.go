// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

// What a neighbour may bring. Whatever is above is refused, so that the one
// who floods feels it and links stay usable; nothing that was accepted has to
// go for it. They are functions because a package variable could be changed.

// bringRate bounds the messages that one neighbour brings. At 10⁴ nodes with
// one ring a minute each and their records, all links together bring one
// message a second; but a node that starts publishes some hundred records, and
// its first link may be its only one.
func bringRate() rate { return rate{perSecond: 10, burst: 128} }

// prefixRate bounds what all neighbours of one /24 or /48 bring together: two
// neighbours' share, as two of them fit a bucket of the table.
func prefixRate() rate { return rate{perSecond: 20, burst: 256} }

// replyRate bounds the replies that one neighbour brings: up to two a message.
func replyRate() rate { return rate{perSecond: 20, burst: 256} }

// detourRate bounds the detours of others' messages round neighbours that do not
// acknowledge. Half of all neighbours dead makes one a second at one ring a minute
// and node; and a network in which everybody is slow must not answer by sending
// everything again: fifty nodes on two cores sent 300 messages for each ring, and
// reached nobody.
func detourRate() rate { return rate{perSecond: 8, burst: 128} }

const (
	// maxWaiting bounds the messages given to a neighbour that it has not
	// acknowledged, to the burst that it takes: what is above goes to others.
	maxWaiting = 128
	// maxRelayed is the same for links that another node carries: those are
	// given 32 kbit/s, two seconds of messages of 1 KB.
	maxRelayed = 8
	// prefixSlots: prefixes share this many buckets by a salted hash. With 110
	// links some share one, so a flood may cost strangers their burst, not
	// their link; the salt keeps them from being chosen.
	prefixSlots = 64
)

// window is how many messages a neighbour may have of us at a time without an
// ACK. What only it is to have can't go another way.
func (n *neighbour) window(only bool) uint8 {
	if n.relayed && !only {
		return maxRelayed
	}
	return maxWaiting
}

// prefixes holds the buckets of networks, once somebody brought something.
type prefixes struct {
	salt uint64
	b    *[prefixSlots]tokens
}

// admitted reports whether n may bring one more message.
func (r *router) admitted(now time.Duration, n *neighbour) bool {
	if !n.score.in.take(now, bringRate()) {
		return false
	}
	p := prefixOf(n.addr.Addr())
	if r.c.noCaps || p <= local { // a relayed link has no address and counts for its neighbour alone
		return true
	}
	if r.prefixes.b == nil {
		r.prefixes = prefixes{salt: r.c.rng.Uint64(), b: new([prefixSlots]tokens)}
	}
	return r.prefixes.b[r.prefixes.slot(p)].take(now, prefixRate())
}

func (p *prefixes) slot(x prefix) uint64 {
	h := (uint64(x) ^ p.salt) * 0x9e3779b97f4a7c15 // Fibonacci hashing
	return h >> 32 % prefixSlots
}
