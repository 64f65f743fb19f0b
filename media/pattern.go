// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import "math"

const (
	// patternKeep is what is left of a count with each packet: half after 3.5 s
	// of 20 ms packets, so that redundancy comes within a second of the loss.
	patternKeep = 0.996
	// patternSure is how many packets must be known before a share is believed.
	patternSure = 20
)

// Pattern measures how packets get lost: how many, and how many in a row. It is
// pure; the zero value is ready.
type Pattern struct {
	all, lost, runs float64 // weights that fade
	in              bool    // the packet before was lost
}

// Add notes the fate of the next packet, in the order they were sent.
func (p *Pattern) Add(lost bool) {
	p.all = p.all*patternKeep + 1
	p.lost *= patternKeep
	p.runs *= patternKeep
	if lost {
		p.lost++
		if !p.in {
			p.runs++
		}
	}
	p.in = lost
}

// Share returns the share of packets lost, 0 to 1.
func (p *Pattern) Share() float64 {
	if p.all < patternSure {
		return 0
	}
	return p.lost / p.all
}

// Sure returns a share that is lost at the least, by two standard errors: losses
// in a row count as one.
func (p *Pattern) Sure() float64 {
	share := p.Share()
	return share - 2*math.Sqrt(share*(1-share)*p.Burst()/max(p.all, 1))
}

// Burst returns how many packets are lost in a row on average, at least 1.
func (p *Pattern) Burst() float64 {
	// One run of one is added: the first loss of a call says nothing of bursts.
	return (p.lost + 1) / (p.runs + 1)
}
