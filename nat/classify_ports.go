// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"net/netip"
	"slices"
)

const (
	// minSamples mappings say something of the rule, enoughSamples a good deal.
	minSamples    = 5
	enoughSamples = 10
	// maxStep bounds the steps of a sequence; known ones are 1, 2 and -1.
	maxStep = 1024
	// maxBlock is the largest block that is told from no block at all: 12 random
	// ports lie within it once in 300,000 times. Carriers give 128 to 16,384.
	maxBlock = 16384
	// lowPort is the first that NATs give out, so blocks are often aligned to it.
	lowPort = 1024
	// tooTight is how much larger than the samples suggest an aligned block may
	// be and still be believed in.
	tooTight = 1.5
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

// confident tells how far a sample of this size and from so many networks can
// be believed.
func confident(list []sample) float64 {
	var nets []netip.Prefix
	for _, s := range list {
		if !slices.Contains(nets, s.prefix) {
			nets = append(nets, s.prefix)
		}
	}
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
// be others'.
func sequentialRule(list []sample) (portFinding, bool) {
	list = slices.DeleteFunc(slices.Clone(list), func(s sample) bool { return s.order < 0 })
	slices.SortStableFunc(list, func(a, b sample) int { return a.order - b.order })
	var steps []int
	for i, s := range list {
		for _, o := range list[i+1:] {
			if o.out.Addr() == s.out.Addr() {
				steps = append(steps, int(o.out.Port())-int(s.out.Port()))
				break
			}
		}
	}
	most, step := 0, 0
	for _, d := range steps {
		n := 0
		for _, e := range steps {
			if e == d {
				n++
			}
		}
		if n > most && d != 0 && max(d, -d) <= maxStep {
			most, step = n, d
		}
	}
	// Four equal steps among eleven come up by chance once in 400,000 times
	// in a block of 512 ports.
	if most < 4 || 5*most < 2*len(steps) {
		return portFinding{}, false
	}
	f := portFinding{rule: Sequential, step: step, confidence: oneVoice,
		why: fmt.Sprintf("%d of %d ports came %+d after the one before", most, len(steps), step)}
	if 5*most >= 3*len(steps) {
		f.confidence = confident(list)
	}
	return f, true
}

// blockRule looks for a small range that all ports are from, or all but those
// that one network told, which may be lying.
func blockRule(list []sample) (portFinding, bool) {
	if f, ok := blockOf(list, maxBlock); ok {
		return f, true
	}
	var nets []netip.Prefix
	for _, s := range list {
		if slices.Contains(nets, s.prefix) {
			continue
		}
		nets = append(nets, s.prefix)
		rest := slices.DeleteFunc(slices.Clone(list), func(o sample) bool { return o.prefix == s.prefix })
		// Less is left to speak against chance, so the range must be smaller.
		if f, ok := blockOf(rest, maxBlock/2); ok && 2*len(rest) > len(list) {
			f.confidence = min(f.confidence, oneVoice)
			return f, true
		}
	}
	return portFinding{}, false
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
	if first, n, ok := aligned(int(low), int(high)); ok && float64(n) <= tooTight*size {
		f.block = [2]uint16{uint16(first), uint16(first + n - 1)}
		f.why = fmt.Sprintf("%d ports fell into the %d from %d on", k, n, first)
		if k >= blockSamples-4 {
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
// aligned to port 0 or to the first that NATs give out.
func aligned(low, high int) (first, n int, ok bool) {
	for n = 16; n <= maxBlock; n *= 2 {
		for _, base := range [...]int{0, lowPort} {
			if low < base {
				continue
			}
			first = base + (low-base)/n*n
			if last := first + n - 1; high <= last && last <= 65535 {
				return first, n, true
			}
		}
	}
	return 0, 0, false
}
