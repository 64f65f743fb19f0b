// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session"
	"github.com/p2pos/p2pos/session/book"
)

// Own devices tell each other what is in the address book and what happened (design/017). Each
// opens a stream to each other one, says what it has in sums, sends what the
// other's sums don't have, and then what changes.

// sisters are the own devices that are linked.
type sisters struct {
	mu  sync.Mutex // guards what follows, and their queues
	all map[*session.Session]*sister
}

type sister struct {
	session *session.Session
	ctx     context.Context // ends with the session
	stop    context.CancelFunc
	wake    chan struct{} // capacity 1, dropped when full: there is something to tell
	in      *overlay.Stream
	queue   map[book.Key]uint64 // to be told, in the order of the numbers; no more than there are entries
	added   uint64
}

// sisterAgain is the wait after a stream that broke while the session stands.
const sisterAgain = 5 * time.Second

func contactKey(id identity.ID) book.Key { return book.Key{Kind: book.Contacts, Name: string(id[:])} }

// sisterChanged takes the beginning and the end of a session with an own device.
func (n *Node) sisterChanged(s *session.Session, up bool) {
	h := &n.sisters
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.all[s]; x != nil {
		x.stop()
		delete(h.all, s)
	}
	if !up {
		return
	}
	if h.all == nil {
		h.all = make(map[*session.Session]*sister)
	}
	x := &sister{session: s, wake: make(chan struct{}, 1), queue: make(map[book.Key]uint64)}
	x.ctx, x.stop = context.WithCancel(n.ctx)
	h.all[s] = x
	n.wg.Go(func() { n.keepTelling(x) })
}

// tellSisters has the others told what is under some keys, all but one.
func (n *Node) tellSisters(but *sister, keys ...book.Key) {
	n.sisters.mu.Lock()
	defer n.sisters.mu.Unlock()
	for _, x := range n.sisters.all {
		if x != but {
			x.add(keys)
		}
	}
}

// add queues keys; the lock is held.
func (x *sister) add(keys []book.Key) {
	for _, k := range keys {
		if _, ok := x.queue[k]; !ok {
			x.added++
			x.queue[k] = x.added
		}
	}
	if len(keys) == 0 {
		return
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// counts tells whether a device still is one of this person's, and this one.
func (n *Node) counts(d identity.DeviceID) (yes bool) {
	n.hub.Kin(n.ctx, func(_ time.Time, k *session.Kin) {
		yes = !k.Revoked() && !slices.ContainsFunc(k.Devices(), func(e identity.Listed) bool { return e.Device == d && e.Revoked })
	})
	return yes
}

// keepTelling tells another device, on one stream after the other.
func (n *Node) keepTelling(x *sister) {
	for {
		if err := n.tellSister(x); err != nil && x.ctx.Err() == nil {
			n.log.Debug("own device not told", "err", err)
		}
		select {
		case <-time.After(sisterAgain):
		case <-x.ctx.Done():
			return
		}
	}
}

var errRevokedHere = errors.New("p2pos: a device that was revoked")

func (n *Node) tellSister(x *sister) error {
	st, err := x.session.Open(x.ctx, session.BookStream)
	if err != nil {
		return err
	}
	defer st.Abort()
	defer context.AfterFunc(x.ctx, st.Abort)()
	sums := book.Digest{}
	for _, i := range n.shared() {
		sums.Add(i)
	}
	for b := sums.Frame(); ; {
		if !n.counts(x.session.Peer().Device) {
			return errRevokedHere
		}
		if _, err := st.Write(b); err != nil {
			return err
		}
		for b = n.news(x); b == nil; b = n.news(x) {
			select {
			case <-x.wake:
			case <-x.ctx.Done():
				return x.ctx.Err()
			}
		}
	}
}

// news takes a frame's worth out of what is to be told; nil when there is nothing.
func (n *Node) news(x *sister) []byte {
	n.sisters.mu.Lock()
	keys := slices.Collect(maps.Keys(x.queue))
	order.Sort(keys, func(a, b book.Key) int { return cmp.Compare(x.queue[a], x.queue[b]) })
	n.sisters.mu.Unlock()
	var body []byte
	for _, k := range keys {
		if len(body) >= book.FrameRoom {
			break
		}
		n.sisters.mu.Lock()
		delete(x.queue, k) // before it is read: a change from here on puts it there again
		n.sisters.mu.Unlock()
		if v := n.item(k); v != nil {
			body = book.AppendItem(body, book.Item{Key: k, Value: v})
		}
	}
	if body == nil {
		return nil
	}
	return book.ItemsFrame(body)
}

// item returns what other devices should have under a key; nil when there is
// nothing.
func (n *Node) item(k book.Key) []byte {
	switch k.Kind {
	case book.Contacts:
		return n.book.item(k.Name)
	case book.Pasts:
		return n.past.item(n, k.Name)
	}
	return nil
}

// shared returns all that other devices should have.
func (n *Node) shared() []book.Item { return append(n.book.items(), n.past.items(n)...) }

// hearSister reads what another device tells, on its newest stream.
func (n *Node) hearSister(s *session.Session, st *overlay.Stream) {
	n.sisters.mu.Lock()
	x, old := n.sisters.all[s], st
	if x != nil {
		old, x.in = x.in, st
	}
	n.sisters.mu.Unlock()
	if old != nil {
		old.Abort() // the one before, or of a session that is over
	}
	if x != nil {
		n.wg.Go(func() {
			if err := n.readSister(x, st); err != nil && x.ctx.Err() == nil {
				n.log.Debug("own device not heard", "err", err)
			}
		})
	}
}

func (n *Node) readSister(x *sister, st *overlay.Stream) error {
	defer st.Abort()
	defer context.AfterFunc(x.ctx, st.Abort)()
	for {
		var size [4]byte
		if _, err := io.ReadFull(st, size[:]); err != nil {
			return err
		}
		length, err := book.ParseLength(size)
		if err != nil {
			return err
		}
		b := make([]byte, length)
		if _, err := io.ReadFull(st, b); err != nil {
			return err
		}
		if !n.counts(x.session.Peer().Device) {
			return errRevokedHere
		}
		switch book.Type(b[0]) {
		case book.TypeDigest:
			err = n.compare(x, b[1:])
		case book.TypeItems:
			err = n.learnItems(x, b[1:])
		}
		if err != nil {
			return err
		}
	}
}

// compare has a device told what its sums don't have.
func (n *Node) compare(x *sister, body []byte) error {
	theirs, err := book.ParseDigest(body)
	if err != nil {
		return err
	}
	list, mine := n.shared(), book.Digest{}
	for _, i := range list {
		mine.Add(i)
	}
	var keys []book.Key
	for _, i := range list {
		if mine.Differs(theirs, i.Key) {
			keys = append(keys, i.Key)
		}
	}
	n.sisters.mu.Lock()
	defer n.sisters.mu.Unlock()
	x.add(keys)
	return nil
}

// learnItems takes what a device has told, and tells the others what is new in it,
// and the device what it does not know.
func (n *Node) learnItems(x *sister, body []byte) error {
	list, err := book.ParseItems(body)
	if err != nil {
		return err
	}
	news, older, err := n.book.merge(list)
	if err != nil {
		return err // the disk; what is missing comes with the next sums
	}
	pasts, err := n.past.merge(n, list)
	if err != nil {
		return err
	}
	n.tellSisters(x, append(news, pasts...)...)
	n.sisters.mu.Lock()
	defer n.sisters.mu.Unlock()
	x.add(older)
	return nil
}
