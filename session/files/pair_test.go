// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// pair is a Sender and a Receiver with two lanes between them, in which
// messages take a while, and a disk that is a slice.
type pair struct {
	t    *testing.T
	rng  *rand.Rand
	now  time.Time
	src  []byte
	tree *Tree
	s    *Sender
	r    *Receiver
	part []byte

	toR, toS []message // on their way
	sent     int       // bytes of DATA
	big      int       // most chunks asked for ahead
	log      []string
}

func newPair(t *testing.T, seed uint64, size int) *pair {
	p := &pair{t: t, rng: rand.New(rand.NewPCG(seed, 5)), now: time.Unix(1e9, 0), src: content(size)}
	p.tree = treeOf(t, p.src)
	o := Offer{ID: ID{1}, Name: "x", Size: p.tree.Size, Root: p.tree.Root(), SHA256: p.tree.SHA256}
	p.s = NewSender(o, p.tree, false, false)
	p.r = NewReceiver(o, false, false, 0)
	return p
}

func (p *pair) note(format string, a ...any) { p.log = append(p.log, fmt.Sprintf(format, a...)) }

func (p *pair) fatal(format string, a ...any) {
	p.t.Helper()
	for _, l := range p.log[max(0, len(p.log)-40):] {
		p.t.Log(l)
	}
	p.t.Fatalf(format, a...)
}

// connect begins both lanes, disconnect ends them with all that is in them.
func (p *pair) connect() {
	p.s.Up(p.now)
	p.r.Up()
}

func (p *pair) disconnect() {
	p.s.Down()
	p.r.Gone()
	p.r.Down()
	p.toR, p.toS = nil, nil
}

// step lets one thing happen; false when nothing can.
func (p *pair) step() bool {
	p.now = p.now.Add(time.Duration(p.rng.IntN(20)) * time.Millisecond)
	switch p.rng.IntN(4) {
	case 0:
		if m, piece, ok := p.s.poll(p.now); ok {
			if m.kind == 0 {
				at := piece.Chunk*ChunkSize + piece.From
				m = message{kind: kindData, id: p.s.offer.ID, offset: int64(at), data: p.src[at : at+piece.Length]}
				p.sent += piece.Length
			}
			p.big = max(p.big, p.s.ahead)
			p.toR = append(p.toR, m)
			return true
		}
	case 1:
		if m, ok := p.r.poll(p.now); ok {
			p.toS = append(p.toS, m)
			return true
		}
	case 2:
		if len(p.toR) > 0 {
			m := p.toR[0]
			p.toR = p.toR[1:]
			if err := p.r.receive(p.now, m); err != nil {
				p.fatal("receiver: %v: %+v", err, m.kind)
			}
			p.work()
			return true
		}
	case 3:
		if len(p.toS) > 0 {
			m := p.toS[0]
			p.toS = p.toS[1:]
			if err := p.s.receive(p.now, m); err != nil {
				p.fatal("sender: %v: %+v", err, m)
			}
			return true
		}
	}
	return false
}

// work does the disk work.
func (p *pair) work() {
	for {
		w, ok := p.r.work()
		if !ok {
			return
		}
		if w.Data != nil {
			if int(w.Offset) != len(p.part) {
				p.fatal("chunk %d at %d of %d", w.Chunk, w.Offset, len(p.part))
			}
			p.part = append(p.part, w.Data...)
			p.r.wrote()
			continue
		}
		end := int(w.Offset) + w.Length
		good := end <= len(p.part) && treeOf(p.t, p.part[w.Offset:end]).Chunks[0] == w.Hash
		if !good {
			p.part = p.part[:min(int(w.Offset), len(p.part))]
		}
		p.r.checked(good)
	}
}

// run goes on until the file is whole, or nothing happens for long.
func (p *pair) run() {
	p.t.Helper()
	for idle := 0; !p.r.Whole(); {
		if p.step() {
			idle = 0
		} else if idle++; idle > 200 {
			p.now = p.now.Add(offerAgain)
			if idle > 2000 {
				p.fatal("stands at %d of %d chunks, sender %v, receiver %v", p.r.have, p.r.chunks, p.s.State(), p.r.State())
			}
		}
	}
	if !bytes.Equal(p.part, p.src) {
		p.fatal("the file differs")
	}
	p.r.End(Complete)
	for range 1000 {
		p.step()
	}
	if p.s.Reason() != Complete {
		p.fatal("the sender thinks %v", p.s.Reason())
	}
}

func TestPair(t *testing.T) {
	for _, size := range []int{0, 1, pieceSize, ChunkSize, ChunkSize + 1, 40*ChunkSize + 77} {
		p := newPair(t, 1, size)
		p.connect()
		for range 50 {
			p.step()
		}
		if p.s.State() != Offered || p.sent > 0 {
			t.Fatalf("%d bytes: %v, %d sent before they were accepted", size, p.s.State(), p.sent)
		}
		p.r.Take()
		p.run()
		if p.sent != size || p.big > window {
			t.Errorf("%d bytes: %d sent, %d chunks ahead", size, p.sent, p.big)
		}
	}
}

// From the acceptance to the first byte it is one round trip.
func TestOneRoundTrip(t *testing.T) {
	p := newPair(t, 1, 20*ChunkSize)
	p.connect()
	m, _, _ := p.s.poll(p.now)
	p.r.receive(p.now, m)
	p.r.Take()
	for {
		m, ok := p.r.poll(p.now)
		if !ok {
			break
		}
		if err := p.s.receive(p.now, m); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		m, _, _ := p.s.poll(p.now)
		p.r.receive(p.now, m)
	}
	if p.sent == 0 && p.r.pages == nil {
		t.Error("no hashes")
	}
	if _, piece, ok := p.s.poll(p.now); !ok || piece.Length != pieceSize {
		t.Error("no data behind the hashes")
	}
}

// Pauses of both sides, lanes that break at any time, both or one, and crashes
// of either side, after which the part file may end in nonsense. Nothing is lost, and not
// much is sent twice.
func TestPairThroughTrouble(t *testing.T) {
	seeds := uint64(60)
	if os.Getenv("P2POS_LONG") != "" {
		seeds = 2000
	}
	for seed := range seeds {
		size := 1 + int(seed*7919)%(30*ChunkSize)
		p := newPair(t, seed, size)
		p.connect()
		p.r.Take()
		troubles := 0
		for n := 0; n < 3000 && !p.r.Whole(); n++ {
			p.step()
			if p.rng.IntN(60) > 0 {
				continue
			}
			troubles++
			switch k := p.rng.IntN(8); k {
			case 0:
				p.note("%d: both lanes break", n)
				p.disconnect()
				p.connect()
			case 1:
				p.note("%d: sender pauses", n)
				p.s.Pause()
			case 2:
				p.note("%d: receiver pauses", n)
				p.r.Pause()
			case 3:
				p.s.Continue()
				p.r.Continue()
			case 4:
				p.note("%d: the sender's lane breaks", n)
				p.toR = nil
				p.s.Down()
				p.r.Gone()
				p.s.Up(p.now)
			case 5:
				p.note("%d: the receiver's lane breaks", n)
				p.toS = nil
				p.r.Down()
				p.r.Up()
				p.s.Up(p.now) // it sees the new one
			case 6:
				p.note("%d: the receiver is killed", n)
				p.disconnect()
				switch p.rng.IntN(3) {
				case 0: // the last writes never came to the disk
					p.part = p.part[:p.rng.IntN(len(p.part)+1)]
				case 1:
					p.part = append(p.part, make([]byte, p.rng.IntN(2*ChunkSize))...)
				case 2:
					if len(p.part) > 0 {
						p.part[p.rng.IntN(len(p.part))] ^= 1
					}
				}
				r := NewReceiver(p.r.offer, false, p.r.ours, int64(len(p.part)))
				r.Take()
				p.r = r
				p.connect()
			case 7:
				p.note("%d: the sender is killed", n)
				p.disconnect()
				p.s = NewSender(p.s.offer, p.tree, p.s.Taken(), p.s.ours)
				p.connect()
			}
		}
		p.s.Continue()
		p.r.Continue()
		p.run()
		if p.big > window {
			t.Errorf("seed %d: %d chunks ahead", seed, p.big)
		}
		if limit := size + troubles*(window+2)*ChunkSize; p.sent > limit {
			t.Errorf("seed %d: %d bytes sent for %d, %d troubles", seed, p.sent, size, troubles)
		}
	}
}

// A sender that lies: about hashes, chunks, the length, itself.
func TestLiars(t *testing.T) {
	offered := func(size int) (*Receiver, *Tree, []byte) {
		b := content(size)
		tree := treeOf(t, b)
		o := Offer{ID: ID{1}, Name: "x", Size: tree.Size, Root: tree.Root(), SHA256: tree.SHA256}
		r := NewReceiver(o, false, false, 0)
		r.Up()
		if err := r.receive(time.Time{}, message{kind: kindOffer, offer: o}); err != nil {
			t.Fatal(err)
		}
		r.Take()
		return r, tree, b
	}
	feed := func(r *Receiver, list ...message) error {
		for _, m := range list {
			if err := r.receive(time.Time{}, m); err != nil {
				return err
			}
		}
		return nil
	}
	list := func(h ...Hash) message { return message{kind: kindList, hashes: appendHashes(nil, h)} }
	page := func(h ...Hash) message { return message{kind: kindHashes, hashes: appendHashes(nil, h)} }
	data := func(at int, b []byte) message { return message{kind: kindData, offset: int64(at), data: b} }

	r, tree, b := offered(1000)
	feed(r, list(Hash{1}))
	if r.Reason() != Wrong {
		t.Errorf("a false list: %v", r.Reason())
	}
	r, tree, b = offered(1000)
	feed(r, list(tree.pages()...), page(Hash{1}))
	if r.Reason() != Wrong {
		t.Errorf("a false page: %v", r.Reason())
	}
	r, tree, b = offered(1000)
	b[5] ^= 1
	feed(r, list(tree.pages()...), page(tree.Chunks...), data(0, b))
	if _, ok := r.work(); r.Reason() != Wrong || ok {
		t.Errorf("a false chunk: %v, to be written: %v", r.Reason(), ok)
	}
	r, tree, b = offered(1000)
	if err := feed(r, list(tree.pages()...), page(tree.Chunks...), data(0, append(b, 1))); !errors.Is(err, ErrMessage) {
		t.Errorf("a chunk that is too long: %v", err)
	}
	r, _, b = offered(1000)
	feed(r, data(0, b))
	if _, ok := r.work(); ok || len(r.buf) > 0 {
		t.Error("data before its hash")
	}
	r, tree, b = offered(1000)
	feed(r, list(tree.pages()...), page(tree.Chunks...), data(500, b[500:]))
	if len(r.buf) > 0 {
		t.Error("data from the middle")
	}
	o := r.Offer()
	o.Size++
	if err := feed(r, message{kind: kindOffer, offer: o}); !errors.Is(err, ErrMessage) {
		t.Errorf("another offer: %v", err)
	}
	if err := feed(r, message{kind: kindEnd, reason: Complete}); !errors.Is(err, ErrMessage) {
		t.Errorf("complete, says the sender: %v", err)
	}
	if err := feed(r, message{kind: kindTake}); !errors.Is(err, ErrMessage) {
		t.Errorf("TAKE by a sender: %v", err)
	}

	// And a receiver that asks for what is not there, or for too much.
	for what, list := range map[string][]message{
		"before it accepts": {{kind: kindWant, what: wantChunks, count: 1}},
		"nothing":           {{kind: kindTake}, {kind: kindWant, what: wantChunks}},
		"beyond the end":    {{kind: kindTake}, {kind: kindWant, what: wantChunks, first: 0xffffffff, count: 2}},
		"a page too many":   {{kind: kindTake}, {kind: kindWant, what: wantPage, first: 1, count: 1}},
		"something unknown": {{kind: kindTake}, {kind: kindWant, what: 9, count: 1}},
		"the same for ever": append([]message{{kind: kindTake}}, bytesOfWants(maxWants+1)...),
		"data, says it":     {{kind: kindData, data: []byte{1}}},
	} {
		s := NewSender(r.Offer(), tree, false, false)
		s.Up(time.Time{})
		var err error
		for _, m := range list {
			err = errors.Join(err, s.receive(time.Time{}, m))
		}
		if !errors.Is(err, ErrMessage) || len(s.wants) > maxWants || s.ahead > maxWants+1 {
			t.Errorf("asks for %s: %v", what, err)
		}
	}
}

func bytesOfWants(n int) (list []message) {
	for range n {
		list = append(list, message{kind: kindWant, what: wantChunks, count: 1})
	}
	return list
}

// A chunk that can't be written pauses the transfer; it goes on behind it.
func TestDiskTrouble(t *testing.T) {
	p := newPair(t, 1, 5*ChunkSize)
	p.connect()
	p.r.Take()
	for len(p.part) < ChunkSize {
		p.step()
	}
	for {
		if len(p.toR) > 0 {
			m := p.toR[0]
			p.toR = p.toR[1:]
			p.r.receive(p.now, m)
			if _, ok := p.r.work(); ok {
				p.r.notWritten()
				break
			}
			continue
		}
		p.step()
	}
	for range 500 {
		p.step()
	}
	if p.r.State() != Paused || p.s.State() != Paused {
		t.Errorf("%v, %v", p.r.State(), p.s.State())
	}
	p.r.Continue()
	p.run()
}

func TestMeter(t *testing.T) {
	var m Meter
	now := time.Unix(1e9, 0)
	done := int64(0)
	for i := range 100 { // 10 s of 1 MB/s
		m.Add(now.Add(time.Duration(i)*100*time.Millisecond), 100_000, done)
		done += 100_000
	}
	now = now.Add(10 * time.Second)
	p := m.progress(now, 20_000_000)
	if p.Speed < 0.9e6 || p.Speed > 1.1e6 || p.Left < 9*time.Second || p.Left > 12*time.Second || p.Total != 20_000_000 {
		t.Errorf("%+v", p)
	}
	if p = m.progress(now.Add(time.Minute), 20_000_000); p.Speed != 0 || p.Left != 0 {
		t.Errorf("a minute later: %+v", p)
	}
	m.Stop()
	if p = m.progress(now, 20_000_000); p.Speed != 0 || p.Done == 0 {
		t.Errorf("stopped: %+v", p)
	}
}

// Whoever reads nothing of what he asks for again and again makes nothing grow.
func TestDeafPeers(t *testing.T) {
	p := newPair(t, 1, 4*ChunkSize)
	p.connect()
	p.r.receive(p.now, message{kind: kindOffer, offer: p.r.offer})
	p.r.Take()
	for range 1000 {
		p.r.receive(p.now, message{kind: kindOffer, offer: p.r.offer})
		p.r.receive(p.now, message{kind: kindPause})
		p.r.receive(p.now, message{kind: kindGo})
	}
	if n := len(p.r.out); n > 8 {
		t.Errorf("the receiver has %d messages to send", n)
	}
	p.s.End(Cancelled)
	for range 1000 {
		p.s.receive(p.now, message{kind: kindTake})
	}
	if n := len(p.s.out); n > 4 {
		t.Errorf("the sender has %d messages to send", n)
	}
}
