// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v2"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	pion "github.com/pion/webrtc/v3"

	"github.com/p2pos/p2pos/media"
)

// connectTime is how long a page may take from its offer to the first packet:
// on one computer it takes a fifth of a second.
const connectTime = 20 * time.Second

// ErrNotConnected reports a page that took its answer and never came.
var ErrNotConnected = errors.New("webrtc: the page did not connect")

// ErrGone reports a page that was closed, or is silent.
var ErrGone = errors.New("webrtc: the page is gone")

// Config configures an Edge. The zero value works.
type Config struct {
	// Listen is the UDP address of the Edge's socket. The zero value is any port
	// of 127.0.0.1, which no other computer reaches. It must be an address of
	// this computer, not 0.0.0.0.
	Listen netip.AddrPort
	// Video is the codec of the picture. The zero value is VP8.
	Video media.Codec
	// Logger gets what happens to the connection. nil = silent.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if !c.Listen.IsValid() {
		c.Listen = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	}
	if c.Video == (media.Codec{}) {
		c.Video = media.VP8()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// An Edge is the node's end of the connection with one page.
type Edge struct {
	log   *slog.Logger
	codec media.Codec
	conn  *filter
	mux   ice.UDPMux
	pc    *pion.PeerConnection
	sound *pion.TrackLocalStaticRTP
	film  *pion.TrackLocalStaticRTP // nil = the page has no place for such a picture

	up   chan struct{} // closed when the page is connected
	done chan struct{} // closed at the end
	wg   sync.WaitGroup

	lens atomic.Uint32          // SSRC of the page's picture; 0 = none yet
	owed atomic.Bool            // a key frame was wished for before there was one
	sink atomic.Pointer[bridge] // nil = what the page says goes nowhere

	// Written by Bridge alone, one at a time: numbers towards the page, over
	// several calls.
	bridging    sync.Mutex
	soundNumber media.Numbers
	filmNumber  media.Numbers

	mu   sync.Mutex // guards what follows
	over bool       // done is closed; no goroutine starts any more
	err  error
}

// Open answers a page's SDP offer (RTCPeerConnection.createOffer, candidates are
// not needed in it). The page sets the answer and connects. It does not block on
// the network. Errors: those that wrap ErrOffer for an offer that is not served,
// and of opening the socket.
func Open(cfg Config, sdp string) (e *Edge, answer string, err error) {
	cfg = cfg.withDefaults()
	o, err := readOffer(sdp)
	if err != nil {
		return nil, "", err
	}
	if cfg.Listen.Addr().IsUnspecified() {
		return nil, "", fmt.Errorf("webrtc: Config.Listen is %v; name one address of this computer", cfg.Listen)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(cfg.Listen))
	if err != nil {
		return nil, "", fmt.Errorf("webrtc: %w", err)
	}
	e = &Edge{
		log: cfg.Logger, codec: cfg.Video, conn: &filter{PacketConn: conn, ssrcs: o.ssrcs},
		up: make(chan struct{}), done: make(chan struct{}),
	}
	if e.pc, e.mux, err = newPeer(e.conn, cfg.Video); err != nil {
		conn.Close()
		return nil, "", fmt.Errorf("webrtc: %w", err)
	}
	if answer, err = e.answer(o); err != nil {
		e.tearDown()
		return nil, "", err
	}
	e.wg.Add(1)
	go e.guard()
	return e, answer, nil
}

// answer sets up the tracks the offer has a place for.
func (e *Edge) answer(o offer) (string, error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("%w: %w", ErrOffer, err) }
	var err error
	if e.sound, err = e.add(soundCodec(), "sound"); err != nil {
		return fail(err)
	}
	if o.has(e.codec.Name) {
		if e.film, err = e.add(videoCodec(e.codec), "film"); err != nil {
			return fail(err)
		}
	}
	e.pc.OnTrack(e.receive)
	e.pc.OnConnectionStateChange(e.changed)
	if err := e.pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeOffer, SDP: o.sdp}); err != nil {
		return fail(err)
	}
	answer, err := e.pc.CreateAnswer(nil)
	if err != nil {
		return fail(err)
	}
	// With a mux there is one candidate, known at once.
	gathered := pion.GatheringCompletePromise(e.pc)
	if err := e.pc.SetLocalDescription(answer); err != nil {
		return fail(err)
	}
	<-gathered
	return e.pc.LocalDescription().SDP, nil
}

// add adds a track towards the page.
func (e *Edge) add(c pion.RTPCodecCapability, id string) (*pion.TrackLocalStaticRTP, error) {
	// One stream: the browser keeps lips and voice in step.
	t, err := pion.NewTrackLocalStaticRTP(c, id, "p2pos")
	if err != nil {
		return nil, err
	}
	s, err := e.pc.AddTrack(t)
	if err != nil {
		return nil, err
	}
	e.spawn(func() { e.listen(s) })
	return t, nil
}

// spawn runs f on a goroutine that Close waits for.
func (e *Edge) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return false
	}
	e.wg.Go(f)
	return true
}

// guard ends what doesn't begin, and takes everything down at the end.
func (e *Edge) guard() {
	defer e.wg.Done()
	timer := time.NewTimer(connectTime)
	defer timer.Stop()
	select {
	case <-e.up:
		<-e.done
	case <-timer.C:
		e.end(ErrNotConnected)
	case <-e.done:
	}
	e.tearDown()
}

func (e *Edge) tearDown() {
	e.end(net.ErrClosed)
	e.pc.Close()
	e.mux.Close() // and the socket
}

// changed follows the connection; pion calls it.
func (e *Edge) changed(s pion.PeerConnectionState) {
	e.log.Debug("browser connection", "state", s.String())
	switch s {
	case pion.PeerConnectionStateConnected:
		e.mu.Lock()
		defer e.mu.Unlock()
		select {
		case <-e.up:
		default:
			close(e.up)
		}
	case pion.PeerConnectionStateFailed, pion.PeerConnectionStateClosed:
		e.end(ErrGone)
	}
}

// end notes how the Edge ended; the first word counts.
func (e *Edge) end(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		e.over, e.err = true, err
		close(e.done)
	}
}

// Connected waits until the page is connected. It returns nil then, the reason
// of the end (see Err), or ctx's error.
func (e *Edge) Connected(ctx context.Context) error {
	select {
	case <-e.up:
		return nil
	case <-e.done:
		return e.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Done is closed when the connection is over.
func (e *Edge) Done() <-chan struct{} { return e.done }

// Err returns nil while the Edge lasts; then ErrGone, ErrNotConnected, or
// net.ErrClosed after Close.
func (e *Edge) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Dropped counts the datagrams that the Edge's socket did not let in or out, by
// reason: stun, dtls, ssrc, other.
func (e *Edge) Dropped() map[string]uint64 { return e.conn.Dropped() }

// Close ends the connection and returns when the last goroutine has ended. It is
// safe to call twice.
func (e *Edge) Close() error {
	e.end(net.ErrClosed)
	e.wg.Wait()
	return nil
}

// receive takes one of the page's tracks until it ends; pion calls it on a
// goroutine of its own.
func (e *Edge) receive(t *pion.TrackRemote, r *pion.RTPReceiver) {
	done := make(chan struct{})
	ok := e.spawn(func() {
		defer close(done)
		picture := t.Kind() == pion.RTPCodecTypeVideo
		if picture {
			e.lens.Store(uint32(t.SSRC()))
		}
		buf := make([]byte, maxPacket)
		var p rtp.Packet
		for {
			n, _, err := t.Read(buf)
			if err != nil {
				return
			}
			b := e.sink.Load()
			if b == nil || p.Unmarshal(buf[:n]) != nil {
				continue
			}
			if picture {
				b.picture(&p, e.codec)
			} else {
				b.voice(&p)
			}
		}
	})
	if !ok {
		return
	}
	e.spawn(func() { // reports are read so that pion's interceptors see them
		buf := make([]byte, maxPacket)
		for {
			if _, _, err := r.Read(buf); err != nil {
				return
			}
		}
	})
	<-done
}

// listen takes what the page says of one of the tracks towards it.
func (e *Edge) listen(s *pion.RTPSender) {
	buf := make([]byte, maxPacket)
	for {
		n, _, err := s.Read(buf)
		if err != nil {
			return
		}
		list, err := rtcp.Unmarshal(buf[:n])
		if err != nil {
			continue
		}
		for _, p := range list {
			switch p.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				if b := e.sink.Load(); b != nil && b.t.VideoIn != nil {
					b.t.VideoIn.RequestKeyframe()
				}
			}
		}
	}
}

// tell sends feedback about the page's picture to it.
func (e *Edge) tell(w media.Wish) {
	ssrc := e.lens.Load()
	if ssrc == 0 {
		if w.Keyframe {
			e.owed.Store(true)
		}
		return
	}
	w.Keyframe = e.owed.Swap(false) || w.Keyframe
	list := []rtcp.Packet{&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: float32(w.Bitrate + soundShare), SSRCs: []uint32{ssrc}}}
	if w.Keyframe {
		list = append(list, &rtcp.PictureLossIndication{MediaSSRC: ssrc})
	}
	if err := e.pc.WriteRTCP(list); err != nil {
		e.log.Debug("browser not told", "err", err)
	}
}

// soundShare is added to what the picture may have: browsers count the sound in.
const soundShare = 50000
