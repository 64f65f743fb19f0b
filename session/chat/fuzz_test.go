// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"bytes"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func sampleEntry() *entry {
	return &entry{id: ID{1}, prev: ID{2}, at: began.UnixMilli(), kind: kindText, body: []byte("hello"), by: author{[16]byte{3}, true}}
}

func FuzzEntry(f *testing.F) {
	e := sampleEntry()
	f.Add(e.appendWire(nil))
	f.Add(e.appendOwn(nil, identity.ID{4}))
	f.Add(e.appendStored(nil))
	r := &entry{id: ID{1}, at: 1, kind: kindRead, body: make([]byte, 32)}
	f.Add(r.appendWire(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, conversation, err := parseEntry(b)
		if err != nil {
			return
		}
		again, c, err := parseEntry(e.appendOwn(nil, conversation))
		if err != nil || c != conversation || again.id != e.id || again.by != e.by || !bytes.Equal(again.body, e.body) {
			t.Errorf("read %+v, and of that %+v, %v", e, again, err)
		}
		reads(e)
	})
}

// FuzzItems hands a machine whatever an authentic other device might say.
func FuzzItems(f *testing.F) {
	e := sampleEntry()
	f.Add(appendItem(nil, itemEntry, e.appendWire(nil)), false)
	f.Add(appendItem(nil, itemEntry, e.appendOwn(nil, identity.ID{4})), true)
	f.Add(appendItem(nil, itemAck, make([]byte, 32)), false)
	f.Add(appendItem(nil, itemHave, make([]byte, 16)), false)
	f.Add(appendItem(nil, itemAbout, about{"Anna", identity.Secret{1}}.append(nil)), false)
	f.Add(appendItem(nil, itemDigest, make([]byte, 32)), true)
	f.Add(appendItem(nil, itemHeads, append([]byte{3}, make([]byte, headSize)...)), true)
	f.Add(appendItem(appendItem(nil, itemRestart, nil), 99, []byte("later")), false)
	w, a, _ := family(f, 1)
	a[0].send(w.phones[2], "hello")
	w.run(time.Minute)
	store := a[0].store.Memory
	f.Fuzz(func(t *testing.T, plain []byte, own bool) {
		m, err := Load(w.now, Config{Self: a[0].dev, Node: a[0].node, Store: store.Copy()}, w.rng)
		if err != nil {
			t.Fatal(err)
		}
		id := w.phones[2].party.Identity
		if own {
			id = a[0].party.Identity
		}
		d := m.person(id).devices[0]
		m.input(w.now, func() error { return m.read(w.now, d, plain) })
		if m.broken != nil {
			t.Error(m.broken)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	_, anna, ben := talked(f)
	anna.m.Send(anna.w.now, ben.party.Identity, "x")
	for {
		o, ok := anna.m.Poll()
		if !ok {
			break
		}
		if o, ok := o.(Transmit); ok {
			f.Add(o.Body)
		}
	}
	f.Add([]byte{envAsk})
	f.Add(append([]byte{envBundle}, ben.m.public...))
	f.Add(append([]byte{envStart, 0, 3, 1, 2, 3}, make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, from := range []identity.NodeID{anna.node, {9}} {
			ben.m.Receive(ben.w.now, from, b)
		}
		ben.m.out, ben.m.events = nil, nil
	})
}

// FuzzState reads people from a damaged store.
func FuzzState(f *testing.F) {
	w, a, _ := family(f, 1)
	a[0].send(w.phones[2], "hello")
	w.run(time.Minute)
	for _, p := range a[0].m.people {
		f.Add(p.append(nil))
	}
	h := &person{held: []*held{{sampleEntry(), 5}}}
	f.Add(h.appendHeld(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, _, err := parsePerson(identity.ID{1}, b); err == nil {
			if _, _, err := parsePerson(p.id, p.append(nil)); err != nil {
				t.Error(err)
			}
		}
		if list, err := parseHeld(b); err == nil && len(list) > maxHeld {
			t.Error("too many")
		}
	})
}

// FuzzBlob opens what a mailbox holds.
func FuzzBlob(f *testing.F) {
	q := queue{secret: [32]byte{1}, key: [32]byte{2}}
	b, _ := q.sealBlob([]byte{envAsk})
	f.Add(b)
	f.Add(identity.SealSecret(q.key, q.secret[:], []byte{0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if env, err := q.openBlob(b); err == nil {
			parse(env)
		}
	})
}

// A blob has one of three sizes, whatever is in it.
func TestBlobSizes(t *testing.T) {
	q := queue{secret: [32]byte{1}, key: [32]byte{2}}
	for _, c := range []struct{ n, want int }{
		{1, 1024}, {1024 - blobOverhead, 1024}, {1024 - blobOverhead + 1, 4096}, {4096 - blobOverhead, 4096},
		{16384 - blobOverhead, 16384}, {16384 - blobOverhead + 1, 0},
	} {
		b, ok := q.sealBlob(make([]byte, c.n))
		if len(b) != c.want || ok != (c.want > 0) {
			t.Errorf("%d bytes become %d", c.n, len(b))
		}
		if env, err := q.openBlob(b); ok && (err != nil || len(env) != c.n) {
			t.Errorf("%d bytes come out as %d, %v", c.n, len(env), err)
		}
	}
}
