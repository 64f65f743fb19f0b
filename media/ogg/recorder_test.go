// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media"
	codec "github.com/p2pos/p2pos/media/opus"
)

// sample returns the packets of one.
func sample(t testing.TB, name string) [][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for {
		b, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, slices.Clone(b))
	}
}

// split takes a recording of two tracks apart into ordinary packets.
func split(t testing.TB, file []byte) (left, right [][]byte) {
	t.Helper()
	if string(file[28:36]) != headMagic || string(file[28+18:28+23]) != "\x01\x02\x00\x00\x01" {
		t.Fatalf("header % x", file[28:51])
	}
	// To the reader it is any stream when the header says mono.
	b := slices.Clone(file)
	b[28+18], b[28+9] = 0, 1
	binary.LittleEndian.PutUint32(b[22:], 0)
	n := pageHeader + int(b[26]) + int(b[27])
	binary.LittleEndian.PutUint32(b[22:], pageCRC(b[:n]))
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			return left, right
		}
		if err != nil {
			t.Fatal(err)
		}
		a, rest := undelimit(t, p)
		na, err := media.OpusSamples(a)
		if err != nil {
			t.Fatalf("left % x: %v", a, err)
		}
		if nb, err := media.OpusSamples(rest); err != nil || na != nb {
			t.Fatalf("%d samples left, %d right, %v", na, nb, err)
		}
		left, right = append(left, a), append(right, slices.Clone(rest))
	}
}

// undelimit cuts off a self-delimited packet of the two forms we write.
func undelimit(t testing.TB, p []byte) (packet, rest []byte) {
	t.Helper()
	toc, b := p[0], p[1:]
	count := 1
	if toc&3 == 3 {
		if b[0]&0xc0 != 0x80 {
			t.Fatalf("frame count %#x", b[0])
		}
		count, b = int(b[0]&0x3f), b[1:]
	} else if toc&3 != 0 {
		t.Fatalf("code %d", toc&3)
	}
	var sizes []int
	for range count {
		n := int(b[0])
		b = b[1:]
		if n >= 252 {
			n += 4 * int(b[0])
			b = b[1:]
		}
		sizes = append(sizes, n)
	}
	var f frames
	f.toc = toc &^ 3
	for _, n := range sizes {
		f.add(b[:n])
		b = b[n:]
	}
	return f.appendPacket(nil, false), b
}

func record(t testing.TB, tracks int, script func(r *Recorder)) ([]byte, *Recorder) {
	t.Helper()
	var b bytes.Buffer
	r, err := NewRecorder(&b, tracks, Options{})
	if err != nil {
		t.Fatal(err)
	}
	script(r)
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), r
}

func write(t testing.TB, r *Recorder, track int, at time.Duration, f media.Frame) {
	t.Helper()
	if err := r.Write(track, at, &f); err != nil {
		t.Fatal(err)
	}
}

// TestRecorderKeepsPackets records two tracks of 20 ms frames: every packet is
// there untouched, at its place.
func TestRecorderKeepsPackets(t *testing.T) {
	a, b := sample(t, "speech-a.ogg")[:300], sample(t, "speech-b.ogg")[:200]
	file, r := record(t, 2, func(r *Recorder) {
		for i := range a {
			at := time.Duration(i) * 20 * time.Millisecond
			write(t, r, 0, at, media.Frame{Payload: a[i]})
			if i >= 50 && i < 250 {
				write(t, r, 1, at, media.Frame{Payload: b[i-50]})
			}
		}
	})
	left, right := split(t, file)
	if len(left) != 300 || r.Lost() != 0 {
		t.Fatalf("%d packets, %d lost", len(left), r.Lost())
	}
	for i := range left {
		if !bytes.Equal(left[i], a[i]) {
			t.Fatalf("left %d is another packet", i)
		}
		switch {
		case i >= 50 && i < 250:
			if !bytes.Equal(right[i], b[i-50]) {
				t.Fatalf("right %d is another packet", i)
			}
		case len(right[i]) != 1:
			t.Fatalf("right %d has %d bytes in the silence", i, len(right[i]))
		case i >= 250 && right[i][0] != b[199][0]&^3:
			t.Fatalf("right %d changes the mode from %#x to %#x", i, b[199][0], right[i][0])
		}
	}
}

// TestRecorderOneTrack is an ordinary mono file.
func TestRecorderOneTrack(t *testing.T) {
	a := sample(t, "speech-a.ogg")[:100]
	file, _ := record(t, 1, func(r *Recorder) {
		for i := range a {
			write(t, r, 0, time.Duration(i)*20*time.Millisecond, media.Frame{Payload: a[i]})
		}
	})
	rd, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for i := range a {
		if p, err := rd.Next(); err != nil || !bytes.Equal(p, a[i]) {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}

// durations returns what a list of packets lasts.
func durations(t testing.TB, list [][]byte) (sum int) {
	t.Helper()
	for _, p := range list {
		n, err := media.OpusSamples(p)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// silk makes a SILK wideband packet of 10, 20, 40 or 60 ms; what is in it does
// not matter here.
func silk(ms int, mark byte) []byte {
	config := byte(8 + map[int]int{10: 0, 20: 1, 40: 2, 60: 3}[ms])
	return []byte{config << 3, mark, mark, mark}
}

// TestRecorderMixedDurations records 60 ms frames beside 20, 40 and 10 ms ones.
func TestRecorderMixedDurations(t *testing.T) {
	for _, other := range []int{10, 20, 40, 60} {
		var marks []byte
		file, r := record(t, 2, func(r *Recorder) {
			for at := 0; at < 2400; at += 10 {
				when := time.Duration(at) * time.Millisecond
				if at%60 == 0 {
					write(t, r, 0, when, media.Frame{Payload: silk(60, byte(at/60))})
				}
				if at%other == 0 {
					write(t, r, 1, when, media.Frame{Payload: silk(other, byte(at/other))})
				}
			}
		})
		left, right := split(t, file)
		if d := durations(t, left); d != 2400*48 || r.Lost() != 0 {
			t.Errorf("%d ms: %d samples, %d lost", other, d, r.Lost())
		}
		var f frames
		for _, p := range right {
			n, _ := media.OpusSamples(p)
			f.parse(p, n)
			for _, b := range f.data[:f.n] {
				marks = append(marks, b[0])
			}
		}
		for i, m := range marks {
			if m != byte(i) {
				t.Fatalf("%d ms: frame %d is %d", other, i, m)
			}
		}
		if len(marks) != 2400/other {
			t.Errorf("%d ms: %d frames", other, len(marks))
		}
	}
}

// TestRecorderMixedModes has two packets of different modes beside one twice as
// long: the second cannot be in the same packet and is concealed.
func TestRecorderMixedModes(t *testing.T) {
	wide, full := silk(20, 7), []byte{31 << 3, 8, 8, 8} // CELT, 20 ms
	file, r := record(t, 2, func(r *Recorder) {
		write(t, r, 0, 0, media.Frame{Payload: silk(40, 1)})
		write(t, r, 1, 0, media.Frame{Payload: wide})
		write(t, r, 1, 20*time.Millisecond, media.Frame{Payload: full})
	})
	_, right := split(t, file)
	var f frames
	f.parse(right[0], 1920)
	if r.Lost() != 1 || len(right) != 1 || f.toc != wide[0] || f.n != 2 || len(f.data[0]) != 3 || len(f.data[1]) != 0 {
		t.Errorf("%d lost, packets % x", r.Lost(), right)
	}
}

// TestRecorderShortFrames writes eight times as many packets as usual on one
// side and none on the other: what waits is bounded, and nothing is lost.
func TestRecorderShortFrames(t *testing.T) {
	short := []byte{28 << 3, 1, 2, 3} // CELT, 2.5 ms
	file, _ := record(t, 2, func(r *Recorder) {
		for i := range 2000 {
			write(t, r, 0, time.Duration(i)*2500*time.Microsecond, media.Frame{Payload: short})
			if n := len(r.tracks[0].items); n > maxWaiting {
				t.Fatalf("%d items wait", n)
			}
		}
	})
	left, _ := split(t, file)
	n := 0
	for _, p := range left {
		var f frames
		samples, _ := media.OpusSamples(p)
		f.parse(p, samples)
		for _, b := range f.data[:f.n] {
			n += min(len(b), 1)
		}
	}
	if n != 2000 {
		t.Errorf("%d frames of 2000", n)
	}
}

// TestRecorderTime proves that tracks stay together: where a side begins late,
// pauses, stops writing, or has a clock that runs 200 ppm fast or slow.
func TestRecorderTime(t *testing.T) {
	const second = media.ClockRate
	for _, c := range []struct {
		name string
		ppm  float64
		skip func(i int) bool // no frame at i
		ts   func(i int) uint32
	}{
		{"steady", 0, func(int) bool { return false }, nil},
		{"late", 0, func(i int) bool { return i < 70 }, nil},
		{"stops for 5 s", 0, func(i int) bool { return i > 500 && i < 750 }, nil},
		{"DTX", 0, func(i int) bool { return i > 300 && i%5 != 0 }, func(i int) uint32 { return uint32(i) * 960 }},
		{"fast", 200, func(int) bool { return false }, nil},
		{"slow", -200, func(int) bool { return false }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			const frames = 20 * 60 * 50 // 20 min: 200 ppm are 240 ms
			var worst int64
			file, r := record(t, 2, func(r *Recorder) {
				rng := rand.New(rand.NewPCG(1, 1))
				for i := range frames {
					at := time.Duration(i) * 20 * time.Millisecond
					write(t, r, 0, at, media.Frame{Payload: silk(20, 1)})
					if c.skip(i) {
						continue
					}
					at -= time.Duration(float64(at) * c.ppm / 1e6)
					at += time.Duration(rng.IntN(15)) * time.Millisecond // a scheduler
					f := media.Frame{Payload: silk(20, 2)}
					if c.ts != nil {
						f.Timestamp = c.ts(i)
					}
					write(t, r, 1, at, f)
					if i > 100 {
						clock := int64(at+20*time.Millisecond) * 48 / int64(time.Millisecond)
						worst = max(worst, clock-r.tracks[1].pos, r.tracks[1].pos-clock)
					}
				}
			})
			if limit := int64(offBy + 40*48); worst > limit {
				t.Errorf("off by %d ms", worst/48)
			}
			left, right := split(t, file)
			if l, r := durations(t, left), durations(t, right); l != r || l < frames*960 || l > frames*960+second {
				t.Errorf("%d and %d samples, want %d", l, r, frames*960)
			}
			if r.Lost() != 0 {
				t.Errorf("%d lost", r.Lost())
			}
		})
	}
}

// TestRecorderStall lets one writer stop for 300 ms and catch up: nothing is
// inserted, nothing is lost.
func TestRecorderStall(t *testing.T) {
	file, _ := record(t, 2, func(r *Recorder) {
		for i := range 200 {
			at := time.Duration(i) * 20 * time.Millisecond
			write(t, r, 0, at, media.Frame{Payload: silk(20, 1)})
			if i >= 100 && i < 115 {
				at = 115 * 20 * time.Millisecond
			}
			write(t, r, 1, at, media.Frame{Payload: silk(20, byte(i))})
		}
	})
	_, right := split(t, file)
	for i := range 200 {
		if len(right[i]) < 2 || right[i][1] != byte(i) {
			t.Fatalf("packet %d is % x", i, right[i])
		}
	}
}

func TestRecorderErrors(t *testing.T) {
	for _, n := range []int{0, 3} {
		if _, err := NewRecorder(io.Discard, n, Options{}); err == nil {
			t.Errorf("%d tracks were taken", n)
		}
	}
	r, err := NewRecorder(io.Discard, 2, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		track int
		at    time.Duration
		f     media.Frame
	}{
		{2, 0, media.Frame{Payload: silk(20, 0)}},
		{-1, 0, media.Frame{Payload: silk(20, 0)}},
		{0, -1, media.Frame{Payload: silk(20, 0)}},
		{0, 48 * time.Hour, media.Frame{Payload: silk(20, 0)}},
		{0, 0, media.Frame{}},
		{0, 0, media.Frame{Samples: 961}},
		{0, 0, media.Frame{Payload: []byte{3}}},
		{0, 0, media.Frame{Payload: make([]byte, media.MaxPayload+1)}},
	} {
		if err := r.Write(c.track, c.at, &c.f); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(0, 0, &media.Frame{Samples: 960}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after Close: %v", err)
	}
}

// TestRecorderSteady proves that a long recording keeps nothing and allocates
// nothing.
func TestRecorderSteady(t *testing.T) {
	r, err := NewRecorder(io.Discard, 2, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := sample(t, "speech-a.ogg")
	i := 0
	f := media.Frame{}
	step := func() {
		at := time.Duration(i) * 20 * time.Millisecond
		f.Payload = p[i%len(p)]
		if err := r.Write(0, at, &f); err != nil {
			t.Fatal(err)
		}
		if i%1000 < 500 { // the other side stops for 10 s
			if err := r.Write(1, at, &f); err != nil {
				t.Fatal(err)
			}
		}
		i++
	}
	for range 2000 {
		step()
		for n := range r.tracks {
			if len(r.tracks[n].items) > maxWaiting {
				t.Fatalf("%d items wait", len(r.tracks[n].items))
			}
		}
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

// TestRecorderPlays has opusdec play a recording: each voice on its ear, as if
// it had been decoded alone.
func TestRecorderPlays(t *testing.T) {
	tool, err := exec.LookPath("opusdec")
	if err != nil {
		t.Skip("opusdec is not installed")
	}
	a, b := sample(t, "speech-a.ogg")[:400], sample(t, "speech-b.ogg")[:400]
	file, _ := record(t, 2, func(r *Recorder) {
		for i := range a {
			at := time.Duration(i) * 20 * time.Millisecond
			write(t, r, 0, at, media.Frame{Payload: a[i]})
			write(t, r, 1, at, media.Frame{Payload: b[i]})
		}
	})
	name := filepath.Join(t.TempDir(), "both.ogg")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool, "--quiet", "--no-dither", "--rate", "48000", name, name+".raw")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(name + ".raw")
	if err != nil {
		t.Fatal(err)
	}
	for ch, list := range [][][]byte{a, b} {
		dec, err := codec.NewDecoder(1)
		if err != nil {
			t.Fatal(err)
		}
		var want []int16
		pcm := make([]int16, codec.MaxSamples)
		for _, p := range list {
			n, err := dec.Decode(p, pcm)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, pcm[:n]...)
		}
		want = want[defaultPreSkip:]
		var xy, xx, yy float64
		for i := 0; 4*i+3 < len(raw) && i < len(want); i++ {
			x, y := float64(want[i]), float64(int16(binary.LittleEndian.Uint16(raw[4*i+2*ch:])))
			xy, xx, yy = xy+x*y, xx+x*x, yy+y*y
		}
		if c := xy / math.Sqrt(xx*yy); !(c > 0.98) {
			t.Errorf("channel %d: correlation %.4f", ch, c)
		}
	}
}

// FuzzRecorder writes a script of packets and times: whatever comes, the file
// can be read and both tracks are of the same length.
func FuzzRecorder(f *testing.F) {
	f.Add([]byte{0, 0, 1, 20, 0, 2, 1, 20, 3, 2})
	f.Add([]byte("0 1 2 3 4 5 6 7 8 9"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 2000 {
			return
		}
		rng := rand.New(rand.NewPCG(uint64(len(script)), 1))
		file, _ := record(t, 2, func(r *Recorder) {
			var at time.Duration
			for ; len(script) >= 3; script = script[3:] {
				at += time.Duration(script[1]%64) * 5 * time.Millisecond
				frame := media.Frame{Timestamp: uint32(script[1]) * uint32(script[2]) * 100}
				n := int(script[0]>>3) + 1
				frame.Payload = make([]byte, 1+n)
				frame.Payload[0] = script[2]
				for i := range n {
					frame.Payload[1+i] = byte(rng.Uint32())
				}
				if script[0]&2 != 0 {
					frame.Payload, frame.Samples = nil, int(script[2])*120
				}
				r.Write(int(script[0]&1), at, &frame)
				for n := range r.tracks {
					if len(r.tracks[n].items) > maxWaiting+2 {
						t.Fatalf("%d items wait", len(r.tracks[n].items))
					}
				}
			}
		})
		split(t, file)
	})
}

// FuzzFrames takes packets apart and puts them together: the frames stay.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0xf8, 1, 2, 3})
	f.Add([]byte{0xf9, 1, 2, 3, 4})
	f.Add([]byte{0xfa, 1, 2, 3, 4})
	f.Add([]byte{0xfb, 0xc3, 2, 1, 1, 9, 8, 7, 0, 0})
	f.Add([]byte{0xfb, 0x02, 1, 2, 3, 4})
	for _, n := range []int{251, 252, 253, 255, 256, 1275} {
		f.Add(append([]byte{0xf8}, make([]byte, n)...))
		f.Add(append([]byte{0xf9}, make([]byte, 2*n)...))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		n, err := media.OpusSamples(p)
		if err != nil {
			return
		}
		var a, b frames
		a.parse(p, n)
		if a.n*a.each != n {
			t.Fatalf("%d frames of %d samples in %d", a.n, a.each, n)
		}
		q := a.appendPacket(nil, false)
		m, err := media.OpusSamples(q)
		if err != nil || m != n {
			t.Fatalf("% x became % x: %d samples of %d, %v", p, q, m, n, err)
		}
		b.parse(q, m)
		if a.n != b.n || a.toc != b.toc || !slices.EqualFunc(a.data[:a.n], b.data[:b.n], bytes.Equal) {
			t.Fatalf("% x became % x", p, q)
		}
		delimited, rest := undelimit(t, append(a.appendPacket(nil, true), 1, 2, 3))
		if !bytes.Equal(delimited, q) || len(rest) != 3 {
			t.Fatalf("delimited % x, rest % x", delimited, rest)
		}
	})
}
