// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"encoding/binary"
	"time"
)

// An RTCP congestion control feedback packet about one stream (RFC 8888 §3.1):
//
//	V=2 P=0 FMT=11 | PT=205 | length(16)
//	SSRC of the reporter(32)
//	SSRC of the stream(32)
//	first sequence number(16) | count(16)
//	for each packet: received(1) ECN(2) how long before the report it came(13), in 1/1024 s
//	16 zero bits if count is odd
//	time of the report(32), in 1/65536 s
const (
	// MaxReceipts bounds the packets one report tells of, five seconds' worth:
	// after a longer pause the oldest are of no use.
	MaxReceipts = 256
	// MaxReceiptsSize is the longest report.
	MaxReceiptsSize = 20 + 2*MaxReceipts

	// ReceiptsType and ReceiptsFormat tell it from other RTCP.
	ReceiptsType   = 205
	ReceiptsFormat = 11

	receiptSlots = 512 // a power of two above MaxReceipts and reordering
	// receiptAgain is how many packets before the last report are told again:
	// they may have come late.
	receiptAgain = 16

	offsetUnit    = time.Second / 1024
	offsetMost    = 0x1ffd // 8 s
	offsetTooOld  = 0x1ffe
	offsetUnknown = 0x1fff

	// A queue that grows by so much since the last report is told at once, at
	// most so often and of so many packets: it takes half a second to fill.
	receiptRise  = 25 * time.Millisecond
	receiptSoon  = 200 * time.Millisecond
	receiptLeast = 5
)

// Arrivals remembers when packets came and tells the sender (RFC 8888), which
// reads from it loss, bursts and queues. The zero value is ready. It is pure and
// needs authenticated packets without repeats.
type Arrivals struct {
	begun   bool
	epoch   time.Time
	first   int64 // extended
	high    int64
	slots   [receiptSlots]receiptSlot
	told    int64 // highest of the last report, and of the one before
	before  int64
	toldAt  time.Duration
	fresh   int // packets since
	smooth  time.Duration
	atTold  time.Duration // smooth at the last report
	baseTS  int64
	lastTS  uint32
	stamped bool
}

type receiptSlot struct {
	seq int64 // extended and never 0
	at  time.Duration
}

// Receive notes a packet.
func (a *Arrivals) Receive(now time.Time, seq uint16, ts uint32) {
	at := a.note(now, seq)
	if a.stamped {
		a.baseTS += int64(int32(ts - a.lastTS))
	}
	a.lastTS = ts
	transit := at - toDuration(a.baseTS)
	if jump := transit - a.smooth; !a.stamped || jump > time.Second || jump < -time.Second {
		a.stamped, a.smooth, a.atTold = true, transit, transit // new timestamps
	}
	a.smooth += (transit - a.smooth) / 4
}

// Event notes a packet beside the sound, whose timestamp says nothing about its
// way.
func (a *Arrivals) Event(now time.Time, seq uint16) { a.note(now, seq) }

// note notes a packet's arrival and returns when that was.
func (a *Arrivals) note(now time.Time, seq uint16) (at time.Duration) {
	if !a.begun {
		a.begun, a.epoch = true, now
		a.restart(seq)
	}
	at = now.Sub(a.epoch)
	n := a.high + int64(int16(seq-uint16(a.high)))
	if n > a.high+maxDropout || n < a.high-receiptSlots/2 {
		a.restart(seq)
		n = a.high
	}
	a.slots[n&(receiptSlots-1)] = receiptSlot{n, at}
	a.high = max(a.high, n)
	a.fresh++
	return at
}

func (a *Arrivals) restart(seq uint16) {
	a.high = int64(seq) + 1<<16
	a.first, a.told, a.before = a.high, a.high-1, a.high-1
	a.slots = [receiptSlots]receiptSlot{}
	a.stamped = false
}

// Urgent says whether a queue is building up that the sender should know of now.
func (a *Arrivals) Urgent(now time.Time) bool {
	return a.fresh >= receiptLeast && a.smooth-a.atTold > receiptRise && now.Sub(a.epoch)-a.toldAt >= receiptSoon
}

// Append appends the report to dst; nothing when nothing new has come. Packets
// of the report before are told again, so that losing one report loses nothing.
func (a *Arrivals) Append(now time.Time, dst []byte, reporter, stream uint32) []byte {
	if a.fresh == 0 {
		return dst
	}
	at := now.Sub(a.epoch)
	begin := max(a.before+1-receiptAgain, a.first, a.high-MaxReceipts+1)
	count := int(a.high - begin + 1)
	words := 4 + (count+1)/2
	dst = append(dst, 2<<6|ReceiptsFormat, ReceiptsType)
	dst = binary.BigEndian.AppendUint16(dst, uint16(words))
	dst = binary.BigEndian.AppendUint32(dst, reporter)
	dst = binary.BigEndian.AppendUint32(dst, stream)
	dst = binary.BigEndian.AppendUint16(dst, uint16(begin))
	dst = binary.BigEndian.AppendUint16(dst, uint16(count))
	for n := begin; n <= a.high; n++ {
		var v uint16
		if s := a.slots[n&(receiptSlots-1)]; s.seq == n {
			age := (at - s.at) / offsetUnit
			if age > offsetMost {
				age = offsetTooOld
			}
			v = 1<<15 | uint16(max(age, 0))
		}
		dst = binary.BigEndian.AppendUint16(dst, v)
	}
	if count%2 != 0 {
		dst = append(dst, 0, 0)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(at/time.Second)<<16|uint32(at%time.Second*65536/time.Second))
	a.before, a.told = a.told, a.high
	a.toldAt, a.atTold, a.fresh = at, a.smooth, 0
	return dst
}

// Receipts is a report as the sender reads it.
type Receipts struct {
	Begin uint16 // sequence number of the first packet
	list  []byte
	time  uint32
}

// ParseReceipts reads the report about one stream out of an RTCP packet. Blocks
// about others are skipped. The error is a *PayloadError.
func ParseReceipts(b []byte, stream uint32) (r Receipts, err error) {
	bad := func() error { return &PayloadError{Len: len(b), What: "not a congestion report (RFC 8888)"} }
	if len(b) < 20 || len(b)%4 != 0 || b[0] != 2<<6|ReceiptsFormat || b[1] != ReceiptsType ||
		int(binary.BigEndian.Uint16(b[2:]))*4+4 != len(b) {
		return r, bad()
	}
	end := len(b) - 4
	found := false
	for at := 8; at < end; {
		if end-at < 8 {
			return Receipts{}, bad()
		}
		count := int(binary.BigEndian.Uint16(b[at+6:]))
		size := 8 + (count+1)/2*4
		if size > end-at {
			return Receipts{}, bad()
		}
		if binary.BigEndian.Uint32(b[at:]) == stream && count <= MaxReceipts && !found {
			found = true
			r = Receipts{
				Begin: binary.BigEndian.Uint16(b[at+4:]),
				list:  b[at+8 : at+8+2*count],
				time:  binary.BigEndian.Uint32(b[end:]),
			}
		}
		at += size
	}
	if !found {
		return Receipts{}, bad()
	}
	return r, nil
}

// Len returns how many packets the report tells of.
func (r *Receipts) Len() int { return len(r.list) / 2 }

// At returns whether packet Begin+i had come, and when by the reporter's clock
// in units of 1/65536 s, which wraps; timed is false when it came too long ago.
func (r *Receipts) At(i int) (arrival uint32, timed, received bool) {
	v := binary.BigEndian.Uint16(r.list[2*i:])
	offset := uint32(v & 0x1fff)
	return r.time - offset*64, offset < offsetTooOld, v&0x8000 != 0
}
