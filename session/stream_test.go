// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/p2pos/p2pos/media"
)

// frame is an Opus packet of 20 ms (CELT, fullband) with n bytes.
func frame(n int) *media.Frame {
	b := bytes.Repeat([]byte{0xa5}, n)
	b[0] = 0xf8
	return &media.Frame{Payload: b, Samples: 960}
}

func streams(t testing.TB) (a, b *Stream) {
	t.Helper()
	p := Params{Codec: media.Opus(), LocalSSRC: 1, RemoteSSRC: 2}
	q := Params{Codec: media.Opus(), LocalSSRC: 2, RemoteSSRC: 1}
	k1, k2 := testKey(1), testKey(2)
	a, err := NewStream(start, Keys{Send: k1, Receive: k2}, p, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	b, err = NewStream(start, Keys{Send: k2, Receive: k1}, q, rand.New(rand.NewPCG(2, 2)))
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// Keys and SSRCs of a real call fit each other.
func TestStreamOfACall(t *testing.T) {
	_, _, _, ka, kb := connected(t)
	rng := rand.New(rand.NewPCG(1, 1))
	a, err := NewStream(start, ka.Keys, ka.Params, rng)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewStream(start, kb.Keys, kb.Params, rng)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]*Stream{{a, b}, {b, a}} {
		f := frame(60)
		pkt, err := pair[0].Send(start, f, nil)
		if err != nil {
			t.Fatal(err)
		}
		h, payload, err := pair[1].Receive(start, pkt)
		if err != nil || h == nil || !bytes.Equal(payload, f.Payload) {
			t.Fatalf("%v, %v", h, err)
		}
		if _, _, err := pair[0].Receive(start, pkt); err == nil {
			t.Error("own packet accepted back")
		}
	}
}

// A minute of voice both ways over 40 ms with 5 % loss one way.
func TestStreamReports(t *testing.T) {
	a, b := streams(t)
	const delay = 40 * time.Millisecond
	rng := rand.New(rand.NewPCG(5, 5))
	lost, reports := 0, 0
	type flight struct {
		to  *Stream
		at  time.Time
		pkt []byte
	}
	var air []flight
	for tick := range 60 * 50 {
		now := start.Add(time.Duration(tick) * 20 * time.Millisecond)
		for len(air) > 0 && !air[0].at.After(now) {
			if _, _, err := air[0].to.Receive(air[0].at, air[0].pkt); err != nil {
				t.Fatal(err)
			}
			air = air[1:]
		}
		for _, s := range []*Stream{a, b} {
			to := map[*Stream]*Stream{a: b, b: a}[s]
			pkt, err := s.Send(now, frame(60), nil)
			if err != nil {
				t.Fatal(err)
			}
			if s == a && tick > 10 && tick < 2950 && rng.IntN(20) == 0 {
				lost++
			} else {
				air = append(air, flight{to, now.Add(delay), pkt})
			}
			if !now.Before(s.Out.ReportAt()) {
				pkt, err := s.Report(now, nil)
				if err != nil {
					t.Fatal(err)
				}
				reports++
				air = append(air, flight{to, now.Add(delay), pkt})
				if d := s.Out.ReportAt().Sub(now); d < reportEvery/2 || d > reportEvery*3/2 {
					t.Fatalf("next report in %v", d)
				}
			}
		}
	}
	var sa, sb media.Stats
	a.Stats(&sa)
	b.Stats(&sb)
	for _, s := range []media.Stats{sa, sb} {
		if s.RoundTripTime < 79*time.Millisecond || s.RoundTripTime > 81*time.Millisecond {
			t.Errorf("round trip %v, want 80 ms", s.RoundTripTime)
		}
	}
	if sb.PacketsLost != int64(lost) || sa.PacketsLost != 0 || lost == 0 {
		t.Errorf("%d and %d lost, want %d and 0", sb.PacketsLost, sa.PacketsLost, lost)
	}
	if d := sa.RemotePacketsLost - int64(lost); d > 0 || d < -10 {
		t.Errorf("the peer reports %d lost of %d", sa.RemotePacketsLost, lost)
	}
	if sa.PacketsSent != 3000 || sa.BytesSent != 3000*60 {
		t.Errorf("sent %d packets, %d bytes", sa.PacketsSent, sa.BytesSent)
	}
	if reports < 90 || reports > 160 {
		t.Errorf("%d reports in two minutes", reports)
	}
}

// The first report, before any media, is an empty RR with a name.
func TestFirstReport(t *testing.T) {
	a, b := streams(t)
	pkt, err := a.Report(start, nil)
	if err != nil {
		t.Fatal(err)
	}
	compound, err := b.In.unprotect.RTCP(nil, pkt)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rtcp.Unmarshal(compound)
	if err != nil {
		t.Fatal(err)
	}
	rr, ok := list[0].(*rtcp.ReceiverReport)
	if !ok || rr.SSRC != 1 || len(rr.Reports) != 0 {
		t.Errorf("%v", list[0])
	}
	sdes, ok := list[1].(*rtcp.SourceDescription)
	if !ok || len(sdes.Chunks) != 1 || len(sdes.Chunks[0].Items[0].Text) != 16 {
		t.Errorf("%v", list[1])
	}
	s2, err := NewStream(start, Keys{}, Params{LocalSSRC: 1, RemoteSSRC: 2}, rand.New(rand.NewPCG(9, 9)))
	if err != nil {
		t.Fatal(err)
	}
	if s2.Out.cname == a.Out.cname {
		t.Error("two calls share a name")
	}
}

func TestStreamSend(t *testing.T) {
	a, b := streams(t)
	if pkt, err := a.Send(start, &media.Frame{Samples: 960}, []byte("x")); err != nil || string(pkt) != "x" {
		t.Errorf("an empty frame: %q, %v", pkt, err)
	}
	var too *media.PayloadError
	if pkt, err := a.Send(start, frame(media.MaxPayload+1), nil); !errors.As(err, &too) || len(pkt) != 0 {
		t.Errorf("too long: %v", err)
	}
	pkt, err := a.Send(start, frame(media.MaxPayload), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, p, err := b.Receive(start, pkt); err != nil || len(p) != media.MaxPayload {
		t.Errorf("longest: %v", err)
	}
}

func TestStreamRefuses(t *testing.T) {
	a, b := streams(t)
	p := a.Out.protect
	good, _ := p.RTP(nil, header(1, 1), []byte{1})
	wrong := header(2, 1)
	wrong.PayloadType = 0
	other, _ := p.RTP(nil, wrong, []byte{1})
	rtcpOf := func(b ...byte) []byte {
		b = append(b, make([]byte, max(0, 8-len(b)))...)
		binary.BigEndian.PutUint32(b[4:], 1)
		pkt, err := p.RTCP(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		return pkt
	}
	n := uint64(0)
	for what, pkt := range map[string][]byte{
		"another payload type":  other,
		"garbage":               bytes.Repeat([]byte{0x80}, 50),
		"report cut off":        rtcpOf(0x80, 200, 0, 5),
		"report without length": rtcpOf(0x80, 200, 0, 1),
		"RR with false count":   rtcpOf(0x9f, 201, 0, 1),
		"nine empty packets":    rtcpOf(append([]byte{0x80, 203, 0, 1, 0, 0, 0, 0}, bytes.Repeat([]byte{0x80, 203, 0, 0}, 8)...)...),
		"trailing bytes":        rtcpOf(0x80, 201, 0, 1, 0, 0, 0, 0, 1),
	} {
		if h, payload, err := b.Receive(start, pkt); !errors.Is(err, errMedia) || h != nil || payload != nil {
			t.Errorf("%s: %v, %v", what, h, err)
		}
		n++
	}
	if b.In.Rejected() != n {
		t.Errorf("%d counted, want %d", b.In.Rejected(), n)
	}
	if _, _, err := b.Receive(start, good); err != nil {
		t.Error("the control: ", err)
	}
	if h, _, err := b.Receive(start, rtcpOf(0x80, 210, 0, 1)); err != nil || h != nil {
		t.Errorf("a kind of a later version: %v", err)
	}
}

// A peer's report about another stream is not ours.
func TestFeedbackOfAnother(t *testing.T) {
	a, b := streams(t)
	raw, _ := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 77, TotalLost: 5}}}})
	pkt, _ := a.Out.protect.RTCP(nil, raw)
	if _, _, err := b.In.Receive(start, pkt); err != nil {
		t.Fatal(err)
	}
	if b.In.Feedback(new(Feedback)) {
		t.Error("taken for ours")
	}
}

// The hot path allocates nothing beyond what srtp does: one in Protect's nonce
// or Unprotect's replay closure, at most.
func TestStreamAllocations(t *testing.T) {
	a, b := streams(t)
	f := frame(80)
	buf := make([]byte, 0, 1500)
	var pkt []byte
	send := testing.AllocsPerRun(1000, func() { pkt, _ = a.Send(start, f, buf) })
	if send > 1 {
		t.Errorf("%v allocations a packet sent", send)
	}
	pkts := make([][]byte, 1100)
	for i := range pkts {
		pkts[i], _ = a.Send(start, f, nil)
	}
	i := 0
	receive := testing.AllocsPerRun(1000, func() {
		if _, _, err := b.In.Receive(start, pkts[i]); err != nil {
			t.Fatal(err)
		}
		i++
	})
	if receive > 1 {
		t.Errorf("%v allocations a packet received", receive)
	}
	var e Early
	e.Expect()
	if n := testing.AllocsPerRun(100, func() { e.Put(pkt) }); n != 0 {
		t.Errorf("%v allocations in Early.Put", n)
	}
	t.Logf("allocations: send %v, receive %v", send, receive)
}

func BenchmarkStreamSend(b *testing.B) {
	x, _ := streams(b)
	f := frame(80)
	buf := make([]byte, 0, 1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Out.Send(start, f, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStreamReceive(b *testing.B) {
	x, y := streams(b)
	f := frame(80)
	pkts := make([][]byte, 4096)
	next := len(pkts)
	b.ReportAllocs()
	for b.Loop() {
		if next == len(pkts) {
			b.StopTimer()
			for i := range pkts {
				pkts[i], _ = x.Out.Send(start, f, pkts[i][:0])
			}
			next = 0
			b.StartTimer()
		}
		if _, _, err := y.In.Receive(start, pkts[next]); err != nil {
			b.Fatal(err)
		}
		next++
	}
}

// One 20 ms frame protected and unprotected: the CPU budget of a call.
func BenchmarkFrame(b *testing.B) {
	x, y := streams(b)
	f := frame(80)
	buf := make([]byte, 0, 1500)
	b.ReportAllocs()
	for b.Loop() {
		pkt, err := x.Out.Send(start, f, buf)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := y.In.Receive(start, pkt); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkForgedPacket(b *testing.B) {
	_, y := streams(b)
	pkt := mediaPacket(1, 120)
	b.ReportAllocs()
	for b.Loop() {
		y.In.Receive(start, pkt)
	}
}

func BenchmarkUnknownSSRC(b *testing.B) {
	var s SSRCs[int]
	s.Add(1, 1)
	pkt := mediaPacket(2, 120)
	b.ReportAllocs()
	for b.Loop() {
		s.Lookup(pkt)
	}
}

// The whole signalling of a call, both sides.
func BenchmarkCallSetup(b *testing.B) {
	l := sides(b, Options{}, "anna", "ben")
	b.ReportAllocs()
	now := start
	for b.Loop() {
		now = now.Add(10 * time.Second)
		id := l[0].place(now, l[1])
		carry(now, l...)
		l[1].do(l[1].m.Answer(now, id))
		carry(now, l...)
		l[0].do(l[0].m.HangUp(now, id))
		carry(now, l...)
		l[0].take()
		l[1].take()
	}
}
