// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/book"
)

// What other devices of this person have done to the address book.

// item returns a contact as other devices should have it; nil when it is none.
func (c *Contacts) item(name string) []byte {
	c.change.Lock()
	defer c.change.Unlock()
	if len(name) != len(identity.ID{}) {
		return nil
	}
	id := identity.ID([]byte(name))
	if p, ok := c.get(id); ok {
		return p.e.Encode()
	}
	if e, ok := c.gone[id]; ok {
		return e.Encode()
	}
	return nil
}

// items returns all contacts, with those that were removed.
func (c *Contacts) items() (list []book.Item) {
	c.change.Lock()
	defer c.change.Unlock()
	c.mu.Lock()
	for id, p := range c.all {
		list = append(list, book.Item{Key: contactKey(id), Value: p.e.Encode()})
	}
	c.mu.Unlock()
	for id, e := range c.gone {
		list = append(list, book.Item{Key: contactKey(id), Value: e.Encode()})
	}
	return list
}

// merge takes contacts of another device. It returns those that are different
// now, and those of which the other one has an older word. What can't be read is
// left out.
func (c *Contacts) merge(list []book.Item) (news, older []book.Key, err error) {
	c.change.Lock()
	var changed []book.Contact
	var blocked []identity.ID
	in := make(map[identity.ID]int) // where in changed
	bad, many := 0, 0
	for _, i := range list {
		if i.Kind != book.Contacts {
			continue
		}
		e, err := book.ParseContact([]byte(i.Name), i.Value)
		if err == nil && e.Name != "" {
			var clean string
			if clean, err = cleanPetname(e.Name); clean != e.Name {
				err = ErrName
			}
		}
		if err != nil || e.ID == c.n.dev.ID() {
			bad++
			continue
		}
		p, there := c.get(e.ID)
		mine := p.e
		if !there {
			if mine = c.gone[e.ID]; mine.ID != e.ID {
				mine = book.Contact{ID: e.ID}
			}
		}
		if at, twice := in[e.ID]; twice {
			mine = changed[at]
		}
		m := book.Merge(mine, e)
		c.clock.See(m.Last())
		if m != e {
			older = append(older, i.Key)
		}
		if m == mine {
			continue
		}
		if !there && m.Present() && c.full() {
			many++
			continue
		}
		if at, twice := in[e.ID]; twice {
			changed[at] = m
		} else {
			in[e.ID] = len(changed)
			changed, news = append(changed, m), append(news, i.Key)
		}
		if m.Blocked && !mine.Blocked {
			blocked = append(blocked, e.ID)
		}
	}
	if len(changed) > 0 {
		err = c.put(changed, true)
	}
	c.change.Unlock()
	if bad+many > 0 {
		c.n.log.Warn("contacts of another device left out", "bad", bad, "many", many)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, id := range blocked {
		c.n.hub.Drop(c.n.ctx, id)
	}
	return news, older, nil
}
