// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Reason says why something was refused or has ended. It travels as one byte;
// bytes that are not known here are shown as a number.
type Reason uint8

// The reasons.
const (
	Closed    Reason = iota // somebody has no more need of it
	Busy                    // this relay is full
	Share                   // this neighbour, or its network, has its share already
	Denied                  // by policy; other versions may say so
	NoLink                  // the relay has no link to that node
	Declined                // the other end doesn't want it
	Timeout                 // no answer
	Voucher                 // forged, spent, expired, or somebody else's
	Off                     // this node relays nothing of that kind
	Malformed               // not understood
	Gone                    // the link to one end broke
	Idle                    // nothing was sent for too long, or nothing renewed
	Over                    // it has lasted as long as this relay allows
)

// String returns the reason in plain words.
func (r Reason) String() string {
	words := [...]string{
		"closed", "relay is full", "share is used up", "denied by policy", "no link to that node", "declined by the other end",
		"no answer", "voucher not valid", "relays nothing", "not understood", "link broke", "unused", "lasted too long",
	}
	if int(r) < len(words) {
		return words[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// RefusedError is a refusal as an error.
type RefusedError struct{ Reason Reason }

// Error returns the reason in plain words.
func (e *RefusedError) Error() string { return "relay: refused: " + e.Reason.String() }

var errMessage = errors.New("relay: malformed message")

// prefix returns the network that shares a quota: /24 or /48, and the zero
// value for addresses that have none, as on the LAN, on loopback or unknown.
func prefix(a netip.Addr) netip.Prefix { return network(a, 24, 48) }

func network(a netip.Addr, bits4, bits6 int) netip.Prefix {
	a = a.Unmap()
	if !a.IsValid() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return netip.Prefix{}
	}
	bits := bits6
	if a.Is4() {
		bits = bits4
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
