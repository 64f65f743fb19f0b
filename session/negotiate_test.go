// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/media"
)

func TestGoldenOffer(t *testing.T) {
	o := Offer{Codecs: []media.Codec{media.Opus()}, SSRC: 0x01020304, Capabilities: CapDTX | CapRED}
	b := appendOffer(nil, o)
	const golden = "01000b6f0000bb8002046f707573" + "02000401020304" + "03000400000005"
	if got := hex.EncodeToString(b); got != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
	got, err := parseOffer(b)
	if err != nil || !reflect.DeepEqual(got, o) {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range len(b) {
		// Cut at a field's border it may lack capabilities, nothing else.
		if _, err := parseOffer(b[:i]); (err == nil) != (i == len(b)-7) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
}

func TestNegotiate(t *testing.T) {
	opus48 := media.Opus()
	opus96 := media.Codec{PayloadType: 96, ClockRate: 48000, Channels: 2, Name: "OPUS"}
	pcmu := media.Codec{PayloadType: 0, ClockRate: 8000, Channels: 1, Name: "PCMU"}
	mono := media.Codec{PayloadType: 111, ClockRate: 48000, Channels: 1, Name: "opus"}
	for _, c := range []struct {
		rule         string
		offer, ours  []media.Codec
		oCaps, wCaps Capabilities
		want         media.Codec
		caps         Capabilities
		err          error
	}{
		{rule: "the same", offer: []media.Codec{opus48}, ours: []media.Codec{opus48}, want: opus48},
		{rule: "the offer's payload type and spelling", offer: []media.Codec{opus96}, ours: []media.Codec{opus48}, want: opus96},
		{rule: "the offer's order decides", offer: []media.Codec{pcmu, opus48}, ours: []media.Codec{opus48, pcmu}, want: pcmu},
		{rule: "unknown ones are skipped", offer: []media.Codec{{PayloadType: 99, ClockRate: 16000, Channels: 1, Name: "lyra"}, opus48}, ours: []media.Codec{opus48}, want: opus48},
		{rule: "channels count", offer: []media.Codec{mono}, ours: []media.Codec{opus48}, err: ErrIncompatible},
		{rule: "nothing in common", offer: []media.Codec{pcmu}, ours: []media.Codec{opus48}, err: ErrIncompatible},
		{rule: "nothing offered", ours: []media.Codec{opus48}, err: ErrIncompatible},
		{rule: "features need both", offer: []media.Codec{opus48}, ours: []media.Codec{opus48}, oCaps: CapDTX | CapFEC | 1<<31, wCaps: CapFEC | CapVideo, want: opus48, caps: CapFEC},
	} {
		offer := Offer{Codecs: c.offer, SSRC: 1, Capabilities: c.oCaps}
		answer, p, err := accept(offer, Offer{Codecs: c.ours, SSRC: 2, Capabilities: c.wCaps})
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.rule, err)
		}
		if err != nil {
			continue
		}
		if p != (Params{Codec: c.want, LocalSSRC: 2, RemoteSSRC: 1, Capabilities: c.caps}) {
			t.Errorf("%s: callee has %+v", c.rule, p)
		}
		got, err := parseOffer(appendOffer(nil, answer))
		if err != nil {
			t.Fatal(err)
		}
		p, err = settle(offer, got)
		if err != nil || p != (Params{Codec: c.want, LocalSSRC: 1, RemoteSSRC: 2, Capabilities: c.caps}) {
			t.Errorf("%s: caller has %+v, %v", c.rule, p, err)
		}
	}
}

func TestSettleRefuses(t *testing.T) {
	offer := Offer{Codecs: []media.Codec{media.Opus()}, SSRC: 1}
	other := media.Opus()
	other.PayloadType = 100
	for what, answer := range map[string]Offer{
		"no codec":           {SSRC: 2},
		"two codecs":         {SSRC: 2, Codecs: []media.Codec{media.Opus(), media.Opus()}},
		"another type":       {SSRC: 2, Codecs: []media.Codec{other}},
		"our SSRC reflected": {SSRC: 1, Codecs: []media.Codec{media.Opus()}},
	} {
		if _, err := settle(offer, answer); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestParseOfferRefusesAndSkips(t *testing.T) {
	ssrc := wire.AppendField(nil, 2, []byte{0, 0, 0, 1})
	list := func(entries ...string) []byte {
		b := wire.AppendField(nil, 1, []byte(entries[0]))
		return append(b, ssrc...)
	}
	for what, b := range map[string][]byte{
		"empty":        nil,
		"SSRC of zero": wire.AppendField(nil, 2, make([]byte, 4)),
		"SSRC short":   wire.AppendField(nil, 2, make([]byte, 3)),
		"SSRC long":    wire.AppendField(nil, 2, make([]byte, 5)),
		"codec cut":    list("\x6f\x00\x00\xbb\x80\x02\x04opu"),
		"too long":     append(wire.AppendField(ssrc, 9, make([]byte, maxOffer)), 0),
	} {
		if _, err := parseOffer(b); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, entry := range map[string]string{
		"payload type of RTCP":  "\x48\x00\x00\xbb\x80\x02\x04opus",
		"payload type over 127": "\x80\x00\x00\xbb\x80\x02\x04opus",
		"no clock":              "\x6f\x00\x00\x00\x00\x02\x04opus",
		"no channel":            "\x6f\x00\x00\xbb\x80\x00\x04opus",
		"no name":               "\x6f\x00\x00\xbb\x80\x02\x00",
		"binary name":           "\x6f\x00\x00\xbb\x80\x02\x02o\x00",
	} {
		if o, err := parseOffer(list(entry)); err != nil || len(o.Codecs) != 0 {
			t.Errorf("%s: %+v, %v", what, o, err)
		}
	}
	many := bytes.Repeat([]byte("\x6f\x00\x00\xbb\x80\x02\x01o"), 50)
	if o, err := parseOffer(append(wire.AppendField(nil, 1, many), ssrc...)); err != nil || len(o.Codecs) != maxCodecs {
		t.Errorf("%d codecs, %v", len(o.Codecs), err)
	}
}
