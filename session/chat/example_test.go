// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat_test

import (
	"fmt"
	"log"
	"math/rand/v2"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/chat"
	"github.com/p2pos/p2pos/session/ratchet"
)

// Two machines with a wire between them: what one wants transmitted, the other
// receives.
func Example() {
	now := time.Now()
	var devices [2]*identity.Device
	var machines [2]*chat.Machine
	nodes := [2]identity.NodeID{{1}, {2}}
	for i := range machines {
		var err error
		if devices[i], err = identity.NewDevice(now, ""); err != nil {
			log.Fatal(err)
		}
		machines[i], err = chat.Load(now, chat.Config{Self: devices[i], Node: nodes[i], Store: chat.NewMemory()}, rand.New(rand.NewPCG(uint64(i), 1)))
		if err != nil {
			log.Fatal(err)
		}
	}
	anna, ben := machines[0], machines[1]
	carry := func() {
		for moved := true; moved; {
			moved = false
			for i, m := range machines {
				for o, ok := m.Poll(); ok; o, ok = m.Poll() {
					if o, ok := o.(chat.Transmit); ok {
						machines[1-i].Receive(now, nodes[i], o.Body)
						moved = true
					}
				}
			}
		}
	}
	anna.Know(now, devices[1].ID(), devices[1].Reach()) // from Ben's ticket
	anna.LinkUp(now, nodes[1], ratchet.PartyOf(devices[1].Certificate()), false)
	ben.LinkUp(now, nodes[0], ratchet.PartyOf(devices[0].Certificate()), false)
	carry()

	if _, err := anna.Send(now, devices[1].ID(), "see you at eight"); err != nil {
		log.Fatal(err)
	}
	carry()
	for e, ok := ben.NextEvent(); ok; e, ok = ben.NextEvent() {
		if e, ok := e.(chat.Message); ok {
			fmt.Println("Ben has:", e.Text)
		}
	}
	for e, ok := anna.NextEvent(); ok; e, ok = anna.NextEvent() {
		if _, ok := e.(chat.Delivered); ok {
			fmt.Println("Anna knows it")
		}
	}
	// Output:
	// Ben has: see you at eight
	// Anna knows it
}
