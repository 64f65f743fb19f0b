// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"crypto/sha256"
	"slices"

	"github.com/p2pos/p2pos/overlay/directory"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// evil says what a hostile node does to others' messages. In all else it keeps
// to the rules, so that it gets and keeps its links. The zero evil drops all
// that it should pass on.
type evil struct {
	// victim narrows that to messages to or from one node.
	victim *node
	// keys makes it deny what is kept at those places.
	keys []mesh.ID
}

// The layout of routed messages: see overlay/mesh.
const (
	typeRoute  = 0x10
	typeAck    = 0x11
	typeReturn = 0x13

	routeCount = 3 // where the number of visited nodes stands
	headSalt   = 16
	headKey    = headSalt + 2
)

// hostile lets a hostile node have its way with a message. It returns true
// when nothing is left for its machine.
func (w *world) hostile(e *event) bool {
	x, b := e.to, e.body
	if x.evil == nil || b[0] != typeRoute {
		return false
	}
	tail := b[routeCount+1+2*int(b[routeCount]):]
	key := mesh.ID(tail[headKey:][:len(mesh.ID{})])
	switch {
	case key == x.id:
		return false
	case x.evil.keys != nil:
		if !slices.Contains(x.evil.keys, key) {
			return false
		}
		w.deny(e, tail)
		return true
	case x.evil.victim != nil && key != x.evil.victim.id && e.from != x.evil.victim:
		return false
	}
	sum := sha256.Sum256(tail)
	w.post(x, e.from, e.tie, append([]byte{typeAck}, sum[:16]...))
	return true // and that was it: a black hole
}

// deny takes delivery in a holder's place: nothing is here, or thanks for the
// record.
func (w *world) deny(e *event, tail []byte) {
	sum := sha256.Sum256(tail)
	w.post(e.to, e.from, e.tie, append([]byte{typeAck}, sum[:16]...))
	var answer []byte
	if mesh.Kind(tail[headSalt]) == mesh.Store {
		answer = directory.StoredMessage{Lines: []directory.StoredLine{{Outcome: directory.Stored, Sequence: 1}}}.Append(nil)
	} else {
		answer = directory.RecordsMessage{Parts: 1}.Append(nil)
	}
	reply := append([]byte{typeReturn}, sum[:16]...)
	reply = append(reply, 1, 1, 0) // first reply, one hop, no secret
	w.post(e.to, e.from, e.tie, append(reply, w.envelope(answer)...))
}

// corrupt makes a share of the nodes black holes.
func (w *world) corrupt(share float64) {
	for _, i := range w.rng.Perm(len(w.alive))[:int(share*float64(len(w.alive)))] {
		w.alive[i].evil = &evil{}
	}
}

// heal makes all nodes honest again.
func (w *world) heal() {
	for _, x := range w.nodes {
		x.evil = nil
	}
}
