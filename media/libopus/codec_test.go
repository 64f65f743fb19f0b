// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package libopus_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/opus"
)

const frame = 960 // samples of 20 ms

func newEncoder(tb testing.TB, c libopus.EncoderConfig) *libopus.Encoder {
	tb.Helper()
	e, err := libopus.NewEncoder(c)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func newDecoder(tb testing.TB, channels int) *libopus.Decoder {
	tb.Helper()
	d, err := libopus.NewDecoder(channels)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// speech returns a sample as PCM.
func speech(tb testing.TB) []int16 {
	tb.Helper()
	return decode(tb, newDecoder(tb, 1), sample(tb, "speech-a.ogg"))
}

func decode(tb testing.TB, d interface {
	Decode([]byte, []int16) (int, error)
}, packets [][]byte) []int16 {
	tb.Helper()
	var out []int16
	pcm := make([]int16, libopus.MaxSamples)
	for i, p := range packets {
		n, err := d.Decode(p, pcm)
		if err != nil {
			tb.Fatalf("packet %d: %v", i, err)
		}
		out = append(out, pcm[:n]...)
	}
	return out
}

// encode returns the packets of whole frames of pcm.
func encode(tb testing.TB, e *libopus.Encoder, pcm []int16) [][]byte {
	tb.Helper()
	var packets [][]byte
	for ; len(pcm) >= e.Samples(); pcm = pcm[e.Samples():] {
		p := make([]byte, libopus.MaxPacket)
		n, err := e.Encode(pcm[:e.Samples()], p)
		if err != nil {
			tb.Fatal(err)
		}
		packets = append(packets, p[:n])
	}
	return packets
}

func rms(pcm []int16) float64 {
	s := 0.0
	for _, v := range pcm {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s / float64(max(1, len(pcm))))
}

// distance returns the RMS of the difference of a and b.
func distance(a, b []int16) float64 {
	s := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		s += d * d
	}
	return math.Sqrt(s / float64(len(a)))
}

func correlation(a, b []int16) float64 {
	var ab, aa, bb float64
	for i := range min(len(a), len(b)) {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}

// bestCorrelation shifts b against a by the codec's delay. Half a second is
// enough to compare.
func bestCorrelation(a, b []int16) float64 {
	best := 0.0
	a = a[20*frame : 45*frame]
	b = b[20*frame:]
	for shift := range 500 {
		best = max(best, correlation(a, b[shift:]))
	}
	return best
}

func TestRoundTrip(t *testing.T) {
	pcm := speech(t)[:150*frame]
	for _, c := range []libopus.EncoderConfig{
		{},
		{Bitrate: libopus.MinBitrate},
		{Bitrate: libopus.MaxBitrate, Complexity: 1},
		{Frame: 10 * time.Millisecond},
		{Frame: 40 * time.Millisecond},
		{Frame: 60 * time.Millisecond, FEC: true, LossPercent: 10, DTX: true},
	} {
		t.Run(fmt.Sprint(c.Bitrate, c.Frame), func(t *testing.T) {
			packets := encode(t, newEncoder(t, c), pcm)
			got := decode(t, newDecoder(t, 1), packets)
			if len(got) != len(pcm) {
				t.Fatalf("%d samples back, want %d", len(got), len(pcm))
			}
			// Waveform codecs keep the waveform less well at low rates.
			want := 0.93
			if c.Bitrate == libopus.MinBitrate {
				want = 0.80
			}
			if r := bestCorrelation(pcm, got); r < want {
				t.Errorf("correlation %.3f, want %.2f", r, want)
			}
			size := 0
			for _, p := range packets {
				size += len(p)
			}
			bps := size * 8 * libopus.SampleRate / len(pcm)
			aim := c.Bitrate
			if aim == 0 {
				aim = libopus.DefaultBitrate
			}
			if bps < aim/2 || bps > aim*3/2 {
				t.Errorf("%d bits per second, want about %d", bps, aim)
			}
		})
	}
}

func TestStereo(t *testing.T) {
	mono := speech(t)[:100*frame]
	stereo := make([]int16, 2*len(mono))
	for i, v := range mono {
		stereo[2*i], stereo[2*i+1] = v, v/4
	}
	e, d := newEncoder(t, libopus.EncoderConfig{Channels: 2, Bitrate: libopus.MaxBitrate}), newDecoder(t, 2)
	var left, right []int16
	p, pcm := make([]byte, libopus.MaxPacket), make([]int16, 2*libopus.MaxSamples)
	for ; len(stereo) >= 2*frame; stereo = stereo[2*frame:] {
		n, err := e.Encode(stereo[:2*frame], p)
		if err != nil {
			t.Fatal(err)
		}
		if n, err = d.Decode(p[:n], pcm); n != frame || err != nil {
			t.Fatalf("%d samples, error %v", n, err)
		}
		for i := range n {
			left, right = append(left, pcm[2*i]), append(right, pcm[2*i+1])
		}
	}
	if l, r := rms(left), rms(right); l < 2*r || r == 0 {
		t.Errorf("left %.0f, right %.0f: the channels are not apart", l, r)
	}
}

// TestPureGoDecodes hands the encoder's packets to media/opus: the two
// packages must agree on what a packet means.
func TestPureGoDecodes(t *testing.T) {
	packets := encode(t, newEncoder(t, libopus.EncoderConfig{FEC: true, LossPercent: 20}), speech(t))
	pure, err := opus.NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	want, got := decode(t, newDecoder(t, 1), packets), decode(t, pure, packets)
	if r := correlation(want, got); len(want) != len(got) || r < 0.999 {
		t.Errorf("correlation %.5f of %d and %d samples", r, len(want), len(got))
	}
}

// TestFECBeatsPLC loses every tenth packet and repairs it once from the packet
// after it and once from nothing.
func TestFECBeatsPLC(t *testing.T) {
	packets := encode(t, newEncoder(t, libopus.EncoderConfig{FEC: true, LossPercent: 20}), speech(t))
	clean := decode(t, newDecoder(t, 1), packets)
	fec, plc := newDecoder(t, 1), newDecoder(t, 1)
	pcm := make([]int16, frame)
	var fecError, plcError float64
	for i, p := range packets {
		want := clean[i*frame : (i+1)*frame]
		if i%10 != 9 || i+1 == len(packets) {
			for _, d := range []*libopus.Decoder{fec, plc} {
				if _, err := d.Decode(p, pcm); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		if n, err := fec.DecodeFEC(packets[i+1], pcm, frame); n != frame || err != nil {
			t.Fatalf("packet %d: %d samples, error %v", i, n, err)
		}
		fecError += distance(pcm, want)
		if n := plc.Conceal(pcm, frame); n != frame {
			t.Fatalf("packet %d: %d samples concealed", i, n)
		}
		plcError += distance(pcm, want)
	}
	t.Logf("error of repaired frames: FEC %.0f, PLC %.0f", fecError, plcError)
	if fecError > 0.7*plcError {
		t.Errorf("FEC leaves an error of %.0f, PLC %.0f: no clear gain", fecError, plcError)
	}
}

// TestConceal loses packets in a vowel: the sound goes on, then dies away.
func TestConceal(t *testing.T) {
	packets := sample(t, "speech-a.ogg")[:70]
	d := newDecoder(t, 1)
	before := decode(t, d, packets)
	last := rms(before[len(before)-frame:])
	pcm := make([]int16, frame)
	d.Conceal(pcm, frame)
	if got := rms(pcm); got < last/3 {
		t.Errorf("concealment at %.0f after speech at %.0f: a hole", got, last)
	}
	for range 25 {
		d.Conceal(pcm, frame)
	}
	if got := rms(pcm); got > last/20 {
		t.Errorf("still at %.0f half a second into a gap", got)
	}
	if n := d.Conceal(make([]int16, 500), 2000); n != 480 {
		t.Errorf("%d samples in room for 500, want 480", n)
	}
	if n := d.Conceal(pcm, 119); n != 0 {
		t.Errorf("%d samples in less than a step", n)
	}
	if n := d.Conceal(make([]int16, 20*frame), 20*frame); n != libopus.MaxSamples {
		t.Errorf("%d samples at once, want %d", n, libopus.MaxSamples)
	}
}

// TestDTX speaks, falls silent and expects nearly no bytes then.
func TestDTX(t *testing.T) {
	pcm := append(speech(t)[:100*frame], make([]int16, 150*frame)...)
	for _, dtx := range []bool{true, false} {
		packets := encode(t, newEncoder(t, libopus.EncoderConfig{DTX: dtx}), pcm)
		quiet := 0
		for _, p := range packets[150:] {
			if len(p) <= 2 {
				quiet++
			}
		}
		if dtx && quiet < 80 || !dtx && quiet > 0 {
			t.Errorf("DTX %v: %d of 100 packets need no sending", dtx, quiet)
		}
		if dtx {
			got := decode(t, newDecoder(t, 1), packets)
			if r := rms(got[200*frame:]); r > 30 {
				t.Errorf("silence decodes at %.0f", r)
			}
		}
	}
}

// TestChanges changes rate and loss in mid-stream.
func TestChanges(t *testing.T) {
	e, pcm := newEncoder(t, libopus.EncoderConfig{Bitrate: libopus.MaxBitrate}), speech(t)[:200*frame]
	size := func(packets [][]byte) (n int) {
		for _, p := range packets {
			n += len(p)
		}
		return n
	}
	high := size(encode(t, e, pcm))
	if err := e.SetBitrate(libopus.MinBitrate); err != nil {
		t.Fatal(err)
	}
	if low := size(encode(t, e, pcm)); low*2 > high {
		t.Errorf("%d bytes at the lowest rate, %d at the highest", low, high)
	}
	for _, err := range []error{
		e.SetBitrate(libopus.MinBitrate - 1), e.SetBitrate(libopus.MaxBitrate + 1), e.SetLoss(-1), e.SetLoss(101),
	} {
		if err == nil {
			t.Error("a value out of range was accepted")
		}
	}
	if err := errors.Join(e.SetLoss(100), e.SetFEC(true), e.SetDTX(true)); err != nil {
		t.Error(err)
	}
}

// TestBounds looks behind the slices: the library below writes to their
// capacity.
func TestBounds(t *testing.T) {
	e, d := newEncoder(t, libopus.EncoderConfig{}), newDecoder(t, 1)
	pcm := speech(t)[70*frame : 71*frame]
	p := make([]byte, 200)
	for i := range p {
		p[i] = 0xaa
	}
	n, err := e.Encode(pcm, p[:20])
	if err != nil || n > 20 {
		t.Fatalf("%d bytes in room for 20, error %v", n, err)
	}
	for i := 20; i < len(p); i++ {
		if p[i] != 0xaa {
			t.Fatalf("encoder wrote at %d, room ended at 20", i)
		}
	}
	if _, err := d.Decode(p[:n], make([]int16, 2000)[:959]); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("short pcm: %v", err)
	}
	back := make([]int16, 2000)
	for i := range back {
		back[i] = 77
	}
	if n, err := d.DecodeFEC(p[:n], back[:960], 960); n != 960 || err != nil || back[960] != 77 {
		t.Errorf("FEC: %d samples, error %v, behind them %d", n, err, back[960])
	}
	if n := d.Conceal(back[:960], 960); n != 960 || back[960] != 77 {
		t.Errorf("concealed %d samples, behind them %d", n, back[960])
	}
	if _, err := e.Encode(pcm[:959], p); err == nil {
		t.Error("959 samples were accepted as a frame")
	}
	if _, err := e.Encode(pcm, nil); err == nil {
		t.Error("no room for a packet was accepted")
	}
	for _, bad := range [][]byte{nil, {0xff}, {0x7b, 0}} {
		if _, err := d.Decode(bad, back); !errors.Is(err, libopus.ErrPacket) {
			t.Errorf("% x: %v", bad, err)
		}
		if _, err := d.DecodeFEC(bad, back, 960); !errors.Is(err, libopus.ErrPacket) {
			t.Errorf("FEC of % x: %v", bad, err)
		}
	}
	for _, none := range [][]int16{nil, {}} {
		if _, err := d.Decode(p[:n], none); !errors.Is(err, io.ErrShortBuffer) {
			t.Errorf("no pcm: %v", err)
		}
		if _, err := d.DecodeFEC(p[:n], none, 960); !errors.Is(err, io.ErrShortBuffer) {
			t.Errorf("FEC without pcm: %v", err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	e, d := newEncoder(t, libopus.EncoderConfig{FEC: true, LossPercent: 10}), newDecoder(t, 1)
	pcm, back, p := speech(t), make([]int16, frame), make([]byte, libopus.MaxPacket)
	i := 0
	allocs := testing.AllocsPerRun(200, func() {
		at := i % (len(pcm) / frame) * frame
		i++
		n, err := e.Encode(pcm[at:at+frame], p)
		if err == nil {
			_, err = d.Decode(p[:n], back)
		}
		if err == nil {
			_, err = d.DecodeFEC(p[:n], back, frame)
		}
		if err != nil || d.Conceal(back, frame) != frame {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%.1f allocations for each frame, want none", allocs)
	}
}
