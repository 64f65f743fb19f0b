// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "github.com/p2pos/p2pos/internal/wire"

// maxFound bounds the cards in the answer to a routed Find: the node itself,
// its siblings and as many more.
const maxFound = 16

// The answer to a routed Find: n(1) || n × card. The first is the card of the
// node that answers, then its neighbours, nearest to the key first.
func (r *router) found(key *ID) []byte {
	var room [maxFound]*neighbour
	found := r.c.table.nearest(room[:0], *key, maxFound-1, func(n *neighbour) bool { return n.leaf() })
	b := append(make([]byte, 0, 1+maxFound*cardLen), byte(1+len(found)))
	b = appendCard(b, r.c.self)
	for _, n := range found {
		b = appendCard(b, n.card)
	}
	return b
}

// Found decodes the body of an Answered event for a message of kind Find: the
// card of the node that answered, and those of its neighbours nearest to the
// key. At most 16.
func Found(body []byte) ([]Card, error) {
	r := wire.NewReader(body)
	n := int(r.U8())
	if n > maxFound || r.Err() != nil || r.Len() != n*cardLen {
		return nil, &FormatError{Type: typeReturn, Err: errFound}
	}
	cards := make([]Card, n)
	for i := range cards {
		cards[i] = readCard(r)
	}
	return cards, nil
}
