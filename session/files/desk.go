// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
)

// Peer is a device of a person.
type Peer struct {
	ID     identity.ID
	Device [16]byte
}

// Book is where a Desk keeps what it must know after a crash.
type Book interface {
	// Save keeps the record of a transfer, on the disk when it returns.
	Save(Saved) error
	// Later does the same in the background, in order with Save.
	Later(Saved)
	// Drop forgets one.
	Drop(ID)
}

// Saved is what is remembered of a transfer.
type Saved struct {
	Offer    Offer
	Peer     identity.ID
	Device   [16]byte // that has taken it, or offers it; zero = not known yet
	Incoming bool
	Taken    bool
	Paused   bool // by us
	Reason   Reason
	Why      string // in words, of an end that is an error
	Path     string // of the sender's file, or where the received one is
	Dir      string // of the receiver
	Final    string // name that the file is about to get
	Began    time.Time
	Ended    time.Time
}

// Config configures a Desk.
type Config struct {
	Book   Book
	Logger *slog.Logger // nil = silent
	// Changed is told of each transfer that enters another state, a new one
	// included, in order. It must not block, and not call the Desk or methods of
	// the Transfer but those that only say what it is.
	Changed func(*Transfer, News)
}

// News is how a transfer is when that changes.
type News struct {
	State  State
	Reason Reason
	Done   int64
	Path   string
	Why    string // of an end, or of a pause that nobody asked for
}

const (
	// maxUnfinished offers of one peer, and maxIncoming of all, wait here.
	maxUnfinished = 32
	maxIncoming   = 256
	// maxTaken transfers are received at once: each has 256 KiB in memory.
	maxTaken = 64
	// maxOutgoing bounds what is sent, to all together.
	maxOutgoing = 1024
	// offerLife is how long nothing may come of an offer, and how long an end
	// is remembered.
	offerLife = 30 * 24 * time.Hour
	// maxEnded is how many ends are remembered.
	maxEnded = 1000
)

// The errors of a Desk's methods.
var (
	// ErrMany reports more transfers at once than a node handles.
	ErrMany = errors.New("files: too many transfers")
	// ErrState reports a method that makes no sense in the transfer's state.
	ErrState = errors.New("files: not possible in this state")
)

// A Desk holds all transfers of a node. All methods may be called from
// anywhere.
type Desk struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	need   chan struct{} // capacity 1: somebody is wanted who isn't here

	mu     sync.Mutex // guards what follows, transfers and lanes included
	closed bool
	list   []*Transfer // in the order of their beginning
	byID   map[ID]*Transfer
	lanes  map[Peer]*lane
	quiet  bool

	refused atomic.Uint64 // messages that break the rules
}

// NewDesk returns a Desk that holds what is remembered.
func NewDesk(cfg Config, saved []Saved) *Desk {
	d := &Desk{cfg: cfg, log: cfg.Logger, byID: make(map[ID]*Transfer), lanes: make(map[Peer]*lane), need: make(chan struct{}, 1)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	order.Sort(saved, func(a, b Saved) int { return a.Began.Compare(b.Began) })
	now := time.Now()
	for _, s := range saved {
		if s.Reason != 0 && now.Sub(s.Ended) > offerLife {
			cfg.Book.Drop(s.Offer.ID)
			continue
		}
		t := &Transfer{d: d, saved: s, done: make(chan struct{}), shown: s.Reason.state(s)}
		if s.Reason != 0 {
			close(t.done)
		}
		d.add(t)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.list {
		if t.saved.Reason != 0 {
			continue
		}
		if !t.saved.Incoming {
			d.wg.Go(t.prepare)
			continue
		}
		t.recv = NewReceiver(t.saved.Offer, false, false, 0)
		if t.saved.Taken {
			d.wg.Go(t.reopen)
		}
	}
	return d
}

func (r Reason) state(s Saved) State { return state(r, s.Taken, s.Paused) }

// Send offers the file at path to a person. It reads the whole file first; ctx
// may stop that. The offer goes out whenever a device of the person is there,
// also after a restart. Errors: ErrNotRegular, ErrTooLarge, ErrMany, those of
// the file system and of the Book, ctx's, net.ErrClosed.
func (d *Desk) Send(ctx context.Context, to identity.ID, path string) (*Transfer, error) {
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	n := 0
	for _, t := range d.list {
		if !t.saved.Incoming && t.saved.Reason == 0 {
			n++
		}
	}
	d.mu.Unlock()
	if n >= maxOutgoing {
		return nil, fmt.Errorf("%w: %d are sent", ErrMany, n)
	}
	f, err := openSource(path)
	if err != nil {
		return nil, err
	}
	tree, err := hashFile(ctx, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	o := Offer{Name: cutRunes(filepath.Base(path), maxOfferName), Size: tree.Size, Root: tree.Root(), SHA256: tree.SHA256}
	rand.Read(o.ID[:])
	t := &Transfer{
		d: d, done: make(chan struct{}), source: f, tree: tree,
		saved: Saved{Offer: o, Peer: to, Path: path, Began: time.Now()},
	}
	if err := d.cfg.Book.Save(t.saved); err != nil {
		f.Close()
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		f.Close()
		d.cfg.Book.Drop(o.ID)
		return nil, net.ErrClosed
	}
	d.add(t)
	d.tell(t)
	d.assign(t)
	return t, nil
}

// Transfers returns those that have not ended, oldest first.
func (d *Desk) Transfers() (list []*Transfer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.list {
		if t.saved.Reason == 0 {
			list = append(list, t)
		}
	}
	return list
}

// Find returns the transfer with an ID, ended ones too; nil when there is none.
func (d *Desk) Find(id ID) *Transfer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byID[id]
}

func (d *Desk) add(t *Transfer) {
	d.list = append(d.list, t)
	d.byID[t.ID()] = t
}

// Refused counts the messages that broke the rules; each ends its lane.
func (d *Desk) Refused() uint64 { return d.refused.Load() }

// Need is signalled when Absent may have grown.
func (d *Desk) Need() <-chan struct{} { return d.need }

// Absent returns the people who are needed for transfers that could go on, and
// with none of whose devices there is a session.
func (d *Desk) Absent() (list []identity.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range slices.Clone(d.list) {
		s := &t.saved
		if s.Reason == 0 && time.Since(s.Began) > offerLife {
			t.end(Expired, nil)
		}
		if s.Reason != 0 || s.Paused || s.Incoming && !s.Taken || slices.Contains(list, s.Peer) || d.present(s.Peer, s.Device) {
			continue
		}
		list = append(list, s.Peer)
	}
	return list
}

func (d *Desk) present(id identity.ID, device [16]byte) bool {
	for p := range d.lanes {
		if p.ID == id && (device == p.Device || device == [16]byte{}) {
			return true
		}
	}
	return false
}

func (d *Desk) wanted() {
	select {
	case d.need <- struct{}{}:
	default:
	}
}

// Quiet says whether a call is up: files make room for it, here and at the
// other sides.
func (d *Desk) Quiet(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.quiet == on {
		return
	}
	d.quiet = on
	now := time.Now()
	for _, l := range d.lanes {
		l.setQuiet(now)
		l.sayQuiet()
	}
}

// tell says that a transfer's state is another one, if it is.
func (d *Desk) tell(t *Transfer) {
	now := t.state()
	if now == t.shown {
		return
	}
	t.shown = now
	if now == Ended {
		d.forgetOld()
	}
	if d.cfg.Changed != nil {
		p, _ := t.progress()
		n := News{State: now, Reason: t.saved.Reason, Done: p.Done, Path: t.saved.Path, Why: t.saved.Why}
		if t.stuck != nil {
			n.Why = t.stuck.Error()
		}
		d.cfg.Changed(t, n)
	}
}

// forgetOld bounds the ends that are remembered.
func (d *Desk) forgetOld() {
	ended := 0
	for i := len(d.list) - 1; i >= 0; i-- {
		if d.list[i].saved.Reason == 0 {
			continue
		}
		if ended++; ended > maxEnded {
			d.cfg.Book.Drop(d.list[i].ID())
			delete(d.byID, d.list[i].ID())
			d.list = slices.Delete(d.list, i, i+1)
		}
	}
}

// Close stops all transfers where they are and waits for every goroutine. They
// go on after the next start. It may be called twice.
func (d *Desk) Close() {
	d.mu.Lock()
	d.closed = true
	d.cancel()
	for _, l := range d.lanes {
		l.close()
	}
	d.mu.Unlock()
	d.wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.list {
		t.letGo()
	}
}
