// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity_test

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func ExampleParseID() {
	// Somebody read an ID over the phone; one character was misheard.
	_, err := identity.ParseID("00x10yz z7kggqr eqlq8rw x5wl6va tb7wkb3 16x5lnf hvq46cg 95acdrb yt")
	fmt.Println(err)

	var typo *identity.TypoError
	if errors.As(err, &typo) {
		fmt.Printf("at %d, write %c\n", typo.Pos, typo.Want)
	}
	// Output:
	// identity: mistyped ID: character 66 is 't', should be 'k'
	// at 66, write k
}

func ExampleTicket() {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) // time.Now() in a program
	alice, err := identity.NewDevice(now, "Alice's laptop")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := identity.Ticket{
		ID:      alice.ID(),
		Reach:   alice.Reach(),
		Network: identity.Network{}.Tag(),
		Expires: now.Add(24 * time.Hour),
		Addrs:   []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:4433")},
	}.Text()
	if err != nil {
		fmt.Println(err)
		return
	}

	// Bob pastes the text.
	ticket, err := identity.ParseTicket(text, now)
	fmt.Println(ticket.ID == alice.ID(), ticket.Addrs, err)

	_, err = identity.ParseTicket(text[:len(text)-3], now)
	fmt.Println(err)

	ticket, err = identity.ParseTicket(text, now.Add(48*time.Hour))
	fmt.Println(ticket.ID == alice.ID(), err)
	// Output:
	// true [192.0.2.7:4433] <nil>
	// identity: ticket is mistyped or cut off
	// true identity: ticket has expired at 2026-11-23 12:00 UTC
}
