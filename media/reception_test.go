// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

func receive(r *Reception, at time.Duration, seq uint16, ts uint32) {
	r.Receive(start.Add(at), &rtp.Header{SSRC: 7, SequenceNumber: seq, Timestamp: ts}, 80)
}

func TestReceptionReport(t *testing.T) {
	var r Reception
	if r.Heard() || r.Lost() != 0 || r.Report(start) != (rtcp.ReceptionReport{}) {
		t.Error("a stream that was never heard has statistics")
	}
	// 10 packets across the wrap, two of them lost, two swapped.
	for _, i := range []uint16{0, 1, 2, 4, 3, 5, 7, 9} {
		receive(&r, time.Duration(i)*20*ms, 65533+i, uint32(i)*960)
	}
	b := r.Report(start.Add(time.Second))
	if b.SSRC != 7 || b.TotalLost != 2 || b.FractionLost != 2*256/10 || b.LastSequenceNumber != 65533+9 {
		t.Errorf("first report %+v", b) // the cycle count is in the upper half
	}
	if b.LastSequenceNumber>>16 != 1 {
		t.Errorf("cycles %d, want 1", b.LastSequenceNumber>>16)
	}
	// The second interval: nothing more is lost.
	for i := uint16(10); i < 20; i++ {
		receive(&r, time.Duration(i)*20*ms, 65533+i, uint32(i)*960)
	}
	if b = r.Report(start.Add(2 * time.Second)); b.FractionLost != 0 || b.TotalLost != 2 {
		t.Errorf("second report %+v", b)
	}
	// The third: none at all arrive, which is no loss that can be seen.
	if b = r.Report(start.Add(3 * time.Second)); b.FractionLost != 0 {
		t.Errorf("third report %+v", b)
	}
	var s Stats
	r.Stats(&s)
	if s.PacketsReceived != 18 || s.PacketsLost != 2 || s.BytesReceived != 18*80 || !s.LastPacketReceived.Equal(start.Add(19*20*ms)) {
		t.Errorf("%+v", s)
	}
}

// TestReceptionRestart: RFC 3550 A.1, one odd packet changes nothing, two in a
// row are a new beginning; what was lost before stays lost.
func TestReceptionRestart(t *testing.T) {
	var r Reception
	receive(&r, 0, 100, 0)
	receive(&r, 20*ms, 102, 1920)
	receive(&r, 40*ms, 50000, 9999)
	if r.Report(start).LastSequenceNumber != 102 {
		t.Error("one odd packet was believed")
	}
	receive(&r, 60*ms, 50001, 10959)
	receive(&r, 80*ms, 50003, 12879)
	if b := r.Report(start); b.LastSequenceNumber != 50003 || b.TotalLost != 2 {
		t.Errorf("after the restart %+v", b)
	}
	r.Receive(start, &rtp.Header{SSRC: 8, SequenceNumber: 9}, 1)
	if b := r.Report(start); b.SSRC != 8 || b.LastSequenceNumber != 9 || b.TotalLost != 2 || b.FractionLost != 0 {
		t.Errorf("another SSRC: %+v", b)
	}
}

func TestReceptionRepeats(t *testing.T) {
	var r Reception
	receive(&r, 0, 1, 0)
	for range 5 {
		receive(&r, 0, 1, 0)
	}
	b := r.Report(start)
	if r.Lost() != -5 || b.TotalLost != 0xfffffb || b.FractionLost != 0 {
		t.Errorf("lost %d, %+v", r.Lost(), b)
	}
	if _, err := b.Marshal(); err != nil {
		t.Errorf("negative loss: %v", err)
	}
}

// TestReceptionJitter drives A.8 with an arrival that alternates by D: the
// estimate must go to D itself.
func TestReceptionJitter(t *testing.T) {
	var first Reception
	receive(&first, 0, 0, 0)
	receive(&first, 30*ms, 1, 960) // 10 ms late: a sixteenth of it counts
	if j := first.Jitter(); j != 625*time.Microsecond {
		t.Errorf("jitter %v after one late packet", j)
	}
	var r Reception
	for i := range 500 {
		at := time.Duration(i) * 20 * ms
		if i%2 == 1 {
			at += 10 * ms
		}
		receive(&r, at, uint16(i), uint32(i)*960+1<<31+123)
	}
	if j := r.Jitter(); j < 9900*time.Microsecond || j > 10100*time.Microsecond {
		t.Errorf("jitter %v, want 10 ms", j)
	}
	if b := r.Report(start); b.Jitter < 475 || b.Jitter > 485 {
		t.Errorf("jitter %d samples, want 480", b.Jitter)
	}
	// DTX: time passes in both clocks, no jitter comes of it.
	before := r.Jitter()
	receive(&r, 500*20*ms+4*time.Second, 500, 500*960+192000+1<<31+123)
	if r.Jitter() > before {
		t.Errorf("jitter %v after silence, %v before", r.Jitter(), before)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, rtt := range []time.Duration{0, 1 * ms, 42 * ms, 700 * ms, 20 * time.Second} {
		for _, hold := range []time.Duration{0, 30 * ms, 5 * time.Second} {
			var a Sending
			var b Reception
			a.Send(start, &rtp.Header{SSRC: 7, Timestamp: 5}, 80)
			receive(&b, rtt/2, 0, 5)
			sr := a.Report(start.Add(time.Second))
			// B's clock is years away from A's; only its own differences count.
			there := start.AddDate(5, 0, 0)
			b.SenderReport(there, &sr)
			rr := b.Report(there.Add(hold))
			a.Receive(start.Add(time.Second+rtt+hold), &rr)
			if d := a.RTT() - rtt; d < -ms || d > ms {
				t.Errorf("round trip %v, want %v (held %v)", a.RTT(), rtt, hold)
			}
		}
	}
}

func TestRoundTripRefused(t *testing.T) {
	var a Sending
	a.Send(start, &rtp.Header{SSRC: 7}, 80)
	sr := a.Report(start)
	lsr := uint32(sr.NTPTime >> 16)
	at := start.Add(100 * ms)
	for name, b := range map[string]rtcp.ReceptionReport{
		"of another stream": {SSRC: 8, LastSenderReport: lsr, FractionLost: 9},
		"from the future":   {SSRC: 7, LastSenderReport: lsr + 65536},
		"of long ago":       {SSRC: 7, LastSenderReport: lsr - 65536*100},
		"held too long":     {SSRC: 7, LastSenderReport: lsr, Delay: 65536},
		"without an SR":     {SSRC: 7},
	} {
		if a.Receive(at, &b); a.RTT() != 0 || a.remoteShare != 0 {
			t.Errorf("a report %s was believed: %v", name, a.RTT())
		}
	}
	a.Receive(at, &rtcp.ReceptionReport{SSRC: 7, FractionLost: 64, TotalLost: 0xffffff, Jitter: 480})
	var s Stats
	a.Stats(&s)
	if s.FractionLost != 0.25 || s.RemotePacketsLost != -1 || s.RemoteJitter != 10*ms {
		t.Errorf("%+v", s)
	}
}

func TestSenderReport(t *testing.T) {
	var x Sending
	if x.Sent() {
		t.Error("sent before anything was sent")
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 5e8, time.UTC)
	for i := range 3 {
		x.Send(at.Add(time.Duration(i)*20*ms), &rtp.Header{SSRC: 7, Timestamp: uint32(i) * 960}, 80)
	}
	r := x.Report(at.Add(50 * ms))
	// 2026-01-01 is 3,976,214,400 s after 1900.
	if r.NTPTime>>32 != 3976214400 || math.Abs(float64(uint32(r.NTPTime))/(1<<32)-0.55) > 1e-6 {
		t.Errorf("NTP time %x", r.NTPTime)
	}
	if r.SSRC != 7 || r.PacketCount != 3 || r.OctetCount != 240 || r.RTPTime != 1920+480 {
		t.Errorf("%+v", r)
	}
	if b, err := r.Marshal(); err != nil || len(b) != 28 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestStatisticsAllocate(t *testing.T) {
	var x Sending
	var r Reception
	h := rtp.Header{SSRC: 7}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		now := start.Add(time.Duration(i) * 20 * ms)
		h.SequenceNumber, h.Timestamp = uint16(i), uint32(i)*960
		x.Send(now, &h, 80)
		r.Receive(now, &h, 80)
		b := r.Report(now)
		x.Receive(now, &b)
		i++
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
