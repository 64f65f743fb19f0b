// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// sure is the most that is ever claimed.
	sure = 0.97
	// oneVoice is claimed where a single peer could have said anything else.
	oneVoice = 0.85
	// guess is claimed where two answers are possible.
	guess = 0.6
	// hint is claimed where all who say something may be one and the same: it
	// is worth a punch that fails, and no more.
	hint = 0.4
)

// finding is the answer to one question.
type finding struct {
	kind       Dependence
	confidence float64
	why        string
	at         netip.AddrPort // mapping: our own socket's, as most see it
	heard      int            // mapping: networks that said something
}

// margin turns a majority of votes into a confidence: each vote above half
// takes away three fifths of the doubt.
func margin(most, all int) float64 {
	return min(sure, 1-math.Pow(0.4, float64(2*most-all)))
}

// view is what the peers of one network see of our own socket.
type view struct {
	prefix netip.Prefix
	seen   netip.AddrPort
	port   uint16
}

// mappingOf tells what the NAT looks at when it chooses a mapping, from where
// several peers see the same socket at the same time (RFC 4787 §4.1).
//
// Each network has one voice. In a small net all peers may be in one: then each
// address has one, for a hint.
func mappingOf(points []*point, hosts []netip.Addr, six bool, now time.Time) finding {
	f := mappingBy(points, hosts, six, now, func(p *point) netip.Prefix { return p.prefix })
	if f.heard >= 2 || f.heard == 0 {
		return f
	}
	h := mappingBy(points, hosts, six, now, func(p *point) netip.Prefix {
		a := p.Addr.Addr()
		return netip.PrefixFrom(a, a.BitLen())
	})
	if h.kind == UnknownDependence {
		if f.heard == 1 && h.heard == 1 {
			return onePeer(points, six, now, f)
		}
		return f
	}
	h.why = strings.Replace(h.why, "networks", "peers of one network", 1)
	h.heard, h.confidence = f.heard, min(h.confidence, hint)
	return h
}

func mappingBy(points []*point, hosts []netip.Addr, six bool, now time.Time, voice func(*point) netip.Prefix) finding {
	var voices []view
	for _, p := range points {
		v := voice(p)
		if p.Addr.Addr().Is6() != six || !p.main.fresh(now) ||
			slices.ContainsFunc(voices, func(o view) bool { return o.prefix == v }) {
			continue
		}
		voices = append(voices, view{v, p.main.seen, p.main.port})
	}
	f := finding{heard: len(voices)}
	if len(voices) < 2 {
		if len(voices) == 1 {
			f.at = voices[0].seen
		}
		return f
	}
	most, port := 0, uint16(0)
	for _, v := range voices {
		n := 0
		for _, o := range voices {
			if o.seen == v.seen {
				n++
			}
		}
		if n > most {
			most, f.at, port = n, v.seen, v.port
		}
	}
	if 2*most > len(voices) {
		f.kind = EndpointIndependent
		f.why = fmt.Sprintf("%d of %d networks saw the same address and port", most, len(voices))
		f.confidence = margin(most, len(voices))
		if len(voices) < enoughPrefixes {
			f.confidence = guess
		}
		if slices.Contains(hosts, f.at.Addr()) && (port == 0 || port == f.at.Port()) {
			f.kind = NoNAT
			f.why = fmt.Sprintf("%d of %d networks saw this machine's own address", most, len(voices))
		}
		return f
	}
	if most > 1 {
		f.at = netip.AddrPort{}
	}
	// Were the mapping endpoint-independent, all who disagree would lie.
	return portDependence(points, six, now, f, margin(len(voices)-most+1, len(voices)))
}

// onePeer makes the most of a node's first neighbour, which may be its only one
// for as long as it does not know how to reach others: one that has two ports and
// sees us at different ones shows that the mapping depends on them.
func onePeer(points []*point, six bool, now time.Time, f finding) finding {
	for _, p := range points {
		if p.Addr.Addr().Is6() == six && p.Second != 0 && p.main.fresh(now) && p.second.fresh(now) && p.main.seen != p.second.seen {
			f.kind, f.confidence = AddressAndPortDependent, hint
			f.why = "the only peer saw different ports from its two"
			return f
		}
	}
	return f
}

// portDependence tells address- from address-and-port-dependent mappings, by
// peers with two ports and by peers that share an address.
func portDependence(points []*point, six bool, now time.Time, f finding, known float64) finding {
	same, differ := 0, 0
	var voted []netip.Prefix
	vote := func(p *point, a, b sight) {
		if slices.Contains(voted, p.prefix) || !a.fresh(now) || !b.fresh(now) {
			return
		}
		voted = append(voted, p.prefix)
		if a.seen == b.seen {
			same++
		} else {
			differ++
		}
	}
	for i, p := range points {
		if p.Addr.Addr().Is6() != six {
			continue
		}
		if p.Second != 0 {
			vote(p, p.main, p.second)
		}
		for _, o := range points[:i] {
			if o.Addr.Addr() == p.Addr.Addr() {
				vote(p, p.main, o.main)
			}
		}
	}
	all := same + differ
	f.kind = AddressAndPortDependent
	switch {
	case all == 0:
		f.confidence = min(known, guess)
		f.why = fmt.Sprintf("%d networks saw different ports; none has two ports to tell whether the address alone decides", f.heard)
		return f
	case same > differ:
		f.kind = AddressDependent
		f.why = fmt.Sprintf("%d networks saw different ports, but %s", f.heard, seenBoth(same, all, "the same one"))
	default:
		f.why = fmt.Sprintf("%d networks saw different ports, and %s", f.heard, seenBoth(differ, all, "different ones"))
	}
	f.confidence = min(known, oneVoice)
	switch most := max(same, differ); {
	case same == differ:
		f.confidence = min(known, 0.5)
	case all >= 2 && most == all:
		f.confidence = min(known, margin(most+1, all))
	case all >= 2:
		f.confidence = min(known, margin(most, all))
	}
	return f
}

func seenBoth(n, all int, what string) string {
	if all == 1 {
		return "the peer with two ports saw " + what + " at both"
	}
	return fmt.Sprintf("%d of %d peers with two ports saw %s at both", n, all, what)
}

// filterOf tells what the NAT lets in (RFC 4787 §5). What came in is a fact that nobody
// can make up; what did not come may have been withheld.
func filterOf(trials []*trial, six bool) finding {
	peers, ports := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
	fromPort := false
	for _, t := range trials {
		if t.six != six {
			continue
		}
		switch t.fromPeer {
		case came:
			return finding{kind: EndpointIndependent, confidence: sure, why: "a peer that was never written to got through"}
		case missed:
			peers[t.point.prefix] = true
		}
		switch t.fromPort {
		case came:
			fromPort = true
		case missed:
			ports[t.point.prefix] = true
		}
	}
	n := len(peers)
	if n == 0 {
		return finding{}
	}
	strict := [...]float64{0, guess, oneVoice, sure}[min(n, enoughPrefixes)]
	none := fmt.Sprintf("%d peers had others write to us, and nothing came", n)
	if n == 1 {
		none = "a peer had others write to us, and nothing came"
	}
	switch {
	case fromPort:
		return finding{kind: AddressDependent, confidence: strict, why: none + "; a known peer's second port got through"}
	case len(ports) == 0:
		return finding{kind: AddressAndPortDependent, confidence: min(strict, guess), why: none + "; no peer tried its second port"}
	case len(ports) == 1:
		strict = min(strict, oneVoice)
	}
	return finding{kind: AddressAndPortDependent, confidence: strict, why: none + ", nor from a known peer's second port"}
}

// withServer adds the word of an RFC 5780 server: one voice among the others,
// but one that tells address- from port-dependence, and whose packets, if they
// came in, did so.
func withServer(f finding, k Dependence, filter bool) finding {
	less := f.kind != UnknownDependence && k < f.kind
	switch {
	case k == UnknownDependence || k == UDPBlocked:
	case f.kind == UnknownDependence:
		f.kind, f.confidence, f.why = k, guess, "an RFC 5780 server found it "+k.String()
	case f.kind == k:
		f.confidence = min(sure, (1+f.confidence)/2)
	case filter && less:
		f.kind, f.confidence, f.why = k, sure, "an RFC 5780 server got through as far as "+k.String()+" filters let it"
	case f.confidence <= guess && f.kind >= AddressDependent && k >= AddressDependent:
		f.kind, f.confidence, f.why = k, oneVoice, f.why+"; an RFC 5780 server found it "+k.String()
	default:
		f.confidence *= 0.8
	}
	return f
}
