// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2pos/p2pos/overlay/directory"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// node is a machine and what its driver would hold.
type node struct {
	site
	i     int32
	id    mesh.ID
	card  mesh.Card
	m     *mesh.Machine // nil when dead
	alive bool
	place int // in world.alive
	born  time.Duration
	wake  time.Duration // when its timer is due; 0 = none

	ties     []*tie
	carrying []*tie
	known    []*node // remembered peers of an earlier life
	calling  int     // dials under way
	waiting  bool    // to dial again while it has few links
	promised map[mesh.Carry]time.Duration
	owner    *owner

	store     *directory.Store
	storeWake time.Duration
	newTies   bool // since the store was told
	asked     map[uint32]question
	evil      *evil // nil = honest

	usable time.Duration // when it first had four links; 0 = not yet

	in, out      uint64 // bytes on the wire, of mesh messages
	carriedBytes uint64
	made, failed int    // links and punches, of both sides
	ringsPassed  uint64 // at the last count
}

// question is a message of ours that is on its way: the ring, or the lookup or
// publication that it belongs to.
type question struct {
	ring   *ring
	lookup *lookup
	owner  *owner
	ref    uint32
}

// newNode adds a node without links, its key made of seed.
func (w *world) newNode(s site, seed uint64) *node {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], seed)
	binary.BigEndian.PutUint64(b[8:], w.seed)
	h := sha256.Sum256(b[:])
	return w.nodeWithKey(s, [32]byte(ed25519.NewKeyFromSeed(h[:]).Public().(ed25519.PublicKey)))
}

func (w *world) nodeWithKey(s site, key [32]byte) *node {
	x := &node{site: s, i: int32(len(w.nodes)), card: mesh.Card{Key: key, Class: s.kind.class()}, alive: true, born: w.now}
	x.id = x.card.ID()
	x.m = mesh.New(w.time(), mesh.Config{Self: x.card}, rand.New(rand.NewPCG(w.seed, w.rng.Uint64())))
	w.nodes = append(w.nodes, x)
	x.place = len(w.alive)
	w.alive = append(w.alive, x)
	w.index[x.id] = x
	return x
}

// kill ends a node without a word. Its neighbours find out when keepalives
// stay away.
func (w *world) kill(x *node) {
	w.mark(0xf1, uint64(x.i), 0)
	x.alive = false
	last := w.alive[len(w.alive)-1]
	w.alive[x.place], last.place = last, x.place
	w.alive = w.alive[:len(w.alive)-1]
	x.known = x.remember()
	for _, t := range slices.Clone(x.ties) {
		w.cut(t, w.notice(), nil)
	}
	for _, t := range slices.Clone(x.carrying) {
		w.cut(t, w.notice(), nil)
	}
	x.m, x.store, x.asked = nil, nil, nil
}

// maxKnown is how many peers a node's state directory remembers.
const maxKnown = 64

func (x *node) remember() (list []*node) {
	for _, t := range x.ties {
		if t.carrier == nil && len(list) < maxKnown {
			list = append(list, t.other(x))
		}
	}
	return list
}

// notice is how long it takes until a neighbour's silence is believed:
// keepalives every 15 s (RFC 8445 §11), then two seconds of probes.
func (w *world) notice() time.Duration {
	return 2*time.Second + time.Duration(w.rng.Int64N(int64(15*time.Second)))
}

// tieTo returns the live link to o, nil without.
func (x *node) tieTo(o *node) *tie {
	for _, t := range x.ties {
		if t.a == o || t.b == o {
			return t
		}
	}
	return nil
}

const (
	// frameBytes is what a small message costs beside its own bytes: IP and
	// UDP headers, QUIC's, the frame's, and half a packet of acknowledgement.
	frameBytes = 28 + 30 + 4 + 30
	// packetRoom is how much of a message fits a packet.
	packetRoom = 1130
	// keepaliveBytes both ways, every keepaliveTime, as in the reference.
	keepaliveBytes = 116
	keepaliveTime  = 20 * time.Second
	// linkBytes are a punch and a QUIC handshake with hybrid keys, both ways;
	// failedBytes a punch in vain.
	linkBytes   = 8000
	failedBytes = 1500
)

// wireBytes is what a message costs on the wire.
func wireBytes(n int) uint64 { return uint64(n + frameBytes*(1+n/packetRoom)) }

func (x *node) heard(b []byte) { x.in += wireBytes(len(b)) }
func (x *node) said(b []byte)  { x.out += wireBytes(len(b)) }
