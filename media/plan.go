// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math"
	"time"
)

const (
	// PacketOverhead is what each packet of sound costs beside its payload: IPv4
	// and UDP, RTP, the tag of SRTP.
	PacketOverhead = 28 + 12 + 16
	// planWait is the longest time a frame may wait for its farthest copy.
	planWait = 140 * time.Millisecond
	// planLeast is the share of loss below which copies are not worth a byte.
	planLeast = 0.005
	// planFEC is the highest loss told to an encoder: above, it gives half its
	// bits to FEC and leaves none for the sound.
	planFEC = 0.3
)

// steps are what a voice may be sent as, best first. bad is what the step costs
// in points of the E-model's R beside the best. There is no row for Opus in
// ITU-T G.113; these are read off published listening tests, where 24 kb/s are
// next to perfect and 12 kb/s clearly worse.
func planSteps() [7]planStep {
	return [7]planStep{
		{40000, 20 * time.Millisecond, 0},
		{32000, 20 * time.Millisecond, 0.5},
		{24000, 20 * time.Millisecond, 1.5},
		{16000, 20 * time.Millisecond, 6},
		{12000, 20 * time.Millisecond, 11},
		{12000, 40 * time.Millisecond, 11},
		{12000, 60 * time.Millisecond, 11},
	}
}

type planStep struct {
	bitrate int
	frame   time.Duration
	bad     float64
}

// cost returns the bits per second on the wire, with n copies in each packet.
func (s planStep) cost(n int) float64 {
	seconds := s.frame.Seconds()
	bytes := PacketOverhead + float64(s.bitrate)*seconds/8*float64(1+n)
	if n > 0 {
		bytes += float64(1 + redHeader*n)
	}
	return bytes * 8 / seconds
}

// plan chooses what sounds best in bits per second on the wire: rate, frames and
// copies weighed against each other with the E-model (ITU-T G.107). fec says
// that the encoder's own FEC restores a frame from the packet behind it. It
// returns the advice and how good it is, in points of R below the best.
func plan(bits, share, burst float64, fec bool) (a Advice, bad float64) {
	share = min(max(share, 0), 0.9)
	steps := planSteps()
	last := steps[len(steps)-1]
	a, bad = Advice{Bitrate: last.bitrate, FrameDuration: last.frame}, math.Inf(1)
	for _, s := range steps {
		if s.cost(0) > bits {
			continue
		}
		try := func(d Distances) {
			n := d.Len()
			if s.cost(n) > bits {
				return
			}
			e := 100 * missing(share, burst, d, fec)
			b := s.bad + badness(e, s.frame, d)
			if b < bad-1e-9 {
				a.Bitrate, a.FrameDuration, a.RED, bad = s.bitrate, s.frame, d, b
			}
		}
		try(Distances{})
		if share < planLeast {
			continue
		}
		far := uint8(planWait / s.frame)
		for i := uint8(1); i <= far; i++ {
			try(Distances{i})
			for k := i + 1; k <= far; k++ {
				try(Distances{i, k})
			}
		}
	}
	if share >= planLeast {
		a.FECLoss = int(math.Ceil(100 * min(share, planFEC)))
	}
	return a, bad
}

// badness is what missing sound, in percent, and waiting for it cost.
func badness(e float64, frame time.Duration, d Distances) float64 {
	wait := frame * time.Duration(1+d.Far())
	return 95*e/(e+eModelBpl) + needWait*float64(wait/time.Millisecond)
}

// rated returns how good advice is, as plan does.
func rated(a Advice, share, burst float64, fec bool) float64 {
	bad := 0.0
	for _, s := range planSteps() {
		if s.bitrate == a.Bitrate && s.frame == a.FrameDuration {
			bad = s.bad
		}
	}
	return bad + badness(100*missing(share, burst, a.RED, fec), a.FrameDuration, a.RED)
}

// missing returns the share of frames lost with all their copies, when packets
// get lost as in the model of Gilbert: a share of them, so many in a row.
func missing(share, burst float64, d Distances, fec bool) float64 {
	if share <= 0 {
		return 0
	}
	// How much the fate of a packet says about the next one.
	memory := max(1-1/max(burst, 1)-share/((1-share)*max(burst, 1)), 0)
	p, at := share, 0
	step := func(to int) {
		p *= share + (1-share)*math.Pow(memory, float64(to-at))
		at = to
	}
	if fec && d[0] != 1 {
		step(1)
	}
	for _, k := range d[:d.Len()] {
		step(int(k))
	}
	return p
}
