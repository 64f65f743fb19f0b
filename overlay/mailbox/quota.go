// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"net/netip"
	"time"
)

const (
	// MaxQueue bounds one queue: 64 blobs of the largest size. Whoever has more
	// to say waits until the reader has been there.
	MaxQueue = 1 << 20

	// MaxBytes bounds what a node holds for others.
	MaxBytes = 64 << 20

	// MaxBytesPrefix is what may come through the neighbours of one prefix: with
	// four of them behind what it holds, no single operator's flood empties a
	// store.
	MaxBytesPrefix = MaxBytes / 4

	// MaxQueues bounds the queues, which cost time however little lies in them:
	// rounds, and 20 µs for each of them when a neighbour comes or goes. It is 16
	// KiB each, and ten times what a node holds in a network where eight hold mail
	// for fifty contacts of everybody.
	MaxQueues = 4096

	// MaxQueuesPrefix is what may come through one prefix, as MaxBytesPrefix.
	MaxQueuesPrefix = MaxQueues / 4

	// A prefix may bring putBurst pieces and receipts at once (what is handed to
	// a new neighbour) and then putRate a second: at 50 µs a signature under
	// 0.1 % of a core for each prefix.
	putBurst = 512
	putRate  = 16

	// maxSources bounds the prefixes that are told apart: several times the
	// links that a node has. Those above share one quota.
	maxSources = 512
)

// quota counts bytes by the prefix that brought them. The zero prefix is not
// counted: private networks trust their members.
type quota struct {
	most    int // MaxBytes
	share   int // MaxBytesPrefix
	bytes   int
	queues  int // MaxQueues
	each    int // MaxQueuesPrefix
	sources map[netip.Prefix]*source
}

type source struct {
	bytes  int
	queues int
	tokens float64
	at     time.Time // of tokens
}

// others stands for all prefixes above maxSources.
func others() netip.Prefix { return netip.PrefixFrom(netip.IPv6Unspecified(), 0) }

// name returns the prefix as which p counts.
func (q *quota) name(p netip.Prefix) netip.Prefix {
	if p.IsValid() && q.sources[p] == nil && len(q.sources) >= maxSources {
		return others()
	}
	return p
}

func (q *quota) of(p netip.Prefix) *source {
	if !p.IsValid() {
		return nil
	}
	if s := q.sources[p]; s != nil {
		return s
	}
	if q.sources == nil {
		q.sources = map[netip.Prefix]*source{}
	}
	s := &source{tokens: putBurst}
	q.sources[p] = s
	return s
}

// spend takes a token for a check that costs a signature.
func (q *quota) spend(now time.Time, p netip.Prefix) bool {
	s := q.of(p)
	if s == nil {
		return true
	}
	if !s.at.IsZero() {
		s.tokens = min(putBurst, s.tokens+putRate*max(now.Sub(s.at), 0).Seconds())
	}
	s.at = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// add counts n bytes from p; negative ones are gone.
func (q *quota) add(p netip.Prefix, n int) {
	q.bytes += n
	if s := q.of(p); s != nil {
		s.bytes = max(s.bytes+n, 0)
	}
}

// over tells whether n more bytes from p are above p's share.
func (q *quota) over(p netip.Prefix, n int) bool {
	s := q.of(p)
	return s != nil && s.bytes+n > q.share
}

// addQueues counts queues that p began; negative ones are gone.
func (q *quota) addQueues(p netip.Prefix, n int) {
	if s := q.of(p); s != nil {
		s.queues = max(s.queues+n, 0)
	}
}

// overQueues tells whether one more queue from p is above p's share.
func (q *quota) overQueues(p netip.Prefix) bool {
	s := q.of(p)
	return s != nil && s.queues >= q.each
}

// forget drops sources that hold nothing and have all their tokens back.
func (q *quota) forget(now time.Time) {
	for p, s := range q.sources { // order doesn't show: nothing is sent or told
		if s.bytes == 0 && s.queues == 0 && s.tokens+putRate*now.Sub(s.at).Seconds() >= putBurst {
			delete(q.sources, p)
		}
	}
}
