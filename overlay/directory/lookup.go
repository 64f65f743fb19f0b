// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// lookupLife bounds a lookup. After the loss of half a network, rings get
	// through in 8 s; looking for somebody longer than that helps nobody.
	lookupLife = 8 * time.Second

	// stagger is the time after which the neighbouring epochs are asked for
	// as well, when the present one has brought nothing: a round trip.
	stagger = 300 * time.Millisecond

	// askAgain is the time without any answer after which a key is asked for
	// again, maxAsks how often in all.
	askAgain = 2 * time.Second
	maxAsks  = 3

	// routes is how many disjoint routes a question takes, and how many
	// answers without a record show that there is none.
	routes = 3

	// agree is how many holders have to have answered before a lookup that
	// found something is over: one alone may keep the newest record back.
	agree = 2

	// maxVia bounds the answers listened to from one neighbour: two parts for
	// three keys, asked for twice. maxVias bounds the neighbours: three routes,
	// three times. So one that lies cannot use up what the others need.
	maxVia  = 12
	maxVias = 9

	// maxChecks bounds the verifications (0.4 ms each) for one neighbour: five
	// slots of three keys, and one newer. Copies of one record count once.
	maxChecks = 16
)

// ErrNotKey reports an ID for which no record can exist, whatever anybody
// publishes: it was made up.
var ErrNotKey = errors.New("directory: the ID is nobody's key")

// Ask asks the driver to route a question (kind Fetch) to Key over Copies
// disjoint routes, and to report each answer with Answer and their absence with
// Undelivered.
type Ask struct {
	Ref    uint32
	Key    Key
	Copies int
	Body   []byte
}

// Found tells of a device, at once when the first good record of it comes, and
// again when a newer one does. Records that say "gone" come only as a Gone for
// a device that was found before.
type Found struct{ Record identity.Record }

// FoundInbox tells of an inbox of the bare ID.
type FoundInbox struct{ Inbox identity.Inbox }

// FoundPrekeys tells of a device's prekeys.
type FoundPrekeys struct{ Prekeys identity.Prekeys }

// Gone tells that the device of a slot has withdrawn since what was Found.
type Gone struct{ Slot uint8 }

// Done ends a lookup. Nothing comes behind it.
type Done struct {
	Devices   int // found and not gone
	Answers   int
	Withdrawn bool // a device said that it is gone, and none is there
}

func (Ask) event()          {}
func (Found) event()        {}
func (FoundInbox) event()   {}
func (FoundPrekeys) event() {}
func (Gone) event()         {}
func (Done) event()         {}

// Lookup looks for the devices of one ID.
type Lookup struct {
	id     identity.ID
	secret identity.Secret
	kind   identity.GrantKind

	end     time.Time
	asks    []*ask
	slots   [identity.MaxSlots]best
	seen    map[[32]byte]bool // records that were looked at
	vias    []via
	answers int
	done    bool
	ref     uint32
	events  []Event
}

// ask is the state of one key.
type ask struct {
	key   Key
	refs  []uint32  // of each try
	at    time.Time // of the next try; zero = none
	good  []identity.NodeID
	empty []identity.NodeID // routes that brought nothing
	over  bool
}

// via is a neighbour that brings answers.
type via struct {
	id      identity.NodeID
	answers int // listened to, or knocks opened
	checks  int // of records
}

// best is the newest record of a slot.
type best struct {
	known    bool
	sequence uint64
	gone     bool
	told     bool
}

// NewLookup returns a lookup of the devices of id by a reach secret. The error
// is ErrNotKey, or says that the secret is zero.
func NewLookup(now time.Time, id identity.ID, secret identity.Secret) (*Lookup, error) {
	if secret == (identity.Secret{}) {
		return nil, errors.New("directory: lookup without a reach secret")
	}
	return newLookup(now, id, secret, identity.GrantReach)
}

// NewPrekeysLookup returns a lookup of the prekeys of id's devices by a reach
// secret. The errors are those of NewLookup.
func NewPrekeysLookup(now time.Time, id identity.ID, secret identity.Secret) (*Lookup, error) {
	if secret == (identity.Secret{}) {
		return nil, errors.New("directory: lookup without a reach secret")
	}
	return newLookup(now, id, secret, identity.GrantPrekeys)
}

// NewInboxLookup returns a lookup of the inboxes of a bare ID. The error is
// ErrNotKey.
func NewInboxLookup(now time.Time, id identity.ID) (*Lookup, error) {
	return newLookup(now, id, identity.Secret{}, identity.GrantInbox)
}

func newLookup(now time.Time, id identity.ID, secret identity.Secret, kind identity.GrantKind) (*Lookup, error) {
	if !id.IsKey() {
		return nil, ErrNotKey
	}
	l := &Lookup{id: id, secret: secret, kind: kind, end: now.Add(lookupLife), seen: map[[32]byte]bool{}}
	e := identity.Hour(now)
	if kind == identity.GrantPrekeys {
		e = identity.PrekeyPeriod(now)
	}
	for i, epoch := range []uint64{e, max(e, 1) - 1, e + 1} {
		var key Key
		switch kind {
		case identity.GrantReach:
			key = identity.RecordKey(secret, id, epoch)
		case identity.GrantInbox:
			key = identity.InboxKey(id, epoch)
		case identity.GrantPrekeys:
			key = identity.PrekeysKey(secret, id, epoch)
		}
		at := now
		if i > 0 {
			at = now.Add(stagger)
		}
		l.asks = append(l.asks, &ask{key: key, at: at})
	}
	l.Advance(now)
	return l, nil
}

// Advance asks what is due and ends the lookup when its time is over.
func (l *Lookup) Advance(now time.Time) {
	if l.done {
		return
	}
	if !now.Before(l.end) {
		l.finish()
		return
	}
	for _, a := range l.asks {
		if a.over || a.at.IsZero() || a.at.After(now) || l.found() {
			continue
		}
		l.ref++
		a.refs = append(a.refs, l.ref)
		if a.at = (time.Time{}); len(a.refs) < maxAsks {
			a.at = now.Add(askAgain)
		}
		l.events = append(l.events, Ask{Ref: l.ref, Key: a.key, Copies: routes, Body: FetchMessage{Key: a.key}.Append(nil)})
	}
}

// Answer takes an answer to an Ask. from is the neighbour through which it
// came: routes are told apart by it. What is malformed or not the ID's own is
// ignored.
func (l *Lookup) Answer(now time.Time, ref uint32, from identity.NodeID, body []byte) {
	a := l.byRef(ref)
	if l.done || a == nil {
		return
	}
	v := l.listen(from)
	if v == nil {
		return
	}
	l.answers++
	m, err := Parse(body)
	if err != nil {
		return
	}
	r, ok := m.(RecordsMessage)
	if !ok {
		return
	}
	for _, b := range r.Records {
		if l.record(now, b, a.key, v) && !slices.Contains(a.good, from) {
			a.good = append(a.good, from)
		}
	}
	if len(r.Records) == 0 && !slices.Contains(a.empty, from) {
		a.empty = append(a.empty, from)
	}
	a.over = a.over || len(a.good) >= agree || len(a.good)+len(a.empty) >= routes
	l.judge(now)
}

// listen counts an answer from a neighbour and returns its account, nil when it
// is not to be looked at.
func (l *Lookup) listen(from identity.NodeID) *via {
	i := slices.IndexFunc(l.vias, func(v via) bool { return v.id == from })
	if i < 0 {
		if len(l.vias) == maxVias {
			return nil
		}
		i = len(l.vias)
		l.vias = append(l.vias, via{id: from})
	}
	v := &l.vias[i]
	if v.answers == maxVia {
		return nil
	}
	v.answers++
	return v
}

// Undelivered takes the news that an Ask got no answer, or that no more come.
func (l *Lookup) Undelivered(now time.Time, ref uint32) {
	a := l.byRef(ref)
	if l.done || a == nil {
		return
	}
	if len(a.good)+len(a.empty) == 0 && len(a.refs) < maxAsks {
		if soon := now.Add(stagger); a.at.IsZero() || a.at.After(soon) {
			a.at = soon
		}
		return
	}
	a.over = true
	l.judge(now)
}

// judge advances the other keys when the first has nothing, and ends the
// lookup when all that was asked for has been answered.
func (l *Lookup) judge(now time.Time) {
	first := l.asks[0]
	if first.over && !l.found() {
		for _, a := range l.asks[1:] {
			if len(a.refs) == 0 {
				a.at = now
			}
		}
		l.Advance(now)
	}
	for _, a := range l.asks {
		if !a.over && !(len(a.refs) == 0 && l.found()) {
			return
		}
	}
	l.finish()
}

func (l *Lookup) finish() {
	if l.done {
		return
	}
	l.done = true
	d := Done{Answers: l.answers}
	gone := 0
	for _, b := range l.slots {
		switch {
		case b.known && b.gone:
			gone++
		case b.known:
			d.Devices++
		}
	}
	d.Withdrawn = d.Devices == 0 && gone > 0
	l.events = append(l.events, d)
}

// found tells whether a usable record has come, or word that all are gone.
func (l *Lookup) found() bool {
	return slices.ContainsFunc(l.slots[:], func(b best) bool { return b.known })
}

// record looks at a record and tells whether it is the ID's own, of the key
// that was asked for.
func (l *Lookup) record(now time.Time, b []byte, key Key, v *via) bool {
	// A record is its key's alone, so what holds for one ask holds for all.
	h := sha256.Sum256(b)
	if good, ok := l.seen[h]; ok {
		return good
	}
	info, err := identity.PeekRecord(b)
	if err != nil || info.Key != key {
		return false
	}
	if v.checks == maxChecks {
		return false
	}
	v.checks++
	l.seen[h] = false
	switch l.kind {
	case identity.GrantInbox:
		in, err := identity.OpenInbox(b, l.id, now)
		if err != nil {
			return false
		}
		if l.newer(in.Slot, in.Sequence, false) {
			l.events = append(l.events, FoundInbox{in})
		}
	case identity.GrantPrekeys:
		p, err := identity.OpenPrekeys(b, l.id, l.secret, now)
		if err != nil {
			return false
		}
		if l.newer(p.Slot, p.Sequence, false) {
			l.events = append(l.events, FoundPrekeys{p})
		}
	default:
		r, err := identity.OpenRecord(b, l.id, l.secret, now)
		if err != nil {
			return false
		}
		told := l.slots[r.Slot].told
		if l.newer(r.Slot, r.Sequence, r.At.Gone()) {
			if !r.At.Gone() {
				l.events = append(l.events, Found{r})
			} else if told {
				l.events = append(l.events, Gone{r.Slot})
			}
		}
	}
	l.seen[h] = true
	return true
}

// newer notes a record of a slot and tells whether it is newer than what was
// known.
func (l *Lookup) newer(slot uint8, sequence uint64, gone bool) bool {
	b := &l.slots[slot]
	if b.known && sequence <= b.sequence {
		return false
	}
	*b = best{known: true, sequence: sequence, gone: gone, told: !gone}
	return true
}

func (l *Lookup) byRef(ref uint32) *ask {
	for _, a := range l.asks {
		if slices.Contains(a.refs, ref) {
			return a
		}
	}
	return nil
}

// Deadline returns when Advance is due; zero when the lookup is over.
func (l *Lookup) Deadline() time.Time {
	if l.done {
		return time.Time{}
	}
	t := l.end
	for _, a := range l.asks {
		if !a.over && !a.at.IsZero() && a.at.Before(t) && !l.found() {
			t = a.at
		}
	}
	return t
}

// NextEvent returns the next event: Ask, Found, FoundInbox, FoundPrekeys, Gone
// or Done.
func (l *Lookup) NextEvent() (Event, bool) {
	if len(l.events) == 0 {
		return nil, false
	}
	ev := l.events[0]
	l.events = l.events[1:]
	return ev, true
}
