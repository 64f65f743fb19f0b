// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"encoding/binary"
	"strings"
	"time"
)

// An event packet (RFC 4733 §2.3):
//
//	event(8) | end(1) reserved(1) volume(6) | duration(16)
//
// All packets of one event carry the timestamp of its start; the duration
// grows from packet to packet, and the last one is sent three times (§2.5.1.4).
const (
	// eventSize is one event block; receivers take the first of a payload.
	eventSize = 4
	// eventEnds is how often the end of an event is sent.
	eventEnds = 3
	// eventVolume is -10 dBm0, the level RFC 4733 §2.3.4 calls usual.
	eventVolume = 10
	// eventDigits are the names of events 0 to 15 (RFC 4733 §3.2, table 3).
	eventDigits = "0123456789*#ABCD"

	// MinTone and MaxTone bound a key's tone. ITU-T Q.24 receivers must take
	// 40 ms; above 1.3 s the duration field would need segments (§2.5.1.3).
	MinTone = 40 * time.Millisecond
	MaxTone = 1300 * time.Millisecond
)

// EventPayloadType is under which telephone events are sent, at 48 kHz: the
// number browsers use.
const EventPayloadType = 110

// Event is a key of a telephone, as one packet tells it.
type Event struct {
	Digit    byte // 0-9, *, #, A-D
	End      bool
	Volume   uint8  // 0 to 63: -dBm0
	Duration uint16 // so far, in samples at 48 kHz
}

// ParseEvent reads the payload of an event packet. The error is a
// *PayloadError; events other than keys are errors too.
func ParseEvent(b []byte) (Event, error) {
	if len(b) < eventSize || len(b)%eventSize != 0 {
		return Event{}, &PayloadError{Len: len(b), What: "not an event (RFC 4733)"}
	}
	if int(b[0]) >= len(eventDigits) {
		return Event{}, &PayloadError{Len: len(b), What: "event is no key"}
	}
	return Event{
		Digit:    eventDigits[b[0]],
		End:      b[1]&0x80 != 0,
		Volume:   b[1] & 0x3f,
		Duration: binary.BigEndian.Uint16(b[2:]),
	}, nil
}

// Append appends the payload of e to dst; nothing when its digit is no key.
func (e Event) Append(dst []byte) []byte {
	i := strings.IndexByte(eventDigits, e.Digit)
	if i < 0 {
		return dst
	}
	flags := e.Volume & 0x3f
	if e.End {
		flags |= 0x80
	}
	return binary.BigEndian.AppendUint16(append(dst, byte(i), flags), e.Duration)
}

// IsKey says whether a character can be dialled.
func IsKey(digit byte) bool { return strings.IndexByte(eventDigits, digit) >= 0 }

// Tone sends one key: a packet each 20 ms while it lasts, and its end three
// times. It is pure.
type Tone struct {
	digit byte
	total int // samples
	done  int
	ends  int
}

// NewTone returns the tone of a key; ok is false when the digit is none. The
// duration is taken into MinTone to MaxTone.
func NewTone(digit byte, d time.Duration) (t Tone, ok bool) {
	d = min(max(d, MinTone), MaxTone)
	return Tone{digit: digit, total: int(toSamples(d))}, IsKey(digit)
}

// sounds says whether Next has something to give.
func (t *Tone) sounds() bool { return t.ends != eventEnds && t.total != 0 }

// Next returns the packet for the next 20 ms, and false when the tone is over.
// First is set on the packet that carries the marker (RFC 4733 §2.5.1.2).
func (t *Tone) Next() (e Event, first, ok bool) {
	if !t.sounds() {
		return Event{}, false, false
	}
	first = t.done == 0
	t.done = min(t.done+FrameSamples, t.total)
	e = Event{Digit: t.digit, Volume: eventVolume, Duration: uint16(t.done)}
	if t.done == t.total {
		e.End = true
		t.ends++
	}
	return e, first, true
}

// Keys hears keys out of event packets: each once, whatever got lost, came
// twice or out of order. It is pure; the zero value is ready.
type Keys struct {
	begun bool
	ts    uint32
	ended bool
}

// Hear takes an event packet with the timestamp of its RTP header. It returns
// begin on the first packet of a key and end when the key is let go; a key of
// which one packet came at all has both or a begin alone.
func (k *Keys) Hear(ts uint32, e Event) (begin, end bool) {
	if d := int32(ts - k.ts); k.begun && d < 0 {
		return false, false // of a key before
	} else if !k.begun || d > 0 {
		k.begun, k.ts, k.ended = true, ts, false
		begin = true
	}
	if e.End && !k.ended {
		k.ended, end = true, true
	}
	return begin, end
}
