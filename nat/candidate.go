// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/p2pos/p2pos/internal/order"
)

// CandidateKind says where a candidate address was learned (RFC 8445 §5.1.1).
type CandidateKind uint8

// The kinds of candidates.
const (
	HostCandidate      CandidateKind = iota // an address of a local interface
	ReflexiveCandidate                      // an address a peer saw us at
	MappedCandidate                         // a port a router opened for us
)

// String returns the kind in one word.
func (k CandidateKind) String() string {
	switch k {
	case HostCandidate:
		return "host"
	case ReflexiveCandidate:
		return "reflexive"
	case MappedCandidate:
		return "mapped"
	}
	return "unknown"
}

// Candidate is one address at which this node may be reached.
type Candidate struct {
	Addr netip.AddrPort
	Kind CandidateKind
}

// maxHosts4 leaves room in MaxCandidates for two IPv6 addresses on a machine
// with many IPv4 ones. The other way round no bound is needed: IPv4 goes first.
const maxHosts4 = MaxCandidates - 2

// iface describes one network interface.
type iface struct {
	name  string
	flags net.Flags
	addrs []netip.Addr
	bits  []int // length of each address's prefix
}

// virtual lists name prefixes of interfaces that lead to containers, virtual
// machines on this host, or Apple's peer-to-peer radio: no other machine can
// write to an address there. VPNs (tun, wg, utun, tailscale) are not among
// them, since a peer may well sit in the same one.
var virtual = [...]string{
	"docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "cilium", "kube", "nerdctl",
	"podman", "lxc", "lxdbr", "vnet", "vmnet", "vboxnet", "vethernet", "awdl", "llw", "anpi",
}

// hosts chooses the useful addresses for a socket bound to bound, best first:
// IPv4 before IPv6, and within each public before private, then by value.
func hosts(bound netip.AddrPort, list []iface) []Candidate {
	at := bound.Addr().Unmap()
	if !at.IsValid() || bound.Port() == 0 {
		return nil
	}
	if !at.IsUnspecified() {
		// The socket can use only this one, loopback included.
		if at.IsMulticast() || at.IsLinkLocalUnicast() {
			return nil
		}
		return []Candidate{{Addr: netip.AddrPortFrom(at.WithZone(""), bound.Port())}}
	}
	var addrs []netip.Addr
	for _, i := range list {
		if i.flags&net.FlagUp == 0 || i.flags&net.FlagLoopback != 0 || isVirtual(i.name) {
			continue
		}
		for _, a := range i.addrs {
			a = a.Unmap().WithZone("")
			// Loopback and both link-local ranges mean nothing to a peer
			// elsewhere; fec0::/10 was withdrawn (RFC 3879).
			if !a.IsGlobalUnicast() || a.Is6() && a.As16()[0] == 0xfe {
				continue
			}
			if at.Is4() && !a.Is4() {
				continue
			}
			addrs = append(addrs, a)
		}
	}
	order.Sort(addrs, func(a, b netip.Addr) int {
		if c := hostRank(a) - hostRank(b); c != 0 {
			return c
		}
		return a.Compare(b)
	})
	addrs = slices.Compact(addrs)
	if four := slices.IndexFunc(addrs, netip.Addr.Is6); four > maxHosts4 {
		addrs = slices.Delete(addrs, maxHosts4, four)
	}
	var out []Candidate
	for _, a := range addrs[:min(len(addrs), MaxCandidates)] {
		out = append(out, Candidate{Addr: netip.AddrPortFrom(a, bound.Port())})
	}
	return out
}

func hostRank(a netip.Addr) int {
	rank := 0
	if a.Is6() {
		rank = 2
	}
	if a.IsPrivate() {
		rank++
	}
	return rank
}

func isVirtual(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(virtual[:], func(p string) bool { return strings.HasPrefix(name, p) })
}

// minOnLink is the shortest IPv6 prefix that is taken for one LAN: 64 bits are
// a link (RFC 4291 §2.5.1), shorter ones belong to tunnels and carriers.
const minOnLink = 64

// onLink chooses the prefixes of the LANs that a socket bound to bound is on.
func onLink(bound netip.AddrPort, list []iface) (out []netip.Prefix) {
	at := bound.Addr().Unmap()
	if at.Is4() {
		return nil
	}
	for _, i := range list {
		const need, never = net.FlagUp, net.FlagLoopback | net.FlagPointToPoint
		if i.flags&need != need || i.flags&never != 0 || isVirtual(i.name) {
			continue
		}
		for k, a := range i.addrs {
			a = a.WithZone("")
			if !a.Is6() || a.Is4In6() || !a.IsGlobalUnicast() || k >= len(i.bits) || !at.IsUnspecified() && a != at {
				continue
			}
			p, err := a.Prefix(i.bits[k])
			// A host route (128 bits) says nothing of who is near.
			if err == nil && p.Bits() >= minOnLink && p.Bits() < 128 && len(out) < MaxCandidates && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}
