// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "time"

// Distances says which earlier frames travel with each frame as copies: 2 is
// the one before the last. Nearest first; zeros end the list.
type Distances [MaxCopies]uint8

// Len returns how many copies that are.
func (d Distances) Len() int {
	for i, v := range d {
		if v == 0 {
			return i
		}
	}
	return MaxCopies
}

// Far returns the longest distance.
func (d Distances) Far() int { return int(max(d[0], d[1], d[2])) }

// Advice is what the network suggests to whoever encodes. Bitrate and
// FrameDuration are the encoder's business, and so is FECLoss; copies are made
// by the session itself.
type Advice struct {
	Bitrate       int           // bits per second of encoded sound
	FrameDuration time.Duration // 20, 40 or 60 ms
	FECLoss       int           // percent of packets that get lost, for in-band FEC; 0 to 30
	RED           Distances     // copies that travel along
}

// firstFEC is the loss that a call begins prepared for: until the first reports
// come nothing else mends, and the first second is when people listen whether
// they are heard.
const firstFEC = 10

// DefaultAdvice is what a call begins with.
func DefaultAdvice() Advice {
	return Advice{Bitrate: 24000, FrameDuration: 20 * time.Millisecond, FECLoss: firstFEC}
}
