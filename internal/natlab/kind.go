// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// Kind names an ordinary sort of site. EIM, ADM and APDM are endpoint-independent,
// address-dependent and address-and-port-dependent mapping; EIF, ADF and APDF
// the same of filtering (RFC 4787).
type Kind string

// The kinds. Where not said otherwise the filter is APDF, there is no hairpin
// and no IPv6. "Kernel" is nftables, "box" is simnet's model.
const (
	Open           Kind = "open"                  // no NAT, IPv4 and IPv6
	EIMEIF         Kind = "eim-eif"               // full cone; box, ports preserved
	EIMADF         Kind = "eim-adf"               // box, ports preserved
	EIMAPDF        Kind = "eim-apdf"              // kernel: plain masquerade, ports preserved
	EIMAPDFBox     Kind = "eim-apdf-box"          // the same by the box
	EIMRandom      Kind = "eim-apdf-random"       // box, ports random
	EIMRange       Kind = "eim-apdf-range512"     // kernel: ports 20000–20511, kept when inside
	Hairpin        Kind = "eim-apdf-hairpin"      // box, ports preserved
	Pool           Kind = "eim-apdf-pool"         // box, each socket on any of four addresses
	ADMBlock       Kind = "adm-block512"          // box, one random port in a block for each remote address
	APDM           Kind = "apdm"                  // kernel: masquerade fully-random
	APDMBox        Kind = "apdm-box"              // the same by the box
	APDMBlock      Kind = "apdm-block512"         // kernel: ports 20000–20511 fully-random
	Sequential     Kind = "apdm-sequential"       // box, the next port for each new destination
	CGN            Kind = "cgn"                   // EIMAPDF at home behind a carrier's APDMBlock
	CGNBox         Kind = "cgn-box"               // EIMAPDF at home behind a carrier's box, EIM and EIF (RFC 6888)
	UDPBlocked     Kind = "udp-blocked"           // kernel: masquerade, no UDP either way
	IPv6Firewalled Kind = "apdm-ipv6-firewalled"  // APDM, and IPv6 with a stateful firewall
	IPv6Box        Kind = "apdm-box-ipv6-guarded" // the same by the box
)

// Traits are what a site's kind comes to for the hosts in it.
type Traits struct {
	Layers    int  // of NAT
	NoUDP     bool // then the next six mean nothing
	Mapping   simnet.Behaviour
	Filtering simnet.Behaviour
	Ports     simnet.PortRule
	Range     [2]uint16 // where outside ports lie; zero = anywhere
	Hairpin   bool
	Addresses int // outside
	IPv6      IPv6
	Box       bool // simnet's box, not the kernel, does it
}

type kind struct {
	Kind
	Spec
	Traits
}

const (
	apd = simnet.AddressAndPortDependent
	ad  = simnet.AddressDependent
	ei  = simnet.EndpointIndependent
)

// block returns the ports of the kinds that have a block. It lies outside the
// range from which Linux takes ports, so a socket is in it by wish only.
func block() [2]uint16 { return [2]uint16{20000, 20511} }

// table is the one place that says which kinds there are.
func table() []kind {
	box := func(m, f simnet.Behaviour, p simnet.PortRule) *simnet.NATConfig {
		return &simnet.NATConfig{Mapping: m, Filtering: f, Ports: p}
	}
	inBlock := box(ad, apd, simnet.Random)
	inBlock.Block = block()
	hairpin := box(ei, apd, simnet.Preserve)
	hairpin.Hairpin = true
	pool := box(ei, apd, simnet.Random)
	pool.Arbitrary = true
	cgn := box(ei, ei, simnet.Block)
	cgn.BlockSize, cgn.Replied = 1024, 5*time.Minute // RFC 4787 REQ-5's recommendation
	cgn.Block = [2]uint16{1024, 65535}
	return []kind{
		{Open, Spec{IPv6: OpenIPv6}, Traits{Filtering: ei, IPv6: OpenIPv6}},
		{EIMEIF, Spec{Box: box(ei, ei, simnet.Preserve)}, Traits{Layers: 1, Filtering: ei, Box: true}},
		{EIMADF, Spec{Box: box(ei, ad, simnet.Preserve)}, Traits{Layers: 1, Filtering: ad, Box: true}},
		{EIMAPDF, Spec{Kernel: &Kernel{}}, Traits{Layers: 1, Filtering: apd}},
		{EIMAPDFBox, Spec{Box: box(ei, apd, simnet.Preserve)}, Traits{Layers: 1, Filtering: apd, Box: true}},
		{EIMRandom, Spec{Box: box(ei, apd, simnet.Random)}, Traits{Layers: 1, Filtering: apd, Ports: simnet.Random, Box: true}},
		{EIMRange, Spec{Kernel: &Kernel{Ports: block()}}, Traits{Layers: 1, Filtering: apd, Ports: simnet.Random, Range: block()}},
		{Hairpin, Spec{Box: hairpin}, Traits{Layers: 1, Filtering: apd, Hairpin: true, Box: true}},
		{Pool, Spec{Box: pool, Addresses: 4}, Traits{Layers: 1, Filtering: apd, Ports: simnet.Random, Addresses: 4, Box: true}},
		{ADMBlock, Spec{Box: inBlock}, Traits{Layers: 1, Mapping: ad, Filtering: apd, Ports: simnet.Random, Range: block(), Box: true}},
		{APDM, Spec{Kernel: &Kernel{Random: true}}, Traits{Layers: 1, Mapping: apd, Filtering: apd, Ports: simnet.Random}},
		{APDMBox, Spec{Box: box(apd, apd, simnet.Random)}, Traits{Layers: 1, Mapping: apd, Filtering: apd, Ports: simnet.Random, Box: true}},
		{APDMBlock, Spec{Kernel: &Kernel{Ports: block(), Random: true}}, Traits{Layers: 1, Mapping: apd, Filtering: apd, Ports: simnet.Random, Range: block()}},
		{Sequential, Spec{Box: box(apd, apd, simnet.Sequential)}, Traits{Layers: 1, Mapping: apd, Filtering: apd, Ports: simnet.Sequential, Box: true}},
		{CGN, Spec{Home: &Kernel{}, Kernel: &Kernel{Ports: block(), Random: true}}, Traits{Layers: 2, Mapping: apd, Filtering: apd, Ports: simnet.Random, Range: block()}},
		{CGNBox, Spec{Home: &Kernel{}, Box: cgn}, Traits{Layers: 2, Filtering: apd, Ports: simnet.Block, Box: true}},
		{UDPBlocked, Spec{Kernel: &Kernel{}, NoUDP: true}, Traits{Layers: 1, NoUDP: true}},
		{IPv6Firewalled, Spec{Kernel: &Kernel{Random: true}, IPv6: FirewalledIPv6}, Traits{Layers: 1, Mapping: apd, Filtering: apd, Ports: simnet.Random, IPv6: FirewalledIPv6}},
		{IPv6Box, Spec{Box: box(apd, apd, simnet.Random), IPv6: FirewalledIPv6}, Traits{Layers: 1, Mapping: apd, Filtering: apd, Ports: simnet.Random, IPv6: FirewalledIPv6, Box: true}},
	}
}

// Kinds returns all kinds, in the order of the constants.
func Kinds() []Kind {
	var all []Kind
	for _, k := range table() {
		all = append(all, k.Kind)
	}
	return all
}

func (k Kind) find() (kind, bool) {
	t := table()
	i := slices.IndexFunc(t, func(e kind) bool { return e.Kind == k })
	if i < 0 {
		return kind{}, false
	}
	e := t[i]
	e.Traits.Addresses = max(e.Traits.Addresses, 1)
	return e, true
}

// Traits returns what the kind does; an unknown one has none.
func (k Kind) Traits() Traits {
	e, _ := k.find()
	return e.Traits
}

// Spec returns how the kind is built, to change and give to [Lab.Build].
func (k Kind) Spec() Spec {
	e, _ := k.find()
	return e.Spec
}
