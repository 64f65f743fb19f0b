// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

// HasFEC tells whether an Opus packet carries in-band FEC, a coarse copy of
// the sound before it. Only SILK and hybrid packets can (RFC 6716 §4.2.3). The
// first bits of a SILK frame are coded with even odds, so they can be read
// without a range decoder: for each channel the VAD flags of its 20 ms pieces,
// then the LBRR flag that is asked for here (§4.2.4).
func HasFEC(payload []byte) bool {
	if len(payload) < 2 {
		return false
	}
	toc := payload[0]
	if toc>>3 >= 16 { // CELT
		return false
	}
	first := firstFrame(payload)
	if len(first) < 2 { // DTX
		return false
	}
	pieces := max(tocSamples(toc)/FrameSamples, 1)
	flag := first[0] >> (7 - pieces) & 1
	if toc&4 != 0 { // stereo: the flags of the side channel follow
		flag |= first[0] >> (6 - 2*pieces) & 1
	}
	return flag != 0
}

// firstFrame returns the bytes of a packet from its first frame on (RFC 6716
// §3.2), which for packets of code 0 is that frame; nil where there is none.
func firstFrame(p []byte) []byte {
	b := p[1:]
	switch p[0] & 3 {
	case 2:
		n, used := frameLength(b)
		if used == 0 || n > len(b)-used {
			return nil
		}
		return b[used : used+n]
	case 3:
		if len(b) == 0 {
			return nil
		}
		kind := b[0]
		b = b[1:]
		for more := kind&0x40 != 0; more && len(b) > 0; b = b[1:] {
			more = b[0] == 255
		}
		if kind&0x80 != 0 {
			for range int(kind&0x3f) - 1 {
				_, used := frameLength(b)
				if used == 0 {
					return nil
				}
				b = b[used:]
			}
		}
	}
	return b
}
