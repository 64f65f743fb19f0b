// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"github.com/p2pos/p2pos/media"
)

// lens is one side of a picture.
type lens struct {
	out *VideoOutbound
	in  *VideoInbound
}

func lenses(t testing.TB) (a, b *lens) {
	t.Helper()
	p := Params{Video: media.VP8(), LocalVideoSSRC: 3, RemoteVideoSSRC: 4}
	q := Params{Video: media.VP8(), LocalVideoSSRC: 4, RemoteVideoSSRC: 3}
	k1, k2 := testKey(3), testKey(4)
	return newLens(t, Keys{SendVideo: k1, ReceiveVideo: k2}, p), newLens(t, Keys{SendVideo: k2, ReceiveVideo: k1}, q)
}

func newLens(t testing.TB, k Keys, p Params) *lens {
	t.Helper()
	out, err := NewVideoOutbound(k, p, rand.New(rand.NewPCG(uint64(p.LocalVideoSSRC), 1)))
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewVideoInbound(k, p)
	if err != nil {
		t.Fatal(err)
	}
	return &lens{out, in}
}

// picturePacket is packet n of a film.
func picturePacket(n, size int) *media.Packet {
	b := bytes.Repeat([]byte{byte(n)}, size)
	binary.BigEndian.PutUint32(b, uint32(n))
	return &media.Packet{Sequence: uint16(n), Timestamp: uint32(n/4) * 3000, Marker: n%4 == 3, Payload: b}
}

// Both offer, one offers, the other can't: and what each side then has.
func TestNegotiateVideo(t *testing.T) {
	vp8, h264 := media.VP8(), media.H264()
	av1 := media.Codec{PayloadType: 45, ClockRate: 90000, Channels: 1, Name: "AV1"}
	h264at100 := h264
	h264at100.PayloadType = 100
	voice := []media.Codec{media.Opus()}
	for _, c := range []struct {
		rule        string
		offer, ours []media.Codec
		want        media.Codec
	}{
		{"both", []media.Codec{vp8, h264}, []media.Codec{vp8, h264}, vp8},
		{"the offer's order and type", []media.Codec{h264at100, vp8}, []media.Codec{vp8, h264}, h264at100},
		{"unknown ones are skipped", []media.Codec{av1, vp8}, []media.Codec{vp8}, vp8},
		{"nothing in common is voice", []media.Codec{av1}, []media.Codec{vp8}, media.Codec{}},
		{"not offered", nil, []media.Codec{vp8}, media.Codec{}},
	} {
		offer := Offer{Codecs: voice, SSRC: 1}
		if c.offer != nil {
			offer.Video, offer.VideoSSRC, offer.Capabilities = c.offer, 3, CapVideo
		}
		read, err := parseOffer(appendOffer(nil, offer))
		if err != nil {
			t.Fatal(err)
		}
		answer, p, err := accept(read, Offer{Codecs: voice, SSRC: 2, Video: c.ours, VideoSSRC: 4})
		if err != nil {
			t.Fatalf("%s: %v", c.rule, err)
		}
		if answer, err = parseOffer(appendOffer(nil, answer)); err != nil {
			t.Fatal(err)
		}
		q, err := settle(offer, answer)
		if err != nil {
			t.Fatalf("%s: %v", c.rule, err)
		}
		wantP, wantQ := Params{Codec: media.Opus(), LocalSSRC: 2, RemoteSSRC: 1}, Params{Codec: media.Opus(), LocalSSRC: 1, RemoteSSRC: 2}
		if c.want.Name != "" {
			wantP.Video, wantP.LocalVideoSSRC, wantP.RemoteVideoSSRC, wantP.Capabilities = c.want, 4, 3, 0
			wantQ.Video, wantQ.LocalVideoSSRC, wantQ.RemoteVideoSSRC, wantQ.Capabilities = c.want, 3, 4, CapVideo
		}
		p.Capabilities, q.Capabilities = wantP.Capabilities, wantQ.Capabilities
		if p != wantP || q != wantQ || p.HasVideo() != (c.want.Name != "") {
			t.Errorf("%s: callee %+v, caller %+v", c.rule, p, q)
		}
	}
}

func TestNegotiateVideoRefuses(t *testing.T) {
	offer := Offer{Codecs: []media.Codec{media.Opus()}, SSRC: 1, Capabilities: CapVideo, Video: []media.Codec{media.VP8()}, VideoSSRC: 3}
	answer := Offer{Codecs: []media.Codec{media.Opus()}, SSRC: 2, Capabilities: CapVideo, Video: []media.Codec{media.VP8()}, VideoSSRC: 4}
	if _, err := settle(offer, answer); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(o *Offer){
		"two codecs":              func(o *Offer) { o.Video = append(o.Video, media.VP8()) },
		"one that isn't offered":  func(o *Offer) { o.Video[0] = media.H264() },
		"another type":            func(o *Offer) { o.Video[0].PayloadType = 97 },
		"our video SSRC":          func(o *Offer) { o.VideoSSRC = 3 },
		"our voice's SSRC":        func(o *Offer) { o.VideoSSRC = 1 },
		"our video SSRC as voice": func(o *Offer) { o.SSRC = 3 },
	} {
		a := answer
		a.Video = slices.Clone(answer.Video)
		change(&a)
		if p, err := settle(offer, a); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	for what, change := range map[string]func(o *Offer){
		"the SSRC of the voice": func(o *Offer) { o.VideoSSRC = o.SSRC },
	} {
		o := offer
		change(&o)
		if _, err := parseOffer(appendOffer(nil, o)); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Without its capability, or its codecs, a picture is not offered.
	for _, change := range []func(o *Offer){func(o *Offer) { o.Capabilities = 0 }, func(o *Offer) { o.Video[0].ClockRate = 0 }} {
		o := offer
		o.Video = slices.Clone(offer.Video)
		change(&o)
		if got, err := parseOffer(appendOffer(nil, o)); err != nil || got.Video != nil || got.VideoSSRC != 0 || got.Capabilities != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// event returns the last event of a kind that a side has seen.
func event[T Event](s *side) (last T, ok bool) {
	for _, e := range s.seen {
		if e, is := e.(T); is {
			last, ok = e, true
		}
	}
	return last, ok
}

// What each way of calling and answering comes to.
func TestVideoCalls(t *testing.T) {
	film := []media.Codec{media.VP8()}
	for _, c := range []struct {
		rule    string
		offered bool
		taken   bool
		want    bool
	}{
		{"offered and taken", true, true, true},
		{"taken as voice", true, false, false},
		{"not offered", false, true, false},
	} {
		l := sides(t, Options{}, "anna", "ben")
		a, b := l[0], l[1]
		var video []media.Codec
		if c.offered {
			video = film
		}
		id, err := a.m.PlaceVideo(start, b.peer(), video)
		if err != nil {
			t.Fatal(err)
		}
		a.drain()
		carry(start, a, b)
		in, ok := event[Incoming](b)
		if !ok || in.Video != c.offered {
			t.Fatalf("%s: %+v", c.rule, in)
		}
		if c.taken {
			b.do(b.m.AnswerVideo(start, id))
		} else {
			b.do(b.m.Answer(start, id))
		}
		carry(start, a, b)
		ka, okA := event[Answered](a)
		kb, okB := event[Answered](b)
		if !okA || !okB || ka.Params.HasVideo() != c.want || kb.Params.HasVideo() != c.want {
			t.Fatalf("%s: %+v, %+v", c.rule, ka.Params, kb.Params)
		}
		if !c.want {
			continue
		}
		x, y := newLens(t, ka.Keys, ka.Params), newLens(t, kb.Keys, kb.Params)
		for _, pair := range [][2]*lens{{x, y}, {y, x}} {
			p := picturePacket(1, 500)
			pkt, err := pair[0].out.Send(start, p)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := pair[1].in.Receive(start, pkt); err != nil || !bytes.Equal(got.Payload, p.Payload) {
				t.Errorf("%s: %v, %v", c.rule, got, err)
			}
		}
		// The voice's key does not open it.
		wrong, err := NewUnprotect(kb.Keys.Receive, kb.Params.RemoteVideoSSRC)
		if err != nil {
			t.Fatal(err)
		}
		pkt, _ := x.out.Send(start, picturePacket(2, 500))
		var h = y.in.header
		if _, err := wrong.RTP(nil, pkt, &h); err == nil {
			t.Error("voice and picture share a key")
		}
	}
}

// Both call each other: the picture is there if both wanted it.
func TestVideoGlare(t *testing.T) {
	film := []media.Codec{media.VP8()}
	for _, c := range []struct{ a, b []media.Codec }{{film, film}, {film, nil}, {nil, film}} {
		l := sides(t, Options{}, "anna", "ben")
		a, b := l[0], l[1]
		if _, err := a.m.PlaceVideo(start, b.peer(), c.a); err != nil {
			t.Fatal(err)
		}
		if _, err := b.m.PlaceVideo(start, a.peer(), c.b); err != nil {
			t.Fatal(err)
		}
		a.drain()
		b.drain()
		carry(start, a, b)
		ka, okA := event[Answered](a)
		kb, okB := event[Answered](b)
		want := c.a != nil && c.b != nil
		if !okA || !okB || ka.Params.HasVideo() != want || kb.Params.HasVideo() != want {
			t.Errorf("%t and %t: %+v, %+v", c.a != nil, c.b != nil, ka.Params, kb.Params)
		}
	}
}

// A film over 40 ms that loses a tenth of all packets, feedback included, and
// reorders: nearly everything arrives, nothing twice, nothing wrong.
func TestVideoRepair(t *testing.T) {
	a, b := lenses(t)
	rng := rand.New(rand.NewPCG(9, 9))
	type flight struct {
		at  time.Duration
		to  *lens
		pkt []byte
	}
	var air []flight
	const delay, count = 40 * time.Millisecond, 6000
	fly := func(now time.Duration, to *lens, pkt []byte) {
		if len(pkt) == 0 || rng.Float64() < 0.1 {
			return
		}
		if len(pkt) > media.MaxVideoPayload+28 {
			t.Fatalf("a datagram of %d bytes", len(pkt))
		}
		air = append(air, flight{now + delay + time.Duration(rng.IntN(8))*time.Millisecond, to, bytes.Clone(pkt)})
	}
	got := map[uint32]int{}
	n, bytesAsked := 0, 0
	for now := time.Duration(0); now < count*5*time.Millisecond+time.Second; now += time.Millisecond {
		at := start.Add(now)
		if now%(5*time.Millisecond) == 0 && n < count {
			p := picturePacket(n, 800)
			p.Sequence = uint16(65000 + n)
			pkt, err := a.out.Send(at, p)
			if err != nil {
				t.Fatal(err)
			}
			fly(now, b, pkt)
			n++
		}
		for i := 0; i < len(air); i++ {
			f := air[i]
			if f.at > now {
				continue
			}
			air = slices.Delete(air, i, i+1)
			i--
			p, err := f.to.in.Receive(at, f.pkt)
			if err != nil && !errors.Is(err, errMedia) {
				t.Fatal(err)
			}
			if p != nil {
				id := binary.BigEndian.Uint32(p.Payload)
				if p.Timestamp != a.out.stamp+id/4*3000 || p.Marker != (id%4 == 3) || p.Payload[10] != byte(id) {
					t.Fatalf("%+v", p)
				}
				got[id]++
			}
			var f2 VideoFeedback
			if f.to.in.Feedback(&f2) {
				f.to.out.Feedback(&f2)
				for _, seq := range f2.Missed {
					fly(now, b, f.to.out.Resend(at, seq))
				}
			}
		}
		if d := b.in.Deadline(); !d.IsZero() && !d.After(at) {
			receipts, missing := b.in.Reply(at, 2*delay, nil, nil)
			pkt, err := b.out.Reply(receipts, missing, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			bytesAsked += len(pkt)
			fly(now, a, pkt)
		}
	}
	for id, times := range got {
		if times != 1 {
			t.Fatalf("packet %d came %d times", id, times)
		}
	}
	if missing := 1 - float64(len(got))/count; missing > 0.001 {
		t.Errorf("%.4f of the packets missing", missing)
	}
	var s media.VideoStats
	a.out.Stats(&s)
	b.in.Stats(&s)
	if s.PacketsSent != count || s.PacketsReceived != uint64(len(got)) || s.PacketsResent < count/12 || s.PacketsResent > count/6 || s.PacketsAsked < s.PacketsResent || s.TargetBitrate == 0 {
		t.Errorf("%+v", s)
	}
	if share := float64(bytesAsked) / (count * 830); share > 0.03 {
		t.Errorf("feedback is %.3f of the picture", share)
	}
}

// No number is protected twice, whatever is written: a second packet under it
// would have the first one's nonce.
func TestVideoNoncesOnce(t *testing.T) {
	a, _ := lenses(t)
	send := func(n uint16) error {
		_, err := a.out.Send(start, &media.Packet{Sequence: n, Payload: []byte("x")})
		return err
	}
	for _, n := range []uint16{10, 11, 15, 13} {
		if err := send(n); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []uint16{10, 11, 13, 15, 65536 + 15 - 1024, 40000} {
		if err := send(n); !errors.Is(err, errNumber) {
			t.Errorf("number %d: %v", n, err)
		}
	}
	for _, n := range []int{0, media.MaxVideoPayload + 1} {
		var e *media.PayloadError
		if _, err := a.out.Send(start, &media.Packet{Sequence: 16, Payload: make([]byte, n)}); !errors.As(err, &e) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// A datagram is sent again three times, not at once, and only while it is kept.
func TestVideoResend(t *testing.T) {
	a, b := lenses(t)
	pkt, err := a.out.Send(start, picturePacket(5, 100))
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Clone(pkt)
	seq := binary.BigEndian.Uint16(first[2:])
	if a.out.Resend(after(10*time.Millisecond), seq) != nil {
		t.Error("at once")
	}
	for i := range resendMost {
		if got := a.out.Resend(after(time.Duration(i+1)*20*time.Millisecond), seq); !bytes.Equal(got, first) {
			t.Fatalf("time %d: %x", i, got)
		}
	}
	if a.out.Resend(after(time.Second), seq) != nil || a.out.Resend(after(time.Second), seq+1) != nil {
		t.Error("too often, or what was never sent")
	}
	if _, err := b.in.Receive(start, first); err != nil {
		t.Fatal(err)
	}
	if _, err := b.in.Receive(start, first); !errors.Is(err, errMedia) {
		t.Errorf("twice: %v", err)
	}
	for i := range keptVideo {
		if _, err := a.out.Send(start, picturePacket(6+i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if a.out.Resend(after(time.Minute), seq) != nil {
		t.Error("kept for ever")
	}
}

// While others carry the call the voice goes first, and the picture is small.
func TestVideoRelayed(t *testing.T) {
	a, _ := lenses(t)
	full := a.out.Bitrate()
	a.out.NewPath(start, true)
	if pkt, err := a.out.Send(after(voiceFirst-1), picturePacket(1, 100)); err != nil || pkt != nil {
		t.Errorf("at once: %d bytes, %v", len(pkt), err)
	}
	a.out.NewPath(after(time.Second), true) // another relay is no new beginning
	if pkt, err := a.out.Send(after(voiceFirst), picturePacket(2, 100)); err != nil || pkt == nil {
		t.Errorf("after a while: %d bytes, %v", len(pkt), err)
	}
	if small := a.out.Bitrate(); small >= full/2 {
		t.Errorf("%d bit/s relayed, %d before", small, full)
	}
	a.out.NewPath(after(2*time.Second), false)
	if got := a.out.Bitrate(); got < full {
		t.Errorf("%d bit/s on a direct path, %d before", got, full)
	}
}

// Feedback of every kind, and what isn't about our picture.
func TestVideoFeedback(t *testing.T) {
	a, b := lenses(t)
	pkt, err := b.out.Reply(nil, []uint16{7, 8, 30}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.in.Receive(start, pkt); err != nil {
		t.Fatal(err)
	}
	var f VideoFeedback
	if !a.in.Feedback(&f) || !f.Keyframe || !slices.Equal(f.Missed, []uint16{7, 8, 30}) {
		t.Errorf("%+v", f)
	}
	if a.in.Feedback(&f) {
		t.Error("told twice")
	}
	if pkt, err := b.out.Reply(nil, nil, false, []byte("x")); err != nil || string(pkt) != "x" {
		t.Errorf("nothing to say: %x, %v", pkt, err)
	}
	many := make([]uint16, 200)
	for i := range many {
		many[i] = uint16(i * 20)
	}
	if pkt, err = b.out.Reply(nil, many, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.in.Receive(start, pkt); err != nil || !a.in.Feedback(&f) || len(f.Missed) != maxMissed || f.Keyframe {
		t.Errorf("%d of %d numbers, %v", len(f.Missed), len(many), err)
	}
	for what, p := range map[string]rtcp.Packet{
		"NACK of another stream":       &rtcp.TransportLayerNack{SenderSSRC: 4, MediaSSRC: 9, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{1})},
		"key frame of another stream":  &rtcp.PictureLossIndication{SenderSSRC: 4, MediaSSRC: 9},
		"a kind that we don't know of": &rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 4, Bitrate: 1, SSRCs: []uint32{3}},
		"a report":                     &rtcp.ReceiverReport{SSRC: 4},
	} {
		raw, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		pkt, err := b.out.protect.RTCP(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.in.Receive(start, pkt); err != nil || a.in.Feedback(&f) && (f.Keyframe || len(f.Missed) > 0) {
			t.Errorf("%s: %+v, %v", what, f, err)
		}
	}
	n := 100
	for what, change := range map[string]func(pkt []byte){
		"type": func(pkt []byte) { pkt[1] = 111 }, "SSRC": func(pkt []byte) { pkt[11]++ }, "tag": func(pkt []byte) { pkt[len(pkt)-1]++ },
	} {
		n++
		pkt, err := a.out.Send(start, picturePacket(n, 50))
		if err != nil {
			t.Fatal(err)
		}
		pkt = bytes.Clone(pkt)
		change(pkt)
		if p, err := b.in.Receive(start, pkt); p != nil || !errors.Is(err, errMedia) {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	if b.in.Rejected() != 3 {
		t.Errorf("%d rejected", b.in.Rejected())
	}
}

func TestVideoAllocations(t *testing.T) {
	a, b := lenses(t)
	n := 0
	p := picturePacket(0, 1000)
	step := func() {
		p.Sequence = uint16(n)
		n++
		pkt, err := a.out.Send(start, p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.in.Receive(start, pkt); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 * keptVideo {
		step()
	}
	if got := testing.AllocsPerRun(500, step); got > 2 { // srtp's nonce and its replay closure
		t.Errorf("%v allocations a packet", got)
	}
}

// FuzzVideoReceive gives a picture raw datagrams and, protected with the peer's
// keys, raw RTCP; what comes of it is answered.
func FuzzVideoReceive(f *testing.F) {
	x, y := lenses(f)
	pkt, err := x.out.Send(start, picturePacket(1, 40))
	if err != nil {
		f.Fatal(err)
	}
	y.in.Receive(start, pkt)
	receipts, _ := y.in.Reply(after(time.Second), 0, nil, nil)
	feedback, err := y.out.Reply(receipts, []uint16{1, 2, 40}, true, nil)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := x.in.unprotect.RTCP(nil, feedback)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(pkt))
	f.Add(feedback)
	f.Add(plain)
	f.Add([]byte{0x81, 205, 0, 3, 0, 0, 0, 4, 0, 0, 0, 3, 0, 7, 0xff, 0xff, 0x81, 206, 0, 2, 0, 0, 0, 4, 0, 0, 0, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		x, y := lenses(t)
		if _, err := x.out.Send(start, picturePacket(1, 40)); err != nil {
			t.Fatal(err)
		}
		x.in.Receive(start, b)
		if len(b) >= 8 && len(b) < 1400 && b[0]>>6 == 2 {
			if pkt, err := y.out.protect.RTCP(nil, b); err == nil {
				x.in.Receive(start, pkt)
			}
		}
		var got VideoFeedback
		if x.in.Feedback(&got) {
			x.out.Feedback(&got)
			if len(got.Missed) > maxMissed {
				t.Fatalf("%d numbers", len(got.Missed))
			}
			for _, seq := range got.Missed {
				x.out.Resend(after(time.Second), seq)
			}
		}
		receipts, missing := x.in.Reply(after(time.Second), 0, nil, nil)
		if _, err := x.out.Reply(receipts, missing, true, nil); err != nil {
			t.Fatal(err)
		}
	})
}
