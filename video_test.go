// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media"
)

// camera writes a picture 30 times a second, as large as the network carries,
// until the call ends. Packets are numbered in their first four bytes; the fifth
// says whether it is of a key frame.
type camera struct {
	packets, keys atomic.Int32
	bitrate       atomic.Int32
}

func (s *sim) film(c *Call) *camera {
	_, out := c.VideoTracks()
	cam := new(camera)
	s.wg.Go(func() {
		for {
			w, err := out.Next(context.Background())
			if err != nil {
				return
			}
			cam.bitrate.Store(int32(w.Bitrate))
			if w.Keyframe {
				cam.keys.Add(1)
			}
		}
	})
	s.wg.Go(func() {
		tick := time.NewTicker(time.Second / 30)
		defer tick.Stop()
		keys, stamp := int32(0), uint32(0)
		for {
			key := byte(0)
			if k := cam.keys.Load(); k != keys {
				keys, key = k, 1
			}
			size := int(cam.bitrate.Load()) / 8 / 30
			for left := max(size, 100); left > 0; left -= 1150 {
				b := make([]byte, max(min(left, 1150), 5))
				n := cam.packets.Add(1)
				binary.BigEndian.PutUint32(b, uint32(n))
				b[4] = key
				p := media.Packet{Sequence: uint16(60000 + n), Timestamp: stamp, Marker: left <= 1150, Payload: b}
				if out.WritePacket(&p) != nil {
					return
				}
			}
			stamp += 3000
			<-tick.C
		}
	})
	return cam
}

// screen reads a call's picture until it ends.
type screen struct {
	packets     int
	keys        atomic.Int32
	first, last uint32 // number of the first packet seen, and the highest
	twice       int
	done        chan struct{}
}

func (s *sim) watch(c *Call) *screen {
	in, _ := c.VideoTracks()
	w := &screen{done: make(chan struct{})}
	s.wg.Go(func() {
		defer close(w.done)
		seen := map[uint32]bool{}
		var p media.Packet
		for in.ReadPacket(context.Background(), &p) == nil {
			n := binary.BigEndian.Uint32(p.Payload)
			if seen[n] {
				w.twice++
			}
			seen[n] = true
			if w.first == 0 {
				w.first = n
			}
			w.last = max(w.last, n)
			w.packets++
			w.keys.Add(int32(p.Payload[4]))
		}
	})
	return w
}

// missing returns the share of packets that never came.
func (w *screen) missing() float64 {
	return 1 - float64(w.packets)/float64(w.last-w.first+1)
}

// Two people see each other over links of 1 Mb/s, with the least MTU of IPv6, that
// lose two in a hundred packets: the picture is repaired, finds its size, gets
// its key frame, and does not harm the voice.
func TestVideoCall(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		road := simnet.Profile{Delay: oneWay, Loss: 0.01, Rate: 1_000_000, MTU: 1280 - 48}
		host := func(name string, last byte) *simnet.Host {
			var h *simnet.Host
			s.net.Do(func(w *simnet.World) { h = w.Host(name, road, netip.AddrFrom4([4]byte{45, 0, 1, last})) })
			return h
		}
		anna, ben := s.node(host("anna", 1), Config{}), s.node(host("ben", 2), Config{})
		type end struct {
			call *Call
			cam  *camera
			eyes *screen
			ears *ear
		}
		bens := make(chan end, 1)
		calls := ben.Incoming(context.Background())
		s.wg.Go(func() {
			for c := range calls {
				if !c.Video() || c.AnswerVideo() != nil {
					t.Error("no picture was offered")
				}
				s.talk(c)
				bens <- end{c, s.film(c), s.watch(c), s.hear(c)}
			}
		})
		call, err := anna.Call(t.Context(), s.ticket(ben), &CallOptions{Video: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.talk(call)
		a := end{call, s.film(call), s.watch(call), s.hear(call)}
		b := <-bens
		time.Sleep(20 * time.Second)
		in, out := call.VideoTracks()
		if in.Codec() != media.VP8() || out.Codec() != media.VP8() || !call.Video() {
			t.Errorf("agreed on %+v, %+v", in.Codec(), out.Codec())
		}
		// As a decoder does that waits for it: the road may lose a request, too.
		for asked := 0; asked < 5 && a.eyes.keys.Load() == 0; asked++ {
			in.RequestKeyframe()
			time.Sleep(time.Second)
		}
		stats := [2]media.VideoStats{a.call.VideoStats(), b.call.VideoStats()}
		talk := [2]media.Stats{a.call.Stats(), b.call.Stats()}
		if err := call.HangUp(); err != nil {
			t.Fatal(err)
		}
		for _, e := range []end{a, b} {
			<-e.eyes.done
			<-e.ears.done
		}
		wanted := int32(stats[0].KeyframesWanted)
		if n := b.cam.keys.Load(); n == 0 || n > wanted || a.eyes.keys.Load() == 0 || a.cam.keys.Load() != 0 {
			t.Errorf("key frames: %d wanted, %d asked of ben, %d packets came, %d asked of anna", wanted, n, a.eyes.keys.Load(), a.cam.keys.Load())
		}
		for i, e := range []end{a, b} {
			st := stats[i]
			talk[i].Score(&media.Stats{})
			t.Logf("%+v, %.4f missing, MOS %.2f", st, e.eyes.missing(), talk[i].MOS)
			if e.eyes.missing() > 0.004 || e.eyes.twice > 0 || e.eyes.packets < 1000 {
				t.Errorf("%d packets seen, %.4f missing, %d twice", e.eyes.packets, e.eyes.missing(), e.eyes.twice)
			}
			// It looks for room until a queue grows, which shows within a second
			// or two: the target passes what the road carries by as much as it
			// grows meanwhile (8 % a second), and is then cut.
			if st.TargetBitrate < 400_000 || st.TargetBitrate > 1_160_000 || st.PacketsResent == 0 {
				t.Errorf("%+v", st)
			}
			// Without a picture it is the same on such a road.
			if talk[i].MOS < 4 || talk[i].Concealed > 0.05 {
				t.Errorf("the voice suffers: MOS %.2f, %.3f concealed", talk[i].MOS, talk[i].Concealed)
			}
		}
	})
}

// While a call is held no picture goes either way; after it both sides get a key
// frame, so that nobody looks at half a picture.
func TestVideoHeld(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		anna, ben := s.node(s.public("anna"), Config{}), s.node(s.public("ben"), Config{})
		answered := make(chan *Call, 1)
		calls := ben.Incoming(context.Background())
		s.wg.Go(func() {
			for c := range calls {
				if c.AnswerVideo() == nil {
					s.talk(c)
					answered <- c
				}
			}
		})
		call, err := anna.Call(t.Context(), s.ticket(ben), &CallOptions{Video: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.talk(call)
		other := <-answered
		cams := []*camera{s.film(call), s.film(other)}
		sent := func() (n [2]uint64) {
			return [2]uint64{call.VideoStats().PacketsSent, other.VideoStats().PacketsSent}
		}
		time.Sleep(time.Second)
		if n := sent(); n[0] == 0 || n[1] == 0 {
			t.Fatalf("sent before the hold: %v", n)
		}
		if err := call.Hold(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		held := sent()
		keys := cams[0].keys.Load() + cams[1].keys.Load()
		time.Sleep(5 * time.Second)
		if n := sent(); n != held {
			t.Errorf("a held picture goes on: %v, then %v", held, n)
		}
		if err := call.Resume(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := sent(); n[0] == held[0] || n[1] == held[1] || cams[0].keys.Load()+cams[1].keys.Load() != keys+2 {
			t.Errorf("after the hold: %v, then %v; %d key frames asked for", held, n, cams[0].keys.Load()+cams[1].keys.Load()-keys)
		}
		if err := call.HangUp(); err != nil {
			t.Fatal(err)
		}
	})
}

// An app that knows nothing of pictures takes the call as voice, and no packet
// of a picture reaches it.
func TestVideoTakenAsVoice(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		anna, ben := s.node(s.public("anna"), Config{}), s.node(s.public("ben"), Config{})
		ears := s.callee(ben)
		ticket := s.ticket(ben)
		if _, err := anna.Call(t.Context(), ticket, &CallOptions{Video: true, VideoCodecs: []media.Codec{{PayloadType: 70, ClockRate: 90000, Channels: 1, Name: "VP8"}}}); err == nil {
			t.Error("a codec that looks like RTCP was offered")
		}
		call, err := anna.Call(t.Context(), ticket, &CallOptions{Video: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		cam, eyes := s.film(call), s.watch(call)
		s.converse(call, ears, 2*time.Second, func() {
			if in, _ := call.VideoTracks(); call.Video() || in.Codec() != (media.Codec{}) {
				t.Error("a picture was agreed on")
			}
		})
		<-eyes.done
		if st := call.VideoStats(); st.PacketsSent != 0 || eyes.packets != 0 || cam.packets.Load() == 0 {
			t.Errorf("%+v, %d written, %d seen", st, cam.packets.Load(), eyes.packets)
		}
		if _, out := call.VideoTracks(); out.WritePacket(&media.Packet{Payload: []byte("x")}) == nil {
			t.Error("a picture goes on after the call")
		}
		if err := call.AnswerVideo(); !errors.As(err, new(*CallError)) {
			t.Errorf("answering a call that is over: %v", err)
		}
	})
}
