// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"encoding/binary"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxFlows bounds a Forwarder: eight times the calls that one core is
	// asked to carry in the benchmarks, 1 MiB.
	MaxFlows = 4096

	// burst is what a flow may send at once beyond its rate: the first flight
	// of a QUIC handshake (RFC 9002 §7.2: ten packets) with our header.
	burst = 10 * (1200 + 2*HeaderLen)

	// promisedBurst is the part of it that is always there: two packets, so
	// that jitter costs a call nothing, and all flows together little.
	promisedBurst = 2 * (1200 + 2*HeaderLen)

	// totalBurst is what all flows together may send at once: four of them
	// that start at the same moment.
	totalBurst = 4 * burst
)

// ErrFlow reports a flow that can't be opened: its label is taken on that
// link, it has no end elsewhere, or MaxFlows are open.
var ErrFlow = errors.New("relay: flow cannot be opened")

// End is one end of a flow: a neighbour as the caller names it, usually a
// *sock.Peer, and the label on the link to it. The zero Peer stands for this
// node itself.
type End[P comparable] struct {
	Peer  P
	Label Label
}

// Rates says how much a flow may carry, each way, in bits of UDP payload a
// second, the frame's header included.
type Rates struct {
	Promised int64 // always there, whatever the other flows send
	Peak     int64 // while the node's total allows it; the larger of both counts
	Nested   bool  // inner datagrams may be relayed frames themselves
}

// Usage is what a flow has carried.
type Usage struct {
	Last       time.Duration // when the last frame was forwarded; 0 = none yet
	Frames     uint64        // forwarded, both ways
	AtoB, BtoA uint64        // bytes forwarded
	Refused    uint64        // frames over the rate
}

// half is one direction of a flow, found by the end it comes from.
type half[P comparable] struct {
	to     End[P]
	back   *half[P] // the other direction; nil when the other end is this node: then nothing is limited
	nested bool

	promised, peak bucket
	frames, bytes  atomic.Uint64
	refused        atomic.Uint64
	last           atomic.Int64
}

// The reasons for which a Forwarder drops a frame.
const (
	dropMalformed = iota
	dropUnknown
	dropNested
	dropRate
	numDrops
)

// Forwarder carries frames between the links of this node. Forward may be
// called from any number of goroutines, and takes no lock: the table of flows
// is replaced, never changed. So may all other methods.
type Forwarder[P comparable] struct {
	table atomic.Pointer[map[End[P]]*half[P]]
	total bucket
	drops [numDrops]atomic.Uint64

	mu   sync.Mutex                     // held while the table is replaced
	gone struct{ frames, bytes uint64 } // of closed flows
}

// NewForwarder returns one that carries rate bit/s at most, all flows and both
// ways together, beside what was promised to each.
func NewForwarder[P comparable](rate int64) *Forwarder[P] {
	f := &Forwarder[P]{}
	f.total.set(rate, max(totalBurst, int(min(rate, unlimited)/8/4))) // or 250 ms
	f.table.Store(&map[End[P]]*half[P]{})
	return f
}

// Open begins a flow between two ends. Frames from a.Peer with a.Label go to b,
// and back. With the zero b.Peer they end here, under their own label and with
// no limit but the bounds of Conn. The error is ErrFlow.
func (f *Forwarder[P]) Open(a, b End[P], r Rates) error {
	var own P
	f.mu.Lock()
	defer f.mu.Unlock()
	old := *f.table.Load()
	if a.Peer == own || a == b || old[a] != nil || b.Peer != own && old[b] != nil || len(old) > 2*MaxFlows-2 {
		return ErrFlow
	}
	table := make(map[End[P]]*half[P], len(old)+2)
	maps.Copy(table, old)
	there := newHalf(b, r)
	table[a] = there
	if b.Peer != own {
		back := newHalf(a, r)
		there.back, back.back = back, there
		table[b] = back
	}
	f.table.Store(&table)
	return nil
}

func newHalf[P comparable](to End[P], r Rates) *half[P] {
	h := &half[P]{to: to, nested: r.Nested}
	h.promised.set(r.Promised, promisedBurst)
	h.peak.set(max(r.Promised, r.Peak), burst)
	return h
}

// Close ends the flow with this end, either of the two.
func (f *Forwarder[P]) Close(end End[P]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := *f.table.Load()
	if old[end] == nil {
		return
	}
	table := maps.Clone(old)
	f.remove(table, end)
	f.table.Store(&table)
}

// Drop ends all flows of a neighbour.
func (f *Forwarder[P]) Drop(peer P) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := *f.table.Load()
	table := maps.Clone(old)
	for end := range old {
		if end.Peer == peer {
			f.remove(table, end)
		}
	}
	f.table.Store(&table)
}

// remove takes a flow out of a table that nobody else sees yet; f.mu is held.
func (f *Forwarder[P]) remove(table map[End[P]]*half[P], end End[P]) {
	h := table[end]
	if h == nil {
		return // gone with its other end
	}
	delete(table, end)
	f.gone.frames += h.frames.Load()
	f.gone.bytes += h.bytes.Load()
	if h.back != nil {
		f.remove(table, h.to)
	}
}

// Forward judges a frame that came from a neighbour and, when it may go on,
// puts the next link's label into it. The caller sends it to the neighbour
// that is returned, or with the zero P to this node's own Conn. now is any
// clock that only rises. Frames that name no flow of that neighbour, or exceed
// its rate, are dropped and counted. It allocates nothing.
func (f *Forwarder[P]) Forward(now time.Duration, from P, frame []byte) (to P, ok bool) {
	label, ok := LabelOf(frame)
	if !ok {
		f.drops[dropMalformed].Add(1)
		return to, false
	}
	h := (*f.table.Load())[End[P]{from, label}]
	if h == nil {
		f.drops[dropUnknown].Add(1)
		return to, false
	}
	if yes, ok := nested(frame); !ok || yes && !h.nested {
		f.drops[dropNested].Add(1)
		return to, false
	}
	if h.back != nil && !f.admit(now, h, len(frame)) {
		h.refused.Add(1)
		f.drops[dropRate].Add(1)
		return to, false
	}
	h.frames.Add(1)
	h.bytes.Add(uint64(len(frame)))
	h.last.Store(int64(now))
	if h.to.Peer != to { // else it is for this node, under the same label
		binary.BigEndian.PutUint32(frame[1:], uint32(h.to.Label))
	}
	return h.to.Peer, true
}

// admit draws a frame from the buckets: from what was promised to the flow if
// it is there, else from what the node has left, and always within the flow's
// peak. So nobody's flood costs another flow what it was promised.
func (f *Forwarder[P]) admit(now time.Duration, h *half[P], n int) bool {
	if !h.peak.take(now, n) {
		return false
	}
	if h.promised.take(now, n) {
		f.total.charge(now, n)
		return true
	}
	return f.total.take(now, n)
}

// Usage returns what the flow with this end has carried, and false when there
// is none. A is the end asked for.
func (f *Forwarder[P]) Usage(end End[P]) (u Usage, ok bool) {
	h := (*f.table.Load())[end]
	if h == nil {
		return u, false
	}
	u = Usage{
		Last: time.Duration(h.last.Load()), Frames: h.frames.Load(),
		AtoB: h.bytes.Load(), Refused: h.refused.Load(),
	}
	if b := h.back; b != nil {
		u.Last = max(u.Last, time.Duration(b.last.Load()))
		u.Frames += b.frames.Load()
		u.BtoA = b.bytes.Load()
		u.Refused += b.refused.Load()
	}
	return u, true
}

// Total returns what was forwarded since the start.
func (f *Forwarder[P]) Total() (frames, bytes uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	frames, bytes = f.gone.frames, f.gone.bytes
	for _, h := range *f.table.Load() {
		frames += h.frames.Load()
		bytes += h.bytes.Load()
	}
	return frames, bytes
}

// Flows returns how many directions of flows are open.
func (f *Forwarder[P]) Flows() int { return len(*f.table.Load()) }

// Dropped returns how many frames were dropped since the start, by reason;
// every reason is present. Reasons are words for people, not an interface.
func (f *Forwarder[P]) Dropped() map[string]uint64 {
	return map[string]uint64{
		"malformed frame": f.drops[dropMalformed].Load(),
		"no such flow":    f.drops[dropUnknown].Load(),
		"nested frame":    f.drops[dropNested].Load(),
		"over the rate":   f.drops[dropRate].Load(),
	}
}
