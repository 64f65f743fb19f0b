// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// clan is a few Kins whose links a test makes and breaks by hand.
type clan struct {
	t    *testing.T
	now  time.Time
	all  []*member
	lose func(from, to *member, b []byte) bool // nil = nothing is lost
}

// member is a device with its Kin and what it was told.
type member struct {
	dev    *identity.Device
	k      *Kin
	peer   Peer
	linked []*member
	told   []KinEvent
	errs   []error
}

var kinTime = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func newClan(t *testing.T) *clan { return &clan{t: t, now: kinTime} }

func (c *clan) add(d *identity.Device, st KinState) *member {
	m := &member{dev: d, k: NewKin(c.now, d, st)}
	m.peer = Peer{Identity: d.ID(), Device: d.Certificate().DeviceID(), Node: identity.NodeID{byte(len(c.all) + 1)}}
	c.all = append(c.all, m)
	return m
}

func (c *clan) person(name string) *member {
	c.t.Helper()
	d, err := identity.NewDevice(c.now, name)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.add(d, KinState{})
}

func (c *clan) link(a, b *member) {
	for _, p := range [][2]*member{{a, b}, {b, a}} {
		if slices.Contains(p[0].linked, p[1]) {
			continue
		}
		p[0].linked = append(p[0].linked, p[1])
		if p[0].dev.ID() == p[1].dev.ID() {
			p[0].k.Meet(c.now, p[1].peer, p[1].dev.Certificate())
		}
	}
	c.settle()
}

func (c *clan) part(a, b *member) {
	for _, p := range [][2]*member{{a, b}, {b, a}} {
		p[0].linked = slices.DeleteFunc(p[0].linked, func(m *member) bool { return m == p[1] })
		p[0].k.Lost(p[1].peer)
	}
	c.settle()
}

// settle carries messages until nobody has anything to say.
func (c *clan) settle() {
	c.t.Helper()
	for range 1000 {
		busy := false
		for _, m := range c.all {
			for e, ok := m.k.NextEvent(); ok; e, ok = m.k.NextEvent() {
				m.told = append(m.told, e)
			}
			for o, ok := m.k.Poll(); ok; o, ok = m.k.Poll() {
				busy = true
				for _, to := range m.linked {
					if to.peer == o.To && (c.lose == nil || !c.lose(m, to, o.Body)) {
						if len(o.Body) > maxDevice {
							c.t.Fatalf("a message of %d bytes", len(o.Body))
						}
						if err := to.k.Receive(c.now, m.peer, o.Body); err != nil {
							to.errs = append(to.errs, err)
						}
					}
				}
			}
		}
		if !busy {
			return
		}
	}
	c.t.Fatal("they talk for ever")
}

// pass lets time go by.
func (c *clan) pass(d time.Duration) {
	end := c.now.Add(d)
	for {
		next := end
		for _, m := range c.all {
			if at := m.k.Deadline(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		c.now = next
		for _, m := range c.all {
			m.k.Advance(c.now)
		}
		c.settle()
		if !c.now.Before(end) {
			return
		}
	}
}

// last returns the latest event of a type.
func last[E KinEvent](m *member) (e E, ok bool) {
	for _, x := range slices.Backward(m.told) {
		if e, ok := x.(E); ok {
			return e, true
		}
	}
	return e, false
}

// join links a newcomer to a holder up to the user's question, and returns its
// keys.
func (c *clan) join(newcomer, holder *member, name string) *identity.Newcomer {
	c.t.Helper()
	n, err := identity.NewNewcomer(name)
	if err != nil {
		c.t.Fatal(err)
	}
	c.link(newcomer, holder)
	newcomer.k.Join(holder.peer, n)
	c.settle()
	return n
}

// adopt has a holder take a newcomer in, and returns the new device.
func (c *clan) adopt(holder *member, name string, asHolder bool) *member {
	c.t.Helper()
	newcomer := c.person("new")
	c.join(newcomer, holder, name)
	asked, ok := last[KinAsked](holder)
	if !ok || asked.Name != name {
		c.t.Fatalf("%+v", holder.told)
	}
	code, ok := last[KinCode](newcomer)
	if !ok || code.Code != asked.Code || len(code.Code) != 6 {
		c.t.Fatalf("codes %q and %q", code.Code, asked.Code)
	}
	if err := holder.k.Approve(c.now, asked.Device, asHolder); err != nil {
		c.t.Fatal(err)
	}
	c.settle()
	j, ok := last[KinJoined](newcomer)
	if !ok {
		c.t.Fatalf("%+v, %v", newcomer.told, newcomer.errs)
	}
	newcomer.k.Joined()
	c.settle()
	if over, ok := last[KinAskOver](holder); !ok || !over.Linked || over.Device != asked.Device {
		c.t.Errorf("%+v", over)
	}
	c.part(newcomer, holder)
	return c.add(j.Device, KinState{List: j.Granted.List, Revoked: j.Granted.Revoked})
}

// A device is linked, published by grants, renewed, and never a holder unless
// the user wanted that.
func TestKinLink(t *testing.T) {
	c := newClan(t)
	a := c.person("phone")
	b := c.adopt(a, "laptop", false)
	if b.dev.ID() != a.dev.ID() || b.dev.Holder() || b.k.Slot() != 1 || a.k.Slot() != 0 {
		t.Fatalf("slots %d and %d", a.k.Slot(), b.k.Slot())
	}
	if g := b.k.Grants(identity.GrantReach, identity.Secret{}); g.Len() != 0 {
		t.Error("grants from nowhere")
	}
	c.link(a, b)
	if len(a.errs)+len(b.errs) > 0 {
		t.Errorf("%v, %v", a.errs, b.errs)
	}
	g := b.k.Grants(identity.GrantReach, identity.Secret{})
	if e := identity.Hour(c.now); !g.Covers(e-1) || !g.Covers(e+grantAhead-grantStep) {
		t.Errorf("grants for %d hours from %d, it is %d", g.Len(), g.First, e)
	}
	if g := b.k.Grants(identity.GrantPrekeys, identity.Secret{}); !g.Covers(identity.PrekeyPeriod(c.now)) || !g.Covers(identity.PrekeyPeriod(c.now)+1) {
		t.Errorf("grants for %d periods", g.Len())
	}
	rec, err := identity.MakeRecord(b.dev, identity.RecordPlan{Reach: a.dev.Reach(), Slot: 1, Epoch: identity.Hour(c.now), Grants: g})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := identity.OpenRecord(rec, a.dev.ID(), a.dev.Reach(), c.now); err != nil || r.Device.DeviceID() != b.peer.Device {
		t.Error(err)
	}
	// A second one, a holder: it links a third.
	h := c.adopt(a, "tablet", true)
	if !h.dev.Holder() || h.k.Slot() != 2 {
		t.Fatalf("holder %v, slot %d", h.dev.Holder(), h.k.Slot())
	}
	third := c.adopt(h, "old phone", false)
	if third.k.Slot() != 3 {
		t.Errorf("slot %d", third.k.Slot())
	}
	c.link(a, h) // the lists meet
	c.link(b, h)
	for _, m := range []*member{a, b, h} {
		if n := len(m.k.Devices()); n != 4 {
			t.Errorf("%d devices known", n)
		}
	}
	// Weeks later: grants and certificates are kept fresh.
	before := b.dev.Certificate().NotAfter
	c.pass(35 * 24 * time.Hour)
	if g := b.k.Grants(identity.GrantReach, identity.Secret{}); !g.Covers(identity.Hour(c.now)) || !g.Covers(identity.Hour(c.now)+grantAhead-2*grantStep) || g.First+2*grantStep < identity.Hour(c.now) {
		t.Errorf("grants for %d hours from %d, it is %d", g.Len(), g.First, identity.Hour(c.now))
	}
	if !b.dev.Certificate().NotAfter.After(before) {
		t.Error("the certificate was not renewed")
	}
	c.pass(60 * 24 * time.Hour)
	if err := a.dev.Certificate().Check(c.now); err != nil {
		t.Errorf("the holder's own: %v", err)
	}
	if _, ok := last[KinRenewed](a); !ok {
		t.Error("nobody was told")
	}
	if n := len(a.k.Devices()); n != 3 {
		t.Errorf("%d devices, without the one that was never seen again", n)
	}
	if len(a.errs)+len(b.errs)+len(h.errs) > 0 {
		t.Errorf("%v, %v, %v", a.errs, b.errs, h.errs)
	}
	// What lasts, lasts.
	st := b.k.State()
	again := NewKin(c.now, b.dev, st)
	if again.Slot() != 1 || again.Grants(identity.GrantReach, identity.Secret{}).Len() != b.k.Grants(identity.GrantReach, identity.Secret{}).Len() || len(again.Devices()) != 3 {
		t.Errorf("after a restart: slot %d, %d devices", again.Slot(), len(again.Devices()))
	}
}

// A revoked device gets nothing any more, and everybody learns it.
func TestKinRevoke(t *testing.T) {
	c := newClan(t)
	a := c.person("phone")
	b := c.adopt(a, "laptop", false)
	lost := c.adopt(a, "lost", false)
	c.link(a, b)
	c.link(b, lost)
	if err := b.k.Revoke(c.now, lost.peer.Device); !errors.Is(err, ErrNotHolder) {
		t.Errorf("by one that may not: %v", err)
	}
	if err := a.k.Revoke(c.now, identity.DeviceID{9}); !errors.Is(err, ErrNoDevice) {
		t.Errorf("of nobody: %v", err)
	}
	if err := a.k.Revoke(c.now, a.peer.Device); !errors.Is(err, ErrNoDevice) {
		t.Errorf("of itself: %v", err)
	}
	if err := a.k.Revoke(c.now, lost.peer.Device); err != nil {
		t.Fatal(err)
	}
	c.settle()
	if e, ok := last[KinChanged](b); !ok || len(e.Revoked.Devices) != 1 || e.Revoked.Devices[0] != lost.peer.Device {
		t.Errorf("%+v", e)
	}
	if !lost.k.Revoked() { // b has told it
		t.Error("the lost one does not know")
	}
	if b.k.kinsman(lost.peer) != nil {
		t.Error("it is still a kinsman")
	}
	c.link(a, lost)
	wants := appendDevice(kinWant, []byte{0}, u32(uint32(identity.Hour(c.now))), []byte{1})
	if err := a.k.Receive(c.now, lost.peer, wants); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("a revoked one asks for grants: %v", err)
	}
	if lost.k.Grants(identity.GrantReach, identity.Secret{}).Covers(identity.Hour(c.now) + grantAhead) {
		t.Error("it was given grants")
	}
	if err := a.k.Revoke(c.now, lost.peer.Device); err != nil {
		t.Errorf("twice: %v", err)
	}
	// Its slot stays empty until nothing can be done with it.
	if next := c.adopt(a, "next", false); next.k.Slot() == lost.k.Slot() {
		t.Error("its slot was given again")
	}
	// An old list changes nothing.
	st := a.k.State()
	for _, m := range []*member{a, b} {
		seq := m.k.list.Sequence
		first, err := identity.MakeDeviceList(a.dev, 1, []identity.Listed{{Device: lost.peer.Device, Slot: 2, Until: c.now.Add(time.Hour)}})
		if err != nil {
			t.Fatal(err)
		}
		other := a
		if m == a {
			other = b
		}
		m.k.Receive(c.now, other.peer, appendDevice(kinList, first.Raw()))
		if m.k.list.Sequence < seq || !m.k.gone(lost.peer.Device) {
			t.Error("an old list brought it back")
		}
	}
	if again := NewKin(c.now, a.dev, st); !again.gone(lost.peer.Device) {
		t.Error("forgotten by a restart")
	}
	// Eight at the most.
	for range identity.MaxRevoked - 1 {
		m := c.adopt(a, "x", false)
		if err := a.k.Revoke(c.now, m.peer.Device); err != nil {
			t.Fatal(err)
		}
		c.now = c.now.Add(time.Hour)
		a.k.list.Devices = slices.Clone(a.k.list.Devices)
		for i := range a.k.list.Devices { // free the slots, or five were the end
			if a.k.list.Devices[i].Revoked {
				a.k.list.Devices[i].Slot = 4
			}
		}
	}
	m := c.adopt(a, "one more", false)
	if err := a.k.Revoke(c.now, m.peer.Device); !errors.Is(err, identity.ErrDevices) {
		t.Errorf("a ninth: %v", err)
	}
}

// Two holders that did not meet for a month agree on who is a device.
func TestKinDiverged(t *testing.T) {
	c := newClan(t)
	a := c.person("a")
	h := c.adopt(a, "h", true)
	x := c.adopt(a, "x", false)
	c.link(a, h)
	c.part(a, h)
	y := c.adopt(a, "y", false)
	z := c.adopt(h, "z", false) // has y's slot
	if err := h.k.Revoke(c.now, x.peer.Device); err != nil {
		t.Fatal(err)
	}
	c.pass(30 * 24 * time.Hour)
	c.link(a, h)
	c.link(z, h)
	c.link(y, a)
	if len(a.errs)+len(h.errs)+len(y.errs)+len(z.errs) > 0 {
		t.Errorf("%v %v %v %v", a.errs, h.errs, y.errs, z.errs)
	}
	for _, m := range []*member{a, h, y, z} {
		if !bytes.Equal(m.k.list.Raw(), a.k.list.Raw()) || !m.k.gone(x.peer.Device) {
			t.Errorf("%q knows another list", m.dev.Certificate().Name)
		}
	}
	slots := map[uint8]bool{}
	for _, d := range a.k.Devices() {
		if !d.Revoked {
			if slots[d.Slot] {
				t.Errorf("slot %d twice", d.Slot)
			}
			slots[d.Slot] = true
		}
	}
	if len(slots) != 4 {
		t.Errorf("%d devices", len(slots))
	}
	for _, m := range []*member{y, z} {
		if g := m.k.Grants(identity.GrantReach, identity.Secret{}); !g.Covers(identity.Hour(c.now)) || g.Slot != m.k.Slot() {
			t.Errorf("%q has slot %d, and grants for another", m.dev.Certificate().Name, m.k.Slot())
		}
	}
}

// Who asks in a wrong way, too often, or without being heard, gets nowhere.
func TestKinBadAsks(t *testing.T) {
	c := newClan(t)
	a := c.person("phone")
	b := c.adopt(a, "laptop", false)
	stranger := c.person("stranger")
	c.join(stranger, b, "x")
	if e, ok := last[KinRefused](stranger); !ok || !errors.Is(e.Why, ErrNotHolder) {
		t.Errorf("asked one that may not: %+v", e)
	}
	// Another nonce, or key, than was committed to.
	n, _ := identity.NewNewcomer("x")
	sealing := n.Sealing()
	c.link(stranger, a)
	ask := appendDevice(kinAsk, n.Key(), sealing[:], []byte("x"), make([]byte, 32))
	if err := a.k.Receive(c.now, stranger.peer, ask); err != nil {
		t.Fatal(err)
	}
	if err := a.k.Receive(c.now, stranger.peer, appendDevice(kinReveal, n.Nonce[:], make([]byte, 64))); !errors.Is(err, ErrForged) {
		t.Errorf("another nonce: %v", err)
	}
	if err := a.k.Receive(c.now, stranger.peer, appendDevice(kinReveal, n.Nonce[:], make([]byte, 64))); !errors.Is(err, ErrReplay) {
		t.Errorf("again: %v", err)
	}
	if err := a.k.Receive(c.now, b.peer, ask); !errors.Is(err, ErrMessage) {
		t.Errorf("asked by an own device: %v", err)
	}
	bad := appendDevice(kinAsk, n.Key(), sealing[:], []byte("a\nb"), make([]byte, 32))
	if err := a.k.Receive(c.now, stranger.peer, bad); !errors.Is(err, ErrMessage) {
		t.Errorf("a name with a line break: %v", err)
	}
	// Three at a time; one that is refused is quiet for a while.
	var askers []*member
	for range maxAsks + 1 {
		m := c.person("asker")
		c.join(m, a, "y")
		askers = append(askers, m)
	}
	if e, ok := last[KinRefused](askers[maxAsks]); !ok || !errors.Is(e.Why, ErrBusy) {
		t.Errorf("one too many: %+v", e)
	}
	asked, _ := last[KinAsked](a)
	if err := a.k.Deny(c.now, asked.Device); err != nil {
		t.Fatal(err)
	}
	c.settle()
	if e, ok := last[KinRefused](askers[maxAsks-1]); !ok || !errors.Is(e.Why, ErrDenied) {
		t.Errorf("refused: %+v", e)
	}
	shown := len(a.told)
	c.join(askers[maxAsks-1], a, "y")
	if len(a.told) != shown {
		t.Errorf("shown again: %+v", a.told[shown:])
	}
	if err := a.k.Approve(c.now, asked.Device, false); !errors.Is(err, ErrNoDevice) {
		t.Errorf("approved after it was refused: %v", err)
	}
	// Others are over after five minutes, or with their link.
	c.part(askers[0], a)
	c.pass(askLife + time.Second)
	if len(a.k.asks) != 0 {
		t.Errorf("%d questions left", len(a.k.asks))
	}
	over := 0
	for _, e := range a.told {
		if _, ok := e.(KinAskOver); ok {
			over++
		}
	}
	if over < maxAsks {
		t.Errorf("%d are over", over)
	}
	// Somebody else's answers to a newcomer.
	m := c.person("m")
	c.join(m, a, "z")
	if err := m.k.Receive(c.now, b.peer, appendDevice(kinDenied, []byte{1})); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("refused by somebody else: %v", err)
	}
	if err := m.k.Receive(c.now, a.peer, appendDevice(kinGranted, make([]byte, 100))); !errors.Is(err, ErrForged) {
		t.Errorf("a grant that does not open: %v", err)
	}
	// No sixth device.
	full := newClan(t)
	p := full.person("p")
	for range identity.MaxSlots - 1 {
		full.adopt(p, "d", false)
	}
	six := full.person("six")
	full.join(six, p, "six")
	if e, ok := last[KinRefused](six); !ok || !errors.Is(e.Why, ErrNoRoom) {
		t.Errorf("a sixth: %+v", e)
	}
}

// A flood of questions costs a holder what its allowance says.
func TestKinFlood(t *testing.T) {
	c := newClan(t)
	a := c.person("phone")
	b := c.adopt(a, "laptop", false)
	c.link(a, b)
	e := uint32(identity.Hour(c.now))
	n, flood := 0, 0
	for range 100 {
		err := a.k.Receive(c.now, b.peer, appendDevice(kinWant, []byte{0}, u32(e), []byte{50}))
		if errors.Is(err, ErrFlood) {
			flood++
		} else if err == nil {
			n++
		}
		for _, ok := a.k.Poll(); ok; _, ok = a.k.Poll() {
		}
	}
	if n > wantBurst || flood < 100-wantBurst {
		t.Errorf("%d answered, %d refused", n, flood)
	}
	for what, m := range map[string][]byte{
		"51":          appendDevice(kinWant, []byte{0}, u32(e), []byte{51}),
		"none":        appendDevice(kinWant, []byte{0}, u32(e), []byte{0}),
		"long ago":    appendDevice(kinWant, []byte{0}, u32(e-10), []byte{1}),
		"far ahead":   appendDevice(kinWant, []byte{0}, u32(e+grantLimit), []byte{1}),
		"kind 3":      appendDevice(kinWant, []byte{3}, u32(e), []byte{1}),
		"a bad field": appendDevice(kinWant, []byte{0, 0}, u32(e), []byte{1}),
		"too few":     appendDevice(kinWant, []byte{0}),
		"secret of 3": appendDevice(kinWant, []byte{0}, u32(e), []byte{1}, []byte{1, 2, 3}),
	} {
		if err := a.k.Receive(c.now, b.peer, m); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Grants that nobody asked for, or for somebody else.
	g, err := a.dev.Grant(identity.GrantReach, a.dev.Reach(), a.dev.Certificate().Device, 1, uint64(e), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.k.Receive(c.now, a.peer, appendDevice(kinGrants, g.Bytes())); !errors.Is(err, ErrForged) {
		t.Errorf("another device's grants: %v", err)
	}
	g, _ = a.dev.Grant(identity.GrantReach, a.dev.Reach(), b.dev.Certificate().Device, 1, uint64(e), 1)
	if err := b.k.Receive(c.now, a.peer, appendDevice(kinGrants, g.Bytes())); !errors.Is(err, ErrReplay) {
		t.Errorf("grants that it has: %v", err)
	}
	if c := b.k.Counters(); c.Forged != 1 || c.Replayed != 1 {
		t.Errorf("%+v", c)
	}
}

func FuzzDevice(f *testing.F) {
	c := &clan{now: kinTime}
	d, err := identity.NewDevice(kinTime, "phone")
	if err != nil {
		f.Fatal(err)
	}
	n, _ := identity.NewNewcomer("x")
	sealing := n.Sealing()
	list, err := identity.MakeDeviceList(d, 1, []identity.Listed{{Device: identity.DeviceID{1}, Until: kinTime.Add(time.Hour)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendDevice(kinAsk, n.Key(), sealing[:], []byte("x"), make([]byte, 32)))
	f.Add(appendDevice(kinReveal, make([]byte, 32), make([]byte, 64)))
	f.Add(appendDevice(kinList, list.Raw()))
	f.Add(appendDevice(kinWant, []byte{0}, u32(uint32(identity.Hour(kinTime))), []byte{3}))
	f.Add(appendDevice(kinDenied, []byte{1}))
	f.Add(appendDevice(kinRenew))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := c.add(d, KinState{List: list})
		own := Peer{Identity: d.ID(), Device: identity.DeviceID{1}, Node: identity.NodeID{9}}
		m.k.Meet(kinTime, own, d.Certificate())
		m.k.Join(Peer{Node: identity.NodeID{8}}, n)
		for _, p := range []Peer{own, {Identity: identity.ID{1}}, {Node: identity.NodeID{8}}} {
			m.k.Receive(kinTime, p, b)
			m.k.Receive(kinTime, p, b)
		}
		m.k.Advance(m.k.Deadline())
		c.all = nil
	})
}
