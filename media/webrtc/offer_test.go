// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/media"
)

// chromium is the skeleton of an offer as Chromium 156 makes it.
const chromium = `v=0
o=- 2926610361251999464 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=msid-semantic: WMS x
m=audio 51836 UDP/TLS/RTP/SAVPF 111 63
c=IN IP4 192.0.2.2
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:2085048341 1 udp 2122194687 192.0.2.2 51836 typ host generation 0 network-id 1
a=candidate:2085048342 1 udp 2122194687 4fd4f4a0-a3a1-4a7a-8f0f-9f0c8e4a1b2c.local 51836 typ host
a=ice-ufrag:w1eS
a=ice-pwd:t7Khka+Tb6teFzw//wPZbnDm
a=fingerprint:sha-256 2F:DE:74:D2:D7:02:A9:67:98:BC:4B:99:1E:2F:F0:E1:59:43:EC:41:8D:3B:3A:FD:F8:4F:AF:06:C2:5B:75:DA
a=setup:actpass
a=mid:0
a=sendrecv
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=ssrc:3703050921 cname:ywEnFmvYST4Nyz6z
m=video 33382 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 192.0.2.2
a=ice-ufrag:w1eS
a=ice-pwd:t7Khka+Tb6teFzw//wPZbnDm
a=fingerprint:sha-256 2F:DE:74:D2:D7:02:A9:67:98:BC:4B:99:1E:2F:F0:E1:59:43:EC:41:8D:3B:3A:FD:F8:4F:AF:06:C2:5B:75:DA
a=setup:actpass
a=mid:1
a=sendrecv
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 transport-cc
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=ssrc-group:FID 989858062 1413578623
a=ssrc:989858062 cname:ywEnFmvYST4Nyz6z
a=ssrc:1413578623 cname:ywEnFmvYST4Nyz6z
`

func TestReadOffer(t *testing.T) {
	for _, sdp := range []string{chromium, strings.ReplaceAll(chromium, "\n", "\r\n")} {
		o, err := readOffer(sdp)
		if err != nil || !o.has("vp8") || o.has("opus") || o.has("AV1") || !slices.Equal(o.ssrcs, []uint32{3703050921, 989858062, 1413578623}) {
			t.Errorf("%t %v, %v", o.video, o.ssrcs, err)
		}
		if strings.Contains(o.sdp, "candidate") || strings.Contains(o.sdp, ".local") || !strings.Contains(o.sdp, "a=ice-pwd:") {
			t.Errorf("candidates are still there, or more is gone:\n%s", o.sdp)
		}
	}
	voice := chromium[:strings.Index(chromium, "m=video")]
	if o, err := readOffer(voice); err != nil || o.video {
		t.Errorf("voice alone: %t, %v", o.video, err)
	}
}

// Data channels are never negotiated: an offer that has them gets no answer, and
// neither do others that are no telephone's.
func TestRefusedOffers(t *testing.T) {
	voice := chromium[:strings.Index(chromium, "m=video")]
	for what, sdp := range map[string]string{
		"data channels beside the voice":  chromium + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=sctp-port:5000\n",
		"data channels alone":             "v=0\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=fingerprint:sha-256 00\n",
		"data channels of an older make":  chromium + "m=application 9 DTLS/SCTP 5000\n",
		"two voices":                      voice + voice[strings.Index(voice, "m=audio"):],
		"two pictures":                    chromium + chromium[strings.Index(chromium, "m=video"):],
		"a picture without voice":         "v=0\n" + chromium[strings.Index(chromium, "m=video"):],
		"text":                            voice + "m=text 9 UDP/TLS/RTP/SAVPF 98\n",
		"without encryption":              strings.Replace(voice, "UDP/TLS/RTP/SAVPF", "RTP/AVP", 1),
		"over TCP":                        strings.Replace(voice, "UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF", 1),
		"without a fingerprint":           strings.ReplaceAll(voice, "a=fingerprint:", "a=x-fingerprint:"),
		"a lite agent":                    "a=ice-lite\n" + voice,
		"simulcast":                       chromium + "a=rid:h send\na=simulcast:send h\n",
		"an SSRC that is none":            voice + "a=ssrc:4294967296 cname:x\n",
		"many streams":                    voice + "a=ssrc:1 x\na=ssrc:2 x\na=ssrc:3 x\na=ssrc:4 x\na=ssrc:5 x\na=ssrc:6 x\na=ssrc:7 x\na=ssrc:8 x\n",
		"nothing":                         "",
		"JSON":                            `{"type":"offer"}`,
		"a word":                          "hello\n",
		"64 KiB":                          voice + strings.Repeat("a=x\n", 1<<14),
		"one that pion finds fault with":  strings.ReplaceAll(voice, "a=ice-pwd", "a=x"),
		"one whose fingerprint is of air": strings.ReplaceAll(voice, "a=fingerprint:sha-256 ", "a=fingerprint:"),
	} {
		e, answer, err := Open(Config{}, sdp)
		if !errors.Is(err, ErrOffer) || e != nil || answer != "" {
			t.Errorf("%s: %v, %q", what, err, answer)
		}
		if e != nil {
			e.Close()
		}
	}
	if e, _, err := Open(Config{Listen: netip.MustParseAddrPort("0.0.0.0:0")}, chromium); err == nil {
		e.Close()
		t.Error("a socket open to everybody")
	}
	if e, _, err := Open(Config{Listen: netip.MustParseAddrPort("192.0.2.99:0")}, chromium); err == nil {
		e.Close()
		t.Error("a socket at an address of another computer")
	}
}

// What an Edge answers is what it says of itself: lite, one candidate on the
// loopback address, no data channels.
func TestAnswer(t *testing.T) {
	e, answer, err := Open(Config{Video: media.H264()}, strings.ReplaceAll(chromium, "a=rtpmap:96 VP8/90000", "a=rtpmap:96 H264/90000\na=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, want := range []string{"a=ice-lite", " 127.0.0.1 ", "m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=video 9 UDP/TLS/RTP/SAVPF 96", "H264/90000", "goog-remb", "nack pli", "useinbandfec=1"} {
		if !strings.Contains(answer, want) {
			t.Errorf("no %q in\n%s", want, answer)
		}
	}
	for _, never := range []string{"m=application", "transport-cc", "extmap:", ".local", "tcptype", "srflx"} {
		if strings.Contains(answer, never) {
			t.Errorf("%q in\n%s", never, answer)
		}
	}
	// A page that offers a picture we have no codec for is answered as voice.
	e, answer, err = Open(Config{}, strings.ReplaceAll(chromium, "a=rtpmap:96 VP8/90000", "a=rtpmap:96 AV1/90000"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if !strings.Contains(answer, "m=video 0 ") {
		t.Errorf("answered\n%s", answer)
	}
}

func record(kind byte, n int) string {
	b := append([]byte{kind, 0xfe, 0xfd}, make([]byte, 10+n)...)
	binary.BigEndian.PutUint16(b[11:], uint16(n))
	return string(b)
}

func TestFilter(t *testing.T) {
	f := &filter{ssrcs: []uint32{7}}
	hexed := func(s string) string { b, _ := hex.DecodeString(s); return string(b) }
	for _, c := range []struct {
		what string
		b    string
		want int
	}{
		{"a binding request", hexed("000100002112a442000102030405060708090a0b"), -1},
		{"an indication", hexed("001100002112a442000102030405060708090a0b"), -1},
		{"an answer", hexed("0101000c2112a442000102030405060708090a0b" + "002000080001a147e112a643"), -1},
		{"an answer with an empty address", hexed("010100042112a442000102030405060708090a0b" + "00200000"), badSTUN},
		{"an allocation", hexed("000300002112a442000102030405060708090a0b"), badSTUN},
		{"the killer", hexed("000100042112a442000102030405060708090a0b" + "00200000"), badSTUN},
		{"a handshake", record(22, 40), -1},
		{"a flight", record(22, 40) + record(20, 1) + record(22, 40), -1},
		{"an alert", record(21, 2), -1},
		{"application data", record(23, 16), badDTLS},
		{"application data behind a handshake", record(22, 40) + record(23, 16), badDTLS},
		{"a connection ID", record(25, 16), badDTLS},
		{"TLS over the wrong version", "\x16\x03\x03" + record(22, 0)[3:], badDTLS},
		{"cut", record(22, 40)[:50], badDTLS},
		{"RTP", "\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07payload", -1},
		{"RTP of another", "\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x08payload", badSSRC},
		{"RTCP", "\x80\xc9\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00", -1},
		{"short", "\x80\x60\x00\x01", badElse},
		{"long", "\x80\xc9" + string(make([]byte, maxPacket)), badElse},
		{"QUIC", "\x40" + string(make([]byte, 30)), badElse},
		{"nothing", "", badElse},
	} {
		if got := f.judge([]byte(c.b)); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
	// Nor does anything of ours go out that way.
	a, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	f.PacketConn = a
	if _, err := f.WriteTo([]byte(record(23, 16)), a.LocalAddr()); !errors.Is(err, errRecord) {
		t.Errorf("application data went out: %v", err)
	}
	if _, err := f.WriteTo([]byte(record(22, 16)), a.LocalAddr()); err != nil {
		t.Error(err)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{record(22, 40) + record(23, 16), "\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07payload", "\x00\x01\x00\x00\x21\x12\xa4\x42"} {
		f.Add([]byte(s))
	}
	x := &filter{ssrcs: []uint32{7}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if x.judge(b) >= 0 {
			return
		}
		switch {
		case b[0] <= 3 && !sock.ValidSTUN(b):
			t.Errorf("%x passed", b)
		case b[0] >= 20 && b[0] <= 63:
			for r := b; len(r) > 0; r = r[13+int(binary.BigEndian.Uint16(r[11:])):] {
				if r[0] == 23 {
					t.Errorf("%x passed", b)
				}
			}
		}
	})
}

func FuzzReadOffer(f *testing.F) {
	f.Add(chromium)
	f.Add(chromium + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\n")
	f.Fuzz(func(t *testing.T, sdp string) {
		o, err := readOffer(sdp)
		if err != nil {
			return
		}
		if len(o.ssrcs) > maxSSRCs {
			t.Errorf("%d streams", len(o.ssrcs))
		}
		for line := range strings.Lines(o.sdp) {
			if strings.HasPrefix(line, "m=application") || strings.HasPrefix(line, "a=candidate") {
				t.Errorf("%q passed", line)
			}
		}
	})
}
