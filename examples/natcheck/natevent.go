// SPDX-License-Identifier: 0BSD

package main

import (
	"cmp"
	"math"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/nat"
)

// natEvent says what is known of the NATs around this node; "unknown" and null
// are what isn't. natcheck has a copy of this file, so that both write the same.
type natEvent struct {
	Mapping    string   `json:"mapping"`
	Filtering  string   `json:"filtering"`
	Ports      string   `json:"ports"`
	Block      []uint16 `json:"block"` // first and last port, or null
	Public     []string `json:"public"`
	CGN        bool     `json:"cgn"`
	Hairpin    *bool    `json:"hairpin"`
	Lifetime   *float64 `json:"lifetime_s"`
	IPv6       string   `json:"ipv6"`
	PortMap    string   `json:"portmap"`
	Confidence float64  `json:"confidence"`

	why []string // for people
}

func natOf(n p2pos.NAT) natEvent {
	b := n.Behaviour
	e := natEvent{
		Mapping: b.Mapping.String(), Filtering: b.Filtering.String(), Ports: b.Ports.String(),
		Public: []string{}, CGN: b.Carrier == nat.Yes, IPv6: b.IPv6.String(),
		PortMap: cmp.Or(n.PortMap, "none"), Confidence: math.Round(b.Confidence*1000) / 1000, why: n.Evidence,
	}
	if b.Block != [2]uint16{} {
		e.Block = b.Block[:]
	}
	for _, a := range b.Public {
		e.Public = append(e.Public, a.String())
	}
	if b.Hairpin != nat.Unknown {
		yes := b.Hairpin == nat.Yes
		e.Hairpin = &yes
	}
	if life := lifeOf(b); life > 0 {
		s := life.Seconds()
		e.Lifetime = &s
	}
	return e
}

// lifeOf is how long a mapping lasts that is in use now and then: its life in
// silence, unless it ends before whatever happens. 0 = not known.
func lifeOf(b nat.Behaviour) time.Duration {
	if b.Absolute > 0 && (b.Replied == 0 || b.Absolute < b.Replied) {
		return b.Absolute
	}
	return b.Replied
}
