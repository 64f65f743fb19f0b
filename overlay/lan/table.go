// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxEntries bounds the addresses remembered: a full /24.
	maxEntries = 256
	// maxPerHost bounds those on one host: nobody runs more nodes on a computer
	// that others look for, and one host can't push out all others.
	maxPerHost = 16
	// tellEvery is how often an address is given out at most.
	tellEvery = time.Minute
	// tellBurst and then one tellPace are the addresses given out at most in a
	// row: a dial costs some milliseconds of processor.
	tellBurst = 32
	tellPace  = time.Second
	// maxEvents wait to be read; the oldest makes room.
	maxEvents = 64

	// What others say of their records' life is kept within these: questions
	// would follow each other too fast, or a dead node stay too long (RFC 6762
	// §10 has 75 minutes as the longest of those it recommends).
	leastLife = time.Minute
	mostLife  = 75 * time.Minute
)

// entry is a node's address on the LAN.
type entry struct {
	addr     netip.AddrPort
	instance string
	link     int
	heard    time.Time
	life     time.Duration
	jitter   time.Duration // of the questions that renew it
	renewals int           // asked since it was heard
	told     time.Time     // zero = never
}

func (e *entry) ends() time.Time { return e.heard.Add(e.life) }

// renew returns when to ask whether the entry holds still: at 80 and 90 % of
// its life (RFC 6762 §5.2, which has 85 and 95 as well); zero = no more.
func (e *entry) renew() time.Time {
	if e.renewals >= 2 {
		return time.Time{}
	}
	return e.heard.Add(e.life*time.Duration(8+e.renewals)/10 + e.jitter)
}

// table holds who is there, in the order in which they were heard last.
type table struct {
	list    []*entry
	tokens  int
	tokenAt time.Time // when the next one comes; zero = all there
	out     []netip.AddrPort
}

// hear takes an address that was proved to be in the LAN. It returns false when
// its host has too many.
func (t *table) hear(now time.Time, e entry) bool {
	host := 0
	for i, o := range t.list {
		if o.addr == e.addr {
			e.told = o.told
			*o = e
			t.list = append(slices.Delete(t.list, i, i+1), o)
			t.tell(now)
			return true
		}
		if o.addr.Addr() == e.addr.Addr() {
			host++
		}
	}
	if host >= maxPerHost {
		return false
	}
	if len(t.list) >= maxEntries {
		t.list = slices.Delete(t.list, 0, 1)
	}
	t.list = append(t.list, &e)
	t.tell(now)
	return true
}

// tell gives out what is due, those heard last first.
func (t *table) tell(now time.Time) {
	t.refill(now)
	for _, e := range slices.Backward(t.list) {
		if t.tokens == 0 {
			return
		}
		if !e.told.IsZero() && now.Before(e.told.Add(tellEvery)) {
			continue
		}
		e.told = now
		if t.tokens--; t.tokenAt.IsZero() {
			t.tokenAt = now.Add(tellPace)
		}
		if len(t.out) == maxEvents {
			t.out = slices.Delete(t.out, 0, 1)
		}
		t.out = append(t.out, e.addr)
	}
}

func (t *table) refill(now time.Time) {
	for !t.tokenAt.IsZero() && !now.Before(t.tokenAt) {
		if t.tokens++; t.tokens >= tellBurst {
			t.tokens, t.tokenAt = tellBurst, time.Time{}
			return
		}
		t.tokenAt = t.tokenAt.Add(tellPace)
	}
}

// expire forgets those that weren't renewed.
func (t *table) expire(now time.Time) {
	t.list = slices.DeleteFunc(t.list, func(e *entry) bool { return !now.Before(e.ends()) })
}

// bye forgets what an instance has at a host.
func (t *table) bye(instance string, host netip.Addr) {
	t.list = slices.DeleteFunc(t.list, func(e *entry) bool { return e.instance == instance && e.addr.Addr() == host })
}

// known returns the instances on an interface that needn't answer, newest
// first: those with more than half of their life ahead (RFC 6762 §7.1).
func (t *table) known(now time.Time, link int) (list []string) {
	for _, e := range slices.Backward(t.list) {
		if e.link == link && now.Before(e.heard.Add(e.life/2)) && !slices.Contains(list, e.instance) && len(list) < maxKnown {
			list = append(list, e.instance)
		}
	}
	return list
}

// deadline returns when tell or expire have something to do.
func (t *table) deadline() (at time.Time) {
	for _, e := range t.list {
		at = earlier(at, e.ends())
		due := e.told.Add(tellEvery)
		if t.tokens == 0 && due.Before(t.tokenAt) {
			due = t.tokenAt
		}
		at = earlier(at, due)
	}
	return at
}

// earlier returns the earlier of two times, where zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
