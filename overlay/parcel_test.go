// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"crypto/ed25519"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/nat"
)

func nodeKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func TestParcel(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	anna, ben, mallory := nodeKey(1), nodeKey(2), nodeKey(3)
	offer := &nat.Offer{
		NodeKey: public(anna), Cred: nat.NewCred(), Expires: now.Add(offerLife),
		Candidates: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:4000")},
	}
	place := placeOf("ring", public(ben))
	in := parcel{secret: bytes.Repeat([]byte{7}, 32), offer: offer, body: []byte("invite"), tcp: offer.Candidates, turn: offer.Candidates}
	sealed, err := in.seal(anna, public(ben), place)
	if err != nil {
		t.Fatal(err)
	}
	got, err := openParcel(ben, sealed, place, now)
	if err != nil {
		t.Fatal(err)
	}
	if !got.from.Equal(public(anna)) || !bytes.Equal(got.secret, in.secret) || !bytes.Equal(got.body, in.body) ||
		got.offer == nil || got.offer.Cred != offer.Cred || !slices.Equal(got.tcp, in.tcp) || !slices.Equal(got.turn, in.turn) {
		t.Errorf("got %+v", got)
	}
	if _, err := openParcel(mallory, sealed, place, now); err == nil {
		t.Error("opened by another node")
	}
	if _, err := openParcel(ben, sealed, placeOf("introduce", public(ben)), now); err == nil {
		t.Error("taken in another place")
	}
	if _, err := openParcel(ben, sealed, place, now.Add(3*time.Hour)); err == nil {
		t.Error("taken after the offer's time")
	}
	// Mallory passes Anna's offer off as her own, or an offer in Anna's name.
	stolen, err := (&parcel{offer: offer}).seal(mallory, public(ben), place)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openParcel(ben, stolen, place, now); err == nil {
		t.Error("an offer that names another node was taken")
	}
	if _, err := (&parcel{body: make([]byte, maxParcel)}).seal(anna, public(ben), place); err == nil {
		t.Error("a parcel too large for a message was made")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		if _, err := openParcel(ben, bad, place, now); err == nil {
			t.Fatalf("byte %d changed, and still taken", i)
		}
	}
}

func FuzzParcel(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	anna, ben := nodeKey(1), nodeKey(2)
	place := placeOf("ring", public(ben))
	sealed, err := (&parcel{body: []byte("invite")}).seal(anna, public(ben), place)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, false)
	f.Add([]byte{parcelVersion}, true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, plain bool) {
		if plain {
			b = append(b, identity.Sign(anna, parcelContext, append(bytes.Clone(b), place...))...)
			var err error
			if b, err = identity.SealToNode(public(ben), []byte(parcelContext), b); err != nil {
				t.Fatal(err)
			}
		}
		if p, err := openParcel(ben, b, place, now); err == nil && len(p.from) != ed25519.PublicKeySize {
			t.Error("from nobody")
		}
	})
}
