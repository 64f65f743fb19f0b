// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/pion/rtp"
)

func headerFor(i int) rtp.Header {
	return rtp.Header{SequenceNumber: uint16(i), Timestamp: uint32(i) * 960}
}

// TestTone: a packet each 20 ms with a growing duration, the end three times.
func TestTone(t *testing.T) {
	tone, ok := NewTone('#', 100*ms)
	if !ok {
		t.Fatal("no key")
	}
	var got string
	marks := 0
	for {
		e, first, ok := tone.Next()
		if !ok {
			break
		}
		if first {
			marks++
		}
		b := e.Append(nil)
		got += hex.EncodeToString(b) + " "
		if back, err := ParseEvent(b); err != nil || back != e {
			t.Errorf("%+v read as %+v, %v", e, back, err)
		}
	}
	if want := "0b0a03c0 0b0a0780 0b0a0b40 0b0a0f00 0b8a12c0 0b8a12c0 0b8a12c0 "; got != want || marks != 1 {
		t.Errorf("%s\nwant %s, %d marked", got, want, marks)
	}
	for d, want := range map[time.Duration]int{0: 1920, time.Hour: 62400, -1: 1920} {
		if tone, _ := NewTone('1', d); tone.total != want {
			t.Errorf("%v lasts %d samples", d, tone.total)
		}
	}
	if _, ok := NewTone('x', time.Second); ok || IsKey('x') || !IsKey('D') {
		t.Error("x is a key")
	}
	if b := (Event{Digit: 'x'}).Append(nil); b != nil {
		t.Errorf("x is %x", b)
	}
}

// TestKeys: any two packets of three may be lost, repeated or swapped, and each
// key is heard once.
func TestKeys(t *testing.T) {
	for drop := range 8 {
		var k Keys
		heard, ended := "", 0
		for i, digit := range []byte("5599") {
			tone, _ := NewTone(digit, 40*ms)
			for n := 0; ; n++ {
				e, _, ok := tone.Next()
				if !ok {
					break
				}
				if n < 3 && drop>>n&1 != 0 {
					continue
				}
				for range 2 {
					begin, end := k.Hear(uint32(i*10000)-5000, e)
					if begin {
						heard += string(e.Digit)
					}
					if end {
						ended++
					}
				}
			}
			k.Hear(uint32(i*10000)-15000, Event{Digit: '1', End: true}) // of long ago
		}
		if heard != "5599" || ended != 4 {
			t.Errorf("without packets %03b: heard %s, %d ends", drop, heard, ended)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte{0x0b, 0x8a, 0x12, 0xc0})
	f.Add([]byte{16, 0, 0, 0})
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEvent(b)
		if err != nil {
			return
		}
		if again, err := ParseEvent(e.Append(nil)); err != nil || again != e {
			t.Fatalf("%+v read again as %+v, %v", e, again, err)
		}
	})
}
