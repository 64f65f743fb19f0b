// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

var offerTime = time.Unix(1_800_000_000, 0)

func testOffer() Offer {
	return Offer{
		NodeKey:    ed25519.PublicKey(bytes.Repeat([]byte{0xaa}, 32)),
		Cred:       testCred,
		Candidates: []netip.AddrPort{addr4, addr6},
		Expires:    offerTime,
		Reply:      [32]byte{31: 0xbb},
	}
}

const goldenOffer = "01" +
	"010020aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" +
	"0200080102030405060708" +
	"0300203031323334353637383961626364656630313233343536373839616263646566" +
	"04001a" + "06c00002018055" + "1220010db8123456780011223344556677" + "8055" +
	"050008000000006b49d200" +
	"06002000000000000000000000000000000000000000000000000000000000000000bb"

func TestOfferGolden(t *testing.T) {
	if got := hex.EncodeToString(testOffer().Append(nil)); got != goldenOffer {
		t.Errorf("got  %s\nwant %s", got, goldenOffer)
	}
	b, _ := hex.DecodeString(goldenOffer)
	got, err := ParseOffer(b, offerTime)
	if err != nil || !reflect.DeepEqual(got, testOffer()) {
		t.Errorf("parsed %+v, %v", got, err)
	}
}

// An answer has no reply key; a node that knows no address offers none.
func TestOfferOptional(t *testing.T) {
	o := testOffer()
	o.Reply, o.Candidates = [32]byte{}, nil
	got, err := ParseOffer(o.Append(nil), offerTime)
	if err != nil || !reflect.DeepEqual(got, o) {
		t.Errorf("parsed %+v, %v", got, err)
	}
}

// What a plan depends on comes through, and costs its bytes only where known.
func TestOfferPlan(t *testing.T) {
	o := testOffer()
	o.Behaviour = Behaviour{Mapping: AddressDependent, Filtering: AddressDependent, Absolute: 50 * time.Second}
	o.Outside, o.Mapped = addr4, true
	b := o.Append(nil)
	got, err := ParseOffer(b, offerTime)
	if err != nil || !reflect.DeepEqual(got, o) {
		t.Errorf("parsed %+v, %v", got, err)
	}
	if want := "09000101"; !strings.HasSuffix(hex.EncodeToString(b), want) {
		t.Errorf("ends in %x, want %s", b[len(b)-8:], want)
	}
	// Bits that are not known yet say nothing; a longer field is no flags.
	later := append(bytes.Clone(b[:len(b)-1]), 0xfe)
	if got, err := ParseOffer(later, offerTime); err != nil || got.Mapped {
		t.Errorf("mapped %v, %v", got.Mapped, err)
	}
	if _, err := ParseOffer(append(b[:len(b)-2], 2, 1, 1), offerTime); !errors.Is(err, ErrOffer) {
		t.Errorf("flags of two bytes: %v", err)
	}
}

// The longest offer keeps design/001's budget and loses surplus candidates.
func TestOfferBudget(t *testing.T) {
	o := testOffer()
	for range 20 {
		o.Candidates = append(o.Candidates, addr6)
	}
	o.Behaviour, o.Outside, o.Mapped = Behaviour{Mapping: AddressDependent}, addr6, true
	b := o.Append(nil)
	if len(b) > maxOffer {
		t.Errorf("%d bytes, budget %d", len(b), maxOffer)
	}
	if got, err := ParseOffer(b, offerTime); err != nil || len(got.Candidates) != MaxCandidates {
		t.Errorf("%d candidates, %v", len(got.Candidates), err)
	}
}

func TestOfferExpiry(t *testing.T) {
	b := testOffer().Append(nil)
	if _, err := ParseOffer(b, offerTime.Add(ClockSkew)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := ParseOffer(b, offerTime.Add(ClockSkew+time.Second)); !errors.Is(err, ErrOfferExpired) {
		t.Errorf("beyond the limit: %v", err)
	}
}

func TestOfferUnusableCandidates(t *testing.T) {
	o := testOffer()
	o.Candidates = []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:0"),
		netip.MustParseAddrPort("0.0.0.0:1"),
		netip.MustParseAddrPort("224.0.0.251:5353"),
		netip.MustParseAddrPort("255.255.255.255:9"),
		netip.MustParseAddrPort("[ff02::1]:9"),
		addr4,
	}
	got, err := ParseOffer(o.Append(nil), offerTime)
	if err != nil || len(got.Candidates) != 1 || got.Candidates[0] != addr4 {
		t.Errorf("kept %v, %v", got.Candidates, err)
	}
}

func TestOfferMalformed(t *testing.T) {
	good := testOffer().Append(nil)
	field := func(tag uint8, v []byte) []byte {
		b := []byte{offerVersion}
		for i, f := range [][]byte{make([]byte, 32), make([]byte, 8), make([]byte, 32), nil, make([]byte, 8)} {
			if uint8(i+1) == tag {
				f = v
			}
			b = wire.AppendField(b, uint8(i+1), f)
		}
		if tag == 6 {
			b = wire.AppendField(b, 6, v)
		}
		return b
	}
	addrs := func(list ...string) (b []byte) {
		for _, s := range list {
			v, _ := hex.DecodeString(s)
			b = wire.AppendVec8(b, v)
		}
		return b
	}
	tests := map[string][]byte{
		"empty":            nil,
		"version only":     {offerVersion},
		"cut":              good[:len(good)-1],
		"trailing":         append(bytes.Clone(good), 7),
		"too long":         wire.AppendField(bytes.Clone(good), 10, make([]byte, maxOffer)),
		"short node key":   field(1, make([]byte, 31)),
		"long node key":    field(1, make([]byte, 33)),
		"short tag":        field(2, make([]byte, 7)),
		"long tag":         field(2, make([]byte, 9)),
		"long key":         field(3, make([]byte, 33)),
		"short address":    field(4, addrs("c000020180")),
		"cut address":      field(4, []byte{6, 1, 2}),
		"mapped address":   field(4, addrs("00000000000000000000ffffc00002018055")),
		"nine addresses":   field(4, bytes.Repeat(addrs("c00002018055"), 9)),
		"short expiry":     field(5, make([]byte, 4)),
		"absurd expiry":    field(5, bytes.Repeat([]byte{255}, 8)),
		"long reply key":   field(6, make([]byte, 33)),
		"fields backwards": wire.AppendField(bytes.Clone(good), 3, testCred.Key[:]),
		"no expiry":        field(1, make([]byte, 32))[:1+35+11+35+3],
	}
	for name, b := range tests {
		if o, err := ParseOffer(b, time.Unix(0, 0)); !errors.Is(err, ErrOffer) || !reflect.DeepEqual(o, Offer{}) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	var v VersionError
	if _, err := ParseOffer([]byte{2, 1, 2, 3}, offerTime); !errors.As(err, &v) || v != 2 {
		t.Errorf("version 2: %v", err)
	}
	// What a later version adds is skipped.
	if _, err := ParseOffer(wire.AppendField(bytes.Clone(good), 10, []byte("new")), offerTime); err != nil {
		t.Errorf("unknown field: %v", err)
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(testOffer().Append(nil))
	f.Add(Offer{NodeKey: make([]byte, 32), Expires: offerTime}.Append(nil))
	f.Add([]byte{offerVersion, 4, 0, 3, 6, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOffer(b, time.Unix(0, 0))
		if err != nil {
			return
		}
		again, err := ParseOffer(o.Append(nil), time.Unix(0, 0))
		if err != nil || !reflect.DeepEqual(again, o) {
			t.Fatalf("%+v became %+v, %v", o, again, err)
		}
	})
}
