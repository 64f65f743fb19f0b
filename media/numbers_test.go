// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math/rand/v2"
	"testing"
	"time"
)

var numbersStart = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func TestNumbers(t *testing.T) {
	var n Numbers
	now := numbersStart
	for _, c := range []struct {
		rule    string
		begin   bool
		wait    time.Duration
		seq     uint16
		ts      uint32
		dropped bool
		want    uint16
		wantTS  uint32
	}{
		{rule: "the first is taken as it is", seq: 65534, ts: 100, want: 65534, wantTS: 100},
		{rule: "steps are kept", seq: 65535, ts: 3100, want: 65535, wantTS: 3100},
		{rule: "holes too, over the wrap", seq: 2, ts: 6100, want: 2, wantTS: 6100},
		{rule: "a late one fits its hole", seq: 1, ts: 6100, want: 1, wantTS: 6100},
		{rule: "no number twice", seq: 1, ts: 6100, dropped: true},
		{rule: "nor the newest", seq: 2, ts: 6100, dropped: true},
		{rule: "a jump needs a second", seq: 30000, ts: 9, dropped: true},
		{rule: "what goes on is no second", seq: 3, ts: 9100, want: 3, wantTS: 9100},
		{rule: "a jump", seq: 40000, ts: 5, dropped: true},
		{rule: "confirmed a second later: the numbers go on, and so does the time", wait: time.Second, seq: 40001, ts: 5, want: 4, wantTS: 99100},
		{rule: "of the new source steps are kept", seq: 40003, ts: 3005, want: 6, wantTS: 102100},
		{rule: "its late ones too", seq: 40002, ts: 1505, want: 5, wantTS: 100600},
		{rule: "another source is told", begin: true, wait: 10 * time.Millisecond, seq: 40003, ts: 77, want: 7, wantTS: 103000},
		{rule: "and goes on", seq: 40004, ts: 87, want: 8, wantTS: 103010},
	} {
		if c.begin {
			n.Begin()
		}
		now = now.Add(c.wait)
		p := Packet{Sequence: c.seq, Timestamp: c.ts}
		if ok := n.Next(now, VideoClockRate, &p); ok == c.dropped || ok && (p.Sequence != c.want || p.Timestamp != c.wantTS) {
			t.Errorf("%s: %t %d %d, want %d %d", c.rule, ok, p.Sequence, p.Timestamp, c.want, c.wantTS)
		}
	}
}

// Whatever is written, no number comes out twice within the life of a rollover
// counter: that is what keeps the cipher's nonces apart.
func TestNumbersNeverTwice(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var n Numbers
		used := map[int64]bool{}
		high, begun := int64(0), false
		seq := uint16(rng.Uint32())
		for i := range 20000 {
			switch rng.IntN(100) {
			case 0:
				n.Begin()
			case 1:
				seq = uint16(rng.Uint32())
			case 2, 3:
				seq -= uint16(rng.IntN(1500))
			default:
				seq += uint16(rng.IntN(4))
			}
			p := Packet{Sequence: seq, Timestamp: rng.Uint32()}
			if !n.Next(numbersStart.Add(time.Duration(i)*time.Millisecond), VideoClockRate, &p) {
				continue
			}
			if !begun {
				begun, high = true, int64(p.Sequence)+1<<16
			}
			// As srtp extends numbers (RFC 3711 §3.3.1).
			ext := high + int64(int16(p.Sequence-uint16(high)))
			if used[ext] {
				t.Fatalf("seed %d, packet %d: number %d again", seed, i, ext)
			}
			used[ext] = true
			high = max(high, ext)
		}
		if len(used) < 5000 {
			t.Errorf("seed %d: only %d of 20000 came through", seed, len(used))
		}
	}
}
