// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// SharedKey returns a key that both sides derive from what they told each other
// to probe them by: nobody else knows both.
func SharedKey(one, other Cred) (key [32]byte) {
	if bytes.Compare(one.Tag[:], other.Tag[:]) < 0 {
		one, other = other, one
	}
	h := hmac.New(sha256.New, append(one.Key[:len(one.Key):len(one.Key)], other.Key[:]...))
	h.Write([]byte("p2pos punch v1"))
	h.Write(one.Tag[:])
	h.Write(other.Tag[:])
	h.Sum(key[:0])
	return key
}

// What two sides agree on.
const (
	agreedChoice = "choice" // the ports a side binds on a NAT that keeps them
	agreedBurst  = "burst"  // the port of a side's block that the other aims at
	agreedOrder  = "order"  // in which a side's ports are tried
)

// agreement gives both sides the same values without a message.
type agreement struct {
	key   [32]byte
	first bool // our tag is the larger one: which of the two "mine" is
}

func newAgreement(mine, theirs Cred) agreement {
	return agreement{key: SharedKey(mine, theirs), first: bytes.Compare(mine.Tag[:], theirs.Tag[:]) > 0}
}

// value returns a number for one side and purpose; mine says whose.
func (a agreement) value(what string, mine bool) uint64 {
	h := hmac.New(sha256.New, a.key[:])
	h.Write([]byte(what))
	side := byte(2)
	if mine == a.first {
		side = 1
	}
	h.Write([]byte{0, side})
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// choice returns the k-th port to bind on one side; the first choices are
// different wherever r has that many.
func (a agreement) choice(r Range, k int, mine bool) uint16 {
	size := uint64(r.Size())
	if size == 0 {
		return 0
	}
	stride := size / choices
	return r.First + uint16((a.value(agreedChoice, mine)%size+uint64(k%choices)*stride)%size)
}

// burst returns the port of one side's block that a burst is aimed at.
func (a agreement) burst(r Range, mine bool) uint16 {
	if r.Size() == 0 {
		return 0
	}
	return r.First + uint16(a.value(agreedBurst, mine)%uint64(r.Size()))
}

// walk goes through ports in an order that looks random and repeats none: first
// the ahead ones after a counter, then each range in turn, and again from the
// first. The order within a range is add, add+mul, add+2·mul, … modulo its size.
type walk struct {
	from   uint16 // the counter as last seen
	step   int
	ahead  int
	ranges [2]Range
	mul    [2]uint32
	add    [2]uint32
	stage  int // −1 ahead, else the range
	i      int
}

func newWalk(from uint16, step, ahead int, ranges [2]Range, order uint64) walk {
	w := walk{from: from, step: step, ahead: ahead, ranges: ranges, stage: -1}
	if ranges[1] == ranges[0] {
		w.ranges[1] = Range{}
	}
	if from == 0 || step == 0 {
		w.ahead = 0
	}
	for k, r := range w.ranges {
		if n := uint32(r.Size()); n > 0 {
			w.add[k] = uint32(order>>8) % n
			// Golden-section strides spread the first tries evenly; the
			// order's low bits make them differ from pair to pair.
			w.mul[k] = uint32(0.618*float64(n)) + uint32(order&0xff)
			for gcd(w.mul[k], n) != 1 {
				w.mul[k]++
			}
		}
	}
	return w
}

func gcd(a, b uint32) uint32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// next returns the next port; false when there is none at all.
func (w *walk) next() (uint16, bool) {
	for range 3 {
		if w.stage < 0 {
			if w.i < w.ahead {
				w.i++
				return onCounter(w.from, w.step*w.i, w.bounds()), true
			}
			w.stage, w.i = 0, 0
		}
		for w.stage < len(w.ranges) {
			k := w.stage
			n := uint32(w.ranges[k].Size())
			for uint32(w.i) < n {
				at := (uint64(w.add[k]) + uint64(w.i)*uint64(w.mul[k])) % uint64(n)
				w.i++
				port := w.ranges[k].First + uint16(at)
				if k == 0 || !w.ranges[0].Has(port) {
					return port, true
				}
			}
			w.stage, w.i = w.stage+1, 0
		}
		w.stage = 0
	}
	return 0, false
}

func (w *walk) bounds() Range {
	if w.ranges[0].Size() > 0 {
		return w.ranges[0]
	}
	return fullRange()
}

// onCounter returns the port by places after from, within r, around its end.
func onCounter(from uint16, by int, r Range) uint16 {
	n := r.Size()
	if n == 0 {
		return 0
	}
	at := (int(from) - int(r.First) + by) % n
	if at < 0 {
		at += n
	}
	return r.First + uint16(at)
}
