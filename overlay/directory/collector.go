// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// collectEvery is how often an inbox is emptied, its jitter a quarter.
	// Strangers can wait; it costs three small questions.
	collectEvery = 5 * time.Minute

	// maxCallers bounds the callers that are remembered, and so the knocks that
	// are told, in a day. More than a few a day are a flood.
	maxCallers = 256

	// maxOpens is how many knocks from one neighbour are looked at in a round
	// (0.3 ms each): three full inboxes. With maxVias neighbours at most, liars
	// cost a quarter of a second in five minutes.
	maxOpens = 3 * MaxKnocks
)

// Knocked tells of a stranger at the inbox: one for each caller and day. What
// the caller says is true only as far as the certificate reaches.
type Knocked struct{ Knock identity.Knock }

func (Knocked) event() {}

// Collector fetches what strangers left in this device's inbox.
type Collector struct {
	dev  *identity.Device
	slot uint8
	rng  *rand.Rand

	next    time.Time // of Advance
	hour    uint64
	ref     uint32
	asked   []uint32               // refs of the last round
	vias    []via                  // and who answered it
	seen    map[[32]byte]uint64    // good knocks, and the hour they came in; as many as callers at most
	callers map[identity.ID]uint64 // and the day of their knock
	events  []Event
}

// NewCollector returns a collector for the inbox of a device's slot; Advance
// starts it. rng is for jitter.
func NewCollector(now time.Time, dev *identity.Device, slot uint8, rng *rand.Rand) *Collector {
	return &Collector{
		dev: dev, slot: slot, rng: rng, hour: identity.Hour(now),
		next: now.Add(time.Duration(rng.Int64N(int64(collectEvery / 4)))),
		seen: map[[32]byte]uint64{}, callers: map[identity.ID]uint64{},
	}
}

// Advance asks for knocks when it is time: events Ask.
func (c *Collector) Advance(now time.Time) {
	if now.Before(c.next) {
		return
	}
	c.next = now.Add(collectEvery - collectEvery/4 + time.Duration(c.rng.Int64N(int64(collectEvery/2))))
	c.forget(now)
	c.asked, c.vias = nil, nil
	for epoch := max(c.hour, 1) - 1; epoch <= c.hour+1; epoch++ {
		key := identity.InboxKey(c.dev.ID(), epoch)
		m := CollectMessage{Key: key, Slot: c.slot, Proof: identity.ProveInbox(c.dev, c.slot, epoch, now)}
		c.ref++
		c.asked = append(c.asked, c.ref)
		c.events = append(c.events, Ask{Ref: c.ref, Key: key, Copies: routes, Body: m.Append(nil)})
	}
}

// forget drops what is over with its hour or day.
func (c *Collector) forget(now time.Time) {
	c.hour = identity.Hour(now)
	for h, epoch := range c.seen { // order doesn't show
		if epoch+4 < c.hour {
			delete(c.seen, h)
		}
	}
	for id, day := range c.callers { // order doesn't show
		if day+1 < c.hour/24 {
			delete(c.callers, id)
		}
	}
}

// Answer takes an answer to an Ask. from is the neighbour through which it
// came. What does not open is ignored.
func (c *Collector) Answer(now time.Time, ref uint32, from identity.NodeID, body []byte) {
	if !slices.Contains(c.asked, ref) {
		return
	}
	i := slices.IndexFunc(c.vias, func(v via) bool { return v.id == from })
	if i < 0 {
		if len(c.vias) == maxVias {
			return
		}
		i = len(c.vias)
		c.vias = append(c.vias, via{id: from})
	}
	m, err := Parse(body)
	if err != nil {
		return
	}
	a, ok := m.(KnocksMessage)
	if !ok {
		return
	}
	for _, b := range a.Knocks {
		h := sha256.Sum256(b)
		if _, ok := c.seen[h]; ok || c.vias[i].answers == maxOpens {
			continue
		}
		c.vias[i].answers++
		k, err := identity.OpenKnock(c.dev, b, now)
		if err != nil {
			continue
		}
		day, known := c.callers[k.From.Identity]
		if known && k.Epoch/24 <= day || !known && len(c.callers) >= maxCallers {
			continue
		}
		c.seen[h] = c.hour
		c.callers[k.From.Identity] = k.Epoch / 24
		c.events = append(c.events, Knocked{k})
	}
}

// Deadline returns when Advance is due.
func (c *Collector) Deadline() time.Time { return c.next }

// NextEvent returns the next event: Ask or Knocked.
func (c *Collector) NextEvent() (Event, bool) {
	if len(c.events) == 0 {
		return nil, false
	}
	ev := c.events[0]
	c.events = c.events[1:]
	return ev, true
}
