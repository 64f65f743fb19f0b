// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package wav

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"
)

func ramp(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(i*7919 - 30000)
	}
	return pcm
}

func readAll(t *testing.T, r *Reader) []int16 {
	t.Helper()
	var all []int16
	buf := make([]int16, 962) // not a whole number of what bufio holds
	for {
		n, err := r.ReadPCM(buf)
		all = append(all, buf[:n]...)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, f := range []Format{{48000, 1}, {48000, 2}, {8000, 1}, {192000, 2}} {
		for _, n := range []int{0, 2, 960, 10000} {
			pcm := ramp(n)
			var b bytes.Buffer
			w, err := NewWriter(&b, f)
			if err != nil {
				t.Fatal(err)
			}
			for c := range slices.Chunk(pcm, 334) {
				if err := w.WritePCM(c); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if b.Len() != headerSize+2*n {
				t.Errorf("%v: %d values make %d bytes", f, n, b.Len())
			}
			r, err := NewReader(iotest.OneByteReader(&b))
			if err != nil {
				t.Fatal(err)
			}
			if r.Format() != f {
				t.Errorf("format %v, want %v", r.Format(), f)
			}
			if got := readAll(t, r); !slices.Equal(got, pcm) {
				t.Errorf("%v: %d values came back as %d, or others", f, n, len(got))
			}
		}
	}
}

// TestSizes proves that Close completes the header in place, wherever in the
// file the sound begins.
func TestSizes(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x.wav"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("before"); err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(f, Format{Rate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WritePCM(ramp(100)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePCM(ramp(2)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after Close: %v", err)
	}
	if _, err := f.WriteString("after"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := appendHeader([]byte("before"), Format{Rate: 48000, Channels: 2}, 200)
	if !bytes.HasPrefix(b, want) || !bytes.HasSuffix(b, []byte("after")) || len(b) != len(want)+205 {
		t.Errorf("file of %d bytes begins % x", len(b), b[:len(want)])
	}
}

// TestGolden holds the header to the bytes other programs expect.
func TestGolden(t *testing.T) {
	want := "RIFF\x28\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\xbb\x00\x00\x00\x77\x01\x00\x02\x00\x10\x00data\x04\x00\x00\x00"
	if got := appendHeader(nil, Format{48000, 1}, 4); string(got) != want {
		t.Errorf("header %q", got)
	}
}

// file puts a WAV together from chunks.
func file(chunks ...string) []byte {
	return append([]byte("RIFF\x00\x00\x00\x00WAVE"), slices.Concat([]byte(nil), []byte(join(chunks)))...)
}

func join(c []string) (s string) {
	for _, x := range c {
		s += x
	}
	return s
}

func chunk(name, body string) string {
	s := name + string(binary.LittleEndian.AppendUint32(nil, uint32(len(body)))) + body
	if len(body)%2 == 1 {
		s += "\x00"
	}
	return s
}

const (
	monoPCM    = "\x01\x00\x01\x00\x80\xbb\x00\x00\x00\x77\x01\x00\x02\x00\x10\x00"
	extensible = "\xfe\xff\x01\x00\x80\xbb\x00\x00\x00\x77\x01\x00\x02\x00\x10\x00\x16\x00\x10\x00\x04\x00\x00\x00" + extensiblePCM
)

func TestForeignFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want int // values, -1 = not read
	}{
		{"plain", file(chunk("fmt ", monoPCM), chunk("data", "abcd")), 2},
		{"chunks around it, odd ones padded", file(chunk("LIST", "odd"), chunk("fmt ", monoPCM), chunk("fact", "abcd"), chunk("data", "abcd"), chunk("id3 ", "x")), 2},
		{"longer format", file(chunk("fmt ", monoPCM+"\x00\x00"), chunk("data", "abcd")), 2},
		{"extensible", file(chunk("fmt ", extensible), chunk("data", "abcd")), 2},
		{"half a sample at the end", file(chunk("fmt ", monoPCM), chunk("data", "abc")), 1},
		{"cut off", file(chunk("fmt ", monoPCM), "data\xff\x00\x00\x00abcde"), 2},
		{"killed while it was written", file(chunk("fmt ", monoPCM), "data\xff\xff\xff\xffabcd"), 2},
		{"empty", nil, -1},
		{"only RIFF", []byte("RIFF"), -1},
		{"an AVI", append([]byte("RIFF\x00\x00\x00\x00AVI "), chunk("fmt ", monoPCM)...), -1},
		{"no sound", file(chunk("fmt ", monoPCM)), -1},
		{"sound first", file(chunk("data", "abcd"), chunk("fmt ", monoPCM)), -1},
		{"short format", file(chunk("fmt ", monoPCM[:14]), chunk("data", "abcd")), -1},
		{"8 bits", file(chunk("fmt ", monoPCM[:14]+"\x08\x00"), chunk("data", "abcd")), -1},
		{"floating point", file(chunk("fmt ", "\x03"+monoPCM[1:]), chunk("data", "abcd")), -1},
		{"six channels", file(chunk("fmt ", "\x01\x00\x06"+monoPCM[3:]), chunk("data", "abcd")), -1},
		{"rate 0", file(chunk("fmt ", monoPCM[:4]+"\x00\x00\x00\x00"+monoPCM[8:]), chunk("data", "abcd")), -1},
		{"endless chunks", file(join(slices.Repeat([]string{chunk("junk", "")}, maxChunks+1)), chunk("fmt ", monoPCM), chunk("data", "abcd")), -1},
		{"a chunk beyond the end", file("junk\xff\xff\xff\x7f"), -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(c.file))
			if c.want < 0 {
				if !errors.Is(err, ErrFormat) {
					t.Errorf("error %v, want ErrFormat", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, r); len(got) != c.want {
				t.Errorf("%d values, want %d", len(got), c.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	boom := errors.New("boom")
	if _, err := NewReader(iotest.ErrReader(boom)); !errors.Is(err, boom) {
		t.Errorf("NewReader: %v", err)
	}
	r, err := NewReader(io.MultiReader(bytes.NewReader(file(chunk("fmt ", monoPCM), "data\xff\x00\x00\x00abcd")), iotest.ErrReader(boom)))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.ReadPCM(make([]int16, 10)); n != 2 || err != nil {
		t.Errorf("before the error: %d, %v", n, err)
	}
	if n, err := r.ReadPCM(make([]int16, 10)); n != 0 || !errors.Is(err, boom) {
		t.Errorf("the error: %d, %v", n, err)
	}
	for _, f := range []Format{{}, {48000, 3}, {7999, 1}, {1 << 20, 1}} {
		if _, err := NewWriter(io.Discard, f); err == nil {
			t.Errorf("%v was written", f)
		}
	}
	w, err := NewWriter(io.Discard, Format{48000, 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WritePCM(make([]int16, 3)); err == nil {
		t.Error("one and a half samples were written")
	}
	w.written = maxData - 2
	if err := w.WritePCM(make([]int16, 2)); !errors.Is(err, ErrFull) {
		t.Errorf("over the end: %v", err)
	}
}

func TestNoAllocation(t *testing.T) {
	w, err := NewWriter(io.Discard, Format{48000, 1})
	if err != nil {
		t.Fatal(err)
	}
	pcm := ramp(960)
	if n := testing.AllocsPerRun(100, func() { w.WritePCM(pcm) }); n != 0 {
		t.Errorf("WritePCM allocates %v times", n)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(file(chunk("fmt ", monoPCM), chunk("data", "abcd")))
	f.Add(file(chunk("LIST", "odd"), chunk("fmt ", extensible), "data\xff\xff\xff\xffabcde"))
	f.Add([]byte("RIFF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		total := 0
		for buf := make([]int16, 100); ; {
			n, err := r.ReadPCM(buf)
			total += n
			if err == io.EOF {
				break
			}
			if err != nil || n == 0 || n%r.Format().Channels != 0 {
				t.Fatalf("%d values, %v", n, err)
			}
		}
		if 2*total > len(b) {
			t.Fatalf("%d bytes gave %d values", len(b), total)
		}
	})
}
