// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/pion/ice/v2"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/logging"
	pion "github.com/pion/webrtc/v3"

	"github.com/p2pos/p2pos/media"
)

const (
	// A page that is silent for goneAfter, and then for goneSurely, is gone:
	// browsers ask every 6 s at most (RFC 7675 §5.1), and their sound never pauses.
	goneAfter  = 5 * time.Second
	goneSurely = 2 * time.Second
	keepAlive  = 2 * time.Second

	// nackRoom is how many packets the edge can repeat to the browser, and how
	// far back it asks. Both only matter when this computer's own buffers run
	// over.
	nackRoom = 256
)

// newPeer makes a PeerConnection on conn that answers and never asks.
func newPeer(conn net.PacketConn, video media.Codec) (*pion.PeerConnection, ice.UDPMux, error) {
	log := quiet{}
	var s pion.SettingEngine
	s.LoggerFactory = log
	s.SetLite(true)
	s.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeUDP4, pion.NetworkTypeUDP6})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.DisableActiveTCP(true)
	s.SetInterfaceFilter(func(string) bool { return false }) // the mux is all there is
	s.SetICETimeouts(goneAfter, goneSurely, keepAlive)
	s.SetReceiveMTU(maxPacket)
	mux := pion.NewICEUDPMux(log.NewLogger(""), conn)
	s.SetICEUDPMux(mux)

	var m pion.MediaEngine
	if err := m.RegisterCodec(pion.RTPCodecParameters{
		RTPCodecCapability: soundCodec(), PayloadType: pion.PayloadType(media.Opus().PayloadType),
	}, pion.RTPCodecTypeAudio); err != nil {
		mux.Close()
		return nil, nil, err
	}
	if err := m.RegisterCodec(pion.RTPCodecParameters{
		RTPCodecCapability: videoCodec(video), PayloadType: pion.PayloadType(video.PayloadType),
	}, pion.RTPCodecTypeVideo); err != nil {
		mux.Close()
		return nil, nil, err
	}
	r, err := feedback(log)
	if err != nil {
		mux.Close()
		return nil, nil, err
	}
	pc, err := pion.NewAPI(pion.WithSettingEngine(s), pion.WithMediaEngine(&m), pion.WithInterceptorRegistry(r)).NewPeerConnection(pion.Configuration{})
	if err != nil {
		mux.Close()
		return nil, nil, err
	}
	return pc, mux, nil
}

// soundCodec is the voice of a call, as SDP describes it (RFC 7587 §7).
func soundCodec() pion.RTPCodecCapability {
	c := media.Opus()
	return pion.RTPCodecCapability{
		MimeType: pion.MimeTypeOpus, ClockRate: c.ClockRate, Channels: uint16(c.Channels),
		SDPFmtpLine: "minptime=10;useinbandfec=1",
	}
}

// videoCodec is the picture of a call. Without transport-wide feedback the
// browser goes by REMB, which is what an Edge can tell it.
func videoCodec(c media.Codec) pion.RTPCodecCapability {
	v := pion.RTPCodecCapability{
		MimeType: "video/" + c.Name, ClockRate: c.ClockRate,
		RTCPFeedback: []pion.RTCPFeedback{{Type: "goog-remb"}, {Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}},
	}
	if strings.EqualFold(c.Name, media.H264().Name) {
		v.SDPFmtpLine = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f" // RFC 6184 §8.1
	}
	return v
}

// feedback repeats what the browser missed, asks for what is missed here, and
// makes the reports.
func feedback(log logging.LoggerFactory) (*interceptor.Registry, error) {
	var r interceptor.Registry
	responder, err := nack.NewResponderInterceptor(nack.ResponderSize(nackRoom), nack.ResponderLog(log.NewLogger("")))
	if err != nil {
		return nil, fmt.Errorf("webrtc: %w", err)
	}
	generator, err := nack.NewGeneratorInterceptor(nack.GeneratorSize(nackRoom), nack.GeneratorLog(log.NewLogger("")))
	if err != nil {
		return nil, fmt.Errorf("webrtc: %w", err)
	}
	receiver, err := report.NewReceiverInterceptor(report.ReceiverLog(log.NewLogger("")))
	if err != nil {
		return nil, fmt.Errorf("webrtc: %w", err)
	}
	sender, err := report.NewSenderInterceptor(report.SenderLog(log.NewLogger("")))
	if err != nil {
		return nil, fmt.Errorf("webrtc: %w", err)
	}
	for _, f := range []interceptor.Factory{responder, generator, receiver, sender} {
		r.Add(f)
	}
	return &r, nil
}

// quiet keeps pion from writing to standard error: what it has to say is about
// packets that anybody can send.
type quiet struct{}

func (q quiet) NewLogger(string) logging.LeveledLogger { return q }

func (quiet) Trace(string)          {}
func (quiet) Tracef(string, ...any) {}
func (quiet) Debug(string)          {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Info(string)           {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warn(string)           {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Error(string)          {}
func (quiet) Errorf(string, ...any) {}
