// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// lossy sends speech with copies at distances through a loss of bursts, and
// returns the share of frames not heard.
func lossy(t *testing.T, c PlayoutConfig, count int, d Distances, loss, burst float64) (missing float64, p *Playout) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	p = NewPlayout(c)
	var f Frame
	buf := make([]byte, 0, MaxPayload)
	last, bad := -1, false
	heard := 0
	for i := range count {
		if bad {
			bad = rng.Float64() > 1/burst
		} else {
			bad = rng.Float64() < loss/(1-loss)/burst
		}
		now := start.Add(even(i))
		if !bad || i == 0 {
			var list []Copy
			for _, k := range d[:d.Len()] {
				if int(k) <= i {
					list = append(list, Copy{Offset: uint32(k) * 960, Payload: speech(i - int(k))})
				}
			}
			h := rtp.Header{SequenceNumber: uint16(i), Timestamp: uint32(i) * 960}
			p.PushRedundant(now, &h, speech(i), list)
		}
		if ready, ok := p.Ready(now); !ok || now.Before(ready) {
			continue
		}
		p.Pop(now, &f, buf)
		checkPlayout(t, p, now)
		if len(f.Payload) > 0 {
			id := int(f.Payload[1])<<8 | int(f.Payload[2])
			if id <= last {
				t.Fatalf("frame %d after %d", id, last)
			}
			last = id
			heard++
		}
	}
	return 1 - float64(heard)/float64(count), p
}

// TestCopiesRestore: copies at good distances fill the holes, as far as the
// arithmetic of independent losses says.
func TestCopiesRestore(t *testing.T) {
	for _, tt := range []struct {
		d           Distances
		loss, burst float64
		most        float64
	}{
		{Distances{}, 0.20, 1.25, 0.23},
		{Distances{1}, 0.20, 1.25, 0.055},
		{Distances{1, 2}, 0.20, 1.25, 0.02},
		{Distances{1, 2}, 0.30, 1.43, 0.04},
		{Distances{2, 5}, 0.20, 3, 0.05},
	} {
		got, p := lossy(t, PlayoutConfig{}, 20000, tt.d, tt.loss, tt.burst)
		if got > tt.most || got < tt.most/10 {
			t.Errorf("%v, loss %v in bursts of %v: %.3f not heard, want %v at most; %+v", tt.d, tt.loss, tt.burst, got, tt.most, p.Stats(start))
		}
		if want := time.Duration(tt.d.Far())*20*ms + 40*ms; p.Stats(start).Target > want {
			t.Errorf("%v: delay %v", tt.d, p.Stats(start).Target)
		}
	}
}

// TestCopiesOfNothingLost change nothing.
func TestCopiesOfNothingLost(t *testing.T) {
	_, p := lossy(t, PlayoutConfig{}, 1000, Distances{1, 2, 5}, 0, 1)
	if s := p.Stats(start); s.Restored > 0 || s.Concealed > 0 || s.Target != 20*ms {
		t.Errorf("%+v", s)
	}
}

// TestCopiesScenarios: where a copy is played, the packet it stands for is late
// and dropped, and a copy after its time is not played.
func TestCopiesScenarios(t *testing.T) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	var packets []packet
	for _, k := range say(0, 0, -1, 0, 0, 0, 0, 0, 0) {
		packets = append(packets, k)
	}
	var f Frame
	var heard []int
	push := func(k packet, list ...Copy) {
		p.PushRedundant(start.Add(k.at), &rtp.Header{SSRC: 1, SequenceNumber: k.seq, Timestamp: k.ts}, k.p, list)
	}
	pop := func(at time.Duration) {
		if p.Pop(start.Add(at), &f, nil); len(f.Payload) > 0 {
			heard = append(heard, int(f.Payload[2]))
		} else if f.Lost {
			heard = append(heard, -1)
		}
	}
	push(packets[0])
	push(packets[1])
	push(packets[2], // 3
		Copy{Offset: 960, Payload: speech(2)},
		Copy{Offset: 960, Payload: speech(77)},    // the same again
		Copy{Offset: 2 * 960, Payload: speech(1)}, // is there
		Copy{Offset: 0, Payload: speech(9)},
		Copy{Offset: 1 << 20, Payload: speech(9)},
		Copy{Offset: 480, Payload: []byte{3}})
	pop(60 * ms)
	pop(80 * ms)
	pop(100 * ms) // the copy of 2
	push(packet{110 * ms, 2, 2 * 960, 1, speech(2)})
	pop(120 * ms)
	if want := []int{0, 1, 2, 3}; len(heard) != 4 || heard[2] != want[2] || heard[3] != want[3] {
		t.Errorf("heard %v, want %v", heard, want)
	}
	if s := p.Stats(start); s.Restored != 1 || s.Late != 1 || s.Concealed != 0 || s.Played != 3 {
		t.Errorf("%+v", s)
	}
}

// TestCopiesBeforeSilence: what the sender left out behind a restored frame is
// silence, not loss.
func TestCopiesBeforeSilence(t *testing.T) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	for _, i := range []int{0, 1, 5} { // 2 is lost, 3 and 4 were never sent
		h := rtp.Header{SequenceNumber: uint16(min(i, 3)), Timestamp: uint32(i) * 960}
		var list []Copy
		if i == 5 {
			list = []Copy{{Offset: 3 * 960, Payload: speech(2)}}
		}
		p.PushRedundant(start.Add(even(i)), &h, speech(i), list)
	}
	var f Frame
	for i := range 6 {
		p.Pop(start.Add(even(i)+60*ms), &f, nil)
		if quiet := i == 3 || i == 4; f.Lost || quiet != (len(f.Payload) == 0) {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
}

// lbrr is a SILK packet of 20 ms that carries in-band FEC: VAD and LBRR flag set.
func lbrr(id int) []byte { return []byte{0x08, 0xc0, byte(id), 0x55} }

func TestHasFEC(t *testing.T) {
	for _, tt := range []struct {
		p    []byte
		want bool
	}{
		{lbrr(1), true},
		{[]byte{0x08, 0x80, 1, 2}, false},                  // VAD alone
		{[]byte{0x0c, 0x80, 1, 2}, false},                  // stereo
		{[]byte{0x0c, 0x90, 1, 2}, true},                   // stereo, the side channel
		{[]byte{0x10, 0x20, 1, 2}, true},                   // 40 ms: two VAD flags
		{[]byte{0x10, 0xc0, 1, 2}, false},                  //
		{[]byte{0x18, 0x10, 1, 2}, true},                   // 60 ms
		{[]byte{0xf8, 0xff, 1, 2}, false},                  // CELT
		{[]byte{0x78, 0x40, 1, 2}, true},                   // hybrid
		{[]byte{0x08}, false}, {[]byte{0x08, 0x40}, false}, // DTX
		{[]byte{0x0a, 2, 0x40, 1, 0x00, 1}, true},       // code 2
		{[]byte{0x0a, 9, 0x40, 1}, false},               // cut
		{[]byte{0x0b, 0x81, 0x40, 1, 1}, true},          // code 3, one frame, VBR
		{[]byte{0x0b, 0x42, 1, 0x40, 1, 1, 1, 0}, true}, // padded
		{nil, false},
	} {
		if got := HasFEC(tt.p); got != tt.want {
			t.Errorf("% x: %v", tt.p, got)
		}
	}
}

// TestPlayoutFEC: the frame before a packet with in-band FEC comes with it, and
// what the reader restores counts as heard.
func TestPlayoutFEC(t *testing.T) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	for i := range 6 {
		if i != 2 && i != 3 {
			p.Push(start.Add(even(i)), &rtp.Header{SequenceNumber: uint16(i), Timestamp: uint32(i) * 960}, lbrr(i))
		}
	}
	var f Frame
	buf := make([]byte, 0, MaxPayload)
	for i := range 6 {
		p.Pop(start.Add(even(i)+60*ms), &f, buf)
		if lost := i == 2 || i == 3; f.Lost != lost || lost != (len(f.Payload) == 0) || (i == 3) != (string(f.FEC) == string(lbrr(4))) {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
	p.Recovered(960)
	if s := p.Stats(start); s.Concealed != 960 || s.FEC != 960 {
		t.Errorf("%+v", s)
	}
	p.Recovered(1 << 30)
	if s := p.Stats(start); s.Concealed != 0 || s.FEC != 1920 {
		t.Errorf("%+v", s)
	}
}

func FuzzHasFEC(f *testing.F) {
	f.Add(lbrr(3))
	f.Add([]byte{0x0b, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) { HasFEC(b) })
}
