// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// maxAsking bounds the tests whose answers are waited for: all that a
// Classifier has open at a time, each sent three times at most. The oldest goes.
const maxAsking = 3 * maxOpen

// Asker turns an Ask into a datagram and what comes back into a Reply. It is a
// pure machine without time: the Classifier decides what comes too late. It is
// not safe for concurrent use.
type Asker struct {
	rng    *rand.Rand
	own    Cred
	ownMAC *mac
	handle [4]byte
	count  uint32
	creds  map[Peer]credMAC
	open   [maxAsking]issued
	next   int
	buf    [maxTest]byte
}

type credMAC struct {
	tag [8]byte
	mac *mac
}

type issued struct {
	tx   [12]byte
	id   uint32
	peer Peer
	own  bool // to ourselves
	used bool
}

// NewAsker returns an Asker. rng need not be secret: every answer is proved.
func NewAsker(rng *rand.Rand) *Asker {
	a := &Asker{rng: rng, own: NewCred(), creds: map[Peer]credMAC{}}
	a.ownMAC = newMAC(a.own.Key)
	binary.BigEndian.PutUint32(a.handle[:], rng.Uint32())
	return a
}

// Handle returns the first four bytes of every transaction id, as that of a
// Paths does.
func (a *Asker) Handle() [4]byte { return a.handle }

// SetPeer tells how to probe a peer.
func (a *Asker) SetPeer(id Peer, c Cred) { a.creds[id] = credMAC{c.Tag, newMAC(c.Key)} }

// RemovePeer forgets a peer.
func (a *Asker) RemovePeer(id Peer) { delete(a.creds, id) }

// Datagram returns the datagram of an AskProbe or AskHairpin, to be sent from
// the socket that the Ask names, now. It is valid until the next call. ok is
// false when the peer isn't known.
func (a *Asker) Datagram(q Ask) (to netip.AddrPort, b []byte, ok bool) {
	i := issued{id: q.ID, peer: q.Peer, own: q.Kind == AskHairpin, used: true}
	to = q.To
	c := credMAC{a.own.Tag, a.ownMAC}
	if !i.own {
		if c, ok = a.creds[q.Peer]; !ok {
			return netip.AddrPort{}, nil, false
		}
	}
	copy(i.tx[:], a.handle[:])
	a.count++
	binary.BigEndian.PutUint32(i.tx[4:], a.count)
	binary.BigEndian.PutUint32(i.tx[8:], a.rng.Uint32())
	a.open[a.next] = i
	a.next = (a.next + 1) % maxAsking
	return to, appendTest(a.buf[:0], i.tx, c.tag, q.Want, q.Delay, c.mac), true
}

// Receive takes a datagram that came to any socket, and port, that socket's
// number on this machine. It returns false when it is nothing that was asked
// for. One question may have several answers, to copies of it.
func (a *Asker) Receive(path sock.Path, port uint16, b []byte) (Reply, bool) {
	m, t, ok := parseTest(b)
	if !ok || [4]byte(m.tx[:]) != a.handle {
		return Reply{}, false
	}
	for k := range a.open {
		i := &a.open[k]
		if !i.used || i.tx != m.tx || i.own != m.request {
			continue
		}
		key := a.ownMAC
		if !i.own {
			c, known := a.creds[i.peer]
			if !known {
				return Reply{}, false
			}
			key = c.mac
		}
		if !key.verify(b, m) {
			return Reply{}, false
		}
		return Reply{ID: i.id, From: unmapped(path).Remote, Seen: m.mapped, Port: port, Able: t.able}, true
	}
	return Reply{}, false
}

// Reply is what came of an Ask.
type Reply struct {
	ID   uint32
	From netip.AddrPort // where the answer came from
	Seen netip.AddrPort // our address, as it says; none from ourselves
	Port uint16         // the local port of the socket it came to
	Able Abilities      // of the peer that was asked

	// Known says that this socket wrote to From's IP address before, for
	// whatever reason, so that no filter may have stopped the answer. The driver
	// sets it; it matters for the node's own socket only.
	Known bool
}

// AskKind says what a Classifier asks of its driver.
type AskKind uint8

// The kinds of an Ask.
const (
	AskProbe   AskKind = iota // send a test to a peer
	AskHairpin                // send a test to ourselves, by our outside address
	AskClose                  // close a socket
)

// Ask is one thing a Classifier wants done. An Ask with the same ID and Socket
// may come again: it is to be sent again.
type Ask struct {
	ID     uint32
	Kind   AskKind
	Socket int    // 0 = the node's own for that family; others are opened at first use
	Bind   uint16 // the local port wanted then; 0 = any
	Peer   Peer
	To     netip.AddrPort
	Want   Want
	Delay  time.Duration // the peer waits so long before it answers
}
