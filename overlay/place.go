// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// What a record says about the way to this node changes all the time while its
// table fills and its NAT is being looked at, and each change costs three
// records, their copies and their way to eight holders. Found is the node by its
// key in any case; addresses and introducers only save a caller time. So what
// has become wrong is corrected at once, and what could be better now and then.

const (
	// betterFirst is the least time from one telling to the next one that is
	// only better; it doubles up to betterMost, the time after which records
	// go out anyway.
	betterFirst = 6 * time.Second
	betterMost  = 20 * time.Minute
)

// place is what records say of this node's whereabouts.
type place struct {
	told identity.Location
	ever bool
	at   time.Time     // when it was told
	wait time.Duration // until the next telling that is only better
}

// verdict is what has become of a place that was told.
type verdict uint8

const (
	placeGood verdict = iota
	placeBetter
	placeWrong
)

// tell decides whether a new place is to be told now, and notes it if so.
// linked says whether a node that introduces is still a neighbour there.
func (p *place) tell(now time.Time, is identity.Location, linked func(identity.Introducer) bool) bool {
	v := p.judge(is, linked)
	switch {
	case v == placeWrong:
		p.wait = betterFirst
	case v == placeBetter && now.Sub(p.at) >= p.wait:
		p.wait = min(2*p.wait, betterMost)
	default:
		return false
	}
	p.told, p.ever, p.at = is, true, now
	return true
}

// judge compares what was told with what is.
func (p *place) judge(is identity.Location, linked func(identity.Introducer) bool) verdict {
	if !p.ever {
		return placeWrong
	}
	stand := 0
	for _, i := range p.told.Introducers {
		stand += btoi(linked(i))
	}
	better := len(is.Introducers) > stand || is.Class != p.told.Class
	steady := mesh.Class(is.Class) == mesh.Open || mesh.Class(is.Class) == mesh.Easy
	for _, pair := range [][2][]netip.AddrPort{{p.told.Addrs, is.Addrs}, {p.told.TCP, is.TCP}} {
		told, is := pair[0], pair[1]
		// Behind an endpoint-dependent NAT everybody sees us at another port,
		// none of use to others, and before it is known what NAT there is it
		// may be one: there the address alone counts.
		same := func(a netip.AddrPort, list []netip.AddrPort) bool {
			return slices.Contains(list, a) || !steady && slices.ContainsFunc(list, func(b netip.AddrPort) bool { return a.Addr() == b.Addr() })
		}
		for _, a := range told {
			if !same(a, is) {
				return placeWrong
			}
		}
		for _, a := range is {
			better = better || !same(a, told)
		}
	}
	switch {
	case stand == 0 && len(p.told.Introducers) > 0:
		return placeWrong
	case better:
		return placeBetter
	}
	return placeGood
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
