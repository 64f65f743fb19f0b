// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/overlay"
)

var (
	// ErrNoContact reports an identity that is not among the contacts.
	ErrNoContact = errors.New("p2pos: not among the contacts")
	// ErrManyContacts reports a full address book.
	ErrManyContacts = errors.New("p2pos: too many contacts")
	// ErrBlocked reports somebody whom this node has blocked.
	ErrBlocked = errors.New("p2pos: blocked here; unblock first")
)

// maxContacts bounds the address book: each takes about 300 bytes of memory.
const maxContacts = 10_000

// Contacts is the address book of a node. What is changed is on the disk when
// the method returns. Besides the errors named, methods return those of the
// file system and net.ErrClosed; nothing is changed then.
type Contacts struct {
	n *Node

	change sync.Mutex // held while the book is changed, disk included
	mu     sync.Mutex // guards what follows, for moments only
	all    map[identity.ID]*contact
}

// Contacts returns the node's address book.
func (n *Node) Contacts() *Contacts { return n.book }

// openContacts reads the address book. Without a database it is empty.
func openContacts(n *Node) (*Contacts, error) {
	c := &Contacts{n: n, all: make(map[identity.ID]*contact)}
	bad := 0
	err := n.db.View(func(tx *store.Tx) error {
		for id, b := range tx.Map(store.Contacts).All() {
			p, err := decodeContact(id, b)
			if err != nil {
				bad++
				continue
			}
			c.all[p.ID] = p
		}
		return nil
	})
	if bad > 0 {
		n.log.Warn("contacts that can't be read are left out", "count", bad)
	}
	return c, err
}

// Add puts somebody into the book, named by a ticket, also in the capital
// letters of a QR code, or by an ID. name is the petname, "" for none. Somebody
// who is there already gets the new name, unless it is empty, and the ticket.
//
// Errors: those of identity for texts that are wrong, ErrOtherNetwork, ErrSelf,
// ErrName, ErrManyContacts.
func (c *Contacts) Add(who, name string) (Contact, error) {
	name, err := cleanPetname(name)
	if err != nil {
		return Contact{}, err
	}
	t, err := c.n.parseTarget(who)
	if err != nil {
		return Contact{}, err
	}
	if t.ID == c.n.dev.ID() {
		return Contact{}, fmt.Errorf("%w: not added to the contacts", ErrSelf)
	}
	return c.edit(t.ID, true, func(p *contact) error {
		if name != "" {
			p.Name = name
		}
		if t.Secret != (identity.Secret{}) {
			p.reach, p.ticket = t.Secret, strings.TrimSpace(who)
		}
		return nil
	})
}

// Rename gives a contact another petname, "" takes it away. Errors: ErrName,
// ErrNoContact.
func (c *Contacts) Rename(id identity.ID, name string) error {
	name, err := cleanPetname(name)
	if err != nil {
		return err
	}
	_, err = c.edit(id, false, func(p *contact) error { p.Name = name; return nil })
	return err
}

// Verify marks a contact as somebody whose safety words were compared, or takes
// the mark back. It holds for the identity, whatever device it calls with.
// Error: ErrNoContact.
func (c *Contacts) Verify(id identity.ID, verified bool) error {
	_, err := c.edit(id, false, func(p *contact) error { p.Verified = verified; return nil })
	return err
}

// Block shuts somebody out, contact or not: calls and messages from there are
// dropped without a word, and running ones end. To that person this node looks
// as if it were not there. Who holds a ticket can still see in the network that
// its issuer is online. Errors: ErrSelf, ErrManyContacts.
func (c *Contacts) Block(id identity.ID) error {
	if id == c.n.dev.ID() {
		return fmt.Errorf("%w: not blocked", ErrSelf)
	}
	_, err := c.edit(id, true, func(p *contact) error { p.Blocked = true; return nil })
	if err == nil {
		c.n.hub.Drop(c.n.ctx, id)
	}
	return err
}

// Unblock lets somebody in again. Error: ErrNoContact.
func (c *Contacts) Unblock(id identity.ID) error {
	_, err := c.edit(id, false, func(p *contact) error { p.Blocked = false; return nil })
	return err
}

// Remove takes somebody out of the book, the block and the reach secret too.
// History stays. Error: ErrNoContact.
func (c *Contacts) Remove(id identity.ID) error {
	c.change.Lock()
	defer c.change.Unlock()
	p, ok := c.get(id)
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoContact, id.Short())
	}
	if err := c.n.db.Update(func(tx *store.Tx) error { return tx.Map(store.Contacts).Delete(id[:]) }); err != nil {
		return c.n.stored(err)
	}
	c.mu.Lock()
	delete(c.all, id)
	c.mu.Unlock()
	c.n.forget(id)
	c.n.forgetSight(id)
	c.n.events.publish(ContactChanged{Contact: p.Contact, Removed: true})
	return nil
}

// Get returns a contact; false when there is none.
func (c *Contacts) Get(id identity.ID) (Contact, bool) {
	p, ok := c.get(id)
	return p.Contact, ok
}

// Find returns the contact with a petname, whatever its case.
func (c *Contacts) Find(name string) (Contact, bool) {
	name, err := cleanPetname(name)
	if err != nil || name == "" {
		return Contact{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.all {
		if strings.EqualFold(p.Name, name) {
			return p.Contact, true
		}
	}
	return Contact{}, false
}

// All returns the contacts as they are now, by name, those without one last.
func (c *Contacts) All() iter.Seq[Contact] {
	c.mu.Lock()
	list := make([]Contact, 0, len(c.all))
	for _, p := range c.all {
		list = append(list, p.Contact)
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Contact) int {
		if (a.Name == "") != (b.Name == "") {
			return cmp.Compare(len(b.Name), len(a.Name))
		}
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return slices.Values(list)
}

func (c *Contacts) get(id identity.ID) (contact, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.all[id]; p != nil {
		return *p, true
	}
	return contact{}, false
}

// blocked tells whether somebody is shut out. It never waits for the disk.
func (c *Contacts) blocked(id identity.ID) bool {
	p, ok := c.get(id)
	return ok && p.Blocked
}

// edit changes one contact, on the disk first, and tells of it if anything is
// different. create makes one where there is none.
func (c *Contacts) edit(id identity.ID, create bool, change func(*contact) error) (Contact, error) {
	c.change.Lock()
	defer c.change.Unlock()
	old, there := c.get(id)
	p := old
	if !there {
		if !create {
			return Contact{}, fmt.Errorf("%w: %s", ErrNoContact, id.Short())
		}
		c.mu.Lock()
		many := len(c.all) >= maxContacts
		c.mu.Unlock()
		if many {
			return Contact{}, fmt.Errorf("%w: %d", ErrManyContacts, maxContacts)
		}
		p = contact{Contact: Contact{ID: id, Added: time.Now().Truncate(time.Second)}}
		if t, ok := c.n.knownTarget(id); ok {
			p.reach = t.Secret
		}
	}
	if err := change(&p); err != nil {
		return Contact{}, err
	}
	p.Reachable = p.reach != (identity.Secret{})
	if other, ok := c.Find(p.Name); ok && other.ID != id {
		return Contact{}, fmt.Errorf("%w: %q is %s", ErrName, p.Name, other.ID.Short())
	}
	if there && p == old {
		return p.Contact, nil
	}
	if err := c.n.db.Update(func(tx *store.Tx) error { return tx.Map(store.Contacts).Put(id[:], p.encode()) }); err != nil {
		return Contact{}, c.n.stored(err)
	}
	c.mu.Lock()
	c.all[id] = &p
	c.mu.Unlock()
	if !there || p.reach != old.reach || p.Blocked != old.Blocked {
		c.n.sight.hurry()
	}
	if !there || p.Contact != old.Contact {
		c.n.events.publish(ContactChanged{Contact: p.Contact})
	}
	return p.Contact, nil
}

// learn keeps a contact's reach secret, when it has told another one.
func (c *Contacts) learn(id identity.ID, s identity.Secret) {
	if p, ok := c.get(id); !ok || p.reach == s || s == (identity.Secret{}) {
		return
	}
	c.n.writes.add(func() {
		_, err := c.edit(id, false, func(p *contact) error { p.reach = s; return nil })
		if err != nil && !errors.Is(err, ErrNoContact) {
			c.n.log.Warn("a contact's reach secret is not stored", "err", err)
		}
	})
}

// target returns how a contact is reached.
func (c *Contacts) target(id identity.ID) (overlay.Target, bool) {
	p, ok := c.get(id)
	if !ok || p.reach == (identity.Secret{}) {
		return overlay.Target{}, false
	}
	t := overlay.Target{ID: id, Secret: p.reach}
	// An expired ticket's addresses may still be good.
	if k, err := identity.ParseTicket(p.ticket, time.Unix(0, 0)); err == nil && k.Reach == p.reach {
		t.Addrs, t.Introducers = k.Addrs, k.Introducers
	}
	return t, true
}
