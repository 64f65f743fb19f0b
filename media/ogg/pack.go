// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg

import "github.com/p2pos/p2pos/media"

const (
	// maxFrames is how many frames an Opus packet may hold (RFC 6716 §3.2.5),
	// 120 ms of the shortest.
	maxFrames = 48
	// maxBlock is the longest Opus packet, 120 ms.
	maxBlock = media.ClockRate * 120 / 1000
	// minFrame is the shortest frame, 2.5 ms, of which all are multiples.
	minFrame = media.ClockRate * 25 / 10000
)

// frames is an Opus packet taken apart. An empty frame is one to be concealed.
type frames struct {
	toc  byte // without the two bits of the frame count
	each int  // samples of one frame
	n    int
	data [maxFrames][]byte // alias the packets they came from
}

// parse takes apart a packet that media.OpusSamples has accepted (RFC 6716
// §3.2).
func (f *frames) parse(p []byte, samples int) {
	f.toc, f.n = p[0]&^3, 0
	b := p[1:]
	count, vbr, pad := 1, false, 0
	switch p[0] & 3 {
	case 1:
		count = 2
	case 2:
		count, vbr = 2, true
	case 3:
		count, vbr = int(b[0]&0x3f), b[0]&0x80 != 0
		padded := b[0]&0x40 != 0
		b = b[1:]
		for padded {
			n := int(b[0])
			b = b[1:]
			if padded = n == 255; padded {
				n = 254
			}
			pad += n
		}
	}
	b = b[:len(b)-pad]
	f.each = samples / count
	if !vbr {
		size := len(b) / count
		for range count {
			f.add(b[:size])
			b = b[size:]
		}
		return
	}
	var sizes [maxFrames]int
	for i := range count - 1 {
		used := 1
		if sizes[i] = int(b[0]); sizes[i] >= 252 {
			sizes[i] += 4 * int(b[1])
			used = 2
		}
		b = b[used:]
	}
	for i := range count - 1 {
		f.add(b[:sizes[i]])
		b = b[sizes[i]:]
	}
	f.add(b)
}

func (f *frames) add(b []byte) {
	f.data[f.n] = b
	f.n++
}

// appendPacket puts the frames together again. delimited packets say how long
// they are (RFC 6716 appendix B), so that another can follow.
func (f *frames) appendPacket(dst []byte, delimited bool) []byte {
	if f.n == 1 {
		dst = append(dst, f.toc)
		if delimited {
			dst = appendLength(dst, len(f.data[0]))
		}
		return append(dst, f.data[0]...)
	}
	const vbr = 0x80
	dst = append(dst, f.toc|3, vbr|byte(f.n))
	for i, b := range f.data[:f.n] {
		if i < f.n-1 || delimited {
			dst = appendLength(dst, len(b))
		}
	}
	for _, b := range f.data[:f.n] {
		dst = append(dst, b...)
	}
	return dst
}

// appendLength writes a frame length (RFC 6716 §3.2.1).
func appendLength(dst []byte, n int) []byte {
	if n < 252 {
		return append(dst, byte(n))
	}
	return append(dst, byte(252+n&3), byte((n-252)>>2))
}

// merge makes f one packet of all items, which together last samples. Items of
// another mode than the first with the shortest frames turn into frames to be
// concealed: a packet has one mode (RFC 6716 §3.1). It returns how many items
// were lost like that. last is the mode to conceal in where there is no item.
func (f *frames) merge(items []item, samples int, last byte) (lost int) {
	var one frames
	f.n, f.each = 0, 0
	for i := range items {
		if it := &items[i]; len(it.payload) > 0 {
			one.parse(it.payload, int(it.samples))
			if f.each == 0 || one.each < f.each {
				f.toc, f.each = one.toc, one.each
			}
		}
	}
	for i := range items {
		if f.each > 0 && int(items[i].samples)%f.each != 0 {
			f.each = 0 // only concealing fits
		}
	}
	if f.each == 0 {
		f.conceal(last, samples)
		for i := range items {
			if len(items[i].payload) > 0 {
				lost++
			}
		}
		return lost
	}
	for i := range items {
		it := &items[i]
		if len(it.payload) > 0 {
			one.parse(it.payload, int(it.samples))
			if one.toc == f.toc {
				for _, b := range one.data[:one.n] {
					f.add(b)
				}
				continue
			}
			lost++
		}
		for range int(it.samples) / f.each {
			f.add(nil)
		}
	}
	return lost
}

// conceal makes f empty frames for samples, a multiple of minFrame, in the mode
// of last if that has such frames: changing the mode can click.
func (f *frames) conceal(last byte, samples int) {
	f.n = 0
	toc, each := emptyTOC(last, samples)
	if samples%each != 0 {
		toc, each = emptyTOC(0xf8, samples) // CELT has all lengths down to 2.5 ms
		for samples%each != 0 {
			toc -= 8 // the next shorter one
			each /= 2
		}
	}
	f.toc, f.each = toc&^3, each
	for range samples / each {
		f.add(nil)
	}
}
