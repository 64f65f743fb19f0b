// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"strconv"
	"time"
)

// Action says what a TraceEvent is about.
type Action uint8

// The actions. From, To, Size and Data of a TraceEvent describe the datagram
// with the addresses it carries there and then; of a mapping, From is the
// inside and To the outside.
const (
	Sent      Action = iota + 1 // a datagram left a socket
	Delivered                   // it reached one
	Dropped                     // it did not, see Reason
	Mapped                      // a box opened a mapping
	Unmapped                    // a mapping ended
	Changed                     // someone cut, mended, moved or rebooted something, see Note
)

var actionNames = [...]string{"?", "sent", "delivered", "dropped", "mapped", "unmapped", "changed"}

// String returns the action's name.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return actionNames[0]
}

// Reason says why a datagram was dropped.
type Reason uint8

// The reasons.
const (
	Noise      Reason = iota + 1 // the profile's Loss
	TooBig                       // larger than the link's MTU
	QueueFull                    // the link's Rate, or a Conn's receive queue
	LinkDown                     // the cable is pulled
	NoRoute                      // nobody has that address here
	NoListener                   // nothing on that port
	NoMapping                    // the box knows nothing of that port
	Filtered                     // the box has a mapping, but not for this sender
	NoHairpin                    // to the box's own address from inside
	NoPorts                      // the box has no port left
	OverQuota                    // the inside host has used up its mappings
	TableFull                    // the box has no memory left
	Overflow                     // the world has: too many events
	reasons
)

var reasonNames = [...]string{
	"", "noise", "too big", "queue full", "link down", "no route", "no listener",
	"no mapping", "filtered", "no hairpin", "no ports", "over quota", "table full", "overflow",
}

// String returns the reason's name, empty for none.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "?"
}

// TraceEvent is one thing that happened in a world.
type TraceEvent struct {
	At     time.Time
	Action Action
	Reason Reason // of Dropped
	Where  string // the host or box it happened at
	Packet uint64 // counts datagrams sent; copies and translations keep the number. 0 = not about one
	From   netip.AddrPort
	To     netip.AddrPort
	Size   int    // bytes of payload
	Data   []byte // the payload, valid during the call only
	Note   string // of Changed
}

// String returns the event in one line, without its payload.
func (e TraceEvent) String() string { return string(e.AppendTo(nil)) }

// AppendTo appends what String returns to b.
func (e TraceEvent) AppendTo(b []byte) []byte {
	b = e.At.UTC().AppendFormat(b, "15:04:05.000000000 ")
	b = append(b, e.Where...)
	b = append(b, ' ')
	b = append(b, e.Action.String()...)
	switch e.Action {
	case Changed:
		return append(append(b, ' '), e.Note...)
	case Mapped, Unmapped:
		b = e.From.AppendTo(append(b, ' '))
		return e.To.AppendTo(append(b, " as "...))
	}
	b = strconv.AppendUint(append(b, " #"...), e.Packet, 10)
	b = e.From.AppendTo(append(b, ' '))
	b = e.To.AppendTo(append(b, " > "...))
	b = strconv.AppendInt(append(b, ' '), int64(e.Size), 10)
	b = append(b, " bytes"...)
	if e.Reason != 0 {
		b = append(append(b, ": "...), e.Reason.String()...)
	}
	return b
}

// Trace hands every event from now on to f, in order; nil stops it. f must not
// change the world nor, in a driven one, call its Net or Conns.
func (w *World) Trace(f func(TraceEvent)) { w.trace = f }

// Digest returns a tracer and a function that returns the hash of everything
// traced so far, payloads included: two runs are the same when their sums are.
func Digest() (trace func(TraceEvent), sum func() uint64) {
	h := fnv.New64a()
	var line []byte
	return func(e TraceEvent) {
		line = e.AppendTo(line[:0])
		line = binary.BigEndian.AppendUint32(line, uint32(len(e.Data)))
		h.Write(line)
		h.Write(e.Data)
	}, h.Sum64
}

// Stats counts what happened since the world began.
type Stats struct {
	Sent, Delivered uint64
	Dropped         [reasons]uint64 // by Reason
}

// Stats returns the world's counts.
func (w *World) Stats() Stats { return w.stats }

func (w *World) tracePacket(a Action, where string, p *packet) {
	if w.trace == nil {
		return
	}
	w.trace(TraceEvent{
		At: w.Now(), Action: a, Where: where,
		Packet: p.id, From: p.from, To: p.to, Size: len(p.b), Data: p.b,
	})
}

// drop ends a datagram's life.
func (w *World) drop(where string, p *packet, why Reason) {
	w.stats.Dropped[why]++
	if w.trace != nil {
		w.trace(TraceEvent{
			At: w.Now(), Action: Dropped, Reason: why, Where: where,
			Packet: p.id, From: p.from, To: p.to, Size: len(p.b), Data: p.b,
		})
	}
	w.recycle(p)
}

func (w *World) traceChange(where, note string) {
	if w.trace != nil {
		w.trace(TraceEvent{At: w.Now(), Action: Changed, Where: where, Note: note})
	}
}
