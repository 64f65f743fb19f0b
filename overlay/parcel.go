// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/nat"
)

// A parcel is what one node sends another over the route, or through an
// introducer, sealed to the receiver's node key:
//
//	sealed( version(1)=1 || fields || signature(64) of the sender's node key, context "p2pos parcel v1" )
//	 1 sender's node key(32)   2 secret of the lock(32)   3 offer(≤ 600)   4 session message(≤ 3,129)
//	 5 neighbours of the sender: node ID(32) and round trip(2, ms) each, at most 24
//	 6 where the sender takes TCP: vec8 of IP and port each, at most 3
//	 7 where the sender is reached at TURN servers: likewise, at most 2; in rings and their answers
//
// The signature covers place, too: what the parcel is part of, so that it
// works nowhere else. The seal's info is "p2pos parcel v1".
type parcel struct {
	from   ed25519.PublicKey
	secret []byte     // 32 bytes, or none
	offer  *nat.Offer // from's own, nil = none
	body   []byte
	near   []near           // from's neighbours, to look for relays among
	tcp    []netip.AddrPort // where from takes TCP
	turn   []netip.AddrPort // where from is reached through TURN servers
}

const (
	parcelContext = "p2pos parcel v1"
	parcelVersion = 1
	// maxParcel is what an introduction or a routed message may hold.
	maxParcel = 3500
)

var errParcel = errors.New("overlay: malformed parcel")

// seal closes a parcel for the owner of node key to.
func (p *parcel) seal(key ed25519.PrivateKey, to ed25519.PublicKey, place []byte) ([]byte, error) {
	b := []byte{parcelVersion}
	b = wire.AppendField(b, 1, key.Public().(ed25519.PublicKey))
	if p.secret != nil {
		b = wire.AppendField(b, 2, p.secret)
	}
	if p.offer != nil {
		b = wire.AppendField(b, 3, p.offer.Append(nil))
	}
	if p.body != nil {
		b = wire.AppendField(b, 4, p.body)
	}
	if p.near != nil {
		b = wire.AppendField(b, 5, appendNear(nil, p.near))
	}
	if len(p.tcp) > 0 {
		b = wire.AppendField(b, 6, appendAddrs(p.tcp[:min(len(p.tcp), maxTCPAddrs)]))
	}
	if len(p.turn) > 0 {
		b = wire.AppendField(b, 7, appendAddrs(p.turn[:min(len(p.turn), MaxTURN)]))
	}
	b = append(b, identity.Sign(key, parcelContext, append(bytes.Clone(b), place...))...)
	sealed, err := identity.SealToNode(to, []byte(parcelContext), b)
	if err == nil && len(sealed) > maxParcel {
		err = fmt.Errorf("%w: %d bytes", errParcel, len(sealed))
	}
	return sealed, err
}

// openParcel opens what was sealed for key and sent in place.
func openParcel(key ed25519.PrivateKey, sealed, place []byte, now time.Time) (p parcel, err error) {
	if len(sealed) > maxParcel {
		return parcel{}, errParcel
	}
	plain, err := identity.UnsealAsNode(key, []byte(parcelContext), sealed)
	if err != nil {
		return parcel{}, fmt.Errorf("overlay: parcel: %w", err)
	}
	n := len(plain) - ed25519.SignatureSize
	if n < 1 || plain[0] != parcelVersion {
		return parcel{}, errParcel
	}
	err = wire.Fields(plain[1:n], func(tag uint8, v []byte) error {
		switch tag {
		case 1:
			p.from = bytes.Clone(v)
		case 2:
			p.secret = bytes.Clone(v)
		case 3:
			o, err := nat.ParseOffer(v, now)
			p.offer = &o
			return err
		case 4:
			p.body = bytes.Clone(v)
		case 5:
			var err error
			p.near, err = parseNear(v)
			return err
		case 6:
			var err error
			p.tcp, err = parseAddrs(v, maxTCPAddrs)
			return err
		case 7:
			var err error
			p.turn, err = parseAddrs(v, MaxTURN)
			return err
		}
		return nil
	})
	if err != nil {
		return parcel{}, fmt.Errorf("overlay: parcel: %w", err)
	}
	if len(p.from) != ed25519.PublicKeySize || p.secret != nil && len(p.secret) != 32 ||
		!identity.Verify(p.from, parcelContext, append(bytes.Clone(plain[:n]), place...), plain[n:]) {
		return parcel{}, errParcel
	}
	if p.offer != nil && !bytes.Equal(p.offer.NodeKey, p.from) {
		return parcel{}, errParcel
	}
	return p, nil
}

func appendNear(b []byte, list []near) []byte {
	for _, n := range list[:min(len(list), maxNear)] {
		b = append(b, n.node[:]...)
		b = binary.BigEndian.AppendUint16(b, uint16(min(n.rtt/time.Millisecond, 0xffff)))
	}
	return b
}

func parseNear(v []byte) (list []near, err error) {
	for r := wire.NewReader(v); r.Len() > 0; {
		var n near
		r.Fixed(n.node[:])
		n.rtt = time.Duration(r.U16()) * time.Millisecond
		if r.Err() != nil || len(list) == maxNear {
			return nil, errParcel
		}
		list = append(list, n)
	}
	return list, nil
}
