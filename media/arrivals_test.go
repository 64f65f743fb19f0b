// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// TestArrivalsGolden: bytes as RFC 8888 §3.1 draws them.
func TestArrivalsGolden(t *testing.T) {
	var a Arrivals
	a.Receive(start, 0xfffe, 0)
	a.Receive(start.Add(500*ms), 0, 960) // 0xffff is missing
	got := a.Append(start.Add(time.Second), nil, 0x01020304, 0x05060708)
	want := "8bcd0006" + "01020304" + "05060708" + "fffe0003" +
		"8400" + "0000" + "8200" + "0000" + "00010000"
	if hex.EncodeToString(got) != want {
		t.Errorf("%x\nwant %s", got, want)
	}
	var p rtcp.CCFeedbackReport
	if err := p.Unmarshal(got); err != nil {
		t.Fatal(err)
	}
	again, err := p.Marshal()
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("pion has %x, %v", again, err)
	}
	if m := p.ReportBlocks[0].MetricBlocks; len(m) != 3 || !m[0].Received || m[1].Received || m[2].ArrivalTimeOffset != 512 {
		t.Errorf("pion reads %+v", p)
	}
}

// TestArrivalsReports: each packet is told twice, so that losing one report
// loses nothing, and what came late is told after all.
func TestArrivalsReports(t *testing.T) {
	var a Arrivals
	told := map[uint16]int{}
	for i := range 500 {
		if i%7 != 3 {
			a.Receive(start.Add(even(i)), uint16(65400+i), uint32(i)*960)
		}
		if i%50 == 49 {
			rec, err := ParseReceipts(a.Append(start.Add(even(i)), nil, 1, 2), 2)
			if err != nil {
				t.Fatal(err)
			}
			for k := range rec.Len() {
				arrival, timed, received := rec.At(k)
				seq := rec.Begin + uint16(k)
				if j := int(seq - 65400); received != (j%7 != 3) {
					t.Fatalf("packet %d: %v", j, received)
				} else if at := even(j).Seconds() * 65536; received && (!timed || float64(arrival) < at-80 || float64(arrival) > at+80) {
					t.Fatalf("packet %d came at %d, want %.0f", j, arrival, at)
				}
				told[seq]++
			}
		}
	}
	for i := range 400 {
		if n := told[uint16(65400+i)]; n < 2 || n > 3 {
			t.Errorf("packet %d was told %d times", i, n)
		}
	}
	if b := a.Append(start.Add(time.Minute), nil, 1, 2); b != nil {
		t.Errorf("nothing new, but %x", b)
	}
}

// TestArrivalsUrgent: a queue that builds up is told soon, jitter and a steady
// delay are not.
func TestArrivalsUrgent(t *testing.T) {
	var a Arrivals
	for i := range 100 {
		now := start.Add(even(i) + time.Duration(i%3)*10*ms)
		if a.Receive(now, uint16(i), uint32(i)*960); a.Urgent(now) {
			t.Fatalf("urgent for jitter at packet %d", i)
		}
		if i%50 == 49 {
			a.Append(now, nil, 1, 2)
		}
	}
	for i := 100; ; i++ {
		now := start.Add(even(i) + time.Duration(i-100)*8*ms)
		if a.Receive(now, uint16(i), uint32(i)*960); a.Urgent(now) {
			break
		}
		if i == 130 {
			t.Fatal("not urgent when the delay has grown by 240 ms")
		}
	}
	a.Append(start.Add(time.Minute), nil, 1, 2)
	if a.Urgent(start.Add(time.Minute)) {
		t.Error("urgent right after a report")
	}
}

// TestArrivalsRestart: any numbers may come.
func TestArrivalsRestart(t *testing.T) {
	var a Arrivals
	for i, seq := range []uint16{0, 30000, 1, 65535, 65535, 0, 40000, 40001} {
		a.Receive(start.Add(even(i)), seq, uint32(i)<<28)
		b := a.Append(start.Add(even(i)), nil, 1, 2)
		rec, err := ParseReceipts(b, 2)
		if err != nil || rec.Len() > MaxReceipts {
			t.Fatalf("%x: %v", b, err)
		}
		if _, _, received := rec.At(rec.Len() - 1); i != 2 && i != 4 && !received {
			t.Errorf("packet %d is not in its report", seq)
		}
	}
}

func TestParseReceipts(t *testing.T) {
	var a Arrivals
	for i := range 5 {
		a.Receive(start.Add(even(i)), uint16(i), 0)
	}
	good := a.Append(start.Add(time.Second), nil, 1, 2)
	if _, err := ParseReceipts(good, 3); err == nil {
		t.Error("another stream's report taken")
	}
	for n := range good {
		if _, err := ParseReceipts(good[:n], 2); err == nil {
			t.Errorf("%d of %d bytes taken", n, len(good))
		}
	}
	lie := bytes.Clone(good)
	binary.BigEndian.PutUint16(lie[14:], 5000)
	if _, err := ParseReceipts(lie, 2); err == nil {
		t.Error("a block longer than the packet taken")
	}
}

func FuzzParseReceipts(f *testing.F) {
	var a Arrivals
	for i := range 9 {
		a.Receive(start.Add(even(i)), uint16(i*2), uint32(i)*960)
	}
	f.Add(a.Append(start.Add(time.Second), nil, 1, 2))
	f.Add(append([]byte{0x8b, 205, 0, 4}, make([]byte, 16)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := ParseReceipts(b, 2)
		if err != nil {
			return
		}
		r := NewRate()
		for i := range 100 {
			r.Sent(start.Add(even(i)), rec.Begin+uint16(i), 60, false)
		}
		r.Receipts(start.Add(2*time.Second), &rec)
		if r.Target() < rateLeast || r.Target() > rateMost {
			t.Fatalf("target %d", r.Target())
		}
	})
}
