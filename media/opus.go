// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

// maxPacketSamples is 120 ms, the longest Opus packet (RFC 6716 §3.2.5, R5).
const maxPacketSamples = 5760

// minSamples is 2.5 ms, the shortest Opus frame and the unit of all others.
const minSamples = 120

// maxOpusFrame is the longest single frame (RFC 6716 §3.2.1, R2).
const maxOpusFrame = 1275

// OpusSamples returns how long an Opus packet plays, in samples at 48 kHz
// (120 to 5760). It reads the table-of-contents byte and checks the framing
// rules R1–R7 of RFC 6716 §3.4, so that what passes can be cut into frames by
// any decoder; the sound inside is not looked at. The error is a *PayloadError.
func OpusSamples(payload []byte) (int, error) {
	if len(payload) == 0 {
		return 0, &PayloadError{What: "empty (R1)"}
	}
	frame := tocSamples(payload[0])
	count := 1
	what := ""
	body := payload[1:]
	switch payload[0] & 3 {
	case 0:
		what = checkFrames(len(body))
	case 1: // two frames of equal size
		count = 2
		what = checkEqual(len(body), 2)
	case 2: // two frames, the first with its length
		count = 2
		n, used := frameLength(body)
		if used == 0 || n > len(body)-used {
			what = "first frame runs over the end (R4)"
		} else {
			what = checkFrames(len(body) - used - n)
		}
	case 3:
		count, what = checkMany(body, frame)
	}
	if what != "" {
		return 0, &PayloadError{Len: len(payload), What: what}
	}
	return frame * count, nil
}

// tocSamples returns the duration of each frame of a packet that begins with
// toc (RFC 6716 §3.1, table 2).
func tocSamples(toc byte) int {
	config := toc >> 3
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		return [4]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		return 480 << (config & 1)
	default: // CELT: 2.5, 5, 10, 20 ms
		return minSamples << (config & 3)
	}
}

// checkMany checks a code 3 packet behind its TOC (RFC 6716 §3.2.5).
func checkMany(b []byte, frame int) (count int, what string) {
	if len(b) == 0 {
		return 0, "no frame count (R6)"
	}
	vbr, padded := b[0]&0x80 != 0, b[0]&0x40 != 0
	count = int(b[0] & 0x3f)
	if count == 0 || count*frame > maxPacketSamples {
		return 0, "frame count out of range (R5)"
	}
	b = b[1:]
	pad := 0
	for more := padded; more; {
		if len(b) == 0 {
			return 0, "padding runs over the end (R6)"
		}
		n := int(b[0])
		b = b[1:]
		if more = n == 255; more {
			n = 254
		}
		pad += n
	}
	if pad > len(b) {
		return 0, "padding runs over the end (R6)"
	}
	b = b[:len(b)-pad]
	if !vbr {
		return count, checkEqual(len(b), count)
	}
	total := 0
	for range count - 1 {
		n, used := frameLength(b)
		if used == 0 {
			return 0, "frame length runs over the end (R7)"
		}
		b = b[used:]
		total += n
	}
	if total > len(b) {
		return 0, "frames run over the end (R7)"
	}
	return count, checkFrames(len(b) - total)
}

func checkEqual(n, count int) string {
	if n%count != 0 {
		return "frames are not of equal size (R3, R6)"
	}
	return checkFrames(n / count)
}

func checkFrames(n int) string {
	if n > maxOpusFrame {
		return "frame above 1275 bytes (R2)"
	}
	return ""
}

// frameLength reads a frame length (RFC 6716 §3.2.1); used is 0 at a short end.
func frameLength(b []byte) (n, used int) {
	switch {
	case len(b) == 0:
		return 0, 0
	case b[0] < 252:
		return int(b[0]), 1
	case len(b) == 1:
		return 0, 0
	default:
		return int(b[0]) + 4*int(b[1]), 2
	}
}

// silence is a whole CELT frame, 20 ms fullband mono, that decodes to zeros. A
// decoder is silent at once, where an empty packet would make it prolong the
// last sound.
const silence = "\xf8\xff\xfe"

// isSilence tells packets that carry no sound: DTX packets, whose frame is
// empty or one byte (RFC 6716 §2.1.9), and our own silence.
func isSilence(p []byte) bool { return len(p) <= 2 || string(p) == silence }
