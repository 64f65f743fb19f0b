// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session/book"
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

// Contacts is the address book of a person. What is changed is on the disk when
// the method returns, and on the person's other devices a moment later, or once
// they are linked: of each field the last change counts (design/017). Two people
// who were given one name on two devices are shown as "Anna" and "Anna (2)". Besides the errors named, methods return those of the
// file system and net.ErrClosed; nothing is changed then.
type Contacts struct {
	n *Node

	change sync.Mutex // held while the book is changed, disk included; guards what follows
	clock  book.Clock
	gone   map[identity.ID]book.Contact // removed; other devices may not have heard
	twice  bool                         // a petname was given to two

	mu  sync.Mutex // guards what follows, for moments only
	all map[identity.ID]*contact
}

// Contacts returns the node's address book.
func (n *Node) Contacts() *Contacts { return n.book }

// openContacts reads the address book. Without a database it is empty.
func openContacts(n *Node) (*Contacts, error) {
	c := &Contacts{n: n, all: make(map[identity.ID]*contact), gone: make(map[identity.ID]book.Contact)}
	bad := 0
	err := n.db.View(func(tx *store.Tx) error {
		for id, b := range tx.Map(store.Contacts).All() {
			e, err := book.ParseContact(id, b)
			if err != nil {
				bad++
				continue
			}
			c.clock.See(e.Last())
			if e.Present() {
				c.all[e.ID] = show(e, e.Name)
			} else {
				c.gone[e.ID] = e
			}
		}
		return nil
	})
	if bad > 0 {
		n.log.Warn("contacts that can't be read are left out", "count", bad)
	}
	for _, p := range c.rename() {
		c.all[p.ID] = p
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
	return c.edit(t.ID, byHand|create, func(p *book.Contact) error {
		if name != "" {
			p.Name = name
		}
		if t.Secret != (identity.Secret{}) {
			p.Reach, p.Ticket = t.Secret, strings.TrimSpace(who)
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
	_, err = c.edit(id, byHand, func(p *book.Contact) error { p.Name = name; return nil })
	return err
}

// Verify marks a contact as somebody whose safety words were compared, or takes
// the mark back. It holds for the identity, whatever device it calls with.
// Error: ErrNoContact.
func (c *Contacts) Verify(id identity.ID, verified bool) error {
	_, err := c.edit(id, byHand, func(p *book.Contact) error { p.Verified = verified; return nil })
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
	_, err := c.edit(id, byHand|create, func(p *book.Contact) error { p.Blocked = true; return nil })
	if err == nil {
		c.n.hub.Drop(c.n.ctx, id)
	}
	return err
}

// Unblock lets somebody in again. Error: ErrNoContact.
func (c *Contacts) Unblock(id identity.ID) error {
	_, err := c.edit(id, byHand, func(p *book.Contact) error { p.Blocked = false; return nil })
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
	var list []book.Contact
	if c.n.hasKin() { // the others should take them out as well
		list = append(list, p.e.Removed(c.clock.Next(time.Now())))
	} else {
		list = append(list, book.Contact{ID: id})
	}
	if err := c.put(list, false); err != nil {
		return c.n.stored(err)
	}
	c.n.tellSisters(nil, contactKey(id))
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
	order.Sort(list, func(a, b Contact) int {
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

// How a contact is edited: byHand is what the user does, create makes one where
// there is none.
const (
	byHand = 1 << iota
	create
)

// edit changes one contact, on the disk first, and tells of it if anything is
// different.
func (c *Contacts) edit(id identity.ID, how int, change func(*book.Contact) error) (Contact, error) {
	c.change.Lock()
	defer c.change.Unlock()
	p, there := c.get(id)
	old := p.e
	if !there {
		if how&create == 0 {
			return Contact{}, fmt.Errorf("%w: %s", ErrNoContact, id.Short())
		}
		if c.full() {
			return Contact{}, fmt.Errorf("%w: %d", ErrManyContacts, maxContacts)
		}
		if old = c.gone[id]; old.ID != id {
			old = book.Contact{ID: id}
		}
	}
	e := old
	if !there {
		e.Added = time.Now().Unix()
		if t, ok := c.n.knownTarget(id); ok {
			e.Reach = t.Secret
		}
	}
	if err := change(&e); err != nil {
		return Contact{}, err
	}
	if other, ok := c.Find(e.Name); ok && other.ID != id && (!there || e.Name != old.Name) {
		return Contact{}, fmt.Errorf("%w: %q is %s", ErrName, e.Name, other.ID.Short())
	}
	if there && e == old {
		return p.Contact, nil
	}
	if err := c.put([]book.Contact{e.Edited(old, c.clock.Next(time.Now()), how&byHand != 0)}, false); err != nil {
		return Contact{}, c.n.stored(err)
	}
	c.n.tellSisters(nil, contactKey(id))
	p, _ = c.get(id)
	return p.Contact, nil
}

// full tells whether there is no room for another contact.
func (c *Contacts) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all) >= maxContacts
}

// put takes contacts into the book as they are given, on the disk first, and
// tells of what is different. One without stamps is forgotten. Foreign says that
// other devices have set them. change is held.
func (c *Contacts) put(list []book.Contact, foreign bool) error {
	gone := slices.Collect(maps.Values(c.gone))
	for _, e := range list {
		if !e.Present() && e.At.Gone != 0 {
			gone = append(gone, e)
		}
	}
	old := book.Trim(gone)
	err := c.n.db.Update(func(tx *store.Tx) error {
		room := tx.Map(store.Contacts)
		for _, e := range list {
			err := room.Put(e.ID[:], e.Encode())
			if e.At == (book.Stamps{}) {
				err = room.Delete(e.ID[:])
			}
			if err != nil {
				return err
			}
		}
		for _, id := range old {
			if err := room.Delete(id[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var changes []ContactChanged
	hurry := false
	for _, e := range list {
		before, there := c.get(e.ID)
		delete(c.gone, e.ID)
		if !e.Present() {
			if e.At.Gone != 0 {
				c.gone[e.ID] = e
			}
			if there {
				c.mu.Lock()
				delete(c.all, e.ID)
				c.mu.Unlock()
				c.n.forget(e.ID)
				c.n.forgetSight(e.ID)
				changes = append(changes, ContactChanged{Contact: before.Contact, Removed: true})
			}
			continue
		}
		now := show(e, e.Name)
		if e.Name == before.e.Name && there {
			now.Name = before.Name
		}
		c.mu.Lock()
		c.all[e.ID] = now
		c.mu.Unlock()
		hurry = hurry || !there || e.Reach != before.e.Reach || e.Blocked != before.e.Blocked
		if !there || now.Contact != before.Contact {
			changes = append(changes, ContactChanged{Contact: now.Contact})
		}
	}
	for _, id := range old {
		delete(c.gone, id)
	}
	if c.twice || foreign {
		for _, p := range c.rename() {
			c.mu.Lock()
			c.all[p.ID] = p
			c.mu.Unlock()
			changes = slices.DeleteFunc(changes, func(e ContactChanged) bool { return e.Contact.ID == p.ID })
			changes = append(changes, ContactChanged{Contact: p.Contact})
		}
	}
	if hurry {
		c.n.sight.hurry()
	}
	for _, e := range changes {
		c.n.events.publish(e)
	}
	return nil
}

// rename returns the contacts whose name is to be shown otherwise than now,
// because two have one, or no longer. change is held.
func (c *Contacts) rename() (list []*contact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries := make([]book.Contact, 0, len(c.all))
	for _, p := range c.all {
		entries = append(entries, p.e)
	}
	names := book.Names(entries)
	c.twice = len(names) > 0
	for _, e := range entries {
		name, ok := names[e.ID]
		if !ok {
			name = e.Name
		}
		if c.all[e.ID].Name != name {
			list = append(list, show(e, name))
		}
	}
	return list
}

// learn keeps a contact's reach secret, when it has told another one.
func (c *Contacts) learn(id identity.ID, s identity.Secret) {
	if p, ok := c.get(id); !ok || p.e.Reach == s || s == (identity.Secret{}) {
		return
	}
	c.n.writes.add(func() {
		_, err := c.edit(id, 0, func(p *book.Contact) error { p.Reach = s; return nil })
		if err != nil && !errors.Is(err, ErrNoContact) {
			c.n.log.Warn("a contact's reach secret is not stored", "err", err)
		}
	})
}

// target returns how a contact is reached.
func (c *Contacts) target(id identity.ID) (overlay.Target, bool) {
	p, ok := c.get(id)
	if !ok || p.e.Reach == (identity.Secret{}) {
		return overlay.Target{}, false
	}
	t := overlay.Target{ID: id, Secret: p.e.Reach}
	// An expired ticket's addresses may still be good.
	if k, err := identity.ParseTicket(p.e.Ticket, time.Unix(0, 0)); err == nil && k.Reach == p.e.Reach {
		t.Addrs, t.Introducers = k.Addrs, k.Introducers
	}
	return t, true
}
