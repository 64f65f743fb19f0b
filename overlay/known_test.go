// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/nat"
)

// keeper is a core that remembers some nodes of an earlier start, with one link
// over which what it sends is kept.
func keeper(keys ...byte) (*core, *Link) {
	o := &Overlay{log: slog.New(slog.DiscardHandler)}
	c := &core{o: o, meets: appointing{book: nat.NewAppointments(), former: make(former), names: make(map[identity.NodeID][32]byte)}}
	for _, k := range keys {
		m := nat.Memory{Peer: [32]byte{k}, Key: [32]byte{k, k}, Met: time.Unix(1e9, 0)}
		c.meets.book.Remember(m.Met, m)
		c.meets.former[m.Peer] = true
	}
	l := &Link{o: o, exporter: [32]byte{9}, peer: &Peer{o: o}, writing: true} // nobody writes
	return c, l
}

// sent takes what a link is to send.
func (l *Link) sent(t *testing.T) (body []byte) {
	t.Helper()
	typ, body, err := readFrame(bytes.NewReader(l.queue))
	if err == io.EOF {
		return nil
	}
	if err != nil || typ != frameKnown {
		t.Fatal(typ, err)
	}
	l.queue = nil
	return body
}

// Two nodes that remember each other find out, whoever shows first whom it knows,
// and nothing else is shown.
func TestKnown(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, la := keeper(1, 2, 3)
	b, lb := keeper(7, 2)
	a.greet(la)
	list := la.sent(t)
	if len(list) != 3*tagLen {
		t.Fatalf("%d bytes", len(list))
	}
	a.greet(la)
	if la.sent(t) != nil {
		t.Error("shown twice")
	}
	if err := b.known(now, lb, list); err != nil {
		t.Fatal(err)
	}
	answer := lb.sent(t)
	if len(answer) != tagLen || !bytes.Contains(list, answer) {
		t.Fatalf("answered %x to %x", answer, list)
	}
	if err := a.known(now, la, answer); err != nil {
		t.Fatal(err)
	}
	if la.sent(t) != nil {
		t.Error("answered an answer")
	}
	for _, s := range []*peerState{&la.peer.state, &lb.peer.state} {
		if s.memory != ([32]byte{2}) {
			t.Errorf("known as %x", s.memory)
		}
	}

	// Who is remembered under a new key already loses the old one.
	c, lc := keeper(5, 6)
	lc.peer.state.memory, lc.peer.state.greeted = [32]byte{99}, true
	m := nat.Memory{Key: [32]byte{5, 5}}
	other := tag(&m, &lc.exporter)
	if err := c.known(now, lc, other[:]); err != nil {
		t.Fatal(err)
	}
	if list := c.meets.book.Memories(); len(list) != 1 || list[0].Peer != ([32]byte{6}) || lc.peer.state.memory != ([32]byte{99}) {
		t.Errorf("%d remembered", len(list))
	}

	// Tags of another link say nothing, and what is malformed ends the link.
	d, ld := keeper(1)
	stranger := tag(&nat.Memory{Key: [32]byte{1, 1}}, &[32]byte{8})
	if err := d.known(now, ld, stranger[:]); err != nil || ld.peer.state.memory != ([32]byte{}) || ld.sent(t) != nil {
		t.Error("tags of another link are taken")
	}
	for _, b := range [][]byte{make([]byte, 7), make([]byte, tagLen*(nat.MaxMemories+1))} {
		if d.known(now, ld, b) == nil {
			t.Errorf("took %d bytes", len(b))
		}
	}
	for range maxKnownFrames {
		d.known(now, ld, nil)
	}
	good := tag(&nat.Memory{Key: [32]byte{1, 1}}, &ld.exporter)
	if d.known(now, ld, good[:]); ld.peer.state.memory != ([32]byte{}) {
		t.Error("any number of lists is looked at")
	}
}
