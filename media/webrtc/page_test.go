// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v2"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	pion "github.com/pion/webrtc/v3"

	"github.com/p2pos/p2pos/media"
)

// page is a PeerConnection of pion's that plays the browser.
type page struct {
	t     *testing.T
	pc    *pion.PeerConnection
	sound *pion.TrackLocalStaticRTP
	film  *pion.TrackLocalStaticRTP
	wg    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	heard  []rtp.Packet
	seen   []rtp.Packet
	remb   float32
	plis   int
	change chan struct{} // closed and replaced when any of it changes
	lens   uint32        // SSRC of what is seen
}

func newPage(t *testing.T, video media.Codec) *page {
	t.Helper()
	var s pion.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	s.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeUDP4})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.DisableActiveTCP(true)
	var m pion.MediaEngine
	must(t, m.RegisterDefaultCodecs())
	pc, err := pion.NewAPI(pion.WithSettingEngine(s), pion.WithMediaEngine(&m)).NewPeerConnection(pion.Configuration{})
	must(t, err)
	p := &page{t: t, pc: pc, change: make(chan struct{})}
	t.Cleanup(p.close)
	pc.OnTrack(p.receive)
	p.sound = p.add(pion.MimeTypeOpus, 48000)
	if video.Name != "" {
		p.film = p.add("video/"+video.Name, 90000)
	}
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *page) add(mime string, clock uint32) *pion.TrackLocalStaticRTP {
	p.t.Helper()
	track, err := pion.NewTrackLocalStaticRTP(pion.RTPCodecCapability{MimeType: mime, ClockRate: clock}, mime, "page")
	must(p.t, err)
	s, err := p.pc.AddTrack(track)
	must(p.t, err)
	p.wg.Go(func() {
		for {
			list, _, err := s.ReadRTCP()
			if err != nil {
				return
			}
			p.note(func() {
				for _, r := range list {
					switch r := r.(type) {
					case *rtcp.ReceiverEstimatedMaximumBitrate:
						p.remb = r.Bitrate
					case *rtcp.PictureLossIndication:
						p.plis++
					}
				}
			})
		}
	})
	return track
}

func (p *page) note(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.change)
	p.change = make(chan struct{})
}

func (p *page) receive(t *pion.TrackRemote, _ *pion.RTPReceiver) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.wg.Add(1)
	p.mu.Unlock()
	defer p.wg.Done()
	for {
		got, _, err := t.ReadRTP()
		if err != nil {
			return
		}
		p.note(func() {
			if t.Kind() == pion.RTPCodecTypeVideo {
				p.seen, p.lens = append(p.seen, *got), uint32(t.SSRC())
			} else {
				p.heard = append(p.heard, *got)
			}
		})
	}
}

// until waits for something to be true of what the page has got.
func (p *page) until(what string, ok func() bool) {
	p.t.Helper()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	for {
		p.mu.Lock()
		yes, change := ok(), p.change
		p.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-change:
		case <-timer.C:
			p.t.Fatalf("never: %s", what)
		}
	}
}

// offer returns the page's offer, without candidates, as a hurried browser's.
func (p *page) offer() string {
	p.t.Helper()
	o, err := p.pc.CreateOffer(nil)
	must(p.t, err)
	must(p.t, p.pc.SetLocalDescription(o))
	return o.SDP
}

func (p *page) accept(answer string) {
	p.t.Helper()
	must(p.t, p.pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: answer}))
}

func (p *page) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.pc.Close()
	p.wg.Wait()
}

// speech is packet n of what a microphone says: Opus, 20 ms, told apart by its
// number.
func speech(n int) []byte {
	b := bytes.Repeat([]byte{0xa5}, 60)
	b[0] = 0xf8
	binary.BigEndian.PutUint32(b[1:], uint32(n))
	return b
}

func film(n int) []byte {
	b := bytes.Repeat([]byte{0x5a}, 1150)
	b[0] = 0x10 // VP8 payload descriptor: start of a partition
	binary.BigEndian.PutUint32(b[1:], uint32(n))
	return b
}

func number(payload []byte) int { return int(binary.BigEndian.Uint32(payload[1:])) }

// say writes packet n of the sound, and of the picture.
func (p *page) say(n int) {
	p.sound.WriteRTP(&rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: uint16(100 + n), Timestamp: uint32(5000 + 960*n)},
		Payload: speech(n),
	})
	if p.film != nil {
		p.film.WriteRTP(&rtp.Packet{
			Header:  rtp.Header{Version: 2, SequenceNumber: uint16(300 + n), Timestamp: uint32(7000 + 1800*n), Marker: n%2 == 1},
			Payload: film(n),
		})
	}
}
