// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/order"
)

const (
	// minSamples mappings say something of the rule, enoughSamples a good deal.
	minSamples    = 5
	enoughSamples = 10
	// maxStep bounds the steps of a sequence, fewStep those that few ports must
	// prove; known ones are 1, 2 and -1.
	maxStep = 64
	fewStep = 8
	// equalSteps is the least that makes a sequence.
	equalSteps = 3
	// maxBlock is the largest block that is told from no block at all: 12 random
	// ports lie within it once in 300,000 times. Carriers give 128 to 16,384.
	maxBlock = 16384
	// lowPort is the first that NATs give out, so blocks are often aligned to it.
	lowPort = 1024
	// outlying: the ports of a majority lie by chance within a quarter of what all
	// lie in once in 30,000 times.
	outlying = 4
	// tooTight is how much larger than the samples suggest an aligned block may
	// be and still be believed in.
	tooTight = 1.3
)

// portFinding is what is known of a NAT's choice of ports.
type portFinding struct {
	rule       PortRule
	step       int
	block      [2]uint16
	confidence float64
	why        string
}

// portRule finds the rule behind a set of new mappings.
func portRule(list []sample) portFinding {
	fresh := 0
	for _, s := range list {
		if !s.another {
			fresh++
		}
	}
	if f, ok := preservedRule(list, fresh); ok {
		return f
	}
	if len(list) < minSamples {
		return portFinding{}
	}
	if f, ok := sequentialRule(list); ok {
		return f
	}
	if f, ok := blockRule(list); ok {
		return f
	}
	f := portFinding{rule: RandomPorts, confidence: confident(list)}
	if fresh < minSamples {
		f.confidence = min(f.confidence, oneVoice)
	}
	low, high := bounds(list)
	f.why = fmt.Sprintf("%d mappings had ports from %d to %d without any order", len(list), low, high)
	return f
}

// ownPort judges by the node's own socket alone, where there are no others:
// a port that is kept is hardly so by chance.
func ownPort(points []*point, m finding, now time.Time) portFinding {
	if m.kind != EndpointIndependent {
		return portFinding{}
	}
	for _, p := range points {
		if p.main.fresh(now) && p.main.seen == m.at && p.main.port == m.at.Port() {
			return portFinding{rule: Preserved, confidence: min(oneVoice, m.confidence), why: "our own socket kept its port"}
		}
	}
	return portFinding{}
}

// confident tells how far a sample of this size and from so many networks can
// be believed.
func confident(list []sample) float64 {
	nets := networks(list)
	switch {
	case len(list) < minSamples || len(nets) < 2:
		return guess
	case len(list) < enoughSamples || len(nets) < enoughPrefixes:
		return oneVoice
	}
	return sure
}

// preservedRule looks for the inside port outside. Each network has one vote.
func preservedRule(list []sample, fresh int) (portFinding, bool) {
	var nets []netip.Prefix
	kept, votes := 0, 0
	for _, s := range list {
		if slices.Contains(nets, s.prefix) {
			continue
		}
		nets = append(nets, s.prefix)
		all, same := 0, 0
		for _, o := range list {
			if o.prefix != s.prefix || o.another {
				continue
			}
			if all++; o.in == o.out.Port() {
				kept++
				same++
			}
		}
		if 2*same > all {
			votes++
		}
	}
	if votes == 0 || 2*votes <= len(nets) || 2*kept <= fresh {
		return portFinding{}, false
	}
	c := min(confident(list), margin(votes, len(nets)))
	return portFinding{rule: Preserved, confidence: c,
		why: fmt.Sprintf("%d of %d new sockets kept their port", kept, fresh)}, true
}

// sequentialRule looks for the same step between mappings made one after the
// other. A counter runs for each outside address; between two of ours there may
// be others', and a liar's port spoils the steps beside it.
func sequentialRule(list []sample) (portFinding, bool) {
	nets := len(networks(list))
	list = slices.DeleteFunc(slices.Clone(list), func(s sample) bool { return s.order < 0 })
	order.Stable(list, func(a, b sample) int { return a.order - b.order })
	type pair struct {
		step int
		a, b netip.Prefix
	}
	var pairs []pair
	for i, s := range list {
		for _, o := range list[i+1:] {
			if o.out.Addr() == s.out.Addr() {
				pairs = append(pairs, pair{int(o.out.Port()) - int(s.out.Port()), s.prefix, o.prefix})
				break
			}
		}
	}
	most, step, touched, inner := 0, 0, 0, 0
	for _, p := range pairs {
		if p.step == 0 || max(p.step, -p.step) > maxStep {
			continue
		}
		var saw, alone []netip.Prefix // networks with such a step; by themselves
		n := 0
		for _, q := range pairs {
			if q.step != p.step {
				continue
			}
			n++
			if !slices.Contains(saw, q.a) {
				saw = append(saw, q.a)
			}
			if !slices.Contains(saw, q.b) {
				saw = append(saw, q.b)
			}
			if q.a == q.b && !slices.Contains(alone, q.a) {
				alone = append(alone, q.a)
			}
		}
		if n > most {
			most, step, touched, inner = n, p.step, len(saw), len(alone)
		}
	}
	// Four equal steps among fourteen come up by chance once in 2,000 times in a
	// block of 128 ports. Three are that rare only where each comes from a
	// network of its own; two liars of five may leave us no more.
	if most < equalSteps || most == equalSteps && (inner < equalSteps || max(step, -step) > fewStep) || 2*touched <= nets {
		return portFinding{}, false
	}
	f := portFinding{rule: Sequential, step: step, confidence: oneVoice,
		why: fmt.Sprintf("%d of %d ports came %+d after the one before", most, len(pairs), step)}
	switch {
	case most == equalSteps && 5*most < 2*len(pairs):
		f.confidence = guess
	case 5*most >= 3*len(pairs):
		f.confidence = confident(list)
	}
	return f, true
}

// networks returns those that saw the samples.
func networks(list []sample) (nets []netip.Prefix) {
	for _, s := range list {
		if !slices.Contains(nets, s.prefix) {
			nets = append(nets, s.prefix)
		}
	}
	return nets
}

// blockRule looks for a small range that all ports are from; or all that a
// majority of networks saw, if that one is much smaller: the others may lie.
func blockRule(list []sample) (portFinding, bool) {
	whole, found := blockOf(list, maxBlock)
	if found && whole.confidence > oneVoice && !stable(list, whole.block) {
		whole.confidence = oneVoice
	}
	least := maxBlock / 2
	if found {
		least = (int(whole.block[1]) - int(whole.block[0]) + 1) / outlying
	}
	nets := networks(list)
	nets = nets[:min(len(nets), maxAsked)]
	best, size := whole, 0
	for set := range 1 << len(nets) {
		n := bits.OnesCount(uint(set))
		if 2*n <= len(nets) || n == len(nets) || n < size {
			continue
		}
		f, ok := blockOf(seenBy(list, nets, set), least)
		if !ok || n == size && int(f.block[1])-int(f.block[0]) >= int(best.block[1])-int(best.block[0]) {
			continue
		}
		f.confidence = min(f.confidence, oneVoice, margin(n, len(nets)))
		best, size = f, n
	}
	return best, found || size > 0
}

// seenBy returns the samples of a set of networks, one bit for each.
func seenBy(list []sample, nets []netip.Prefix, set int) (part []sample) {
	for _, s := range list {
		if i := slices.Index(nets, s.prefix); i >= 0 && set>>i&1 == 1 {
			part = append(part, s)
		}
	}
	return part
}

// stable reports whether a block does not hang on one network's word.
func stable(list []sample, block [2]uint16) bool {
	nets := networks(list)
	for i := range nets {
		f, ok := blockOf(seenBy(list, nets, 1<<len(nets)-1-1<<i), maxBlock)
		if !ok || f.block != block {
			return false
		}
	}
	return true
}

// blockOf estimates the block that ports were drawn from: the smallest aligned
// power of two that holds them, unless that is much larger than they suggest;
// then their range and what probably lies beside it. With k ports of an aligned
// block the first is right but once in 2^(k-1) times; the second is the German
// tank estimate, range·(k+1)/(k-1).
func blockOf(list []sample, most int) (portFinding, bool) {
	if len(list) < minSamples {
		return portFinding{}, false
	}
	low, high := bounds(list)
	k := distinct(list)
	if k < minSamples {
		return portFinding{}, false
	}
	size := float64(high-low+1) * float64(k+1) / float64(k-1)
	if size > float64(most) {
		return portFinding{}, false
	}
	f := portFinding{rule: BlockPorts, confidence: min(confident(list), oneVoice)}
	if first, n, ok, alone := aligned(int(low), int(high)); ok && float64(n) <= tooTight*size {
		f.block = [2]uint16{uint16(first), uint16(first + n - 1)}
		f.why = fmt.Sprintf("%d ports fell into the %d from %d on", k, n, first)
		if alone && k >= blockSamples-4 {
			f.confidence = confident(list)
		}
		return f, true
	}
	pad := int(high-low) / (k - 1)
	f.block = [2]uint16{uint16(max(1, int(low)-pad)), uint16(min(65535, int(high)+pad))}
	f.why = fmt.Sprintf("%d ports fell between %d and %d", k, low, high)
	return f, true
}

func bounds(list []sample) (low, high uint16) {
	low = 65535
	for _, s := range list {
		low, high = min(low, s.out.Port()), max(high, s.out.Port())
	}
	return low, high
}

func distinct(list []sample) int {
	var ports []uint16
	for _, s := range list {
		if !slices.Contains(ports, s.out.Port()) {
			ports = append(ports, s.out.Port())
		}
	}
	return len(ports)
}

// aligned returns the smallest power-of-two block that holds low to high,
// aligned to the first port that NATs give out or to 0. alone is false when
// both hold them, in different blocks.
func aligned(low, high int) (first, n int, ok, alone bool) {
	for n = 16; n <= maxBlock; n *= 2 {
		fits := 0
		for _, base := range [...]int{0, lowPort} {
			at := base + (low-base)/n*n
			if low < base || high >= at+n || at+n > 1<<16 || fits > 0 && at == first {
				continue
			}
			first = at
			fits++
		}
		if fits > 0 {
			return first, n, true, fits == 1
		}
	}
	return 0, 0, false, false
}
