// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session"
	"github.com/p2pos/p2pos/session/files"
)

// transferHandles are the Transfers that the app has, one for each of the desk's.
type transferHandles struct {
	mu     sync.Mutex // guards what follows
	all    map[files.ID]*Transfer
	hidden map[files.ID]bool // offers that the policy has not allowed
}

// openDesk makes the desk, with what goes on from an earlier start.
func (n *Node) openDesk() error {
	var saved []files.Saved
	bad := 0
	err := n.db.View(func(tx *store.Tx) error {
		for _, b := range tx.Map(store.Transfers).All() {
			var s savedTransfer
			if err := json.Unmarshal(b, &s); err != nil {
				bad++
				continue
			}
			saved = append(saved, s.Saved)
			if _, known := n.knownTarget(s.Peer); !known && s.Reach != (identity.Secret{}) {
				n.known[s.Peer] = overlay.Target{ID: s.Peer, Secret: s.Reach} // the state file is older
			}
		}
		return nil
	})
	if bad > 0 {
		n.log.Warn("transfers that can't be read are left out", "count", bad)
	}
	n.transfers.all, n.transfers.hidden = make(map[files.ID]*Transfer), make(map[files.ID]bool)
	n.desk = files.NewDesk(files.Config{Book: fileBook{n}, Logger: n.log, Changed: n.fileChanged}, saved)
	return err
}

// savedTransfer is a transfer in the database, and how its sender finds the
// receiver: what is known of people beside the contacts may be a minute older.
type savedTransfer struct {
	files.Saved
	Reach identity.Secret
}

// fileBook keeps transfers in the database.
type fileBook struct{ n *Node }

func (b fileBook) Save(s files.Saved) error {
	done := make(chan error, 1)
	if !b.n.writes.add(func() { done <- b.put(s) }) {
		return net.ErrClosed
	}
	return <-done
}

func (b fileBook) Later(s files.Saved) {
	b.n.writes.add(func() {
		if err := b.put(s); err != nil {
			b.n.log.Warn("transfer not stored", "transfer", s.Offer.ID, "err", err)
		}
	})
}

func (b fileBook) put(s files.Saved) error {
	x := savedTransfer{Saved: s}
	if t, ok := b.n.knownTarget(s.Peer); ok && !s.Incoming && s.Reason == 0 {
		x.Reach = t.Secret
	}
	v, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("p2pos: transfer: %w", err)
	}
	return b.n.db.Update(func(tx *store.Tx) error { return tx.Map(store.Transfers).Put(s.Offer.ID[:], v) })
}

func (b fileBook) Drop(id files.ID) {
	b.n.transfers.mu.Lock()
	delete(b.n.transfers.all, id)
	b.n.transfers.mu.Unlock()
	b.n.writes.add(func() {
		b.n.db.Update(func(tx *store.Tx) error { return tx.Map(store.Transfers).Delete(id[:]) })
	})
}

// fileChanged takes the desk's news: an event for the app, and at the end a
// record. The desk's lock is held.
func (n *Node) fileChanged(x *files.Transfer, news files.News) {
	t := n.transfer(x)
	if n.screenFile(x, t, news) {
		return
	}
	n.tell(FileEvent{Transfer: t, State: stateOf(news.State, news.Reason)})
	if news.State != files.Ended {
		return
	}
	o := x.Offer()
	n.record(Record{When: x.Began(), Peer: x.Peer(), Incoming: x.Incoming(), File: &FileRecord{
		Name: t.Name(), Path: news.Path, Bytes: o.Size, Done: news.Done,
		State: news.Reason.String(), SHA256: hex.EncodeToString(o.SHA256[:]), Error: news.Why,
	}})
}

// screenFile keeps an offer from the app until Config.Policy has allowed it, and
// says whether it does. It takes no lock of the desk, which may be held.
func (n *Node) screenFile(x *files.Transfer, t *Transfer, news files.News) bool {
	h := &n.transfers
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.cfg.Policy == nil || !x.Incoming() || news.State != files.Offered {
		hidden := h.hidden[x.ID()]
		if news.State == files.Ended {
			delete(h.hidden, x.ID())
		}
		return hidden
	}
	h.hidden[x.ID()] = true
	go func() { // the application's code: Close can't wait for it
		err := n.judge(Ask{Action: ActFile, Peer: x.Peer(), File: t.Name(), Bytes: t.Size()})
		if err != nil {
			n.log.Info("file denied by policy", "peer", x.Peer(), "err", err)
			x.Decline()
			return
		}
		h.mu.Lock()
		delete(h.hidden, x.ID())
		h.mu.Unlock()
		if s, r := x.State(); s != files.Ended {
			n.tell(FileEvent{Transfer: t, State: stateOf(s, r)})
		}
	}()
	return true
}

// screenOffers does so with those of an earlier start: what was allowed then is
// asked about again.
func (n *Node) screenOffers() {
	if n.cfg.Policy == nil {
		return
	}
	for _, x := range n.desk.Transfers() {
		if s, _ := x.State(); s == files.Offered && x.Incoming() {
			n.screenFile(x, n.transfer(x), files.News{State: s})
		}
	}
}

// shown tells whether the app may know of a transfer.
func (n *Node) shown(x *files.Transfer) bool {
	n.transfers.mu.Lock()
	defer n.transfers.mu.Unlock()
	return !n.transfers.hidden[x.ID()]
}

// fileSession is a session as the desk needs it.
type fileSession struct{ s *session.Session }

func (f fileSession) Open(ctx context.Context) (files.Stream, error) {
	st, err := f.s.Open(ctx, session.FileStream)
	if err != nil {
		return nil, err // not a nil *overlay.Stream in an interface
	}
	return st, nil
}

func (f fileSession) Traffic() files.Traffic { return files.Traffic(f.s.Traffic()) }

func (f fileSession) Path() files.Path {
	p := f.s.Path()
	return files.Path{Relayed: len(p.Vias) > 0, Local: p.Local, Remote: p.Remote}
}

func filePeer(s *session.Session) files.Peer {
	return files.Peer{ID: s.Peer().Identity, Device: s.Peer().Device}
}

// inSession tells whether a device of somebody is linked and proved.
func (n *Node) inSession(id identity.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sessions[id] > 0
}

// sessionChanged takes the beginning and the end of a session.
func (n *Node) sessionChanged(s *session.Session, up bool) {
	id := s.Peer().Identity
	n.mu.Lock()
	if up {
		n.sessions[id]++
	} else if n.sessions[id]--; n.sessions[id] == 0 {
		delete(n.sessions, id)
	}
	n.mu.Unlock()
	if id == n.dev.ID() {
		n.sisterChanged(s, up)
	}
	if up {
		n.provedTarget(id)
		n.desk.Up(filePeer(s), fileSession{s})
	} else {
		n.desk.Down(filePeer(s), fileSession{s})
	}
}

const (
	// fetchFirst is the wait after the first vain look for somebody to whom a
	// file is to go, fetchMost the longest between two.
	fetchFirst = 5 * time.Second
	fetchMost  = 5 * time.Minute
	// linkTime bounds one look, linkAgain is when it is begun again within.
	linkTime  = 10 * time.Second
	linkAgain = 3 * time.Second
	// maxFetches bounds how many people are looked for at a time.
	maxFetches = 8
)

// fetch looks for people with whom transfers could go on.
func (n *Node) fetch() {
	type try struct {
		next time.Time
		wait time.Duration
		on   bool
	}
	tries := make(map[identity.ID]*try)
	done := make(chan identity.ID)
	running := 0
	tick := time.NewTimer(fetchFirst)
	defer tick.Stop()
	for {
		select {
		case <-n.desk.Need():
		case <-tick.C:
		case id := <-done:
			running--
			t := tries[id]
			t.on, t.next = false, time.Now().Add(t.wait)
			t.wait = min(2*t.wait, fetchMost)
		case <-n.ctx.Done():
			for ; running > 0; running-- {
				<-done
			}
			return
		}
		absent := n.desk.Absent()
		now := time.Now()
		next := now.Add(fetchMost)
		seen := make(map[identity.ID]bool, len(absent))
		for _, id := range absent {
			seen[id] = true
			t := tries[id]
			if t == nil {
				t = &try{wait: fetchFirst}
				tries[id] = t
			}
			switch {
			case t.on:
			case now.Before(t.next) || running == maxFetches:
				if t.next.Before(next) {
					next = t.next
				}
			default:
				t.on = true
				running++
				go func() { // waited for above
					n.fetchOne(id)
					done <- id
				}()
			}
		}
		for id, t := range tries {
			if !seen[id] && !t.on {
				delete(tries, id)
			}
		}
		tick.Reset(max(time.Until(next), time.Second))
	}
}

// fetchOne links with the devices of one person, by a ticket that was given for
// it, and by what is known already.
func (n *Node) fetchOne(id identity.ID) {
	if n.book.blocked(id) {
		return
	}
	n.mu.Lock()
	hope, hoped := n.hopes[id]
	n.mu.Unlock()
	known, ok := n.knownTarget(id)
	if ok && (!hoped || known.Secret != hope.Secret) {
		n.link(known)
	}
	if hoped && !n.inSession(id) {
		n.link(hope)
	}
}

// link looks for the devices of a person, and again while none is there: where
// one was before it was started anew is what is found first.
func (n *Node) link(t overlay.Target) {
	ctx, stop := context.WithTimeout(n.ctx, linkTime)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(linkAgain)
	defer tick.Stop()
	for {
		wg.Go(func() {
			for range n.hub.Sessions(ctx, t) {
				stop() // SessionUp tells the desk
			}
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if n.inSession(t.ID) {
			return
		}
	}
}
