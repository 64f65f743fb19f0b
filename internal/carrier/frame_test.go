// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// feed gives a stream to a deframer in pieces of n bytes and returns what it
// finds.
func feed(stream []byte, n int) (found [][]byte, left bool, err error) {
	var d deframer
	for {
		for {
			b, whole, err := d.next()
			if err != nil {
				return found, false, err
			}
			if !whole {
				break
			}
			found = append(found, bytes.Clone(b))
		}
		if len(stream) == 0 {
			return found, d.begun(), nil
		}
		k := copy(d.room()[:min(n, len(d.room()))], stream)
		d.filled(k)
		stream = stream[k:]
	}
}

func TestDeframer(t *testing.T) {
	var stream []byte
	var want [][]byte
	for _, n := range []int{1, 0, MaxDatagram, 2, MaxDatagram, MaxDatagram, 700, 0} {
		b := bytes.Repeat([]byte{byte(n)}, n)
		want = append(want, b)
		stream = append(stream, frame(b)...)
	}
	for _, piece := range []int{1, 2, 3, 7, 1499, 1502, 4096, 100000} {
		got, left, err := feed(stream, piece)
		if err != nil || left || len(got) != len(want) {
			t.Fatalf("pieces of %d: %d frames, rest %v, %v", piece, len(got), left, err)
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("pieces of %d: frame %d has %d bytes, want %d", piece, i, len(got[i]), len(want[i]))
			}
		}
	}
	if _, left, err := feed(stream[:len(stream)-3], 10); err != nil || !left {
		t.Errorf("a cut frame: rest %v, %v", left, err)
	}
}

func TestDeframerRefuses(t *testing.T) {
	for _, c := range []struct {
		head string
		http bool
	}{
		{"\x05\xdd", false}, // 1501
		{"\xff\xff", false},
		{"\x16\x03", false}, // TLS in TLS
		{"GET / HTTP/1.1\r\n", true},
		{"PRI * HTTP/2.0\r\n", true},
		{"HTTP/1.1 400 Bad Request\r\n", true},
	} {
		_, _, err := feed(append(frame([]byte("ok")), c.head...), 1)
		var e *FrameError
		if !errors.As(err, &e) || e.http() != c.http || !strings.HasPrefix(e.Error(), "carrier: ") {
			t.Errorf("%q: %v", c.head, err)
		}
	}
}

// FuzzDeframer: in whatever pieces a stream comes, the same frames are found,
// and put together they are the stream.
func FuzzDeframer(f *testing.F) {
	f.Add([]byte{}, uint8(1))
	f.Add(append(frame([]byte("hello")), 0, 0, 5, 220), uint8(3))
	f.Add(append(frame(make([]byte, MaxDatagram)), 0xff, 0xff), uint8(200))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(4))
	f.Add(bytes.Repeat([]byte{0, 1, 9}, 3000), uint8(250))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		got, left, err := feed(stream, int(piece)+1)
		all, allLeft, allErr := feed(stream, inputSize)
		if len(got) != len(all) || left != allLeft || (err == nil) != (allErr == nil) {
			t.Fatalf("%d frames, %v, %v; at once %d, %v, %v", len(got), left, err, len(all), allLeft, allErr)
		}
		var again []byte
		for _, b := range got {
			again = append(again, frame(b)...)
		}
		if !bytes.HasPrefix(stream, again) || err == nil && left == (len(again) == len(stream)) {
			t.Fatalf("%d bytes of %d came back, rest %v", len(again), len(stream), left)
		}
	})
}
