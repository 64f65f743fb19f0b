// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package voice_test

import (
	"io"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/ogg"
	"github.com/p2pos/p2pos/media/voice"
)

// path is the whole way of a voice but for the network: microphone, encoder,
// packets, playout, decoder. Its clock is an argument.
type path struct {
	mic    *voice.Microphone
	enc    *libopus.Encoder
	pack   *media.Packetizer
	play   *media.Playout
	player *media.Player
	header rtp.Header
	now    time.Time
	deaf   func(f *media.Frame) bool // true = lost on the way
}

func newPath(tb testing.TB, c libopus.EncoderConfig) *path {
	tb.Helper()
	p := &path{now: time.Unix(1000, 0)}
	enc, err := libopus.NewEncoder(c)
	if err != nil {
		tb.Fatal(err)
	}
	dec, err := libopus.NewDecoder(1)
	if err != nil {
		tb.Fatal(err)
	}
	p.enc = enc
	p.mic = voice.NewMicrophone(p, enc)
	p.pack = media.NewPacketizer(1, 111, rand.New(rand.NewPCG(1, 2)))
	p.play = media.NewPlayout(media.PlayoutConfig{Stretch: true})
	p.player = media.NewPlayer(p.play, dec, 1)
	return p
}

func (p *path) WriteFrame(f *media.Frame) error {
	p.pack.Next(*f, &p.header)
	if p.deaf == nil || !p.deaf(f) {
		p.play.Push(p.now, &p.header, f.Payload)
	}
	return nil
}

// turn puts a piece of sound in and takes as much out.
func (p *path) turn(tb testing.TB, in, out []int16) {
	if err := p.mic.WritePCM(in); err != nil {
		tb.Fatal(err)
	}
	p.player.Pull(p.now, out)
	p.now = p.now.Add(time.Duration(len(in)) * time.Second / voice.SampleRate)
}

// speech returns the sound of a sample.
func speech(tb testing.TB) []int16 {
	tb.Helper()
	f, err := os.Open("../testdata/speech-a.ogg")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	r, err := ogg.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	dec, err := libopus.NewDecoder(1)
	if err != nil {
		tb.Fatal(err)
	}
	var all []int16
	pcm := make([]int16, libopus.MaxSamples)
	for {
		b, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			tb.Fatal(err)
		}
		n, err := dec.Decode(b, pcm)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, pcm[:n]...)
	}
}

// snr returns how far the difference is below the sound in dB, at the best
// shift up to limit, and that shift.
func snr(a, b []int16, limit int) (db float64, shift int) {
	db = math.Inf(-1)
	for s := range limit {
		var ab, aa, bb float64
		for i := 0; i < len(a) && i+s < len(b); i++ {
			x, y := float64(a[i]), float64(b[i+s])
			ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		}
		// Of the best scaled copy: a codec may change the level a little.
		if r := ab * ab / (aa * bb); ab > 0 && 10*math.Log10(1/(1/r-1)) > db {
			db, shift = 10*math.Log10(1/(1/r-1)), s
		}
	}
	return db, shift
}

// TestPathSNR sends a tone through the codec and the playout: it comes out as
// it was, 40 ms of playout and 6.5 ms of codec later.
func TestPathSNR(t *testing.T) {
	for _, c := range []struct {
		name string
		src  voice.Source
		conf libopus.EncoderConfig
		want float64
	}{
		{"tone", &voice.Tone{Hertz: 997}, libopus.EncoderConfig{Bitrate: 40000}, 20},
		{"chirp", &voice.Chirp{}, libopus.EncoderConfig{Bitrate: 40000}, 6},
		{"tone, 12 kb/s, 60 ms", &voice.Tone{}, libopus.EncoderConfig{Bitrate: 12000, Frame: 60 * time.Millisecond}, 10},
	} {
		p := newPath(t, c.conf)
		var in, out []int16
		a, b := make([]int16, 960), make([]int16, 960)
		for range 200 {
			if _, err := c.src.ReadPCM(a); err != nil {
				t.Fatal(err)
			}
			p.turn(t, a, b)
			in, out = append(in, a...), append(out, b...)
		}
		db, shift := snr(in[100*960:150*960], out[100*960:], 120*48)
		t.Logf("%s: %.1f dB, %.1f ms", c.name, db, float64(shift)/48)
		if db < c.want {
			t.Errorf("%s: %.1f dB, want %v", c.name, db, c.want)
		}
	}
}

// TestPathDrift plays with a sound card that runs 200 ppm fast or slow for ten
// minutes, 120 ms of drift: the delay stays, and the sound goes on.
func TestPathDrift(t *testing.T) {
	if testing.Short() {
		t.Skip("ten minutes of sound take a while")
	}
	pcm := speech(t)
	for _, ppm := range []float64{200, -200} {
		p := newPath(t, libopus.EncoderConfig{Complexity: 1})
		out := make([]int16, 960)
		delay := func() time.Duration {
			s := p.play.Stats(p.now)
			return s.Buffer
		}
		var early, late, lo, hi time.Duration
		const turns = 10 * 60 * 50
		at := 0
		for i := range turns {
			if at+960 > len(pcm) {
				at = 0
			}
			if err := p.mic.WritePCM(pcm[at : at+960]); err != nil {
				t.Fatal(err)
			}
			at += 960
			// The card takes a little more, or less, than it was given.
			p.player.Pull(p.now, out)
			p.now = p.now.Add(20 * time.Millisecond)
			drift := time.Duration(ppm * 1e-6 * float64(i) * float64(20*time.Millisecond))
			if drift > 0 && drift/(20*time.Millisecond) != time.Duration(ppm*1e-6*float64(i-1)*float64(20*time.Millisecond))/(20*time.Millisecond) {
				p.player.Pull(p.now, out) // has taken a whole frame more by now
			}
			if drift < 0 && drift/(20*time.Millisecond) != time.Duration(ppm*1e-6*float64(i-1)*float64(20*time.Millisecond))/(20*time.Millisecond) {
				if err := p.mic.WritePCM(pcm[:960]); err != nil {
					t.Fatal(err)
				}
			}
			d := delay()
			switch {
			case i == 500:
				early, lo, hi = d, d, d
			case i == turns-1:
				late = d
			}
			if i > 500 {
				lo, hi = min(lo, d), max(hi, d)
			}
		}
		s := p.play.Stats(p.now)
		t.Logf("%v ppm: buffer %v at first, %v in the end, %v to %v; %d samples removed, %d inserted, %d concealed of %d",
			ppm, early, late, lo, hi, s.RemovedFor, s.Inserted, s.Concealed, s.Samples)
		if off := late - early; off < -40*time.Millisecond || off > 40*time.Millisecond {
			t.Errorf("%v ppm: buffer went from %v to %v", ppm, early, late)
		}
		if s.Concealed > s.Samples/200 {
			t.Errorf("%v ppm: %d of %d samples concealed", ppm, s.Concealed, s.Samples)
		}
	}
}

// TestPathLoss loses a fifth of the frames: FEC restores most of those that
// stand alone, and nothing stops.
func TestPathLoss(t *testing.T) {
	pcm := speech(t)
	rng := rand.New(rand.NewPCG(7, 7))
	p := newPath(t, libopus.EncoderConfig{FEC: true, LossPercent: 20})
	lost := 0
	p.deaf = func(*media.Frame) bool {
		d := rng.Float64() < 0.2
		if d {
			lost++
		}
		return d
	}
	out := make([]int16, 960)
	for at := 0; at+960 <= len(pcm); at += 960 {
		p.turn(t, pcm[at:at+960], out)
	}
	s := p.play.Stats(p.now)
	t.Logf("%d frames lost: FEC restored %d, %d concealed", lost, s.FEC/960, s.Concealed/960)
	if s.FEC < uint64(lost)*960/3 {
		t.Errorf("FEC restored %d of %d lost frames", s.FEC/960, lost)
	}
}

// TestPathGarbage mixes packets of random bytes with a valid length into the
// stream: sound goes on, and after it the voice is there again.
func TestPathGarbage(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	p := newPath(t, libopus.EncoderConfig{})
	tone := &voice.Tone{}
	a, b := make([]int16, 960), make([]int16, 960)
	for i := range 300 {
		tone.ReadPCM(a)
		if i >= 100 && i < 200 {
			p.deaf = func(f *media.Frame) bool {
				for j := range f.Payload[1:] {
					f.Payload[1+j] = byte(rng.Uint32())
				}
				return false
			}
		} else {
			p.deaf = nil
		}
		p.turn(t, a, b)
	}
	if level := media.Level(b); level > 30 {
		t.Errorf("after garbage the tone is at -%d dBov", level)
	}
}

// TestPathNoAllocation: hraban/opus allocates nothing here either.
func TestPathNoAllocation(t *testing.T) {
	p := newPath(t, libopus.EncoderConfig{FEC: true, LossPercent: 10})
	pcm := speech(t)
	out := make([]int16, 960)
	at := 0
	turn := func() {
		if at+960 > len(pcm) {
			at = 0
		}
		p.turn(t, pcm[at:at+960], out)
		at += 960
	}
	for range 500 {
		turn()
	}
	n := testing.AllocsPerRun(500, turn)
	t.Logf("%v allocations in 20 ms of voice", n)
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSpeakerStall stops pulling for two seconds, as a sound card does that was
// taken away: the next sound is what is said now.
func TestSpeakerStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dec, err := libopus.NewDecoder(1)
		if err != nil {
			t.Fatal(err)
		}
		in := media.NewIn(media.PlayoutConfig{})
		spk := voice.NewSpeaker(in, dec, 1)
		pack := media.NewPacketizer(1, 111, rand.New(rand.NewPCG(1, 2)))
		var h rtp.Header
		out := media.NewOut(func(f *media.Frame) error {
			pack.Next(*f, &h)
			in.Push(time.Now(), &h, f.Payload)
			return nil
		})
		enc, err := libopus.NewEncoder(libopus.EncoderConfig{})
		if err != nil {
			t.Fatal(err)
		}
		mic := voice.NewMicrophone(out, enc)
		tone := &voice.Tone{}
		a, b := make([]int16, 960), make([]int16, 960)
		for i := range 500 {
			tone.ReadPCM(a)
			if i >= 245 && i < 255 { // a gap, to recognize the moment by
				clear(a)
			}
			if err := mic.WritePCM(a); err != nil {
				t.Fatal(err)
			}
			if i < 150 || i >= 250 {
				if _, err := spk.ReadPCM(b); err != nil {
					t.Fatal(err)
				}
			}
			if level, _ := spk.Level(); i == 140 && level > 20 || i == 490 && level > 20 {
				t.Errorf("at %d the level is -%d dBov", i, level)
			}
			time.Sleep(20 * time.Millisecond)
		}
		var s media.Stats
		in.Stats(&s)
		if s.Buffer > 120*time.Millisecond {
			t.Errorf("the buffer holds %v", s.Buffer)
		}
		in.Close()
		if n, err := spk.ReadPCM(b); err != io.EOF || n != 0 || media.Level(b) != media.Silence {
			t.Errorf("after the end: %d, %v", n, err)
		}
	})
}

// BenchmarkPath is the CPU a call's voice takes at complexity 9, both ways, for
// each 20 ms: below 400 µs it is below 2 % of a core.
func BenchmarkPath(b *testing.B) {
	for _, fec := range []bool{false, true} {
		name := "plain"
		if fec {
			name = "FEC"
		}
		b.Run(name, func(b *testing.B) {
			p := newPath(b, libopus.EncoderConfig{FEC: fec, LossPercent: 10})
			pcm := speech(b)
			out := make([]int16, 960)
			at := 0
			b.ReportAllocs()
			for b.Loop() {
				if at+960 > len(pcm) {
					at = 0
				}
				p.turn(b, pcm[at:at+960], out)
				at += 960
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200000, "%core")
		})
	}
}
