// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/session"
)

// Whether contacts are online is seen in two ways: a link with one of their
// devices stands, or their reach record, which only those can read who have a
// ticket or were called or written to, says where one is. Nothing is told to
// anybody for it, and nobody is looked for who is not in the book.

const (
	// presenceEvery is how often each contact without a link is looked for, about;
	// a quarter of it is jitter. A person's record is written anew every twenty
	// minutes and when something changes.
	presenceEvery = 5 * time.Minute
	// presenceFirst is how long after the network is there the first look is, and
	// presenceSoon how long after a contact's last link is gone.
	presenceFirst = 3 * time.Second
	presenceSoon  = 2 * time.Second
	// maxPresence contacts are looked for, those in the book longest; each look is
	// three questions, so all together cost about a kilobyte a second. The
	// others are seen when a link stands.
	maxPresence = 128
	// presenceLooks are under way at a time, presenceTime bounds each.
	presenceLooks = 4
	presenceTime  = 10 * time.Second
)

// Presence says that a contact is online now, or not any more, as far as this node
// can see. It comes for contacts alone, when it changes.
type Presence struct {
	Peer   identity.ID
	Online bool
	Seen   time.Time // when a device of theirs was known to be online last; zero = never since the start
}

func (Presence) event() {}

// Presence returns what was seen last of a contact. Error: ErrNoContact.
func (n *Node) Presence(id identity.ID) (Presence, error) {
	if _, ok := n.book.Get(id); !ok {
		return Presence{}, ErrNoContact
	}
	s := &n.sight
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Presence{Peer: id}
	if c := s.of[id]; c != nil {
		p.Online, p.Seen = c.online, c.seen
	}
	return p, nil
}

// sight is what is seen of contacts.
type sight struct {
	mu   sync.Mutex // guards what follows
	of   map[identity.ID]*seen
	wake chan struct{} // capacity 1: something is due sooner
}

// seen is one contact.
type seen struct {
	online, told bool
	seen         time.Time
	links        int
	looking      bool
	due          time.Time
}

func newSight() sight { return sight{of: make(map[identity.ID]*seen), wake: make(chan struct{}, 1)} }

// person notes that a link with a device of somebody stands, or is gone.
func (n *Node) person(id identity.ID, by int) {
	_, contact := n.book.Get(id)
	s := &n.sight
	s.mu.Lock()
	c := s.of[id]
	if c == nil && by > 0 && len(s.of) < maxContacts {
		c = &seen{}
		s.of[id] = c
	}
	if c == nil {
		s.mu.Unlock()
		return
	}
	c.links = max(c.links+by, 0)
	c.seen = time.Now()
	c.due = c.seen.Add(presenceSoon)
	if c.links == 0 && !contact {
		delete(s.of, id)
	}
	up := c.links > 0
	s.mu.Unlock()
	if up {
		n.saw(id, true)
	}
	s.hurry()
}

func (s *sight) hurry() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// saw notes whether somebody is online, and tells the application of a contact.
func (n *Node) saw(id identity.ID, online bool) {
	p, contact := n.book.Get(id)
	s := &n.sight
	s.mu.Lock()
	c := s.of[id]
	if c == nil || !online && c.links > 0 { // a link has come since it was looked for
		s.mu.Unlock()
		return
	}
	changed := (online != c.online || !c.told) && contact && !p.Blocked
	c.online = online
	if online {
		c.seen = time.Now()
	}
	if changed {
		c.told = true
	}
	e := Presence{Peer: id, Online: online, Seen: c.seen}
	s.mu.Unlock()
	if changed {
		n.tell(e)
	}
}

// keepPresence looks for contacts until the node closes.
func (n *Node) keepPresence() {
	looks := make(chan struct{}, presenceLooks)
	timer := time.NewTimer(presenceFirst)
	defer timer.Stop()
	for {
		select {
		case <-n.sight.wake:
		case <-timer.C:
		case <-n.ctx.Done():
			return
		}
		now := time.Now()
		next := now.Add(presenceEvery)
		if !n.ov.Linked() {
			timer.Reset(presenceFirst)
			continue
		}
		for _, id := range n.missedContacts() {
			due, ready, linked := n.sight.claim(now, id)
			if linked {
				n.saw(id, true)
			}
			if !ready {
				if due.Before(next) {
					next = due
				}
				continue
			}
			select {
			case looks <- struct{}{}:
			case <-n.ctx.Done():
				return
			}
			n.wg.Go(func() {
				n.lookFor(id)
				<-looks
			})
		}
		timer.Reset(max(time.Until(next), time.Second))
	}
}

// missedContacts returns whom to look for.
func (n *Node) missedContacts() (list []identity.ID) {
	var all []Contact
	for c := range n.book.All() {
		if !c.Blocked && c.Reachable {
			all = append(all, c)
		}
	}
	order.Stable(all, func(a, b Contact) int { return a.Added.Compare(b.Added) })
	for _, c := range all[:min(len(all), maxPresence)] {
		list = append(list, c.ID)
	}
	return list
}

// claim tells whether to look for somebody now, or when, and whether a link
// stands.
func (s *sight) claim(now time.Time, id identity.ID) (due time.Time, ready, linked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.of[id]
	if c == nil {
		c = &seen{}
		s.of[id] = c
	}
	if c.links > 0 || c.looking {
		return now.Add(presenceEvery), false, c.links > 0
	}
	if now.Before(c.due) {
		return c.due, false, false
	}
	c.looking = true
	c.due = now.Add(presenceEvery - presenceEvery/8 + rand.N(presenceEvery/4))
	return c.due, true, false
}

// lookFor looks a contact up in the network.
func (n *Node) lookFor(id identity.ID) {
	ctx, cancel := context.WithTimeout(n.ctx, presenceTime)
	defer cancel()
	online, known := false, false
	if t, ok := n.book.target(id); ok {
		s := n.ov.Locate(ctx, id, t.Secret)
		for range s.Places {
			online = true
		}
		known = online || ctx.Err() == nil && s.Verdict().Answered
	}
	n.sight.mu.Lock()
	if c := n.sight.of[id]; c != nil {
		c.looking = false
	}
	n.sight.mu.Unlock()
	if known {
		n.saw(id, online)
	}
}

// forgetSight is called when somebody is no contact any more.
func (n *Node) forgetSight(id identity.ID) {
	n.sight.mu.Lock()
	defer n.sight.mu.Unlock()
	if c := n.sight.of[id]; c != nil && c.links == 0 {
		delete(n.sight.of, id)
	} else if c != nil {
		c.told = false
	}
}

// presenceNews takes what the sessions tell of people.
func (n *Node) presenceNews(e session.HubEvent) {
	switch e := e.(type) {
	case session.PersonUp:
		n.person(e.Peer.Identity, 1)
	case session.PersonDown:
		n.person(e.Peer.Identity, -1)
	}
}
