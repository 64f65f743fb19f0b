// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxOffer bounds an SDP offer; Chromium's is 7 kB.
	maxOffer = 64 << 10
	// maxSSRCs bounds the streams an offer may name: sound, picture, and the
	// repetitions of each, twice.
	maxSSRCs = 8
	// maxCodecs is four times what Chromium offers.
	maxCodecs = 128
)

// ErrOffer is wrapped by every error about an offer that is not served.
var ErrOffer = errors.New("webrtc: offer refused")

// offer is what is known of an SDP offer before any parser but this sees it.
type offer struct {
	sdp    string // without candidates
	video  bool
	codecs []string // of the picture, as a=rtpmap names them
	ssrcs  []uint32
}

// has says whether the page can show and send a picture of a codec.
func (o *offer) has(codec string) bool {
	return slices.ContainsFunc(o.codecs, func(c string) bool { return strings.EqualFold(c, codec) })
}

// readOffer checks an offer, line by line, and takes the candidates out: the
// browser will be seen where it comes from, and a name or an address in an offer
// is nothing to look up or to send to.
func readOffer(sdp string) (o offer, err error) {
	refuse := func(format string, args ...any) (offer, error) {
		return offer{}, fmt.Errorf("%w: "+format, append([]any{ErrOffer}, args...)...)
	}
	if len(sdp) > maxOffer {
		return refuse("%d bytes", len(sdp))
	}
	sound, fingerprint := false, false
	var b strings.Builder
	b.Grow(len(sdp))
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || len(key) != 1 {
			return refuse("no SDP")
		}
		switch key {
		case "m":
			kind, rest, _ := strings.Cut(value, " ")
			fields := strings.Fields(rest)
			switch {
			case kind == "application":
				return refuse("data channels are not served")
			case kind == "audio" && !sound:
				sound = true
			case kind == "video" && !o.video:
				o.video = true
			default:
				return refuse("section %q: one audio and at most one video section are served", kind)
			}
			if len(fields) < 3 || fields[1] != "UDP/TLS/RTP/SAVPF" {
				return refuse("section %q is not RTP over DTLS", kind)
			}
		case "a":
			name, value, _ := strings.Cut(value, ":")
			switch name {
			case "candidate", "end-of-candidates", "remote-candidates":
				continue
			case "fingerprint":
				fingerprint = true
			case "ice-lite":
				return refuse("a lite agent: nobody would begin")
			case "simulcast", "rid":
				return refuse("simulcast is not served")
			case "rtpmap":
				if _, c, ok := strings.Cut(value, " "); ok && o.video && len(o.codecs) < maxCodecs {
					name, _, _ := strings.Cut(c, "/")
					o.codecs = append(o.codecs, name)
				}
			case "ssrc":
				id, _, _ := strings.Cut(value, " ")
				n, err := strconv.ParseUint(id, 10, 32)
				if err != nil {
					return refuse("SSRC %q", id)
				}
				if err := o.stream(uint32(n)); err != nil {
					return refuse("%v", err)
				}
			}
		}
		b.WriteString(line)
		b.WriteString("\r\n")
	}
	switch {
	case !sound:
		return refuse("without sound")
	case !fingerprint:
		return refuse("without a fingerprint")
	}
	o.sdp = b.String()
	return o, nil
}

// stream notes an SSRC.
func (o *offer) stream(ssrc uint32) error {
	if slices.Contains(o.ssrcs, ssrc) {
		return nil
	}
	if len(o.ssrcs) == maxSSRCs {
		return fmt.Errorf("more than %d streams", maxSSRCs)
	}
	o.ssrcs = append(o.ssrcs, ssrc)
	return nil
}
