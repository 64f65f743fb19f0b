// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// MaxReach is how many reach secrets a device publishes: its own and 16 of
	// tickets. Each costs three records every 20 minutes, all together 4 kbit/s.
	MaxReach = 17

	// refresh is the time between two publications of a record, its jitter a
	// quarter. Holders hand records on by themselves; refreshing repairs what
	// all of them lost, and hides when something really changed.
	refresh = 20 * time.Minute

	// refreshPrekeys is the same for prekeys: 3.4 KB that last for weeks.
	refreshPrekeys = time.Hour

	// ahead is the time over which the records of a new next hour go out: only
	// clocks that are fast ask for them, and a pause for each keeps the hour's
	// change from showing which ones belong together.
	ahead = 10 * time.Minute

	// hurry bounds the delay of records that somebody may look for now.
	hurry = time.Second

	// catchUp bounds the delay of a correction in the records of the hours
	// before and after: only clocks that are wrong by an hour ask for them.
	catchUp = time.Minute

	// minGap is the time between two publications of one record, however often
	// the addresses flap.
	minGap = 2 * time.Second

	// Without an answer a publication is tried again after retryFirst, then
	// twice that, to retryMost. One route where two are wanted is tried again
	// retryWeak times: perhaps there is only one.
	retryFirst = 4 * time.Second
	retryMost  = 2 * time.Minute
	retryWeak  = 2

	// wantRoutes is over how many routes holders have to confirm: one may lie.
	wantRoutes = 2

	// maxRoutes bounds whom a publication remembers: three copies, five more
	// on a bad day.
	maxRoutes = 8

	// withdrawTries is how often "gone" is published without an answer.
	withdrawTries = 4

	// maxLead is how far a holder's sequence may be ahead of ours for us to
	// jump over it, in milliseconds: an earlier start with a clock that was
	// fast. A holder may lie; the jump does no harm but must not run away.
	maxLead = 4 * 3600 * 1000
)

// Reach is a reach secret to be found under.
type Reach struct {
	Secret  identity.Secret
	Grants  *identity.Grants // for a device without the identity key
	Prekeys *identity.Grants // likewise, of prekeys
}

// Publish asks the driver to route a message (kind Store) to Key and to report
// each answer with Answer. Silence needs no report.
type Publish struct {
	Ref  uint32
	Key  Key
	Body []byte // a StoreMessage
}

func (Publish) event() {}

// Publisher keeps this device's records published.
type Publisher struct {
	dev  *identity.Device
	slot uint8
	rng  *rand.Rand

	reach   []Reach // as set; the inbox is the zero secret
	at      identity.Location
	ready   bool   // at was set
	bundle  []byte // of prekeys; nil = none are published
	revoked identity.Revocations

	hour   uint64 // planned for
	last   uint64 // sequence
	ref    uint32
	items  []*publication
	events []Event
}

// publication is one record: a secret in an epoch, or with prekeys in a period.
type publication struct {
	reach   Reach
	prekeys bool
	epoch   uint64
	gone    bool // the secret is not in use any more, or the device leaves

	due    time.Time // zero = never
	sent   time.Time
	ref    uint32 // of the last sending
	wire   uint64 // sequence as holders see it
	jumped time.Time
	tries  int               // without enough answers
	routes []identity.NodeID // by which it was confirmed
	lacks  bool              // a grant, so it was not made
}

// granted tells whether there is a grant for it, where one is needed.
func (it *publication) granted(dev *identity.Device) bool {
	g := it.reach.Grants
	if it.prekeys {
		g = it.reach.Prekeys
	}
	return dev.Holder() || g.Covers(it.epoch)
}

func (it *publication) inbox() bool { return it.reach.Secret == identity.Secret{} }

// NewPublisher returns a publisher for a device's records in a slot. It
// publishes nothing before SetLocation. rng is for jitter.
func NewPublisher(dev *identity.Device, slot uint8, rng *rand.Rand) (*Publisher, error) {
	if slot >= identity.MaxSlots {
		return nil, fmt.Errorf("directory: slot %d, there are %d", slot, identity.MaxSlots)
	}
	return &Publisher{dev: dev, slot: slot, rng: rng}, nil
}

// SetReach sets all secrets to be found under, at most MaxReach without
// repetition. inbox opens the inbox of the bare ID; its grants are those of
// inboxGrants. Records of secrets that are left out are withdrawn.
func (p *Publisher) SetReach(now time.Time, list []Reach, inbox bool, inboxGrants *identity.Grants) error {
	if len(list) > MaxReach {
		return fmt.Errorf("directory: %d reach secrets, at most %d", len(list), MaxReach)
	}
	for i, r := range list {
		if r.Secret == (identity.Secret{}) || slices.ContainsFunc(list[:i], func(o Reach) bool { return o.Secret == r.Secret }) {
			return errors.New("directory: a reach secret is zero or repeated")
		}
	}
	p.reach = slices.Clone(list)
	if inbox {
		p.reach = append(p.reach, Reach{Grants: inboxGrants})
	}
	p.plan(now, false)
	return nil
}

// SetPrekeys sets the bundle that is published under all secrets; nil ends
// that. It fails when the bundle is too long.
func (p *Publisher) SetPrekeys(now time.Time, bundle []byte) error {
	if len(bundle) > identity.MaxBundle {
		return fmt.Errorf("directory: bundle of %d bytes, at most %d", len(bundle), identity.MaxBundle)
	}
	if bytes.Equal(bundle, p.bundle) && (bundle == nil) == (p.bundle == nil) {
		return nil
	}
	p.bundle = bytes.Clone(bundle)
	for _, it := range p.items {
		if it.prekeys {
			p.again(now, it, true)
		}
	}
	p.plan(now, false)
	return nil
}

// SetSlot moves the device's records to another slot. Those in the old one say
// "gone" no more: they end by themselves, and whose slot it is writes over them.
func (p *Publisher) SetSlot(now time.Time, slot uint8) error {
	if slot >= identity.MaxSlots {
		return fmt.Errorf("directory: slot %d, there are %d", slot, identity.MaxSlots)
	}
	if slot != p.slot {
		p.slot = slot
		p.plan(now, true)
	}
	return nil
}

// SetRevoked sets what records say of revoked devices of the identity.
func (p *Publisher) SetRevoked(now time.Time, v identity.Revocations) {
	if !bytes.Equal(v.Raw(), p.revoked.Raw()) {
		p.revoked = v
		p.plan(now, true)
	}
}

// SetLocation says where the device is. When that is new, all records go out
// at once. It fails when no record can hold it.
func (p *Publisher) SetLocation(now time.Time, at identity.Location) error {
	if err := at.Check(); err != nil {
		return err
	}
	changed := !p.ready || !at.Equal(p.at)
	p.at, p.ready = at, true
	p.plan(now, changed)
	return nil
}

// Withdraw publishes that the device is gone, once, for all that it has
// published: before it closes. Prekeys stay. SetLocation brings it back.
func (p *Publisher) Withdraw(now time.Time) {
	p.at, p.ready = identity.Location{}, false
	for _, it := range p.items {
		p.withdraw(now, it)
	}
}

// withdraw turns a publication into one that says "gone".
func (p *Publisher) withdraw(now time.Time, it *publication) {
	if it.gone {
		return
	}
	it.gone, it.tries, it.routes = true, 0, nil
	if it.due = now; it.sent.IsZero() || it.inbox() || it.prekeys {
		it.due = time.Time{} // nobody has heard of it, or it says nothing
	}
}

// plan makes the publications fit secrets, hour and location. changed says
// that what was published is not true any more.
func (p *Publisher) plan(now time.Time, changed bool) {
	e := identity.Hour(now)
	p.hour = e
	for _, it := range p.items {
		if !slices.ContainsFunc(p.reach, func(r Reach) bool { return r.Secret == it.reach.Secret }) {
			p.withdraw(now, it)
		}
	}
	period := identity.PrekeyPeriod(now)
	p.items = slices.DeleteFunc(p.items, func(it *publication) bool {
		if it.prekeys {
			return it.epoch > period+aheadEpochs || it.epoch < period || it.gone || p.bundle == nil
		}
		return it.epoch > e+aheadEpochs || it.epoch+behindEpochs < e || it.gone && it.due.IsZero()
	})
	if !p.ready {
		return
	}
	for _, r := range p.reach {
		for epoch := max(e, behindEpochs) - behindEpochs; epoch <= e+aheadEpochs; epoch++ {
			p.want(now, publication{reach: r, epoch: epoch}, epoch > e, changed)
		}
		if p.bundle == nil || r.Secret == (identity.Secret{}) {
			continue
		}
		for epoch := period; epoch <= period+aheadEpochs; epoch++ {
			p.want(now, publication{reach: r, prekeys: true, epoch: epoch}, epoch > period, false)
		}
	}
}

// want has a record published.
func (p *Publisher) want(now time.Time, w publication, later, changed bool) {
	i := slices.IndexFunc(p.items, func(it *publication) bool {
		return it.epoch == w.epoch && it.prekeys == w.prekeys && it.reach.Secret == w.reach.Secret
	})
	if i < 0 {
		wait := hurry
		if later {
			wait = ahead
		}
		w.due = now.Add(p.jitter(wait))
		p.items = append(p.items, &w)
		return
	}
	it := p.items[i]
	it.reach = w.reach // the grants may be new
	back := it.gone
	granted := it.lacks && w.granted(p.dev)
	it.lacks = it.lacks && !granted
	if it.gone {
		it.gone, changed = false, true
	}
	if changed || granted {
		p.again(now, it, back || granted)
	}
}

// again has a record published anew: it is not true any more. Those of the hours
// before and after can wait unless nobody can find the device by them.
func (p *Publisher) again(now time.Time, it *publication, back bool) {
	it.tries, it.routes = 0, nil
	if it.epoch == p.hour || it.prekeys || back {
		it.due = now.Add(p.jitter(hurry))
	} else if at := now.Add(p.jitter(catchUp)); it.due.IsZero() || at.Before(it.due) {
		it.due = at
	}
	if gap := it.sent.Add(minGap); !it.sent.IsZero() && it.due.Before(gap) {
		it.due = gap
	}
}

func (p *Publisher) jitter(d time.Duration) time.Duration {
	return time.Duration(p.rng.Int64N(int64(d)))
}

// Advance publishes what is due.
func (p *Publisher) Advance(now time.Time) {
	p.plan(now, false)
	for _, it := range p.items {
		if !it.due.IsZero() && !it.due.After(now) {
			p.publish(now, it)
		}
	}
	p.items = slices.DeleteFunc(p.items, func(it *publication) bool { return it.gone && it.due.IsZero() })
}

// publish makes and emits a record, and plans the next try.
func (p *Publisher) publish(now time.Time, it *publication) {
	p.last = max(p.last+1, uint64(max(now.UnixMilli(), 0)))
	b, place, err := p.record(it)
	if it.lacks = err != nil; err != nil {
		// No grant for this hour, or the like: nothing can be published before
		// the owner sets another.
		it.due = now.Add(refresh)
		return
	}
	info, err := identity.PeekRecord(b)
	if err != nil {
		panic(err) // our own record
	}
	p.ref++
	it.ref, it.sent, it.wire = p.ref, now, info.Sequence
	it.routes = nil
	it.due = now.Add(min(retryFirst<<min(it.tries, 8), retryMost))
	it.tries++
	if it.gone && it.tries >= withdrawTries {
		it.due = time.Time{}
	}
	p.events = append(p.events, Publish{Ref: it.ref, Key: place, Body: StoreMessage{Records: [][]byte{b}}.Append(nil)})
}

func (p *Publisher) record(it *publication) ([]byte, Key, error) {
	if it.inbox() {
		b, err := identity.MakeInbox(p.dev, p.slot, it.epoch, p.last, it.reach.Grants)
		return b, identity.InboxKey(p.dev.ID(), it.epoch), err
	}
	plan := identity.RecordPlan{
		Reach: it.reach.Secret, Epoch: it.epoch, Slot: p.slot, Sequence: p.last,
		Grants: it.reach.Grants, At: p.at, Revoked: p.revoked,
	}
	if it.prekeys {
		plan.Grants = it.reach.Prekeys
		b, err := identity.MakePrekeys(p.dev, plan, p.bundle)
		return b, identity.PrekeysKey(it.reach.Secret, p.dev.ID(), it.epoch), err
	}
	if it.gone {
		plan.At = identity.Location{}
	}
	b, err := identity.MakeRecord(p.dev, plan)
	return b, identity.RecordKey(it.reach.Secret, p.dev.ID(), it.epoch), err
}

// Answer takes an answer to a Publish, from whom holds the record now. via is
// the neighbour through which it came: answers over one route count once.
// Answers that are none are ignored: the record is published again.
func (p *Publisher) Answer(now time.Time, ref uint32, via identity.NodeID, body []byte) {
	it := p.byRef(ref)
	m, err := Parse(body)
	if it == nil || err != nil {
		return
	}
	a, ok := m.(StoredMessage)
	if !ok || len(a.Lines) != 1 {
		return
	}
	switch line := a.Lines[0]; {
	case line.Outcome == Stale && line.Sequence >= it.wire && line.Sequence-it.wire <= maxLead &&
		(it.jumped.IsZero() || now.Sub(it.jumped) >= refresh/2):
		// An earlier start of ours had a faster clock: go past it. Once, for a
		// holder that lies would have us publish for ever.
		it.jumped = now
		p.last += line.Sequence - it.wire
		if gap := it.sent.Add(minGap); it.due.IsZero() || it.due.After(gap) {
			it.due = gap
		}
	case line.Outcome.Held():
		if len(it.routes) < maxRoutes && !slices.Contains(it.routes, via) {
			it.routes = append(it.routes, via)
		}
		if len(it.routes) >= wantRoutes || it.tries > retryWeak {
			p.done(it)
		}
	}
}

// done plans the next publication after a good one.
func (p *Publisher) done(it *publication) {
	it.tries = 0
	if it.gone {
		it.due = time.Time{}
		return
	}
	every := refresh
	if it.prekeys {
		every = refreshPrekeys
	}
	if next := it.sent.Add(every - every/4); it.due.Before(next) {
		it.due = next.Add(p.jitter(every / 2))
	}
}

func (p *Publisher) byRef(ref uint32) *publication {
	for _, it := range p.items {
		if it.ref == ref && !it.sent.IsZero() {
			return it
		}
	}
	return nil
}

// Deadline returns when Advance is due; zero when nothing is published.
func (p *Publisher) Deadline() time.Time {
	var t time.Time
	if p.ready && len(p.reach) > 0 {
		t = identity.EpochEnd(p.hour)
	}
	for _, it := range p.items {
		if !it.due.IsZero() && (t.IsZero() || it.due.Before(t)) {
			t = it.due
		}
	}
	return t
}

// NextEvent returns the next event, a Publish.
func (p *Publisher) NextEvent() (Event, bool) {
	if len(p.events) == 0 {
		return nil, false
	}
	ev := p.events[0]
	p.events = p.events[1:]
	return ev, true
}

// PublisherStatus is what a publisher tells about itself.
type PublisherStatus struct {
	Records   int // that should be out
	Confirmed int // by a holder, in their last publication
}

// Status counts publications.
func (p *Publisher) Status() PublisherStatus {
	var st PublisherStatus
	for _, it := range p.items {
		if it.gone {
			continue
		}
		st.Records++
		if len(it.routes) > 0 {
			st.Confirmed++
		}
	}
	return st
}
