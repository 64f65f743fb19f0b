// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"errors"
	"fmt"
	"time"
)

const (
	// The times are those a browser has by default (RTCDTMFSender.insertDTMF of
	// W3C's WebRTC 1.0): a key sounds for 100 ms, the next one begins 70 ms later,
	// and a comma waits for two seconds.
	keyTone  = 100 * time.Millisecond
	keyGap   = 70 * time.Millisecond
	keyPause = 2 * time.Second
	// keyStep is the time between two packets of a key.
	keyStep = 20 * time.Millisecond

	// MaxKeys is how many keys may wait: nobody dials longer numbers, and each
	// takes 170 ms.
	MaxKeys = 128
)

// What Keypad.Dial refuses.
var (
	ErrKey      = errors.New("media: not a key: 0-9, *, #, A-D, or a comma for a pause")
	ErrManyKeys = errors.New("media: too many keys at once")
)

// Keypad sends keys one after the other as telephone events. It is pure; the
// zero value is ready.
type Keypad struct {
	queue []byte
	tone  Tone
	next  time.Time // of the next packet, or key
}

// Dial presses keys: 0-9, *, #, A-D (a-d are the same), and a comma, which waits
// for two seconds. They follow those that wait already. A text with anything
// else in it is refused as a whole with ErrKey, one that is too long with
// ErrManyKeys.
func (k *Keypad) Dial(now time.Time, digits string) error {
	if len(k.queue)+len(digits) > MaxKeys {
		return fmt.Errorf("%w: %d of at most %d", ErrManyKeys, len(k.queue)+len(digits), MaxKeys)
	}
	keys := make([]byte, 0, len(digits))
	for _, c := range []byte(digits) {
		if 'a' <= c && c <= 'd' {
			c -= 'a' - 'A'
		}
		if c != ',' && !IsKey(c) {
			return fmt.Errorf("%w: %q", ErrKey, c)
		}
		keys = append(keys, c)
	}
	if k.next.Before(now) {
		k.next = now
	}
	k.queue = append(k.queue, keys...)
	return nil
}

// Deadline returns when Next has something to send; zero when nothing waits.
func (k *Keypad) Deadline() time.Time {
	if len(k.queue) == 0 && !k.tone.sounds() {
		return time.Time{}
	}
	return k.next
}

// Next returns the packet that is due at now; false when none is. First is set
// on the first packet of a key. Call it until it returns false.
func (k *Keypad) Next(now time.Time) (e Event, first, ok bool) {
	for {
		if due := k.Deadline(); due.IsZero() || due.After(now) {
			return Event{}, false, false
		}
		if e, first, ok := k.tone.Next(); ok {
			k.step(now)
			return e, first, true
		}
		key := k.queue[0]
		k.queue = append(k.queue[:0], k.queue[1:]...)
		if key == ',' {
			k.next = k.next.Add(keyPause)
			continue
		}
		k.tone, _ = NewTone(key, keyTone)
	}
}

// step sets the time of what follows. Packets keep their distance also when
// their owner was late.
func (k *Keypad) step(now time.Time) {
	if now.Sub(k.next) > keyStep {
		k.next = now
	}
	k.next = k.next.Add(keyStep)
	if !k.tone.sounds() {
		// The tone ended 20 ms after the first of the three packets that say so.
		k.next = k.next.Add(keyGap - (eventEnds-1)*keyStep)
	}
}
