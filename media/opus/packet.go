// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus

import (
	"errors"
	"fmt"
)

// ErrPacket reports bytes that are no Opus packet, or one whose contents the
// decoder refused.
var ErrPacket = errors.New("opus: malformed packet")

const (
	// SampleRate is the rate of all PCM in this package, per channel.
	SampleRate = 48000

	// MaxSamples is the longest packet, 120 ms, in samples per channel
	// (RFC 6716 §3.4 R5). A pcm slice of MaxSamples × channels fits any packet.
	MaxSamples = 5760

	maxFrameBytes = 1275 // RFC 6716 §3.4 R2
	maxFrames     = 48   // 120 ms of 2.5 ms frames
)

// packet is one Opus packet taken apart (RFC 6716 §3.2). The frames alias the
// packet's bytes.
type packet struct {
	toc     byte
	samples int // of each frame, per channel
	n       int // frames in use
	frames  [maxFrames][]byte
}

// frameSamples returns the duration of each frame that a TOC byte announces
// (RFC 6716 §3.1, table 2), in samples at 48 kHz.
func frameSamples(toc byte) int {
	config := toc >> 3
	switch {
	case config < 12: // SILK
		return [4]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid
		return 480 << (config & 1)
	default: // CELT
		return 120 << (config & 3)
	}
}

// parse fills p from b, holding it to the rules R1–R7 of RFC 6716 §3.4.
func (p *packet) parse(b []byte) error {
	p.n = 0
	if len(b) == 0 {
		return fmt.Errorf("%w: empty", ErrPacket)
	}
	p.toc = b[0]
	p.samples = frameSamples(b[0])
	switch body := b[1:]; b[0] & 3 {
	case 0:
		return p.add(body)
	case 1:
		return p.equal(body, 2)
	case 2:
		return p.sized(body, 2)
	default:
		return p.counted(body)
	}
}

// counted reads a code 3 body: frame count, padding, then the frames.
func (p *packet) counted(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: frame count missing", ErrPacket)
	}
	vbr, padded, n := b[0]&0x80 != 0, b[0]&0x40 != 0, int(b[0]&0x3f)
	if n == 0 || n*p.samples > MaxSamples {
		return fmt.Errorf("%w: %d frames of %d samples", ErrPacket, n, p.samples)
	}
	b = b[1:]
	if padded {
		var err error
		if b, err = unpad(b); err != nil {
			return err
		}
	}
	if vbr {
		return p.sized(b, n)
	}
	return p.equal(b, n)
}

// unpad removes the padding lengths in front of b and the padding at its end.
func unpad(b []byte) ([]byte, error) {
	for {
		if len(b) == 0 {
			return nil, fmt.Errorf("%w: padding length cut off", ErrPacket)
		}
		v := int(b[0])
		b = b[1:]
		// 255 stands for 254 bytes and says that another length follows.
		pad := min(v, 254)
		if pad > len(b) {
			return nil, fmt.Errorf("%w: padding exceeds the packet", ErrPacket)
		}
		b = b[:len(b)-pad]
		if v != 255 {
			return b, nil
		}
	}
}

// equal splits b into n frames of the same size.
func (p *packet) equal(b []byte, n int) error {
	if len(b)%n != 0 {
		return fmt.Errorf("%w: %d bytes in %d equal frames", ErrPacket, len(b), n)
	}
	size := len(b) / n
	for i := range n {
		if err := p.add(b[i*size : (i+1)*size]); err != nil {
			return err
		}
	}
	return nil
}

// sized reads n-1 frame lengths and then n frames, the last of which takes the
// rest.
func (p *packet) sized(b []byte, n int) error {
	var sizes [maxFrames]int
	for i := range n - 1 {
		switch {
		case len(b) >= 1 && b[0] < 252: // RFC 6716 §3.2.1
			sizes[i], b = int(b[0]), b[1:]
		case len(b) >= 2:
			sizes[i], b = int(b[0])+4*int(b[1]), b[2:]
		default:
			return fmt.Errorf("%w: frame length cut off", ErrPacket)
		}
	}
	for i := range n - 1 {
		if sizes[i] > len(b) {
			return fmt.Errorf("%w: frame of %d bytes with %d left", ErrPacket, sizes[i], len(b))
		}
		if err := p.add(b[:sizes[i]]); err != nil {
			return err
		}
		b = b[sizes[i]:]
	}
	return p.add(b)
}

func (p *packet) add(frame []byte) error {
	if len(frame) > maxFrameBytes {
		return fmt.Errorf("%w: frame of %d bytes", ErrPacket, len(frame))
	}
	p.frames[p.n] = frame
	p.n++
	return nil
}
