// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"container/heap"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/session/ratchet"
)

// began is when every test begins.
var began = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// devices makes devices of one person, all from the same identity key and
// reach secret, as linking does.
func devices(t testing.TB, seed byte, n int) (list []*identity.Device) {
	t.Helper()
	id := ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, 32))
	for i := range n {
		key := ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed, byte(i + 1)}, 16))
		sealing, err := ecdh.X25519().NewPrivateKey(slices.Repeat([]byte{seed, byte(i + 101)}, 16))
		if err != nil {
			t.Fatal(err)
		}
		span := binary.BigEndian.AppendUint64(nil, uint64(began.Add(-time.Hour).Unix()))
		span = binary.BigEndian.AppendUint64(span, uint64(began.Add(89*24*time.Hour).Unix()))
		cert := wire.AppendField([]byte{1}, 1, id.Public().(ed25519.PublicKey))
		cert = wire.AppendField(cert, 2, key.Public().(ed25519.PublicKey))
		cert = wire.AppendField(cert, 3, span)
		cert = wire.AppendField(cert, 4, sealing.PublicKey().Bytes())
		cert = append(cert, identity.Sign(id, "p2pos cert v1", cert)...)
		body := wire.AppendField(nil, 1, id.Seed())
		body = wire.AppendField(body, 2, key.Seed())
		body = wire.AppendField(body, 3, sealing.Bytes())
		body = wire.AppendField(body, 4, slices.Repeat([]byte{seed + 100}, 16))
		body = wire.AppendField(body, 5, slices.Repeat([]byte{seed + byte(i)}, 32))
		body = wire.AppendField(body, 6, cert)
		file := wire.AppendVec16([]byte("p2poskey\x01\x00"), body)
		sum := sha256.Sum256(file)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "identity.key"), append(file, sum[:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := identity.Open(dir, began, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, d)
	}
	return list
}

// world is a network of phones with mailboxes, in its own time.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	now     time.Time
	queue   happenings
	n       int
	phones  []*phone
	mail    map[[32]byte][]Blob
	keys    map[identity.ID]map[[16]byte][]byte
	oneWay  time.Duration
	nodes   int
	blobs   int
	sent    int // envelopes over links
	log     []string
	offline bool // mailboxes and prekeys can't be reached
	lossy   bool // mailboxes lose a third of what they are given
}

// happening is something at a time.
type happening struct {
	at time.Time
	n  int
	f  func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].n < h[j].n
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 11)), now: began, oneWay: 25 * time.Millisecond,
		mail: make(map[[32]byte][]Blob), keys: make(map[identity.ID]map[[16]byte][]byte),
	}
}

// phone is one device.
type phone struct {
	w     *world
	name  string
	dev   *identity.Device
	party ratchet.Party
	store *disk
	m     *Machine
	node  identity.NodeID
	links map[*phone]bool
	group int // phones of another group can't be reached; -1 = of none
	saw   []Event

	mayWrite func(identity.ID) Verdict
}

// disk is a store that fails and crashes as it is told, and remembers what the
// app would find in its history.
type disk struct {
	*Memory
	history []Event
	full    bool
	crash   func() int // 0 = no, 1 = before, 2 = after the commit
}

var errFull = errors.New("disk full")

type crashed struct{}

func (d *disk) Commit(writes []Write, events []Event) error {
	if d.full {
		return errFull
	}
	when := 0
	if d.crash != nil {
		when = d.crash()
	}
	if when == 1 {
		panic(crashed{})
	}
	d.Memory.Commit(writes, events)
	d.history = append(d.history, events...)
	if when == 2 {
		panic(crashed{})
	}
	return nil
}

func (w *world) after(d time.Duration, f func()) {
	w.n++
	heap.Push(&w.queue, happening{w.now.Add(d), w.n, f})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); ; {
		at := end
		if len(w.queue) > 0 && w.queue[0].at.Before(at) {
			at = w.queue[0].at
		}
		var due *phone
		for _, p := range w.phones {
			if p.m == nil {
				continue
			}
			if x := p.m.Deadline(); !x.IsZero() && x.Before(at) {
				at, due = x, p
			}
		}
		w.now = at.Add(0)
		switch {
		case due != nil:
			due.do(func() error { due.m.Advance(w.now); return nil })
			if x := due.m; x != nil && !x.Deadline().IsZero() && !x.Deadline().After(w.now) {
				w.now = w.now.Add(time.Millisecond) // the driver's shortest wait
				if x.Deadline().Before(w.now.Add(-time.Second)) {
					w.t.Fatalf("%s is due for ever: %v at %v", due.name, x.Deadline(), w.now)
				}
			}
		case len(w.queue) > 0 && !w.queue[0].at.After(end):
			heap.Pop(&w.queue).(happening).f()
		default:
			w.now = end
			return
		}
	}
}

func (w *world) phone(name string, dev *identity.Device) *phone {
	p := &phone{w: w, name: name, dev: dev, party: ratchet.PartyOf(dev.Certificate()), store: &disk{Memory: NewMemory()}, links: map[*phone]bool{}}
	w.phones = append(w.phones, p)
	return p
}

// on starts a phone; with joined it reaches the network.
func (p *phone) on() *phone {
	w := p.w
	w.nodes++
	p.node = identity.NodeID{}
	copy(p.node[:], fmt.Sprintf("node %d", w.nodes))
	m, err := Load(w.now, Config{Self: p.dev, Node: p.node, Name: p.name, Store: p.store, MayWrite: p.mayWrite}, rand.New(rand.NewPCG(uint64(w.nodes), 3)))
	if err != nil {
		w.t.Fatalf("%s: %v", p.name, err)
	}
	p.m = m
	p.do(func() error { return m.Joined(w.now) })
	return p
}

// off ends a phone without a word.
func (p *phone) off() {
	p.m = nil // first: a machine that has crashed is not touched again
	for _, o := range p.w.phones {
		p.cut(o)
	}
}

// do hands the machine an input and carries out what it wants. A crash of the
// store ends the phone.
func (p *phone) do(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crashed); !ok {
				panic(r)
			}
			p.off()
			err = errors.New("crashed")
		}
	}()
	if p.m == nil {
		return errors.New("off")
	}
	err = f()
	p.drain()
	return err
}

func (p *phone) drain() {
	w, m := p.w, p.m
	for {
		e, ok := m.NextEvent()
		if !ok {
			break
		}
		p.saw = append(p.saw, e)
	}
	back := func(d time.Duration, f func(m *Machine) error) {
		w.after(d, func() {
			if p.m == m {
				p.do(func() error { return f(m) })
			}
		})
	}
	for {
		o, ok := m.Poll()
		if !ok {
			return
		}
		switch o := o.(type) {
		case Transmit:
			to := w.at(o.To)
			if to == nil {
				break
			}
			w.sent++
			body := slices.Clone(o.Body)
			from := p.node
			w.after(w.oneWay, func() {
				if to.m != nil && to.node == o.To && p.links[to] && p.node == from {
					to.do(func() error {
						err := to.m.Receive(w.now, from, body)
						if err != nil {
							w.log = append(w.log, fmt.Sprintf("%s from %s: %v", to.name, p.name, err))
						}
						return err
					})
				}
			})
		case Put:
			blob := slices.Clone(o.Blob)
			w.after(200*time.Millisecond, func() {
				err := errFull
				if p.group >= 0 && !w.offline {
					err = nil
					w.blobs++
					h := sha256.Sum256(blob)
					if !w.lossy || w.rng.IntN(3) > 0 {
						w.mail[o.Secret] = append(w.mail[o.Secret], Blob{[16]byte(h[:16]), blob})
					}
				}
				if p.m == m {
					p.do(func() error { return m.PutDone(w.now, o.Ref, err) })
				}
			})
		case Collect:
			back(200*time.Millisecond, func(m *Machine) error {
				if p.group < 0 || w.offline {
					return m.Mail(w.now, o.Ref, nil, errFull)
				}
				list := slices.Clone(w.mail[o.Secret])
				w.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
				return m.Mail(w.now, o.Ref, list, nil)
			})
		case Drop:
			w.mail[o.Secret] = slices.DeleteFunc(w.mail[o.Secret], func(b Blob) bool { return slices.Contains(o.Names, b.Name) })
		case Fetch:
			back(300*time.Millisecond, func(m *Machine) error {
				if p.group < 0 || w.offline {
					return m.Prekeys(w.now, o.Peer, nil, errFull)
				}
				var list [][]byte
				for _, q := range w.phones { // in an order
					if b := w.keys[o.Peer][q.party.Device]; b != nil {
						list = append(list, b)
					}
				}
				return m.Prekeys(w.now, o.Peer, list, nil)
			})
		case Publish:
			if w.keys[p.party.Identity] == nil {
				w.keys[p.party.Identity] = make(map[[16]byte][]byte)
			}
			w.keys[p.party.Identity][p.party.Device] = slices.Clone(o.Bundle)
		case Seek:
			w.after(100*time.Millisecond, func() {
				for _, q := range w.phones {
					if q != p && p.m == m && q.m != nil && q.party.Identity == o.Peer && q.group == p.group && p.group >= 0 {
						p.link(q)
					}
				}
			})
		}
	}
}

func (w *world) at(node identity.NodeID) *phone {
	for _, p := range w.phones {
		if p.node == node {
			return p
		}
	}
	return nil
}

// link connects two phones and tells both.
func (p *phone) link(q *phone) {
	if p.links[q] || p.m == nil || q.m == nil {
		return
	}
	p.links[q], q.links[p] = true, true
	p.do(func() error { return p.m.LinkUp(p.w.now, q.node, q.party, false) })
	q.do(func() error { return q.m.LinkUp(p.w.now, p.node, p.party, false) })
}

func (p *phone) cut(q *phone) {
	if !p.links[q] {
		return
	}
	delete(p.links, q)
	delete(q.links, p)
	if p.m != nil {
		p.do(func() error { return p.m.LinkDown(p.w.now, q.node) })
	}
	if q.m != nil {
		q.do(func() error { return q.m.LinkDown(p.w.now, p.node) })
	}
}

// know has phones know the way to each other's people.
func know(list ...*phone) {
	for _, a := range list {
		for _, b := range list {
			if a.party.Identity != b.party.Identity && a.m != nil {
				a.do(func() error { return a.m.Know(a.w.now, b.party.Identity, b.dev.Reach()) })
			}
		}
	}
}

func (p *phone) send(to *phone, text string) ID {
	p.w.t.Helper()
	var id ID
	err := p.do(func() (err error) {
		id, err = p.m.Send(p.w.now, to.party.Identity, text)
		return err
	})
	if err != nil {
		p.w.t.Fatalf("%s to %s: %v", p.name, to.name, err)
	}
	return id
}

// texts returns what a phone has in its history, in order: "name: text", "me:
// text" for what it, or another phone of the same person, has said.
func (p *phone) texts() (list []string) {
	for _, e := range p.store.history {
		if e, ok := e.(Message); ok {
			who := "me"
			if !e.Ours {
				who = p.w.nameOf(e.Peer)
			}
			if e.Gap {
				who += " (gap)"
			}
			list = append(list, who+": "+e.Text)
		}
	}
	return list
}

func (w *world) nameOf(id identity.ID) string {
	for _, p := range w.phones {
		if p.party.Identity == id {
			return strings.TrimRight(p.name, "0123456789")
		}
	}
	return "?"
}

// receipts returns which of a phone's texts were delivered and read.
func (p *phone) receipts() (delivered, read, stored []ID) {
	for _, e := range p.store.history {
		switch e := e.(type) {
		case Delivered:
			delivered = append(delivered, e.ID)
		case Read:
			read = append(read, e.ID)
		case Stored:
			stored = append(stored, e.ID)
		}
	}
	return delivered, read, stored
}

func (p *phone) wants(texts ...string) {
	p.w.t.Helper()
	if got := p.texts(); !slices.Equal(got, texts) {
		p.w.t.Fatalf("%s has\n\t%s\nwant\n\t%s", p.name, strings.Join(got, "\n\t"), strings.Join(texts, "\n\t"))
	}
}
