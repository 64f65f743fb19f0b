// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package wire

import (
	"bytes"
	"errors"
	"testing"
)

func TestReader(t *testing.T) {
	r := NewReader([]byte{1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 2, 'a', 'b', 0, 1, 'c', 9, 8, 7})
	var fixed [2]byte
	if r.U8() != 1 || r.U16() != 2 || r.U32() != 3 || r.U64() != 4 || string(r.Vec8()) != "ab" || string(r.Vec16()) != "c" {
		t.Error("values")
	}
	if r.Fixed(fixed[:]); fixed != [2]byte{9, 8} || r.Len() != 1 {
		t.Errorf("fixed %v, %d left", fixed, r.Len())
	}
	if err := r.Done(); !errors.Is(err, ErrTrailing) {
		t.Errorf("trailing byte: %v", err)
	}
}

// The first error sticks, and nothing is read behind it.
func TestReaderStops(t *testing.T) {
	for name, read := range map[string]func(*Reader){
		"u8": func(r *Reader) { r.U8() }, "u16": func(r *Reader) { r.U16() }, "u32": func(r *Reader) { r.U32() },
		"u64": func(r *Reader) { r.U64() }, "vec8": func(r *Reader) { r.Vec8() }, "vec16": func(r *Reader) { r.Vec16() },
		"fixed": func(r *Reader) { r.Fixed(make([]byte, 9)) }, "negative": func(r *Reader) { r.Bytes(-1) },
	} {
		r := NewReader(nil)
		if read(r); !errors.Is(r.Err(), ErrShort) {
			t.Errorf("%s of nothing: %v", name, r.Err())
		}
	}
	r := NewReader([]byte{5, 1, 2}) // five bytes announced, two there
	if v := r.Vec8(); v != nil || r.Rest() != nil || r.U8() != 0 || !errors.Is(r.Done(), ErrShort) {
		t.Errorf("%v %v", v, r.Err())
	}
}

// What the cursor hands out cannot be grown over the input.
func TestReaderClips(t *testing.T) {
	in := []byte{1, 2, 3}
	v := NewReader(in).Bytes(1)
	if _ = append(v, 9); in[1] != 2 {
		t.Error("input overwritten")
	}
}

func TestFields(t *testing.T) {
	b := AppendField(AppendField(nil, 1, []byte("x")), 7, nil)
	if want := []byte{1, 0, 1, 'x', 7, 0, 0}; !bytes.Equal(b, want) {
		t.Errorf("% x", b)
	}
	var tags []uint8
	collect := func(tag uint8, _ []byte) error { tags = append(tags, tag); return nil }
	if err := Fields(b, collect); err != nil || !bytes.Equal(tags, []uint8{1, 7}) {
		t.Errorf("%v %v", tags, err)
	}
	many := []byte{}
	for i := range MaxFields + 1 {
		many = AppendField(many, uint8(i), nil)
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"repeated": {[]byte{1, 0, 0, 1, 0, 0}, ErrField},
		"falling":  {[]byte{2, 0, 0, 1, 0, 0}, ErrField},
		"too many": {many, ErrField},
		"cut":      {b[:len(b)-1], ErrShort},
		"too long": {[]byte{1, 0xff, 0xff}, ErrShort},
	} {
		if err := Fields(c.b, func(uint8, []byte) error { return nil }); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stop := errors.New("stop")
	if err := Fields(b, func(uint8, []byte) error { return stop }); err != stop {
		t.Errorf("visitor's error: %v", err)
	}
}

func TestAppendPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"vec8": func() { AppendVec8(nil, make([]byte, 256)) }, "vec16": func() { AppendVec16(nil, make([]byte, 65536)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// Every first byte has one kind (RFC 9443 and ours).
func TestKindOf(t *testing.T) {
	for b := range 256 {
		want := Other
		switch {
		case b <= 3:
			want = STUN
		case b == 4:
			want = Relay
		case b >= 20 && b <= 63:
			want = DTLS
		case b >= 64 && b <= 127, b >= 192:
			want = QUIC
		case b >= 128:
			want = Media
		}
		if got := KindOf(byte(b)); got != want {
			t.Errorf("%d is %v, want %v", b, got, want)
		}
	}
	names := map[string]bool{}
	for k := Other; k <= Media; k++ {
		names[k.String()] = true
	}
	if len(names) != int(Media)+1 {
		t.Errorf("names %v", names)
	}
}

func FuzzFields(f *testing.F) {
	f.Add(AppendField(AppendField(nil, 1, []byte("x")), 7, nil))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		if Fields(b, func(tag uint8, v []byte) error { again = AppendField(again, tag, v); return nil }) == nil && !bytes.Equal(again, b) {
			t.Errorf("% x became % x", b, again)
		}
	})
}
