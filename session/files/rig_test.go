// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"bytes"
	"context"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// memBook is a Book that outlives its Desk, as a disk does.
type memBook struct {
	mu   sync.Mutex
	all  map[ID]Saved
	fail error
}

func (b *memBook) Save(s Saved) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	if b.all == nil {
		b.all = make(map[ID]Saved)
	}
	b.all[s.Offer.ID] = s
	return nil
}

func (b *memBook) Later(s Saved) { b.Save(s) }

func (b *memBook) Drop(id ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, id)
}

// party is a person's device: a Desk, and what is on its disk.
type party struct {
	t    *testing.T
	peer Peer
	book memBook
	dir  string
	desk *Desk
	mu   sync.Mutex
	told []string
}

func newParty(t *testing.T, n byte) *party {
	p := &party{t: t, peer: Peer{identity.ID{n}, [16]byte{n}}, dir: t.TempDir()}
	p.start()
	t.Cleanup(func() { p.desk.Close() })
	return p
}

func (p *party) start() {
	p.desk = NewDesk(Config{Book: &p.book, Changed: p.changed}, slices.Collect(maps.Values(p.book.all)))
}

func (p *party) changed(t *Transfer, n News) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := n.State.String()
	if s == "ended" {
		s = n.Reason.String()
	}
	p.told = append(p.told, s)
}

func (p *party) heard() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.told, " ")
}

// restart is the end of the process and another start: the Desk is closed, but
// nothing of its memory is used again.
func (p *party) restart() {
	p.desk.Close()
	p.start()
}

func (p *party) file(name string, b []byte) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// offered waits for the first offer.
func (p *party) offered() *Transfer {
	p.t.Helper()
	for range 100 { // one side may know of the session first, and try again a little later
		synctest.Wait()
		for _, t := range p.desk.Transfers() {
			if s, _ := t.State(); t.Incoming() && s == Offered {
				return t
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.t.Fatalf("%v: no offer", p.peer.ID[0])
	return nil
}

// cord is a session between two parties, as each of them sees it.
type cord struct {
	from, to *party
	other    *cord
	mu       sync.Mutex
	open     []net.Conn
	closed   bool
	cut      int // bytes after which a stream breaks; 0 = never
}

type pipe struct {
	net.Conn
	w    *cord
	left int
}

func (p *pipe) Abort() { p.Close() }

func (p *pipe) Write(b []byte) (int, error) {
	if p.left > 0 {
		if p.left -= len(b); p.left <= 0 {
			p.Close()
		}
	}
	return p.Conn.Write(b)
}

func (w *cord) Open(context.Context) (Stream, error) {
	a, b := net.Pipe()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		a.Close()
		return nil, net.ErrClosed
	}
	w.open = append(w.open, a, b)
	w.to.desk.Incoming(w.from.peer, w.other, &pipe{Conn: b})
	return &pipe{Conn: a, w: w, left: w.cut}, nil
}

func (w *cord) Traffic() Traffic { return Traffic{RTT: 40 * time.Millisecond} }
func (w *cord) Path() Path       { return Path{} }

func (w *cord) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, c := range w.open {
		c.Close()
	}
}

// connect gives two parties a session; disconnect ends it.
func connect(a, b *party) (disconnect func()) {
	x, y := &cord{from: a, to: b}, &cord{from: b, to: a}
	x.other, y.other = y, x
	a.desk.Up(b.peer, x)
	b.desk.Up(a.peer, y)
	return func() {
		x.close()
		y.close()
		a.desk.Down(b.peer, x)
		b.desk.Down(a.peer, y)
	}
}

func (p *party) send(to *party, path string) *Transfer {
	p.t.Helper()
	t, err := p.desk.Send(p.t.Context(), to.peer.ID, path)
	if err != nil {
		p.t.Fatal(err)
	}
	return t
}

// ends waits for the end of a transfer.
func ends(t *testing.T, x *Transfer, want Reason) {
	t.Helper()
	select {
	case <-x.Done():
	case <-time.After(time.Hour):
		s, _ := x.State()
		p, _ := x.Progress()
		t.Fatalf("not ended: %v, %+v, %v", s, p, x.Stuck())
	}
	if _, r := x.State(); r != want {
		t.Fatalf("ended: %v %s, want %v", r, x.Why(), want)
	}
}

// arrived checks a received file, and that nothing else is left in its place.
func arrived(t *testing.T, x *Transfer, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(x.Path())
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(x.Path()) != name || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, want %s: %d", x.Path(), len(got), name, len(want))
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(x.Path()), ".p2pos*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func bubble(t *testing.T, f func(t *testing.T, a, b *party)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newParty(t, 1), newParty(t, 2)) })
}
