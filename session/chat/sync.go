// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/wire"
)

// Devices of one person compare what they have: a digest of the heads of all
// conversations, and where it differs the heads themselves. Each sends what the
// other lacks, by author, in the order in which its author said it.

// listed is a head of another own device.
type listed struct {
	conversation identity.ID
	head
}

const (
	headSize = 32 + 16 + 1 + 16
	// headsPage heads go in one item: it shares a message with others.
	headsPage = 128
	// maxListed is what the other device can have.
	maxListed = maxPeople * maxAuthors
)

// heads returns the heads of all conversations in the order of their bytes.
func (m *Machine) heads() (list [][]byte) {
	for _, p := range m.people {
		if p.id == m.party.Identity {
			continue
		}
		for _, h := range p.heads {
			b := append(append(append([]byte(nil), p.id[:]...), h.by.device[:]...), boolean(h.by.ours))
			list = append(list, append(b, h.last[:]...))
		}
	}
	order.Sort(list, bytes.Compare)
	return list
}

func (m *Machine) digestOf() [32]byte {
	return sha256.Sum256(bytes.Join(m.heads(), nil))
}

// compare takes the digest of another own device.
func (m *Machine) compare(d *device, body []byte) error {
	if len(body) != sha256.Size || !m.own(d) {
		return fmt.Errorf("%w: digest", ErrMessage)
	}
	if [32]byte(body) == m.digestOf() {
		return nil
	}
	list := m.heads()
	d.lists = nil
	for first := true; first || len(list) > 0; first = false {
		n := min(len(list), headsPage)
		flags := boolean(first)
		if n == len(list) {
			flags |= 2
		}
		d.lists = append(d.lists, append([]byte{flags}, bytes.Join(list[:n], nil)...))
		list = list[n:]
	}
	return nil
}

// takeHeads takes a page of another own device's heads; the last one says what
// it lacks.
func (m *Machine) takeHeads(d *device, body []byte) error {
	if len(body) == 0 || len(body)%headSize != 1 || !m.own(d) {
		return fmt.Errorf("%w: heads", ErrMessage)
	}
	if body[0]&1 != 0 {
		d.theirs = nil
	}
	r := wire.NewReader(body[1:])
	for r.Len() > 0 && len(d.theirs) < maxListed {
		var l listed
		r.Fixed(l.conversation[:])
		r.Fixed(l.by.device[:])
		l.by.ours = r.U8() != 0
		r.Fixed(l.last[:])
		d.theirs = append(d.theirs, l)
	}
	if body[0]&2 == 0 {
		return nil
	}
	theirs := make(map[string]ID, len(d.theirs))
	for _, l := range d.theirs {
		theirs[string(l.conversation[:])+string(l.by.device[:])+string(boolean(l.by.ours))] = l.last
	}
	d.theirs, d.pushes, d.pushing = nil, nil, nil
	for _, p := range m.people {
		if p.id == m.party.Identity {
			continue
		}
		for _, h := range p.heads {
			last, ok := theirs[string(p.id[:])+string(h.by.device[:])+string(boolean(h.by.ours))]
			if ok && last == h.last {
				continue
			}
			from := p.first
			if ok {
				c, n, here := m.tx.find(last)
				if !here || c != p.id {
					continue // it has more than this device
				}
				from = n + 1
			}
			d.pushes = append(d.pushes, push{p.id, h.by, from})
		}
	}
	return nil
}

// packPushes adds what an own device lacks, a window at a time.
func (m *Machine) packPushes(d *device, b []byte, limit int) []byte {
	for len(d.pushes) > 0 {
		u := &d.pushes[0]
		p := m.person(u.conversation)
		if p == nil || u.next >= p.next {
			d.pushes = d.pushes[1:]
			continue
		}
		e := m.tx.entry(p.id, u.next)
		if e == nil || e.by != u.by {
			u.next++
			continue
		}
		if len(d.pushing) >= window {
			break
		}
		if e.prev != (ID{}) {
			if _, _, ok := m.tx.find(e.prev); !ok {
				e.flags |= flagFirst
			}
		}
		v := e.appendOwn(nil, p.id)
		if len(b) > 0 && len(b)+len(v) > limit {
			break
		}
		b = appendItem(b, itemEntry, v)
		d.pushing = append(d.pushing, e.id)
		u.next++
	}
	return b
}
