// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// post is a publication as the network sees it.
type post struct {
	at     time.Time
	ref    uint32
	key    Key
	record []byte
}

// owner drives a publisher by hand.
type owner struct {
	t     *testing.T
	dev   *identity.Device
	p     *Publisher
	now   time.Time
	reply func(post) []StoredLine // one answer for each line, over routes of their own; nil = silence
}

func newOwner(t *testing.T) *owner {
	t.Helper()
	d := newDevice(t)
	p, err := NewPublisher(d, 0, newRand(1))
	if err != nil {
		t.Fatal(err)
	}
	return &owner{t: t, dev: d, p: p, now: now, reply: held}
}

func held(post) []StoredLine { return []StoredLine{{Stored, 1}, {Stored, 1}, {Same, 1}} }

func silence(post) []StoredLine { return nil }

func (o *owner) reach(secrets ...identity.Secret) {
	o.t.Helper()
	var list []Reach
	for _, s := range secrets {
		list = append(list, Reach{Secret: s})
	}
	if err := o.p.SetReach(o.now, list, false, nil); err != nil {
		o.t.Fatal(err)
	}
}

func (o *owner) locate(l identity.Location) {
	o.t.Helper()
	if err := o.p.SetLocation(o.now, l); err != nil {
		o.t.Fatal(err)
	}
}

// run drives the publisher to a time and returns what it published.
func (o *owner) run(until time.Time) (list []post) {
	o.t.Helper()
	for d := o.p.Deadline(); !d.IsZero() && !d.After(until); d = o.p.Deadline() {
		if d.Before(o.now) {
			d = o.now
		}
		o.now = d
		o.p.Advance(o.now)
		for _, ev := range drain(o.p.NextEvent) {
			e := ev.(Publish)
			m, err := Parse(e.Body)
			if err != nil {
				o.t.Fatal(err)
			}
			x := post{o.now, e.Ref, e.Key, m.(StoreMessage).Records[0]}
			if info, err := identity.CheckRecord(x.record); err != nil || info.Key != e.Key {
				o.t.Fatalf("%+v, %v", info, err)
			}
			list = append(list, x)
			for i, line := range o.reply(x) {
				o.p.Answer(o.now, x.ref, node(byte(i)), StoredMessage{Lines: []StoredLine{line}}.Append(nil))
			}
		}
	}
	o.now = until
	return list
}

func (o *owner) open(x post, s identity.Secret) identity.Record {
	o.t.Helper()
	r, err := identity.OpenRecord(x.record, o.dev.ID(), s, o.now)
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// keysOf counts publications by key.
func keysOf(list []post) map[Key]int {
	m := map[Key]int{}
	for _, x := range list {
		m[x.key]++
	}
	return m
}

func TestPublisherEpochs(t *testing.T) {
	o := newOwner(t)
	s := o.dev.Reach()
	o.reach(s)
	if !o.p.Deadline().IsZero() {
		t.Error("something is due without a location")
	}
	o.locate(location(1))
	e := identity.Hour(now)
	// This hour and the last at once, the next within ten minutes.
	keys := keysOf(o.run(now.Add(hurry)))
	if len(keys) != 2 || keys[identity.RecordKey(s, o.dev.ID(), e)] != 1 || keys[identity.RecordKey(s, o.dev.ID(), e-1)] != 1 {
		t.Errorf("at once: %v", keys)
	}
	if keys = keysOf(o.run(now.Add(ahead))); len(keys) != 1 || keys[identity.RecordKey(s, o.dev.ID(), e+1)] != 1 {
		t.Errorf("then: %v", keys)
	}
	// Over hours, each hour's key is published from an hour before it to an
	// hour behind it, every 20 minutes and a quarter more or less.
	var list []post
	for range 4 * 30 {
		list = append(list, o.run(o.now.Add(2*time.Minute))...)
		if end := identity.EpochEnd(identity.Hour(o.now)); o.p.Deadline().After(end) {
			t.Errorf("sleeps past the hour, until %v", o.p.Deadline())
		}
	}
	times := map[Key][]time.Time{}
	for _, x := range list {
		times[x.key] = append(times[x.key], x.at)
	}
	for epoch := e - 1; epoch <= e+5; epoch++ {
		at := times[identity.RecordKey(s, o.dev.ID(), epoch)]
		begin, end := identity.EpochEnd(epoch-2), identity.EpochEnd(epoch+1)
		for i := range at {
			if at[i].Before(begin) || at[i].After(end) {
				t.Errorf("epoch %+d is published at %v", int(epoch-e), at[i])
			}
			if i > 0 && (at[i].Sub(at[i-1]) < refresh*3/4 || at[i].Sub(at[i-1]) > refresh*5/4) {
				t.Errorf("epoch %+d: %v between two", int(epoch-e), at[i].Sub(at[i-1]))
			}
		}
	}
	if at := times[identity.RecordKey(s, o.dev.ID(), e+2)]; len(at) < 6 || at[0].After(identity.EpochEnd(e).Add(ahead)) {
		t.Errorf("a whole life: %v", at)
	}
	if st := o.p.Status(); st.Records != 3 || st.Confirmed < 2 {
		t.Errorf("%+v", st)
	}
	// Two publications share no time: an observer can't pair them.
	slices.SortFunc(list, func(a, b post) int { return a.at.Compare(b.at) })
	for i := 1; i < len(list); i++ {
		if list[i].at.Equal(list[i-1].at) {
			t.Errorf("two records at %v", list[i].at)
		}
	}
}

func TestPublisherChange(t *testing.T) {
	o := newOwner(t)
	s := o.dev.Reach()
	o.reach(s)
	o.locate(location(1))
	o.run(now.Add(ahead + time.Minute))
	o.locate(location(1))
	if list := o.run(o.now.Add(hurry)); len(list) != 0 {
		t.Errorf("nothing changed, but %d records went out", len(list))
	}
	o.locate(location(2))
	list := o.run(o.now.Add(hurry))
	if k := keysOf(list); len(k) != 1 || k[identity.RecordKey(s, o.dev.ID(), identity.Hour(o.now))] == 0 {
		t.Errorf("%d records went out at once", len(list))
	}
	list = append(list, o.run(o.now.Add(catchUp))...)
	if len(keysOf(list)) != 3 {
		t.Errorf("%d records went out in a minute", len(list))
	}
	for _, x := range list {
		if r := o.open(x, s); !r.At.Equal(location(2)) {
			t.Errorf("%+v", r.At)
		}
	}
	// Flapping addresses don't flood.
	count, from := 0, o.now
	for n := range 100 {
		o.locate(location(byte(n)))
		count += len(o.run(from.Add(time.Duration(n) * 100 * time.Millisecond)))
	}
	if count > 3*6 {
		t.Errorf("%d records in 10 s", count)
	}
	last := o.run(o.now.Add(minGap + hurry))
	if len(last) == 0 || !o.open(last[len(last)-1], s).At.Equal(location(99)) {
		t.Error("the last address is not published")
	}
	if err := o.p.SetLocation(o.now, identity.Location{Node: make([]byte, 32)}); err == nil {
		t.Error("a location without a key is accepted")
	}
}

// Sequences rise, over restarts too, and for holders newest wins.
func TestPublisherSequence(t *testing.T) {
	o := newOwner(t)
	s := o.dev.Reach()
	o.reach(s)
	o.locate(location(1))
	list := o.run(now.Add(2 * time.Minute))
	o.locate(location(2))
	list = append(list, o.run(o.now.Add(time.Minute))...)
	seen := map[Key]uint64{}
	for _, x := range list {
		info, err := identity.CheckRecord(x.record)
		if err != nil || info.Sequence <= seen[x.key] {
			t.Errorf("sequence %d behind %d", info.Sequence, seen[x.key])
		}
		seen[x.key] = info.Sequence
	}
	// After a restart with a clock that is half an hour slower, holders call
	// the records stale; the publisher goes past what they hold, once.
	p, err := NewPublisher(o.dev, 0, newRand(2))
	if err != nil {
		t.Fatal(err)
	}
	again := &owner{t: t, dev: o.dev, p: p, now: now.Add(-15 * time.Minute)}
	again.reply = func(x post) []StoredLine {
		info, err := identity.CheckRecord(x.record)
		if err != nil {
			t.Fatal(err)
		}
		if info.Sequence <= seen[x.key] {
			return []StoredLine{{Stale, seen[x.key]}}
		}
		return []StoredLine{{Stored, info.Sequence}, {Stored, info.Sequence}}
	}
	again.reach(s)
	again.locate(location(3))
	list = again.run(again.now.Add(10 * time.Second))
	better := 0
	for _, x := range list {
		if info, err := identity.PeekRecord(x.record); err == nil && info.Sequence > seen[x.key] {
			better++
		}
	}
	if better < 2 || len(list) > 8 {
		t.Errorf("%d of %d pass the old ones", better, len(list))
	}
	// A holder that lies makes it publish a few times more, not for ever.
	again.reply = func(x post) []StoredLine {
		info, _ := identity.PeekRecord(x.record)
		return []StoredLine{{Stored, 1}, {Stored, 1}, {Stale, info.Sequence + 1000}}
	}
	again.locate(location(4))
	if n := len(again.run(again.now.Add(5 * time.Minute))); n > 8 {
		t.Errorf("a lying holder causes %d publications in 5 minutes", n)
	}
}

func TestPublisherRetries(t *testing.T) {
	o := newOwner(t)
	o.reply = silence
	o.reach(o.dev.Reach())
	o.locate(location(1))
	list := o.run(now.Add(time.Minute))
	key := identity.RecordKey(o.dev.Reach(), o.dev.ID(), identity.Hour(now))
	if n := keysOf(list)[key]; n < 4 || n > 5 { // 0, 4, 12, 28, 60 s
		t.Errorf("%d tries in a minute of silence", n)
	}
	before := len(o.run(o.now.Add(10 * time.Minute)))
	if before > 3*(2+5)+8 {
		t.Errorf("%d tries in ten minutes", before)
	}
	// One holder is enough after two more tries: perhaps there is only one.
	one := newOwner(t)
	one.reply = func(post) []StoredLine { return []StoredLine{{Stored, 1}} }
	one.reach(one.dev.Reach())
	one.locate(location(1))
	key = identity.RecordKey(one.dev.Reach(), one.dev.ID(), identity.Hour(now))
	if n := keysOf(one.run(now.Add(10 * time.Minute)))[key]; n != 1+retryWeak {
		t.Errorf("%d tries with one holder", n)
	}
	// Refusals are no confirmation, nor is one route that answers twice, nor nonsense.
	bad := newOwner(t)
	bad.reply = func(x post) []StoredLine {
		bad.p.Answer(bad.now, x.ref, node(9), StoredMessage{Lines: []StoredLine{{Stored, 1}}}.Append(nil))
		bad.p.Answer(bad.now, x.ref, node(9), StoredMessage{Lines: []StoredLine{{Stored, 1}}}.Append(nil))
		bad.p.Answer(bad.now, x.ref, node(8), []byte{1, 2, 3})
		bad.p.Answer(bad.now, x.ref, node(8), FetchMessage{}.Append(nil))
		bad.p.Answer(bad.now, x.ref+100, node(7), StoredMessage{Lines: []StoredLine{{Stored, 1}}}.Append(nil))
		return []StoredLine{{Full, 0}, {Refused, 0}, {Busy, 0}, {WrongEpoch, 0}}
	}
	bad.reach(bad.dev.Reach())
	bad.locate(location(1))
	key = identity.RecordKey(bad.dev.Reach(), bad.dev.ID(), identity.Hour(now))
	if n := keysOf(bad.run(now.Add(5 * time.Second)))[key]; n < 2 {
		t.Errorf("%d tries", n)
	}
}

// A ticket that is used up is withdrawn, and so is everything at the end.
func TestPublisherWithdraws(t *testing.T) {
	o := newOwner(t)
	one, two := identity.Secret{1}, identity.Secret{2}
	o.reach(one, two)
	o.locate(location(1))
	if n := len(keysOf(o.run(now.Add(ahead)))); n != 6 {
		t.Fatalf("%d keys", n)
	}
	o.reach(one)
	list := o.run(o.now.Add(time.Second))
	if len(list) != 3 {
		t.Errorf("%d records", len(list))
	}
	for _, x := range list {
		if r := o.open(x, two); !r.At.Gone() {
			t.Errorf("%+v", r)
		}
	}
	// Taken back before the withdrawal was heard.
	o.reach(one, two)
	o.run(o.now.Add(ahead))
	o.reply = silence
	o.reach(one)
	o.run(o.now.Add(time.Second))
	o.reach(one, two)
	o.reply = held
	back := o.run(o.now.Add(minGap)) // before the withdrawal's next try
	if len(back) != 3 || !o.open(back[0], two).At.Equal(location(1)) {
		t.Errorf("%d records of a secret that is back", len(back))
	}
	o.reach(one)
	o.run(o.now.Add(minGap))
	o.p.Withdraw(o.now)
	for _, x := range o.run(o.now.Add(time.Second)) {
		if r := o.open(x, one); !r.At.Gone() {
			t.Errorf("%+v", r)
		}
	}
	if list := o.run(o.now.Add(2 * time.Hour)); len(list) != 0 || o.p.Status().Records != 0 {
		t.Errorf("%d records after the end", len(list))
	}
	// And it can come back.
	o.locate(location(2))
	if n := len(keysOf(o.run(o.now.Add(hurry)))); n != 2 {
		t.Errorf("%d keys after coming back", n)
	}
	// In silence, withdrawing ends by itself.
	o.reply = silence
	o.p.Withdraw(o.now)
	if n := len(o.run(o.now.Add(time.Hour))); n == 0 || n > 3*withdrawTries {
		t.Errorf("%d withdrawals in silence", n)
	}
	// Coming back before a withdrawal has left.
	o.locate(location(3))
	o.p.Withdraw(o.now)
	o.locate(location(4))
	o.reply = held
	list = o.run(o.now.Add(minGap + hurry))
	if len(list) < 2 || !o.open(list[len(list)-1], one).At.Equal(location(4)) {
		t.Errorf("%d records after a change of mind", len(list))
	}
}

func TestPublisherInbox(t *testing.T) {
	o := newOwner(t)
	if err := o.p.SetReach(now, nil, true, nil); err != nil {
		t.Fatal(err)
	}
	o.locate(location(1))
	list := o.run(now.Add(hurry))
	if len(list) != 2 {
		t.Fatalf("%d records", len(list))
	}
	if in, err := identity.OpenInbox(list[0].record, o.dev.ID(), now); err != nil || in.ID != o.dev.ID() {
		t.Errorf("%+v, %v", in, err)
	}
	o.reach()
	if list := o.run(o.now.Add(time.Hour)); len(list) != 0 {
		t.Errorf("%d records of a closed inbox", len(list))
	}
}

func TestPublisherLimits(t *testing.T) {
	o := newOwner(t)
	var list []Reach
	for i := range MaxReach + 1 {
		list = append(list, Reach{Secret: identity.Secret{byte(i + 1)}})
	}
	for what, bad := range map[string][]Reach{"too many": list, "twice": {list[0], list[0]}, "zero": {{}}} {
		if o.p.SetReach(now, bad, false, nil) == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := NewPublisher(o.dev, identity.MaxSlots, newRand(1)); err == nil {
		t.Error("a sixth slot is accepted")
	}
	if err := o.p.SetReach(now, list[:MaxReach], true, nil); err != nil {
		t.Fatal(err)
	}
	o.locate(location(1))
	if n := len(keysOf(o.run(now.Add(ahead)))); n != 3*(MaxReach+1) {
		t.Errorf("%d keys", n)
	}
}

// Same seed, same times and keys.
func TestPublisherTrace(t *testing.T) {
	d := newDevice(t)
	trace := func() (out string) {
		p, err := NewPublisher(d, 0, newRand(5))
		if err != nil {
			t.Fatal(err)
		}
		o := &owner{t: t, dev: d, p: p, now: now, reply: held}
		o.reach(identity.Secret{1}, identity.Secret{2})
		o.locate(location(1))
		for _, x := range o.run(now.Add(90 * time.Minute)) {
			out += fmt.Sprintf("%v %x\n", x.at.Sub(now), x.key[:4])
		}
		return out
	}
	if a, b := trace(), trace(); a != b || len(a) == 0 {
		t.Error("two runs differ")
	}
}

// A device whose grants come late, and in parts, publishes as soon as it has
// some; its records say what is revoked, and move with its slot.
func TestPublishGranted(t *testing.T) {
	owner := newDevice(t)
	n, err := identity.NewNewcomer("laptop")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := owner.SealGranted(now, n.Key(), n.Sealing(), "laptop", 1, list(t, owner), identity.Revocations{}, false)
	if err != nil {
		t.Fatal(err)
	}
	g, err := n.Open(owner.ID(), sealed, now)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := n.Device(g)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPublisher(dev, 1, newRand(1))
	if err != nil {
		t.Fatal(err)
	}
	reach := func(at time.Time, g *identity.Grants) {
		t.Helper()
		if err := p.SetReach(at, []Reach{{Secret: dev.Reach(), Grants: g}}, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	// posts lets time pass and returns what is published by epoch.
	at := now
	posts := func(d time.Duration) map[uint64]identity.Record {
		t.Helper()
		out := map[uint64]identity.Record{}
		for end := at.Add(d); ; {
			if next := p.Deadline(); next.IsZero() || next.After(end) {
				at = end
				return out
			} else {
				at = next
			}
			p.Advance(at)
			for _, ev := range drain(p.NextEvent) {
				m, err := Parse(ev.(Publish).Body)
				if err != nil {
					t.Fatal(err)
				}
				r, err := identity.OpenRecord(m.(StoreMessage).Records[0], dev.ID(), dev.Reach(), at)
				if err != nil {
					t.Fatal(err)
				}
				out[r.Epoch] = r
			}
		}
	}
	reach(at, nil)
	if err := p.SetLocation(at, location(1)); err != nil {
		t.Fatal(err)
	}
	if got := posts(time.Minute); len(got) != 0 {
		t.Errorf("%d records without a grant", len(got))
	}
	e := identity.Hour(now)
	for n := 2; n <= 8; n++ { // grants drip in faster than records go out
		g, err := owner.Grant(identity.GrantReach, dev.Reach(), dev.Certificate().Device, 1, e-1, n)
		if err != nil {
			t.Fatal(err)
		}
		reach(at, g)
		posts(10 * time.Millisecond)
	}
	if got := posts(ahead); len(got) != 3 || got[e].Device.DeviceID() != dev.Certificate().DeviceID() || got[e].Slot != 1 {
		t.Errorf("%d records, epoch %d: %+v", len(got), e, got[e])
	}
	// Revocations go into all records within a minute.
	l, err := identity.MakeDeviceList(owner, 2, []identity.Listed{{Device: identity.DeviceID{9}, Revoked: true, Until: now.Add(time.Hour)}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := l.Revocations(owner)
	if err != nil {
		t.Fatal(err)
	}
	p.SetRevoked(at, v)
	if got := posts(catchUp + minGap); len(got) != 3 || len(got[e].Revoked.Devices) != 1 {
		t.Errorf("%d records, %+v", len(got), got[e].Revoked)
	}
	// Another slot needs grants of its own.
	if err := p.SetSlot(at, 2); err != nil {
		t.Fatal(err)
	}
	if got := posts(5 * time.Second); len(got) != 0 {
		t.Errorf("%d records in a slot without grants", len(got))
	}
	two, err := owner.Grant(identity.GrantReach, dev.Reach(), dev.Certificate().Device, 2, e-1, 5)
	if err != nil {
		t.Fatal(err)
	}
	reach(at, two)
	if got := posts(ahead); len(got) != 3 || got[e].Slot != 2 {
		t.Errorf("%d records, slot %d", len(got), got[e].Slot)
	}
	if p.SetSlot(at, identity.MaxSlots) == nil {
		t.Error("slot 5 was taken")
	}
}

func list(t *testing.T, d *identity.Device) identity.DeviceList {
	t.Helper()
	l, err := identity.MakeDeviceList(d, 1, []identity.Listed{{Device: d.Certificate().DeviceID(), Until: now.Add(time.Hour)}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
