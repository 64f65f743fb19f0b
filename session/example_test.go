// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session"
)

// Two machines and what a driver does between them: carry messages, read
// events, tell the time.
func ExampleMachine() {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	names := [2]string{"Anna", "Ben"}
	var devices [2]*identity.Device
	var peers [2]session.Peer
	var machines [2]*session.Machine
	for i, name := range names {
		devices[i], _ = identity.NewDevice(now, name)
		cert := devices[i].Certificate()
		peers[i] = session.Peer{Identity: cert.Identity, Device: cert.DeviceID(), Node: identity.NodeID{byte(i)}}
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		machines[i] = session.NewMachine(devices[i], peers[i].Node, name, rng, session.Options{})
	}
	machines[0].Know(peers[1], devices[1].Certificate())
	machines[1].Know(peers[0], devices[0].Certificate())

	carry := func() {
		for range 2 {
			for i, m := range machines {
				for o, ok := m.Poll(); ok; o, ok = m.Poll() {
					if err := machines[1-i].Receive(now, peers[i], o.Body); err != nil {
						fmt.Println(err)
					}
				}
				for e, ok := m.NextEvent(); ok; e, ok = m.NextEvent() {
					switch e := e.(type) {
					case session.Incoming:
						fmt.Println(names[i]+": call from", e.Name)
					case session.Ringing:
						fmt.Println(names[i] + ": it rings")
					case session.Answered:
						fmt.Println(names[i]+": talking,", e.Params.Codec.Name)
					case session.Ended:
						fmt.Println(names[i]+":", e.Reason, "after", e.Duration)
					}
				}
			}
		}
	}

	call, _ := machines[0].Place(now, peers[1])
	carry()
	machines[1].Answer(now, call)
	carry()
	now = now.Add(20 * time.Second)
	machines[0].HangUp(now, call)
	carry()
	// Output:
	// Ben: call from Anna
	// Anna: it rings
	// Ben: talking, opus
	// Anna: talking, opus
	// Anna: hangup after 20s
	// Ben: hangup after 20s
}
