// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"crypto/ed25519"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// now is the time at which most tests of this package begin: 20 minutes into
// an epoch.
var now = time.Date(2026, 11, 22, 20, 20, 0, 0, time.UTC)

func newRand(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 1)) }

func newDevice(t testing.TB) *identity.Device {
	t.Helper()
	d, err := identity.NewDevice(now, "desk")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// location is where a device is whose node key comes from a seed of n.
func location(n byte) identity.Location {
	return identity.Location{
		Node:  ed25519.NewKeyFromSeed(append([]byte{n}, make([]byte, 31)...)).Public().(ed25519.PublicKey),
		Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 4000)},
	}
}

// record makes d's record under its own reach secret, epochs hours from now.
func record(t testing.TB, d *identity.Device, epochs int, sequence uint64) []byte {
	t.Helper()
	return recordFor(t, d, d.Reach(), 0, epochs, sequence)
}

func recordFor(t testing.TB, d *identity.Device, s identity.Secret, slot uint8, epochs int, sequence uint64) []byte {
	t.Helper()
	b, err := identity.MakeRecord(d, identity.RecordPlan{
		Reach: s, Slot: slot, Epoch: uint64(int(identity.Hour(now)) + epochs), Sequence: sequence, At: location(1),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// many makes n records in places of their own.
func many(t testing.TB, d *identity.Device, n int) [][]byte {
	t.Helper()
	var list [][]byte
	for i := range n {
		list = append(list, recordFor(t, d, identity.Secret{0: 1, 1: byte(i), 2: byte(i >> 8)}, 0, 0, 1))
	}
	return list
}

func keyOf(t testing.TB, b []byte) Key {
	t.Helper()
	info, err := identity.PeekRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	return info.Key
}

// drain returns what next gives.
func drain(next func() (Event, bool)) (list []Event) {
	for ev, ok := next(); ok; ev, ok = next() {
		list = append(list, ev)
	}
	return list
}

// node returns a node ID n.
func node(n byte) identity.NodeID { return identity.NodeID{n} }

func prefixOf(s string) netip.Prefix { return PrefixOf(netip.MustParseAddr(s)) }
