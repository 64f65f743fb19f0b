// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import (
	"bytes"
	"encoding/binary"
)

// Head is the identification header (RFC 7845 §5.1).
type Head struct {
	Channels   int // 1 or 2
	PreSkip    int // samples at 48 kHz to throw away at the beginning
	SampleRate int // of the sound before encoding, information only
	Gain       int // to apply to the decoded sound, in 1/256 dB
}

// Tags is the comment header (RFC 7845 §5.2).
type Tags struct {
	Vendor   string
	Comments []string // "NAME=value"
}

// maxComments bounds the list of a comment header. Files carry about a dozen.
const maxComments = 256

const (
	headMagic = "OpusHead"
	tagsMagic = "OpusTags"
)

// parseHead reads an identification header; what is empty when it is right.
func parseHead(b []byte) (h Head, what string) {
	if len(b) < 19 {
		return h, "identification header too short"
	}
	if b[8]>>4 != 0 { // minor versions are compatible
		return h, "unknown version of the identification header"
	}
	h = Head{
		Channels:   int(b[9]),
		PreSkip:    int(binary.LittleEndian.Uint16(b[10:])),
		SampleRate: int(binary.LittleEndian.Uint32(b[12:])),
		Gain:       int(int16(binary.LittleEndian.Uint16(b[16:]))),
	}
	if b[18] != 0 {
		return h, "several coupled streams (channel mapping family above 0)"
	}
	if h.Channels < 1 || h.Channels > 2 {
		return h, "neither mono nor stereo"
	}
	return h, ""
}

// appendHead makes an identification header. Two tracks are two mono streams,
// left and right (mapping family 1, RFC 7845 §5.1.1.2).
func appendHead(b []byte, h Head, tracks int) []byte {
	b = append(b, headMagic...)
	b = append(b, 1, byte(h.Channels))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.PreSkip))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.SampleRate))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.Gain))
	if tracks < 2 {
		return append(b, 0)
	}
	const family, streams, coupled = 1, 2, 0
	return append(b, family, streams, coupled, 0, 1)
}

// parseTags reads as much of a comment header as is sound: damage in it is no
// reason not to play the file.
func parseTags(b []byte) Tags {
	var t Tags
	b = bytes.TrimPrefix(b, []byte(tagsMagic))
	text := func() (string, bool) {
		if len(b) < 4 {
			return "", false
		}
		n := binary.LittleEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return "", false
		}
		s := string(b[4 : 4+n])
		b = b[4+n:]
		return s, true
	}
	var ok bool
	if t.Vendor, ok = text(); !ok || len(b) < 4 {
		return t
	}
	count := binary.LittleEndian.Uint32(b)
	b = b[4:]
	for range min(count, maxComments) {
		s, ok := text()
		if !ok {
			break
		}
		t.Comments = append(t.Comments, s)
	}
	return t
}

func appendTags(b []byte, vendor string) []byte {
	b = append(b, tagsMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(vendor)))
	b = append(b, vendor...)
	return binary.LittleEndian.AppendUint32(b, 0)
}
