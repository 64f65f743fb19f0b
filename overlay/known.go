// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/hmac"
	"crypto/sha256"
	"time"

	"github.com/p2pos/p2pos/nat"
)

// Node keys and node IDs are new at each start. A node that kept an appointment
// is known by it; whom others introduced looks like a stranger, and would be
// remembered once more at each start until all places are taken by the same few.
// So a node shows each neighbour that it is about to remember tags made with the
// keys of those it remembers from earlier starts: nobody but the other holder of
// such a key learns anything from them.
//
//	KNOWN: tags (8 bytes each, ≤ 64): HMAC-SHA256(key, "p2pos known v1" || TLS exporter)
//
// Who finds one of its own among them answers with that one, unless its own list
// is out already.

const (
	tagLen = 8
	// maxKnownFrames of a link are looked at: a list and an answer, and once
	// more of the other side's mistakes.
	maxKnownFrames = 4
)

// former holds the names of memories of earlier starts whose nodes have not been
// met again.
type former map[[32]byte]bool

// tag is what a memory looks like on one link.
func tag(m *nat.Memory, exporter *[32]byte) (t [tagLen]byte) {
	h := hmac.New(sha256.New, m.Key[:])
	h.Write([]byte("p2pos known v1"))
	h.Write(exporter[:])
	copy(t[:], h.Sum(nil))
	return t
}

// greet shows a neighbour which nodes this one remembers from earlier starts.
func (c *core) greet(l *Link) {
	s := &l.peer.state
	if s.greeted || len(c.meets.former) == 0 {
		return
	}
	s.greeted = true
	var body []byte
	for _, m := range c.meets.book.Memories() {
		if c.meets.former[m.Peer] {
			t := tag(&m, &l.exporter)
			body = append(body, t[:]...)
		}
	}
	if err := l.send(frameKnown, body); err != nil {
		c.o.log.Debug("known nodes not shown", "peer", l.peer.node, "err", err)
	}
}

// known takes a KNOWN frame.
func (c *core) known(now time.Time, l *Link, body []byte) error {
	if len(body)%tagLen != 0 || len(body) > tagLen*nat.MaxMemories {
		return errFrame
	}
	s := &l.peer.state
	if s.shown++; s.shown > maxKnownFrames || len(c.meets.former) == 0 {
		return nil
	}
	theirs := make(map[[tagLen]byte]bool)
	for ; len(body) > 0; body = body[tagLen:] {
		theirs[[tagLen]byte(body)] = true
	}
	for _, m := range c.meets.book.Memories() {
		if !c.meets.former[m.Peer] {
			continue
		}
		if t := tag(&m, &l.exporter); theirs[t] {
			if !s.greeted {
				if err := l.send(frameKnown, t[:]); err != nil {
					c.o.log.Debug("known node not answered", "peer", l.peer.node, "err", err)
				}
			}
			c.recognise(now, l.peer, m.Peer)
		}
	}
	return nil
}

// recognise notes that a neighbour is the node of an earlier memory, which what
// is remembered of this link replaces.
func (c *core) recognise(now time.Time, p *Peer, memory [32]byte) {
	c.meets.book.Found(now, memory)
	switch s := &p.state; s.memory {
	case memory:
	case [32]byte{}:
		s.memory = memory
	default:
		c.meets.book.Forget(memory)
		delete(c.meets.former, memory)
	}
}
