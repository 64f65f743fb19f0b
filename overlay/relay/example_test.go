// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/relay"
)

// Two nodes talk through a third one. Messages and frames would travel over
// links; here they are handed over.
func Example() {
	key := func(name string) (ed25519.PrivateKey, identity.NodeID) {
		seed := sha256.Sum256([]byte(name))
		k := ed25519.NewKeyFromSeed(seed[:])
		return k, identity.NodeIDOf(k.Public().(ed25519.PublicKey))
	}
	carrierKey, carrier := key("carrier")
	_, ann := key("ann")
	_, ben := key("ben")
	now := time.Unix(0, 0)

	server := relay.NewServer(relay.ServerConfig{Key: carrierKey})
	clients := map[identity.NodeID]*relay.Client{
		ann: relay.NewClient(relay.ClientConfig{Self: ann}), ben: relay.NewClient(relay.ClientConfig{Self: ben}),
	}
	for id, c := range clients {
		server.LinkUp(now, id, relay.Neighbour{})
		c.LinkUp(now, carrier, relay.Salt{})
	}
	forwarder := relay.NewForwarder[identity.NodeID](relay.Limits{}.TotalRate())

	flows := make(map[identity.NodeID]relay.Hop)
	deliver := func() {
		for moved := true; moved; {
			moved = false
			for id, c := range clients {
				for m, ok := c.Poll(); ok; m, ok = c.Poll() {
					server.Receive(now, id, m.Body)
					moved = true
				}
			}
			for m, ok := server.Poll(); ok; m, ok = server.Poll() {
				clients[m.To].Receive(now, carrier, m.Body)
				moved = true
			}
			for e, ok := server.NextEvent(); ok; e, ok = server.NextEvent() {
				if up, ok := e.(relay.FlowUp); ok {
					a := relay.End[identity.NodeID]{Peer: up.A.Node, Label: up.A.Label}
					b := relay.End[identity.NodeID]{Peer: up.B.Node, Label: up.B.Label}
					fmt.Println("carrier opens a flow:", up.Kind, forwarder.Open(a, b, up.Rates) == nil)
				}
			}
			for id, c := range clients {
				for e, ok := c.NextEvent(); ok; e, ok = c.NextEvent() {
					switch e := e.(type) {
					case relay.Invited:
						fmt.Println("ben is asked:", string(e.Blob))
						_ = c.Accept(now, e.Request) // it was there a moment ago
					case relay.Opened:
						flows[id] = e.At
					}
				}
			}
		}
	}
	if _, err := clients[ann].Open(now, carrier, relay.Request{Target: ben, Kind: relay.Call, Blob: []byte("it's ann")}); err != nil {
		fmt.Println(err)
	}
	deliver()

	frame := relay.AppendFrame(nil, flows[ann].Label, []byte("voice"))
	to, ok := forwarder.Forward(1, ann, frame)
	label, _ := relay.LabelOf(frame)
	fmt.Println("goes to ben:", ok && to == ben && label == flows[ben].Label)
	// Output:
	// ben is asked: it's ann
	// carrier opens a flow: call true
	// goes to ben: true
}
