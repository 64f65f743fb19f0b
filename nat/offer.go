// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

const (
	// MaxCandidates bounds the addresses in one offer (design/001): a host
	// with more useful ones has them behind the same routers anyway.
	MaxCandidates = 8
	// maxOffer is the plain form's budget: 512 sealed less nonce, key and tag.
	maxOffer     = 464
	offerVersion = 1
	// maxExpiry keeps Unix seconds inside what time.Time can add to; it is
	// the year 36812.
	maxExpiry = 1 << 40
)

// ClockSkew is how wrong the clocks of two machines may be (design/001 allows
// certificates the same hour). Without it a PC with a flat battery could
// call nobody; what a replayed offer gains is three probes to an old address.
const ClockSkew = time.Hour

// ErrOffer reports an offer whose bytes make no sense.
var ErrOffer = errors.New("nat: malformed offer")

// ErrOfferExpired reports an offer that is more than ClockSkew over its time.
var ErrOfferExpired = errors.New("nat: offer expired")

// VersionError reports an offer of a major version this code doesn't know.
type VersionError byte

func (v VersionError) Error() string { return fmt.Sprintf("nat: offer of unknown version %d", byte(v)) }

// Offer is what two nodes tell each other through an introducer so that they
// can punch. It always travels sealed; this is the plain form:
//
//	version(1)=1 || fields: 1 node key (32), 2 probe tag (8), 3 probe key (32),
//	4 candidates (vec8 of IP and port each), 5 expires (8), 6 reply key (32),
//	7 behaviour (27), 8 outside address (vec8 of IP and port), 9 flags (1): bit 0 = mapped
type Offer struct {
	NodeKey    ed25519.PublicKey // names the node on links
	Cred       Cred              // how to probe it
	Candidates []netip.AddrPort  // where it may be, best first, at most MaxCandidates
	Expires    time.Time         // whole seconds
	Reply      [32]byte          // X25519 key to seal the answer to; zero in an answer
	Behaviour  Behaviour         // of its NATs, as far as a plan depends on it; Public is not carried
	Outside    netip.AddrPort    // where most see it; zero = not known
	Mapped     bool              // a router keeps one of Candidates open (PCP, NAT-PMP, UPnP)
}

// flagMapped is Mapped in an offer's flags; the other bits are for later.
const flagMapped = 1

// Append appends the plain form. Candidates beyond MaxCandidates are left out.
// It panics when NodeKey has the wrong length: that is the caller's bug.
func (o Offer) Append(b []byte) []byte {
	if len(o.NodeKey) != ed25519.PublicKeySize {
		panic(fmt.Sprintf("nat: node key of %d bytes in an offer", len(o.NodeKey)))
	}
	b = append(b, offerVersion)
	b = wire.AppendField(b, 1, o.NodeKey)
	b = wire.AppendField(b, 2, o.Cred.Tag[:])
	b = wire.AppendField(b, 3, o.Cred.Key[:])
	var list []byte
	for _, c := range o.Candidates[:min(len(o.Candidates), MaxCandidates)] {
		ip := c.Addr().Unmap().WithZone("").AsSlice()
		list = wire.AppendVec8(list, binary.BigEndian.AppendUint16(ip, c.Port()))
	}
	b = wire.AppendField(b, 4, list)
	b = wire.AppendField(b, 5, binary.BigEndian.AppendUint64(nil, uint64(o.Expires.Unix())))
	if o.Reply != ([32]byte{}) {
		b = wire.AppendField(b, 6, o.Reply[:])
	}
	if o.Behaviour.Mapping != UnknownDependence {
		b = wire.AppendField(b, 7, appendBehaviour(nil, o.Behaviour))
	}
	if o.Outside.IsValid() {
		ip := o.Outside.Addr().Unmap().WithZone("").AsSlice()
		b = wire.AppendField(b, 8, wire.AppendVec8(nil, binary.BigEndian.AppendUint16(ip, o.Outside.Port())))
	}
	if o.Mapped {
		b = wire.AppendField(b, 9, []byte{flagMapped})
	}
	return b
}

// ParseOffer decodes the plain form. Errors are ErrOffer, ErrOfferExpired or a
// VersionError. Candidates that can never be a peer's address (no port,
// multicast, unspecified) are left out.
func ParseOffer(b []byte, now time.Time) (Offer, error) {
	if len(b) == 0 || len(b) > maxOffer {
		return Offer{}, fmt.Errorf("%w: %d bytes", ErrOffer, len(b))
	}
	if b[0] != offerVersion {
		return Offer{}, VersionError(b[0])
	}
	var o Offer
	var seen uint16
	err := wire.Fields(b[1:], func(tag uint8, v []byte) error {
		ok := true
		switch tag {
		case 1:
			ok = len(v) == ed25519.PublicKeySize
			o.NodeKey = append(ed25519.PublicKey(nil), v...)
		case 2:
			ok = len(v) == copy(o.Cred.Tag[:], v) && len(v) == len(o.Cred.Tag)
		case 3:
			ok = len(v) == copy(o.Cred.Key[:], v) && len(v) == len(o.Cred.Key)
		case 4:
			o.Candidates, ok = parseAddrs(v)
		case 5:
			if ok = len(v) == 8; ok {
				s := min(binary.BigEndian.Uint64(v), maxExpiry+1)
				ok = s <= maxExpiry
				o.Expires = time.Unix(int64(s), 0)
			}
		case 6:
			ok = len(v) == copy(o.Reply[:], v) && len(v) == len(o.Reply)
		case 7:
			o.Behaviour, ok = parseBehaviour(v)
		case 8:
			var list []netip.AddrPort
			if list, ok = parseAddrs(v); ok && len(list) == 1 {
				o.Outside = list[0]
			}
		case 9:
			if ok = len(v) == 1; ok {
				o.Mapped = v[0]&flagMapped != 0
			}
		default:
			return nil
		}
		if !ok {
			return fmt.Errorf("field %d", tag)
		}
		seen |= 1 << tag
		return nil
	})
	if err != nil {
		return Offer{}, fmt.Errorf("%w: %w", ErrOffer, err)
	}
	const required = 1<<1 | 1<<2 | 1<<3 | 1<<5
	if seen&required != required {
		return Offer{}, fmt.Errorf("%w: fields missing", ErrOffer)
	}
	if now.After(o.Expires.Add(ClockSkew)) {
		return Offer{}, ErrOfferExpired
	}
	return o, nil
}

// parseAddrs reads a row of vec8 addresses.
func parseAddrs(b []byte) ([]netip.AddrPort, bool) {
	r := wire.NewReader(b)
	var list []netip.AddrPort
	for n := 0; r.Len() > 0; n++ {
		v := r.Vec8()
		if n == MaxCandidates || len(v) != 4+2 && len(v) != 16+2 {
			return nil, false
		}
		ip, _ := netip.AddrFromSlice(v[:len(v)-2])
		if ip.Is4In6() { // has a shorter form, and one form is enough
			return nil, false
		}
		if a := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[len(v)-2:])); probeable(a) {
			list = append(list, a)
		}
	}
	return list, r.Done() == nil
}

// probeable reports whether a can be one peer's address at all.
func probeable(a netip.AddrPort) bool {
	ip := a.Addr()
	return ip.IsValid() && a.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() &&
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
