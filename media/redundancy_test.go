// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"bytes"
	"testing"
)

// red sends frames through a Redundancy and returns the ids of the copies in
// each packet, oldest first.
func redIDs(t *testing.T, r *Redundancy, a Advice, from, to, samples, room int) (list [][]int) {
	t.Helper()
	for i := from; i < to; i++ {
		b, n := r.Append([]byte("x"), 111, uint32(i*samples), speech(i), a, room)
		var ids []int
		if n > 0 {
			var p RED
			if err := p.Parse(b[1:], 111); err != nil || !bytes.Equal(p.Primary, speech(i)) {
				t.Fatalf("frame %d: %v, %+v", i, err, p)
			}
			for _, c := range p.Copies() {
				id := int(c.Payload[1])<<8 | int(c.Payload[2])
				if int(c.Offset) != (i-id)*samples {
					t.Errorf("frame %d: copy of %d is %d samples away", i, id, c.Offset)
				}
				ids = append(ids, id)
			}
		} else if len(b) != 1 {
			t.Errorf("frame %d: % x without copies", i, b)
		}
		list = append(list, ids)
	}
	return list
}

func TestRedundancy(t *testing.T) {
	same := func(a, b []int) bool {
		if len(a) != len(b) {
			return false
		}
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	advice := Advice{FrameDuration: 20 * ms, RED: Distances{2, 5}}
	for _, tt := range []struct {
		name          string
		a             Advice
		samples, room int
		want          []int // of frame 20
	}{
		{"as advised", advice, 960, 1000, []int{15, 18}},
		{"none", Advice{FrameDuration: 20 * ms}, 960, 1000, nil},
		{"room for one", advice, 960, 1 + 4 + 4 + 4, []int{18}},
		{"room for none", advice, 960, 10, nil},
		{"frames of 10 ms", advice, 480, 1000, []int{10, 16}},
		{"frames of 60 ms", advice, 2880, 1000, []int{18, 19}},
		{"farther than anybody waits", Advice{FrameDuration: 60 * ms, RED: Distances{1, 9}}, 2880, 1000, []int{19}},
	} {
		var r Redundancy
		if got := redIDs(t, &r, tt.a, 0, 21, tt.samples, tt.room)[20]; !same(got, tt.want) {
			t.Errorf("%s: copies of %v, want %v", tt.name, got, tt.want)
		}
	}
	// At the start there is nothing to copy; silence is not copied, nor what is
	// older than a pause.
	var r Redundancy
	if got := redIDs(t, &r, advice, 0, 3, 960, 1000); len(got[0])+len(got[1]) > 2 || !same(got[2], []int{0}) {
		t.Errorf("at the start: %v", got)
	}
	for i := 3; i < 13; i++ {
		r.Append(nil, 111, uint32(i)*960, []byte(silence), advice, 1000)
	}
	if got := redIDs(t, &r, advice, 13, 14, 960, 1000)[0]; len(got) > 0 {
		t.Errorf("silence copied: %v", got)
	}
	// A datagram's worth goes alone.
	long := append(speech(1), make([]byte, MaxPayload-4)...)
	if b, n := r.Append(nil, 111, 14*960, long, advice, 1e6); n != 0 || len(b) != 0 {
		t.Errorf("a long frame with %d copies in %d bytes", n, len(b))
	}
}

func TestRedundancyAllocates(t *testing.T) {
	var r Redundancy
	a := Advice{FrameDuration: 20 * ms, RED: Distances{1, 3, 6}}
	buf := make([]byte, 0, 1200)
	payload := make([]byte, 80)
	payload[0] = 0x08
	i := 0
	step := func() {
		r.Append(buf, 111, uint32(i)*960, payload, a, 1000)
		i++
	}
	for range 2 * redKeep {
		step()
	}
	if n := testing.AllocsPerRun(200, step); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

// TestRateRoom: copies take what the target leaves and no more.
func TestRateRoom(t *testing.T) {
	r := NewRate()
	if r.Room(start) != 0 {
		t.Error("room before the first packet")
	}
	sent := 0
	for i := range 500 {
		now := start.Add(even(i))
		size := 60
		if r.Room(now) >= 200 {
			size = 200
		}
		r.Sent(now, uint16(i), size, false)
		sent += size + PacketOverhead
	}
	if got := float64(sent) * 8 / 10; got > rateStart*1.05 || got < rateStart*0.9 {
		t.Errorf("%.0f b/s of %d", got, rateStart)
	}
}
