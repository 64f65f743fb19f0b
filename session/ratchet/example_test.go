// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet_test

import (
	"fmt"
	"log"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/ratchet"
)

// Anna writes to Ben's device while it is switched off, with the prekeys that
// it has left behind.
func Example() {
	now := time.Now()
	anna, err := identity.NewDevice(now, "laptop")
	if err != nil {
		log.Fatal(err)
	}
	ben, err := identity.NewDevice(now, "phone")
	if err != nil {
		log.Fatal(err)
	}

	ring := new(ratchet.Keyring) // Ben's; store it before the bundle leaves
	raw, _ := ring.Bundle(now, ben)

	bundle, err := ratchet.ParseBundle(raw, now)
	if err != nil {
		log.Fatal(err)
	}
	a, err := ratchet.Start(now, anna, bundle)
	if err != nil {
		log.Fatal(err)
	}
	start, message := a.Start(), a.Encrypt(nil, []byte("see you at eight")) // store a before it leaves

	b, from, plain, err := ring.Accept(now, ben, start, nil, message) // store ring, b and plain together
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(from.Identity == anna.ID(), string(plain))

	plain, err = a.Decrypt(now, nil, b.Encrypt(nil, []byte("at the usual place")))
	fmt.Println(string(plain), err, a.Start() == nil)
	// Output:
	// true see you at eight
	// at the usual place <nil> true
}
