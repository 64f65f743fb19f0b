// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/p2pos/p2pos/media"
)

// makePage builds a page by hand, apart from the writer: body cut at lacing.
func makePage(flags byte, serial, seq uint32, lacing []byte, body []byte) []byte {
	b := append([]byte(capture), 0, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(seq)*960)
	b = binary.LittleEndian.AppendUint32(b, serial)
	b = binary.LittleEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, byte(len(lacing)))
	b = append(append(b, lacing...), body...)
	binary.LittleEndian.PutUint32(b[22:], pageCRC(b))
	return b
}

// packets builds a page of whole packets below 255 bytes.
func packets(flags byte, serial, seq uint32, p ...string) []byte {
	var lacing []byte
	for _, q := range p {
		lacing = append(lacing, byte(len(q)))
	}
	return makePage(flags, serial, seq, lacing, []byte(strings.Join(p, "")))
}

func headers(serial uint32) []byte {
	head := appendHead(nil, Head{Channels: 1, PreSkip: 312, SampleRate: 48000}, 1)
	tags := appendTags(nil, "test")
	return append(packets(flagFirst, serial, 0, string(head)), packets(0, serial, 1, string(tags))...)
}

func cat(p ...[]byte) []byte { return bytes.Join(p, nil) }

func damaged(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// readAll returns the packets joined by spaces, with ! for each damage.
func readAll(t *testing.T, src io.Reader) string {
	t.Helper()
	r, err := NewReader(src)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for {
		p, err := r.Next()
		var c *CorruptError
		switch {
		case err == io.EOF:
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("after the end: %v", err)
			}
			return strings.Join(out, " ")
		case errors.As(err, &c):
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v is not ErrFormat", err)
			}
			out = append(out, "!")
		case err != nil:
			t.Fatal(err)
		case len(p) > 255:
			out = append(out, fmt.Sprint(len(p)))
		default:
			out = append(out, string(p))
		}
	}
}

func TestReader(t *testing.T) {
	h := headers(7)
	full := bytes.Repeat([]byte{255}, 255)
	x := strings.Repeat("x", 255*255)
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"several packets a page", cat(h, packets(0, 7, 2, "a", "b", "c"), packets(flagLast, 7, 3, "d")), "a b c d"},
		{"a packet over two pages", cat(h, makePage(0, 7, 2, []byte{1, 255}, []byte("a"+x[:255])), makePage(flagContinue|flagLast, 7, 3, []byte{45, 1}, []byte(x[:45]+"b"))), "a 300 b"},
		{"a packet over three pages is too long", cat(h, makePage(0, 7, 2, full, []byte(x)), makePage(flagContinue, 7, 3, full, []byte(x)), makePage(flagContinue|flagLast, 7, 4, []byte{0, 1}, []byte("b"))), "! b"},
		{"a packet of just 255 bytes", cat(h, makePage(flagLast, 7, 2, []byte{255, 0, 1}, []byte(x[:255]+"b"))), x[:255] + " b"},
		{"a stream beside it", cat(packets(flagFirst, 9, 0, "\x80theora"), h, packets(0, 9, 1, "v"), packets(0, 7, 2, "a"), packets(0, 9, 2, "v"), packets(flagLast, 7, 3, "b")), "a b"},
		{"a link chained behind it", cat(h, packets(flagLast, 7, 2, "a"), headers(8), packets(flagLast, 8, 2, "z")), "a"},
		{"no last page", cat(h, packets(0, 7, 2, "a")), "a"},
		{"a wrong checksum", cat(h, packets(0, 7, 2, "a"), damaged(packets(0, 7, 3, "b"), 28), packets(flagLast, 7, 4, "c")), "a ! ! c"},
		{"a wrong segment count", cat(h, packets(0, 7, 2, "a"), damaged(packets(0, 7, 3, "b"), 26), packets(flagLast, 7, 4, "c")), "a ! ! c"},
		{"a page is missing", cat(h, packets(0, 7, 2, "a"), packets(flagLast, 7, 4, "c")), "a ! c"},
		{"garbage between pages", cat(h, packets(0, 7, 2, "a"), []byte("Og OggS OggOggS"), packets(flagLast, 7, 3, "b")), "a ! ! ! b"},
		{"cut off in a page", cat(h, packets(0, 7, 2, "a"), packets(0, 7, 3, "b")[:20]), "a !"},
		{"cut off in a body", cat(h, packets(0, 7, 2, "a"), packets(0, 7, 3, "bbb")[:29]), "a !"},
		{"the start of a packet is missing", cat(h, packets(0, 7, 2, "a"), makePage(flagContinue, 7, 4, []byte{255, 3, 1}, []byte(x[:258]+"b")), packets(flagLast, 7, 5, "c")), "a ! b c"},
		{"a packet is not continued", cat(h, makePage(0, 7, 2, []byte{1, 255}, []byte("a"+x[:255])), packets(flagLast, 7, 3, "b")), "a b"},
		{"nothing to continue", cat(h, makePage(flagContinue, 7, 2, []byte{2, 1}, []byte("xxb")), packets(flagLast, 7, 3, "c")), "b c"},
		{"an empty packet", cat(h, packets(flagLast, 7, 2, "a", "", "b")), "a ! b"},
		{"an empty last page", cat(h, packets(0, 7, 2, "a"), packets(flagLast, 7, 3)), "a"},
		{"a page without packets in between", cat(h, packets(0, 7, 2), packets(flagLast, 7, 3, "a")), "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := readAll(t, bytes.NewReader(tt.file)); got != tt.want {
				t.Errorf("read %.80s\nwant %.80s", got, tt.want)
			}
			if got := readAll(t, iotest.OneByteReader(bytes.NewReader(tt.file))); got != tt.want {
				t.Errorf("byte by byte: read %.80s", got)
			}
		})
	}
}

func TestReaderHeaders(t *testing.T) {
	head := appendHead(nil, Head{Channels: 2, PreSkip: 3840, SampleRate: 16000, Gain: -256}, 1)
	tags := cat([]byte(tagsMagic), []byte{3, 0, 0, 0}, []byte("enc"), []byte{2, 0, 0, 0, 3, 0, 0, 0}, []byte("A=b"), []byte{1, 0, 0, 0}, []byte("C"))
	r, err := NewReader(bytes.NewReader(cat(packets(flagFirst, 7, 0, string(head)), packets(0, 7, 1, string(tags)), packets(flagLast, 7, 2, "a"))))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Head{2, 3840, 16000, -256}); r.Head() != want {
		t.Errorf("head %+v, want %+v", r.Head(), want)
	}
	if got := r.Tags(); got.Vendor != "enc" || len(got.Comments) != 2 || got.Comments[0] != "A=b" || got.Comments[1] != "C" {
		t.Errorf("tags %+v", got)
	}
	if _, err := r.Next(); err != nil || r.Granule() != 2*960 {
		t.Errorf("granule %d, %v", r.Granule(), err)
	}
	// Comments over several pages, with a picture larger than we keep.
	picture := make([]byte, 100_000)
	copy(picture, tags)
	full := bytes.Repeat([]byte{255}, 255)
	file := cat(packets(flagFirst, 7, 0, string(head)),
		makePage(0, 7, 1, full, picture[:65025]),
		makePage(flagContinue, 7, 2, append(bytes.Repeat([]byte{255}, 137), 40), picture[65025:]),
		packets(flagLast, 7, 3, "a"))
	if got := readAll(t, bytes.NewReader(file)); got != "a" {
		t.Errorf("after long comments: %s", got)
	}
}

func TestReaderRefuses(t *testing.T) {
	good := headers(7)
	head := func(at int, v byte) []byte {
		h := appendHead(nil, Head{Channels: 1}, 1)
		h[at] = v
		return packets(flagFirst, 7, 0, string(h))
	}
	first := len(head(9, 1))
	tests := []struct {
		name   string
		file   []byte
		offset int64
	}{
		{"empty", nil, 0},
		{"a text", []byte("this is not a recording at all, whatever its name says"), 0},
		{"a short text", []byte("hello"), 0},
		{"another codec", packets(flagFirst|flagLast, 7, 0, "\x01vorbis"), 35},
		{"three channels", head(9, 3), 0},
		{"no channels", head(9, 0), 0},
		{"a mapping family", head(18, 1), 0},
		{"a later version", head(8, 16), 0},
		{"a short header", packets(flagFirst, 7, 0, headMagic+"\x01\x01"), 0},
		{"a damaged first page", damaged(good, 30), 0},
		{"a damaged comment page", damaged(good, first+30), int64(first)},
		{"no comments", cat(head(9, 1), packets(0, 7, 1, "sound")), int64(first)},
		{"ends behind the header", head(9, 1), int64(first)},
		{"ends in the header", head(9, 1)[:40], 0},
	}
	for _, tt := range tests {
		_, err := NewReader(bytes.NewReader(tt.file))
		var e *FormatError
		if !errors.As(err, &e) || !errors.Is(err, ErrFormat) || e.What == "" || e.Offset != tt.offset {
			t.Errorf("%s: %v, want a FormatError at %d", tt.name, err, tt.offset)
		}
	}
	broken := errors.New("disk on fire")
	if _, err := NewReader(io.MultiReader(bytes.NewReader(good[:50]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a failing source: %v", err)
	}
	r, err := NewReader(io.MultiReader(bytes.NewReader(good), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, broken) {
			t.Errorf("a source that fails later: %v", err)
		}
	}
}

// TestCRC uses the check value of CRC-32/CKSUM, which is ours but for a final
// inversion (0x765e7680).
func TestCRC(t *testing.T) {
	if got := crc(0, []byte("123456789")); got != 0x89a1897f {
		t.Errorf("checksum %#x", got)
	}
}

// FuzzOggReader: whatever the bytes, reading ends, packets are bounded, and what
// is sound can be written and read again.
func FuzzOggReader(f *testing.F) {
	h := headers(7)
	good := cat(h, packets(0, 7, 2, "\x08ab", "\x08c"), packets(flagLast, 7, 3, "\x08d"))
	f.Add(good)
	f.Add(damaged(good, len(h)+28))
	f.Add(good[:len(good)-3])
	f.Add(cat(packets(flagFirst, 9, 0, "other"), good))
	f.Add(cat(h, makePage(0, 7, 2, []byte{255}, make([]byte, 255)), makePage(flagContinue, 7, 3, []byte{0, 1}, []byte{8})))
	f.Fuzz(func(t *testing.T, b []byte) {
		read(t, b)
		// Checksums keep a fuzzer out; so the same bytes again with right ones.
		fixed := bytes.Clone(b)
		for i := 0; i+pageHeader <= len(fixed); {
			n := bytes.Index(fixed[i:], []byte(capture))
			if n < 0 || i+n+pageHeader > len(fixed) {
				break
			}
			i += n
			end := i + pageHeader + int(fixed[i+26])
			if end > len(fixed) {
				break
			}
			for _, v := range fixed[i+pageHeader : end] {
				end += int(v)
			}
			if end > len(fixed) {
				i++
				continue
			}
			binary.LittleEndian.PutUint32(fixed[i+22:], pageCRC(fixed[i:end]))
			i = end
		}
		read(t, fixed)
	})
}

func read(t *testing.T, b []byte) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		if !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		return
	}
	var again bytes.Buffer
	w, err := NewWriter(&again, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var sound [][]byte
	for n := 0; ; n++ {
		if n > 2*len(b)+10 {
			t.Fatal("reading does not end")
		}
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			continue
		}
		if len(p) == 0 || len(p) > MaxPacket || len(p) > len(b) {
			t.Fatalf("packet of %d bytes", len(p))
		}
		if err := w.WritePacket(p, 0); err == nil {
			sound = append(sound, bytes.Clone(p))
		} else if !errors.Is(err, media.ErrPayload) {
			t.Fatal(err)
		}
	}
	w.Close()
	if r, err = NewReader(&again); err != nil {
		t.Fatal(err)
	}
	for i, want := range sound {
		if p, err := r.Next(); err != nil || !bytes.Equal(p, want) {
			t.Fatalf("packet %d of %d: %d bytes, %v; want %d", i, len(sound), len(p), err, len(want))
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Fatalf("after the last packet: %v", err)
	}
}
