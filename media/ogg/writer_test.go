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
	"strings"
	"testing"

	"github.com/p2pos/p2pos/media"
)

// opus is a 20 ms packet of n bytes.
func opus(n int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, n)
	b[0] = 0x08
	return b
}

// big is a packet of 48 frames of 2.5 ms at their largest, 61,202 bytes.
func big() []byte {
	b := make([]byte, 2+48*1275)
	b[0], b[1] = 16<<3|3, 48
	return b
}

// padded is the longest packet we take, 64 KiB: big with padding (RFC 6716
// §3.2.5), whose length is 16 times 254 and 253.
func padded() []byte {
	b := make([]byte, MaxPacket)
	b[0], b[1] = 16<<3|3, 0x40|48
	copy(b[2:], bytes.Repeat([]byte{255}, 16))
	b[18] = 253
	return b
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var file bytes.Buffer
	w, err := NewWriter(&file, Options{Channels: 2, PreSkip: 100, SampleRate: 16000, Vendor: "me", Rand: rng})
	if err != nil {
		t.Fatal(err)
	}
	var want [][]byte
	add := func(p []byte) {
		if err := w.WritePacket(p, 0); err != nil {
			t.Fatal(err)
		}
		want = append(want, p)
	}
	for i := range 3 {
		add(big())
		add(padded())
		for _, n := range []int{1, 2, 254, 255, 256, 509, 510, 511, 1200, 1276} {
			add(opus(n))
		}
		for range 200 * i {
			add(opus(1 + rng.IntN(1200)))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Head(); h != (Head{Channels: 2, PreSkip: 100, SampleRate: 16000}) || r.Tags().Vendor != "me" {
		t.Errorf("%+v %+v", h, r.Tags())
	}
	total := 0
	for i, p := range want {
		got, err := r.Next()
		if err != nil || !bytes.Equal(got, p) {
			t.Fatalf("packet %d: %d bytes, %v; want %d", i, len(got), err, len(p))
		}
		n, _ := media.OpusSamples(p)
		total += n
	}
	if _, err := r.Next(); err != io.EOF || r.Granule() != uint64(total) {
		t.Errorf("at the end: %v, granule %d, want %d", err, r.Granule(), total)
	}
}

// pages walks a file and returns its pages.
func pages(t *testing.T, b []byte) (out []page) {
	t.Helper()
	for len(b) > 0 {
		n := pageHeader + int(b[26])
		for _, v := range b[pageHeader:n] {
			n += int(v)
		}
		if string(b[:4]) != capture || pageCRC(b[:n]) != binary.LittleEndian.Uint32(b[22:]) {
			t.Fatalf("bad page % x", b[:pageHeader])
		}
		out = append(out, parsePage(b[:n]))
		b = b[n:]
	}
	return out
}

// TestWriterPages: headers on pages of their own, at most a second of sound on
// each other, sequence and granule counting, the last one marked.
func TestWriterPages(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		if err := w.WritePacket(opus(60), 960); err != nil {
			t.Fatal(err)
		}
		// A recording that is killed now has lost no more than a second.
		if p := pages(t, file.Bytes()); (i+1)*960-pageSamples > int(p[len(p)-1].granule) {
			t.Fatalf("after %d packets only %d samples are written", i+1, p[len(p)-1].granule)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Close() != nil || w.WritePacket(opus(9), 0) != io.ErrClosedPipe {
		t.Error("after Close")
	}
	p := pages(t, file.Bytes())
	granules := []uint64{0, 0, 48000, 96000, 115200}
	flags := []byte{flagFirst, 0, 0, 0, flagLast}
	if len(p) != len(granules) {
		t.Fatalf("%d pages", len(p))
	}
	for i := range p {
		if p[i].granule != granules[i] || p[i].flags != flags[i] || p[i].sequence != uint32(i) || p[i].serial != 1 {
			t.Errorf("page %d: granule %d, flags %d, sequence %d", i, p[i].granule, p[i].flags, p[i].sequence)
		}
	}
}

// TestWriterLongPackets: a page on which no packet ends has no granule, and the
// one after is marked as continued (RFC 3533 §6).
func TestWriterLongPackets(t *testing.T) {
	var file bytes.Buffer
	w, _ := NewWriter(&file, Options{})
	for range 253 { // so that the long one fills the second page alone
		w.WritePacket([]byte{0x80, 1}, 0)
	}
	if err := w.WritePacket(padded(), 0); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p := pages(t, file.Bytes())[2:]
	if len(p) != 3 || p[1].flags != flagContinue || p[2].flags != flagContinue|flagLast {
		t.Fatalf("%d pages", len(p))
	}
	if p[0].granule != 253*120 || p[1].granule != noGranule || p[2].granule != 253*120+5760 {
		t.Errorf("granules %d, %d, %d", p[0].granule, p[1].granule, p[2].granule)
	}
}

func TestWriterFillsGaps(t *testing.T) {
	tests := []struct {
		toc     byte // of the packet before
		samples int
		want    string // configurations of the packets written
	}{
		{1 << 3, 960, "1"},   // SILK NB stays
		{9 << 3, 2880, "11"}, // SILK WB 60 ms
		{9 << 3, 5760, "11 11"},
		{9 << 3, 3840, "11 9"},
		{9 << 3, 120, "28"}, // no such frame in SILK
		{13 << 3, 1920, "13 13"},
		{12 << 3, 480, "12"},
		{31<<3 | 4, 1320, "31 29 28"},
		{16 << 3, 960, "19"},
	}
	for _, tt := range tests {
		var file bytes.Buffer
		w, _ := NewWriter(&file, Options{})
		w.WritePacket([]byte{tt.toc, 1, 2}, 0)
		before := w.granule
		if err := w.WritePacket(nil, tt.samples); err != nil {
			t.Errorf("%d samples: %v", tt.samples, err)
		}
		if got := int(w.granule - before); got != tt.samples {
			t.Errorf("%d samples were written as %d", tt.samples, got)
		}
		w.Close()
		r, _ := NewReader(&file)
		r.Next()
		var got []byte
		for {
			p, err := r.Next()
			if err != nil {
				break
			}
			if len(p) != 1 || p[0]&7 != tt.toc&4 {
				t.Errorf("packet % x for a gap", p)
			}
			if got != nil {
				got = append(got, ' ')
			}
			if c := p[0] >> 3; c >= 10 {
				got = append(got, '0'+c/10)
			}
			got = append(got, '0'+p[0]>>3%10)
		}
		if string(got) != tt.want {
			t.Errorf("%d samples behind configuration %d: %s, want %s", tt.samples, tt.toc>>3, got, tt.want)
		}
	}
}

type failing struct{ left int }

var errFull = errors.New("disk full")

func (f *failing) Write(b []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestWriterErrors(t *testing.T) {
	for _, o := range []Options{{Channels: 3}, {Channels: -1}, {PreSkip: 1 << 16}} {
		if _, err := NewWriter(io.Discard, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if _, err := NewWriter(&failing{1}, Options{}); !errors.Is(err, errFull) {
		t.Errorf("headers: %v", err)
	}
	w, err := NewWriter(&failing{2}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var e *media.PayloadError
	if err := w.WritePacket([]byte{3}, 0); !errors.As(err, &e) {
		t.Errorf("garbage: %v", err)
	}
	if err := w.WritePacket(make([]byte, MaxPacket+1), 0); !errors.As(err, &e) {
		t.Errorf("a long packet: %v", err)
	}
	if w.WritePacket(opus(9), 480) == nil {
		t.Error("a wrong duration was taken")
	}
	for _, n := range []int{0, -960, 7, math.MaxInt} {
		if w.WritePacket(nil, n) == nil {
			t.Errorf("a gap of %d samples was taken", n)
		}
	}
	for range 200 {
		err = w.WritePacket(opus(9), 0)
	}
	if !errors.Is(err, errFull) || !errors.Is(w.Close(), errFull) {
		t.Errorf("a full disk: %v, %v", err, w.Close())
	}
}

// TestAgainstOpusTools reads what opusenc writes, writes it again, and lets
// opusinfo and opusdec judge that.
func TestAgainstOpusTools(t *testing.T) {
	for _, tool := range []string{"opusenc", "opusinfo", "opusdec"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: opus-tools)", tool)
		}
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	run := func(name string, arg ...string) string {
		t.Helper()
		out, err := exec.Command(name, arg...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, arg, err, out)
		}
		return string(out)
	}
	pcm := make([]byte, 0, 2*48000*5)
	for i := range 48000 * 5 {
		v := 8000 * math.Sin(float64(i)*2*math.Pi*440/48000) * math.Sin(float64(i)/9000)
		pcm = binary.LittleEndian.AppendUint16(pcm, uint16(int16(v)))
	}
	if err := os.WriteFile(path("in.raw"), pcm, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"--framesize=20", "--framesize=60", "--framesize=2.5", "--bitrate=256"} {
		run("opusenc", "--quiet", "--raw", "--raw-chan", "1", arg, path("in.raw"), path("a.ogg"))
		a, err := os.ReadFile(path("a.ogg"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(a))
		if err != nil {
			t.Fatalf("%s: %v", arg, err)
		}
		var b bytes.Buffer
		w, err := NewWriter(&b, Options{PreSkip: r.Head().PreSkip})
		if err != nil {
			t.Fatal(err)
		}
		count, total := 0, 0
		for {
			p, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: packet %d: %v", arg, count, err)
			}
			n, err := media.OpusSamples(p)
			if err != nil {
				t.Fatalf("%s: packet %d: %v", arg, count, err)
			}
			total += n
			count++
			if err := w.WritePacket(p, n); err != nil {
				t.Fatal(err)
			}
		}
		// The last page's granule trims the end of the last packet.
		if g := int(r.Granule()); g != 48000*5+r.Head().PreSkip || total < g || total-g > 5760 {
			t.Errorf("%s: %d samples, granule %d", arg, total, g)
		}
		w.Close()
		os.WriteFile(path("b.ogg"), b.Bytes(), 0o600)
		if info := run("opusinfo", path("b.ogg")); strings.Contains(strings.ToLower(info), "warning") || strings.Contains(strings.ToLower(info), "error") {
			t.Errorf("%s: opusinfo says\n%s", arg, info)
		}
		run("opusdec", "--quiet", "--rate", "48000", "--no-dither", path("a.ogg"), path("a.raw"))
		run("opusdec", "--quiet", "--rate", "48000", "--no-dither", path("b.ogg"), path("b.raw"))
		ra, _ := os.ReadFile(path("a.raw"))
		rb, _ := os.ReadFile(path("b.raw"))
		if len(ra) != 2*48000*5 || len(rb) < len(ra) || !bytes.Equal(ra, rb[:len(ra)]) {
			t.Errorf("%s: decoded to %d and %d bytes, or to other sound", arg, len(ra), len(rb))
		}
	}

	// Lost frames: every third packet is missing, the file keeps its time.
	a, _ := os.ReadFile(path("a.ogg"))
	r, _ := NewReader(bytes.NewReader(a))
	var b bytes.Buffer
	w, _ := NewWriter(&b, Options{})
	total := -defaultPreSkip
	for i := 0; ; i++ {
		p, err := r.Next()
		if err != nil {
			break
		}
		n, _ := media.OpusSamples(p)
		total += n
		if i%3 == 2 {
			p = nil
		}
		if err := w.WritePacket(p, n); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	os.WriteFile(path("b.ogg"), b.Bytes(), 0o600)
	if info := run("opusinfo", path("b.ogg")); strings.Contains(strings.ToLower(info), "warning") {
		t.Errorf("with gaps: opusinfo says\n%s", info)
	}
	run("opusdec", "--quiet", "--rate", "48000", path("b.ogg"), path("b.raw"))
	if rb, _ := os.ReadFile(path("b.raw")); len(rb) != 2*total {
		t.Errorf("with gaps: %d samples decoded, want %d", len(rb)/2, total)
	}
}
