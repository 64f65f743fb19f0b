// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// TestPlayoutUnderLoss sends 20 s of speech through every mixture of loss,
// jitter, repeats and clock drift: whatever arrives, frames come out in order,
// each at most once, none that was not sent, and the buffer keeps its cap.
func TestPlayoutUnderLoss(t *testing.T) {
	for seed := range uint64(3) {
		for _, loss := range []float64{0, 0.05, 0.3} {
			for _, jitter := range []time.Duration{0, 20 * ms, 150 * ms, 800 * ms} {
				for _, drift := range []float64{-1e-3, 0, 1e-3} {
					rng := rand.New(rand.NewPCG(seed, 1))
					p := NewPlayout(PlayoutConfig{Target: 60 * ms})
					late := underLoss(t, rng, p, loss, jitter, drift)
					if t.Failed() {
						t.Fatalf("seed %d, loss %v, jitter %v, drift %v", seed, loss, jitter, drift)
					}
					// What the network brought within the cap is heard, but for
					// the few percent above the percentile and corrections.
					s := p.Stats(start)
					if missed := float64(s.Received-s.Duplicate-s.Played) / float64(s.Received-s.Duplicate); jitter <= 150*ms && missed > 0.08 {
						t.Errorf("seed %d, loss %v, jitter %v, drift %v: %.3f of the packets were not played: %+v", seed, loss, jitter, drift, missed, s)
					}
					if jitter == 0 && loss == 0 && (late > 100*ms || s.Concealed > 10*960) {
						t.Errorf("seed %d, drift %v: delay %v and %d samples concealed on a perfect net", seed, drift, late, s.Concealed)
					}
				}
			}
		}
	}
}

// underLoss returns how much later than possible the last packet was played.
func underLoss(t *testing.T, rng *rand.Rand, p *Playout, loss float64, jitter time.Duration, drift float64) (delay time.Duration) {
	const count = 1000
	type due struct {
		at time.Duration
		id int
	}
	base := uint32(rng.Uint32())
	seq := uint16(rng.Uint32())
	queue := make([][]int, 1<<15) // packets by the millisecond they arrive in
	for i := range count {
		if rng.Float64() < loss {
			continue
		}
		sent := time.Duration(float64(i) * 20e6 * (1 + drift))
		for range 1 + rng.IntN(20)/19 { // one in twenty comes twice
			at := sent
			if jitter > 0 {
				at += time.Duration(rng.Int64N(int64(jitter)))
			}
			queue[at/ms] = append(queue[at/ms], i)
		}
	}
	var f Frame
	buf := make([]byte, 0, MaxPayload)
	last, next, begun := -1, time.Duration(0), false
	for at := time.Duration(0); at < 19500*ms; at += ms {
		for _, i := range queue[at/ms] {
			h := rtp.Header{SequenceNumber: seq + uint16(i), Timestamp: base + uint32(i)*960}
			p.Push(start.Add(at), &h, speech(i))
		}
		if !begun {
			if ready, ok := p.Ready(start.Add(at)); !ok || start.Add(at).Before(ready) {
				continue
			}
			begun, next = true, at
		}
		for next <= at {
			p.Pop(start.Add(next), &f, buf)
			next += toDuration(int64(f.Samples))
			if len(f.Payload) == 0 {
				continue
			}
			id := int(f.Payload[1])<<8 | int(f.Payload[2])
			if id <= last {
				t.Errorf("at %v: frame %d after %d", at, id, last)
			}
			last = id
			delay = at - time.Duration(float64(id)*20e6*(1+drift))
		}
		if at%(20*ms) == 0 {
			checkPlayout(t, p, start.Add(at))
		}
		if t.Failed() {
			return
		}
	}
	return delay
}

// TestPlayoutTarget shows that the delay follows the jitter up at once and down
// slowly, and never beyond the cap.
func TestPlayoutTarget(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	var f Frame
	i := 0
	run := func(count int, jitter time.Duration) time.Duration {
		for range count {
			at := start.Add(time.Duration(i) * 20 * ms)
			d := time.Duration(0)
			if jitter > 0 {
				d = time.Duration(rng.Int64N(int64(jitter)))
			}
			p.Push(at.Add(d), &rtp.Header{SequenceNumber: uint16(i), Timestamp: uint32(i) * 960}, speech(i))
			p.Pop(at.Add(d), &f, nil)
			i++
		}
		return p.Stats(start).Target
	}
	if got := run(300, 0); got != 60*ms {
		t.Errorf("target %v without jitter, want 60 ms", got)
	}
	if got := run(100, 200*ms); got < 170*ms || got > 220*ms {
		t.Errorf("target %v after 2 s of 200 ms jitter", got)
	}
	if got := run(50, 0); got < 150*ms {
		t.Errorf("target %v a second after the jitter ended: fell too fast", got)
	}
	if got := run(600, 0); got != 60*ms {
		t.Errorf("target %v 13 s after the jitter ended, want 60 ms", got)
	}
	if got := run(300, 3*time.Second); got > playoutMax {
		t.Errorf("target %v under absurd jitter", got)
	}
}

func TestPlayoutConfig(t *testing.T) {
	tests := []struct {
		c           PlayoutConfig
		target, max time.Duration
	}{
		{PlayoutConfig{}, 20 * ms, 500 * ms},
		{PlayoutConfig{Target: -1, Max: -1}, 0, 500 * ms},
		{PlayoutConfig{Target: time.Hour, Max: time.Hour}, 460 * ms, 500 * ms},
		{PlayoutConfig{Target: 100 * ms, Max: 1}, 100 * ms, 160 * ms},
	}
	for _, tt := range tests {
		p := NewPlayout(tt.c)
		if p.delay.floor != tt.target || toDuration(p.max) != tt.max {
			t.Errorf("%+v: target %v, max %v; want %v, %v", tt.c, p.delay.floor, toDuration(p.max), tt.target, tt.max)
		}
	}
}

// TestPlayoutOutage: after 2 s without a packet the stream is taken up anew,
// with a fresh delay, and what an outage held back is not played late.
func TestPlayoutOutage(t *testing.T) {
	var packets []packet
	for i := range 1000 {
		at := time.Duration(i) * 20 * ms
		if at >= time.Second && at < 5*time.Second {
			at = 5 * time.Second // all at once
		}
		packets = append(packets, packet{at, uint16(i), uint32(i) * 960, 1, speech(i)})
	}
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	got := listen(t, p, packets, 20*time.Second)
	s := p.Stats(start.Add(20 * time.Second))
	if s.Buffer > 140*ms {
		t.Errorf("%v in the buffer 15 s after the outage: %s", s.Buffer, got)
	}
	if s.Dropped < 170 {
		t.Errorf("only %d packets of the outage were dropped: %s", s.Dropped, got)
	}
	// 2 s after the last packet Pop says that nothing is going on.
	if !strings.HasPrefix(got, "0-49 x*97 -*100 246-995") {
		t.Errorf("heard %s", got)
	}
}

// TestPlayoutSkipsSilenceFirst: when the delay is too long, holes and silence go
// before sound.
func TestPlayoutSkipsSilenceFirst(t *testing.T) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	var packets []packet
	for i := range 500 {
		k := packet{time.Duration(i) * 20 * ms, uint16(i), uint32(i) * 960, 1, speech(i)}
		if i >= 20 && i < 30 {
			k.at = 30 * 20 * ms // a stall of 200 ms lengthens the delay
		}
		if i >= 50 && i < 90 {
			k.p = []byte{0x08} // DTX
		}
		packets = append(packets, k)
	}
	got := listen(t, p, packets, 10*time.Second)
	s := p.Stats(start.Add(10 * time.Second))
	if s.Removed == 0 {
		t.Errorf("nothing was left out to shorten the delay: %s", got)
	}
	if !strings.Contains(got, " s*39 ") {
		t.Errorf("silence was not shortened when it came: %s", got)
	}
	if s.Late+s.Dropped > 0 {
		t.Errorf("a stall within the cap cost %d packets", s.Late+s.Dropped)
	}
	if last := 499*20*ms + 60*ms; s.Buffer > 100*ms {
		t.Errorf("still %v in the buffer at %v", s.Buffer, last)
	}
}

// TestPlayoutFreeze: half a second without packets, which then come at once; a
// reader of encoded frames is back at the delay from before within 2 s too.
func TestPlayoutFreeze(t *testing.T) {
	p := NewPlayout(PlayoutConfig{})
	var f Frame
	buf := make([]byte, 0, MaxPayload)
	var before, after time.Duration
	for i := range 400 {
		if now := start.Add(even(i)); i < 200 || i > 225 {
			h := headerFor(i)
			p.Push(now, &h, speech(i))
		} else if i == 225 {
			for k := 200; k <= 225; k++ {
				h := headerFor(k)
				p.Push(now, &h, speech(k))
			}
		}
		p.Pop(start.Add(even(i)), &f, buf)
		checkPlayout(t, p, start.Add(even(i)))
		late := even(i) - toDuration(p.next-(1<<32))
		switch i {
		case 199:
			before = late
		case 325:
			after = late
		}
	}
	if after > before+20*ms {
		t.Errorf("delay %v before the freeze, %v two seconds after", before, after)
	}
	if s := p.Stats(start); s.Late+s.Dropped > 2 {
		t.Errorf("%+v", s)
	}
}

// TestPlayoutSkipsHoles: while the delay is too long, a lost frame is skipped,
// not concealed.
func TestPlayoutSkipsHoles(t *testing.T) {
	d := every(230, 0)
	copy(d[210:], []time.Duration{120 * ms, 100 * ms, 80 * ms, 60 * ms, 40 * ms, 20 * ms}) // too few to matter to the target
	d[220] = -1
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	if got, want := listen(t, p, say(d...), 4680*ms), "0-209 x*3 211-219 221-229"; got != want {
		t.Errorf("heard %s\nwant  %s", got, want)
	}
	// 60 ms too long: one frame of sound at once, beside the stall, then the hole.
	if s := p.Stats(start); s.RemovedFor != 2*960 || s.Removed != 1 || s.Concealed != 3*960 {
		t.Errorf("%+v", s)
	}
}

// TestPlayoutRemovable: sound goes at intervals, silence at once, and the last
// packet never, because concealment would follow.
func TestPlayoutRemovable(t *testing.T) {
	for _, tt := range []struct {
		long     time.Duration
		buffered int
		since    int
		quiet    bool
		want     bool
	}{
		{31 * ms, 2, 25, false, true},
		{31 * ms, 2, 24, false, false},
		{61 * ms, 2, 10, false, true},
		{61 * ms, 2, 9, false, false},
		{31 * ms, 2, 0, true, true},
		{30 * ms, 2, 99, true, false},
		{time.Second, 1, 99, true, false},
	} {
		p := Playout{since: tt.since, stats: PlayoutStats{Buffered: tt.buffered}}
		if got := p.removable(tt.long, tt.quiet); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// TestPlayoutNobodyReads: packets that nobody pops keep to the cap.
func TestPlayoutNobodyReads(t *testing.T) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	for i := range 200 {
		now := start.Add(time.Duration(i) * 20 * ms)
		p.Push(now, &rtp.Header{SequenceNumber: uint16(i), Timestamp: uint32(i) * 960}, speech(i))
		checkPlayout(t, p, now)
	}
	if s := p.Stats(start); s.Buffered != 25 || s.Dropped != 175 {
		t.Errorf("%+v", s)
	}
	// After 2 s without a packet any numbers are taken, at once.
	p.Push(start.Add(7*time.Second), &rtp.Header{SequenceNumber: 30000, Timestamp: 5}, speech(1))
	if s := p.Stats(start); s.Buffered != 1 || s.Dropped != 200 || s.Resyncs != 0 {
		t.Errorf("after a silence: %+v", s)
	}
}

// TestPlayoutCounts: every fate has its own counter.
func TestPlayoutCounts(t *testing.T) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	packets := say(0, 0, -1, 0, 0, 0)
	packets = append(packets, packets[0], packets[3])                          // again, while buffered
	packets = append(packets, packet{150 * ms, 2, 2 * 960, 1, speech(2)})      // after its time
	packets = append(packets, packet{150 * ms, 1, 960, 1, speech(1)})          // again, after it was played
	packets = append(packets, packet{151 * ms, 9999, 0, 1, speech(9)})         // from nowhere
	packets = append(packets, packet{152 * ms, 6, 6 * 960, 1, []byte("\x03")}) // no Opus
	if got := listen(t, p, packets, 180*ms); got != "0-1 x 3-5" {
		t.Errorf("heard %s", got)
	}
	if s := p.Stats(start); s.Played != 5 || s.Late != 1 || s.Duplicate != 3 || s.Dropped != 1 || s.Malformed != 1 || s.Removed != 0 || s.Concealed != 960 || s.Events != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPlayoutOtherDurations(t *testing.T) {
	// 60 ms packets, TOC config 3 (SILK NB 60 ms); the third is lost: concealed
	// in three pieces.
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	var packets []packet
	for i := range 5 {
		if i != 2 {
			packets = append(packets, packet{time.Duration(i) * 60 * ms, uint16(i), uint32(i) * 2880, 1, []byte{0x18, 0, byte(i), 1}})
		}
	}
	if got := listen(t, p, packets, 360*ms); got != "0-1 x*3 3-4" {
		t.Errorf("60 ms packets: heard %s", got)
	}
	// 10 ms packets, the fourth is lost.
	p = NewPlayout(PlayoutConfig{Target: 60 * ms})
	packets = nil
	for i := range 12 {
		if i != 3 {
			packets = append(packets, packet{time.Duration(i) * 10 * ms, uint16(i), uint32(i) * 480, 1, []byte{0x00, 0, byte(i), 1}})
		}
	}
	if got := listen(t, p, packets, 180*ms); got != "0-2 x 4-11" {
		t.Errorf("10 ms packets: heard %s", got)
	}
}

func TestPlayoutRefusesGarbage(t *testing.T) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	long := make([]byte, MaxPayload+1)
	long[0] = 0x08
	for _, b := range [][]byte{nil, {}, {3}, {3, 0}, long} {
		p.Push(start, &rtp.Header{}, b)
	}
	if s := p.Stats(start); s.Malformed != 5 || s.Buffered != 0 {
		t.Errorf("%+v", s)
	}
	if _, ok := p.Ready(start); ok {
		t.Error("ready with nothing in it")
	}
}

func TestPlayoutAllocates(t *testing.T) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	payload := make([]byte, 80)
	payload[0] = 0x08
	buf := make([]byte, 0, MaxPayload)
	var h rtp.Header
	var f Frame
	i := 0
	step := func() {
		now := start.Add(time.Duration(i) * 20 * ms)
		h.SequenceNumber, h.Timestamp = uint16(i), uint32(i)*960
		p.Push(now, &h, payload)
		p.Pop(now, &f, buf)
		i++
	}
	for range 2 * playoutSlots {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if s := p.Stats(start); s.Played < 1000 {
		t.Errorf("only %d packets were played", s.Played)
	}
}

func BenchmarkPlayout(b *testing.B) {
	p := NewPlayout(PlayoutConfig{Target: 60 * ms})
	payload := make([]byte, 80)
	payload[0] = 0x08
	buf := make([]byte, 0, MaxPayload)
	var h rtp.Header
	var f Frame
	b.ReportAllocs()
	for i := range b.N {
		now := start.Add(time.Duration(i) * 20 * ms)
		h.SequenceNumber, h.Timestamp = uint16(i), uint32(i)*960
		p.Push(now, &h, payload)
		p.Pop(now, &f, buf)
	}
}

// FuzzPlayout reads its input as a script of packets, pops and waits. Nothing
// may panic, grow or come out of order.
func FuzzPlayout(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 200, 0, 200})
	f.Add([]byte{0, 1, 2, 3, 0x43, 100, 0x81, 0x85, 0xc0, 255, 0x41, 7, 0x80})
	f.Add([]byte("jump\xff\xff\xff\xffand\xfe\xfe\xfeback"))
	f.Fuzz(func(t *testing.T, script []byte) {
		p := NewPlayout(PlayoutConfig{Target: 60 * ms})
		now, popped := start, uint64(0)
		var h rtp.Header
		var fr Frame
		buf := make([]byte, 0, MaxPayload)
		take := func() byte {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return b
		}
		for len(script) > 0 {
			op := take()
			switch op >> 6 {
			case 0: // the packet after, with some duration
				h.SequenceNumber++
				b := []byte{op << 3, 1, 2}
				h.Timestamp += uint32(tocSamples(b[0]))
				p.Push(now, &h, b)
			case 1: // a jump
				h.SequenceNumber += uint16(int8(take())) * uint16(op&0x3f)
				h.Timestamp += uint32(int32(int8(take()))) << (op & 0x1f)
				h.SSRC ^= uint32(op & 1)
				p.Push(now, &h, []byte{take(), take(), 1, 1})
			case 2:
				playing := p.Pop(now, &fr, buf)
				if fr.Samples < minSamples || fr.Samples > maxPacketSamples {
					t.Fatalf("frame of %d samples", fr.Samples)
				}
				if len(fr.Payload) > 0 {
					if popped++; !playing || fr.Lost {
						t.Fatalf("sound in %+v", fr)
					}
				}
			case 3:
				now = now.Add(time.Duration(op&0x3f) * time.Duration(op&0x3f) * ms)
			}
			checkPlayout(t, p, now)
		}
		if s := p.Stats(now); s.Played != popped || s.Concealed+s.Silent > s.Samples {
			t.Fatalf("%d frames popped: %+v", popped, s)
		}
	})
}
