// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"math"
	"sync"
	"time"

	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/session"
	"github.com/p2pos/p2pos/session/book"
)

// past is what this person's devices tell each other of calls and files. The
// history is a list of its own on each device; what is told stands in a room
// beside it, in the words of the device on which it happened. Somebody with one
// device has none: it is made of the history when there is another one.
type past struct {
	mu     sync.Mutex // held while it is used, disk included; guards what follows
	loaded bool
	have   map[[16]byte]int64 // when, by ID
}

const (
	// sameRing is how far apart the beginnings of one ring on two devices may be:
	// clocks differ.
	sameRing = 20 * time.Second
	// ringsBack is how many records are searched for the ring that another device
	// tells of.
	ringsBack = 256
)

// load reads which are known; mu is held.
func (p *past) load(tx *store.Tx) {
	if p.loaded {
		return
	}
	p.have, p.loaded = make(map[[16]byte]int64), true
	for id, b := range tx.Map(store.Past).All() {
		if e, err := book.ParsePast(id, b); err == nil {
			p.have[e.ID] = e.When
		}
	}
}

// update runs f in a transaction. When that fails, what is known is read again.
func (p *past) update(n *Node, f func(tx *store.Tx) error) error {
	err := n.db.Update(func(tx *store.Tx) error {
		p.load(tx)
		return f(tx)
	})
	if err != nil {
		p.loaded = false
	}
	return err
}

// told returns a record in the words that go to other devices; false when it
// doesn't: messages go by themselves, and that another device has answered is
// known there.
func (n *Node) told(r Record) (book.Past, bool) {
	if r.Call == nil && r.File == nil || r.Call != nil && r.Call.Reason == session.Elsewhere.String() || r.Device != "" {
		return book.Past{}, false
	}
	me := n.dev.Certificate().DeviceID()
	r.Number, r.Device = 0, hex.EncodeToString(me[:])
	if r.File != nil {
		f := *r.File
		f.Path = ""
		r.File = &f
	}
	b, err := json.Marshal(r)
	return book.NewPast(r.When.UnixMilli(), b), err == nil && len(b) <= book.MaxBody
}

// put keeps what happened, if it is among the newest; mu is held.
func (p *past) put(tx *store.Tx, e book.Past) (kept bool, err error) {
	if _, ok := p.have[e.ID]; ok {
		return false, nil
	}
	room := tx.Map(store.Past)
	for len(p.have) >= book.MaxPast {
		first := e.ID
		when := e.When
		for id, w := range p.have {
			if w < when || w == when && bytes.Compare(id[:], first[:]) < 0 {
				first, when = id, w
			}
		}
		if first == e.ID {
			return false, nil
		}
		delete(p.have, first)
		if err := room.Delete(first[:]); err != nil {
			return false, err
		}
	}
	p.have[e.ID] = e.When
	return true, room.Put(e.ID[:], e.Encode())
}

// begin makes the room of the history, the first time; mu is held.
func (p *past) begin(n *Node, tx *store.Tx) error {
	if len(p.have) > 0 {
		return nil
	}
	for number, b := range tx.List(store.History).Back(nil, math.MaxUint64) {
		if e, ok := n.told(decodeRecord(number, b)); ok {
			if _, err := p.put(tx, e); err != nil || len(p.have) == book.MaxPast {
				return err
			}
		}
	}
	return nil
}

// record writes down what happened here.
func (p *past) record(n *Node, r Record) error {
	n.sisters.mu.Lock()
	linked := len(n.sisters.all) > 0
	n.sisters.mu.Unlock()
	var key book.Key
	p.mu.Lock()
	err := p.update(n, func(tx *store.Tx) error {
		if linked {
			if err := p.begin(n, tx); err != nil {
				return err
			}
		}
		if err := settle(tx, r); err != nil {
			return err
		}
		e, ok := n.told(r)
		if !ok || len(p.have) == 0 && !linked {
			return nil
		}
		kept, err := p.put(tx, e)
		if kept {
			key = book.Key{Kind: book.Pasts, Name: string(e.ID[:])}
		}
		return err
	})
	p.mu.Unlock()
	if err == nil && key.Name != "" {
		n.tellSisters(nil, key)
	}
	return err
}

// item returns one; nil when it is not there.
func (p *past) item(n *Node, name string) (b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.db.View(func(tx *store.Tx) (err error) {
		b, err = tx.Map(store.Past).Get([]byte(name))
		return err
	})
	return b
}

// items returns all of them, the oldest first: so they come into the history of
// another device.
func (p *past) items(n *Node) (list []book.Item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.update(n, func(tx *store.Tx) error {
		if err := p.begin(n, tx); err != nil {
			return err
		}
		for id, b := range tx.Map(store.Past).All() {
			if len(id) != 16 {
				continue
			}
			list = append(list, book.Item{Key: book.Key{Kind: book.Pasts, Name: string(id)}, Value: b})
		}
		return nil
	})
	if err != nil {
		n.log.Debug("history not shared", "err", err)
		return nil
	}
	order.Sort(list, func(a, b book.Item) int {
		return cmp.Or(cmp.Compare(p.have[[16]byte([]byte(a.Name))], p.have[[16]byte([]byte(b.Name))]), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// merge takes what happened on other devices, and returns what was not known.
func (p *past) merge(n *Node, list []book.Item) (news []book.Key, err error) {
	type told struct {
		past book.Past
		r    Record
	}
	var good []told
	bad := 0
	for _, i := range list {
		if i.Kind != book.Pasts {
			continue
		}
		t := told{}
		if t.past, err = book.ParsePast([]byte(i.Name), i.Value); err == nil {
			err = json.Unmarshal(t.past.Body, &t.r)
		}
		if err != nil || (t.r.Call == nil) == (t.r.File == nil) || t.r.Message != nil || t.r.Knock != nil || t.r.Device == "" {
			bad++
			continue
		}
		good = append(good, t)
	}
	if bad > 0 {
		n.log.Warn("history of another device left out", "bad", bad)
	}
	if len(good) == 0 {
		return nil, nil
	}
	me := n.dev.Certificate().DeviceID()
	p.mu.Lock()
	defer p.mu.Unlock()
	err = p.update(n, func(tx *store.Tx) error {
		news = nil
		if err := p.begin(n, tx); err != nil {
			return err
		}
		for _, t := range good {
			kept, err := p.put(tx, t.past)
			if err != nil {
				return err
			}
			if !kept {
				continue
			}
			news = append(news, book.Key{Kind: book.Pasts, Name: string(t.past.ID[:])})
			if t.r.Device == hex.EncodeToString(me[:]) {
				continue // this device's own, which has let go of it
			}
			if err := settle(tx, t.r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return news, nil
}

// settle writes a record into the history. A call that rang on several devices
// is one: that it rang here as well adds nothing to what happened there, and what
// happened takes the place of a mere ring.
func settle(tx *store.Tx, r Record) error {
	if r.Call != nil && r.Incoming {
		back, peer := 0, []byte(r.Peer.String())
		for number, b := range tx.List(store.History).Back(nil, math.MaxUint64) {
			if back++; back > ringsBack {
				break
			}
			if !bytes.Contains(b, peer) {
				continue // most of them: don't read them all
			}
			o := decodeRecord(number, b)
			if o.Call == nil || !o.Incoming || o.Peer != r.Peer || o.Device == r.Device || o.When.Sub(r.When).Abs() > sameRing {
				continue
			}
			switch {
			case rang(o) && (!rang(r) || r.Device == ""):
				return changeRecord(tx, number, func(old *Record) { *old = r })
			case rang(r) && (r.Device != "" || r.Call.Reason == session.Elsewhere.String()):
				return nil
			}
		}
	}
	_, err := putRecord(tx, r)
	return err
}

// rang tells whether a call did no more than that.
func rang(r Record) bool {
	return r.Call.Missed || r.Call.Reason == session.Elsewhere.String()
}
