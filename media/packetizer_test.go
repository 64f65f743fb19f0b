// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math/rand/v2"
	"testing"

	"github.com/pion/rtp"
)

func TestPacketizer(t *testing.T) {
	sound, quiet := speech(1), []byte{0x08}
	tests := []struct {
		name string
		f    Frame
		step uint32 // from the packet before
		mark bool
	}{
		{"the first is marked", Frame{Payload: sound, Timestamp: 5000, Samples: 960}, 0, true},
		{"the next is not", Frame{Payload: sound, Timestamp: 5960, Samples: 960}, 960, false},
		{"the app may mark", Frame{Payload: sound, Timestamp: 6920, Samples: 960, Marker: true}, 960, true},
		{"duration from the packet", Frame{Payload: sound, Timestamp: 7880}, 960, false},
		{"after time not sent", Frame{Payload: sound, Timestamp: 9800, Samples: 960}, 1920, true},
		{"DTX", Frame{Payload: quiet, Timestamp: 10760, Samples: 960}, 960, false},
		{"DTX after a gap is no talkspurt", Frame{Payload: quiet, Timestamp: 20360, Samples: 960}, 9600, false},
		{"sound after DTX", Frame{Payload: sound, Timestamp: 21320, Samples: 960}, 960, true},
		{"an app that starts again at zero", Frame{Payload: sound, Timestamp: 0, Samples: 960}, 960, false},
		{"and counts on from there", Frame{Payload: sound, Timestamp: 960, Samples: 960}, 960, false},
		{"an app that does not count", Frame{Payload: sound, Timestamp: 960, Samples: 1920}, 960, false},
		{"nor now", Frame{Payload: sound, Timestamp: 960, Samples: 960}, 1920, false},
		{"a duration that cannot be", Frame{Payload: sound, Timestamp: 1920, Samples: 1 << 40}, 960, false},
		{"is bounded", Frame{Payload: sound, Timestamp: 2880, Samples: 960}, ClockRate, false},
	}
	p := NewPacketizer(0xabcd, 111, rand.New(rand.NewPCG(1, 2)))
	var before rtp.Header
	for i, tt := range tests {
		var h rtp.Header
		p.Next(tt.f, &h)
		if h.Marker != tt.mark {
			t.Errorf("%s: marker %v", tt.name, h.Marker)
		}
		if h.Version != 2 || h.SSRC != 0xabcd || h.PayloadType != 111 {
			t.Errorf("%s: %+v", tt.name, h)
		}
		if i > 0 && (h.SequenceNumber != before.SequenceNumber+1 || h.Timestamp != before.Timestamp+tt.step) {
			t.Errorf("%s: sequence step %d, timestamp step %d, want %d", tt.name, h.SequenceNumber-before.SequenceNumber, h.Timestamp-before.Timestamp, tt.step)
		}
		before = h
	}
}

// TestPacketizerStart: RFC 3550 §5.1 wants starts that cannot be guessed, and
// RFC 3711 §3.3.1 wants the first sequence number away from the wrap.
func TestPacketizerStart(t *testing.T) {
	seqs, times := map[uint16]bool{}, map[uint32]bool{}
	for i := range uint64(100) {
		var h rtp.Header
		p := NewPacketizer(1, 111, rand.New(rand.NewPCG(i, 0)))
		p.Next(Frame{Payload: speech(0), Samples: 960}, &h)
		if h.SequenceNumber >= 1<<15 {
			t.Errorf("first sequence number %d", h.SequenceNumber)
		}
		seqs[h.SequenceNumber], times[h.Timestamp] = true, true
	}
	if len(seqs) < 95 || len(times) < 95 {
		t.Errorf("%d sequence numbers and %d timestamps in 100 starts", len(seqs), len(times))
	}
}

func TestPacketizerWraps(t *testing.T) {
	p := NewPacketizer(1, 111, rand.New(rand.NewPCG(1, 2)))
	var h, before rtp.Header
	f := Frame{Payload: speech(0), Samples: 960, Timestamp: 1<<32 - 100*960}
	for i := range 70000 {
		p.Next(f, &h)
		if i > 0 && (h.SequenceNumber-before.SequenceNumber != 1 || h.Timestamp-before.Timestamp != 960 || h.Marker) {
			t.Fatalf("packet %d: %+v after %+v", i, h, before)
		}
		before = h
		f.Timestamp += 960
	}
}

func TestPacketizerAllocates(t *testing.T) {
	p := NewPacketizer(1, 111, rand.New(rand.NewPCG(1, 2)))
	f := Frame{Payload: speech(0)}
	var h rtp.Header
	if n := testing.AllocsPerRun(1000, func() { p.Next(f, &h) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
