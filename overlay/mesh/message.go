// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import (
	"crypto/ed25519"
	"errors"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

var errEmpty = errors.New("empty message")

// A card on the wire: key (32), state (1: class in the low three bits, 0x08 leaf).
const (
	cardLen   = ed25519.PublicKeySize + 1
	classMask = 0x07
	leafBit   = 0x08
)

func appendCard(b []byte, c Card) []byte {
	return append(append(b, c.Key[:]...), c.state())
}

func readCard(r *wire.Reader) (c Card) {
	r.Fixed(c.Key[:])
	c.setState(r.U8())
	return c
}

func (c Card) state() byte {
	s := byte(c.Class) & classMask
	if c.Leaf {
		s |= leafBit
	}
	return s
}

// setState takes a class of a later version for Unknown.
func (c *Card) setState(s byte) {
	if c.Class = Class(s & classMask); c.Class > Blocked {
		c.Class = Unknown
	}
	c.Leaf = s&leafBit != 0
}

// ID returns the node ID of the card's node.
func (c Card) ID() ID { return identity.NodeIDOf(ed25519.PublicKey(c.Key[:])) }
