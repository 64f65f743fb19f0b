// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/p2pos/p2pos/overlay"
)

func open() *overlay.Overlay {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	o, err := overlay.New(overlay.Config{Conns: []net.PacketConn{conn}})
	if err != nil {
		log.Fatal(err)
	}
	return o
}

// Two nodes link, and one sends the other a message for its session layer.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, b := open(), open()
	defer a.Close()
	defer b.Close()

	peer, err := a.Dial(ctx, b.LocalAddrs()[0])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("linked with b:", peer.Node() == b.Node())
	if err := peer.Send([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	for {
		e, err := b.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		if m, ok := e.(overlay.Message); ok {
			fmt.Printf("b got %q from a: %v\n", m.Body, m.Peer.Node() == a.Node())
			return
		}
	}
	// Output:
	// linked with b: true
	// b got "hello" from a: true
}
