// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
)

// Kin holds the rules among the devices of one person (design/007): who is one,
// what each may do, and how one comes to be one. It is pure, as Machine is, and
// the same three rules hold.
type Kin struct {
	self   *identity.Device
	list   identity.DeviceList
	revoke identity.Revocations
	grants []*grantNeed

	peers   []*kinsman // other devices of the person with a link, oldest first
	asking  *kinsman   // whom this device asks for something
	askedAt time.Time
	asks    []*asked // those that want to be one
	denied  []deniedAsk
	joining *joining // this one wants to be one of another person's

	next     time.Time
	out      []Outgoing
	events   []KinEvent
	counters Counters
}

const (
	// grantAhead is for how many hours a device without the identity key has its
	// records certified: so long it is found without having met a holder.
	grantAhead = 30 * 24
	// grantPeriods likewise of prekeys: this period, the next, and one more.
	grantPeriods = 3
	// grantStep is how many one message brings.
	grantStep = 50
	// grantLimit is how far ahead a holder grants.
	grantLimit = 32 * 24

	// renewBefore is how much life is left when a device asks for a new
	// certificate; a holder renews its own later, at its start.
	renewBefore = 60 * 24 * time.Hour
	renewOwn    = 30 * 24 * time.Hour

	// kinEvery is how often a device looks whether it needs something; when
	// there was no answer, after kinAgain.
	kinEvery = time.Hour
	kinAgain = 10 * time.Second

	// wantBurst and wantRefill bound the questions of one device: each costs a
	// holder up to 5 ms. 30 days take 15, prekeys one, a slow thief the rest.
	wantBurst  = 40
	wantRefill = 2 * time.Second
)

// kinsman is another device of the person, on its link.
type kinsman struct {
	peer  Peer
	cert  identity.Certificate
	wants allowance
}

// KinEvent is what Kin tells its driver: one of the types below.
type KinEvent interface{ kinEvent() }

// KinChanged says that the list of devices, or what is revoked, is another one
// now: keep it, tell contacts, and use the slot.
type KinChanged struct {
	List    identity.DeviceList
	Revoked identity.Revocations
}

// KinRenewed says that this device has a newer certificate, in use already: keep
// it.
type KinRenewed struct{ Certificate identity.Certificate }

// KinGranted says that there are more grants: keep them, and publish by them.
type KinGranted struct{}

func (KinChanged) kinEvent() {}
func (KinRenewed) kinEvent() {}
func (KinGranted) kinEvent() {}

// KinState is what a Kin knows that has to last.
type KinState struct {
	List    identity.DeviceList // zero = not known
	Revoked identity.Revocations
	Grants  []GrantState
}

// GrantState is one series of grants.
type GrantState struct {
	Secret identity.Secret // zero = the reach secret
	Grants *identity.Grants
}

// NewKin returns the rules for device self with what is known from before.
func NewKin(now time.Time, self *identity.Device, st KinState) *Kin {
	k := &Kin{self: self}
	if st.List.ID == self.ID() {
		k.list = st.List
	}
	if st.Revoked.ID == self.ID() {
		k.revoke = st.Revoked
	}
	if !self.Holder() {
		k.grants = []*grantNeed{
			{kind: identity.GrantReach, hours: grantAhead},
			{kind: identity.GrantPrekeys, hours: grantPeriods},
		}
		for _, g := range st.Grants {
			n := k.need(g.Grants.Kind, g.Secret)
			if n == nil && g.Secret != (identity.Secret{}) {
				n = &grantNeed{kind: g.Grants.Kind, secret: g.Secret} // a ticket's: has what it needs
				k.grants = append(k.grants, n)
			}
			if n != nil && g.Grants.Slot == k.Slot() && g.Grants.Device.Equal(self.Certificate().Device) && g.Grants.Fits(self.ID(), k.secretOf(n)) {
				n.have = g.Grants
			}
		}
	}
	k.refresh(now)
	k.next = now.Add(kinEvery)
	k.events = nil // what is known from before is no news
	return k
}

// State returns what has to last.
func (k *Kin) State() KinState {
	st := KinState{List: k.list, Revoked: k.revoke}
	for _, n := range k.grants {
		if n.have.Len() > 0 {
			st.Grants = append(st.Grants, GrantState{n.secret, n.have})
		}
	}
	return st
}

// Devices returns the person's devices, this one included, in the order of
// their slots, revoked ones last.
func (k *Kin) Devices() []identity.Listed {
	list := slices.Clone(k.list.Devices)
	if _, ok := k.list.Find(k.me()); !ok {
		list = append(list, k.entry())
	}
	order.Sort(list, func(a, b identity.Listed) int {
		if a.Revoked != b.Revoked {
			return btoi(a.Revoked) - btoi(b.Revoked)
		}
		return int(a.Slot) - int(b.Slot)
	})
	return list
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Slot returns this device's record slot.
func (k *Kin) Slot() uint8 {
	e, _ := k.list.Find(k.me())
	return e.Slot
}

// Revoked tells whether this device has been revoked.
func (k *Kin) Revoked() bool { return k.gone(k.me()) }

// Revocations returns what contacts should know; zero when nothing is revoked.
func (k *Kin) Revocations() identity.Revocations { return k.revoke }

// Grants returns the grants for a kind and secret, zero for the reach secret;
// nil when there are none, or none are needed.
func (k *Kin) Grants(kind identity.GrantKind, s identity.Secret) *identity.Grants {
	if n := k.need(kind, s); n != nil {
		return n.have
	}
	return nil
}

// gone tells whether a device of the person has been revoked.
func (k *Kin) gone(id identity.DeviceID) bool {
	e, _ := k.list.Find(id)
	return e.Revoked || slices.Contains(k.revoke.Devices, id)
}

func (k *Kin) me() identity.DeviceID { return k.self.Certificate().DeviceID() }

// entry is this device's own, as far as it knows.
func (k *Kin) entry() identity.Listed {
	c := k.self.Certificate()
	return identity.Listed{Device: c.DeviceID(), Holder: k.self.Holder(), Until: c.NotAfter.Add(time.Hour), Name: c.Name}
}

// Meet tells that another device of the person is proved on a live link.
func (k *Kin) Meet(now time.Time, p Peer, cert identity.Certificate) {
	i := slices.IndexFunc(k.peers, func(o *kinsman) bool { return o.peer == p })
	if i >= 0 {
		k.peers[i].cert = cert
		return
	}
	if k.gone(p.Device) || len(k.peers) == maxKinPeers {
		return
	}
	k.peers = append(k.peers, &kinsman{peer: p, cert: cert})
	k.sendList(p)
	k.lack(now)
}

// maxKinPeers: each device may be met on the node of its last start as well.
const maxKinPeers = 2 * identity.MaxSlots

// Lost tells that a peer's last link is gone.
func (k *Kin) Lost(p Peer) {
	k.peers = slices.DeleteFunc(k.peers, func(o *kinsman) bool { return o.peer == p })
	if k.asking != nil && k.asking.peer == p {
		k.asking = nil
	}
	k.lostAsker(p)
}

func (k *Kin) kinsman(p Peer) *kinsman {
	for _, o := range k.peers {
		if o.peer == p {
			return o
		}
	}
	return nil
}

// Receive takes a DEVICE message from a proved peer. An error says why it was
// dropped; it has been counted.
func (k *Kin) Receive(now time.Time, p Peer, b []byte) error {
	err := k.receive(now, p, b)
	k.counters.count(err)
	return err
}

func (k *Kin) receive(now time.Time, p Peer, b []byte) error {
	m, err := parseDevice(b)
	if err != nil {
		return err
	}
	if len(k.out)+len(k.events) >= maxBacklog {
		return fmt.Errorf("%w: backlog", ErrFlood)
	}
	switch m.kind {
	case kinAsk, kinReveal, kinTaken:
		return k.receiveAsker(now, p, m)
	case kinChallenge, kinGranted, kinDenied:
		return k.receiveHolder(now, p, m)
	}
	o := k.kinsman(p)
	if o == nil {
		return fmt.Errorf("%w: device message of somebody else", ErrUnknownPeer)
	}
	switch m.kind {
	case kinList:
		return k.receiveList(now, o, m)
	case kinRenew:
		return k.renewOther(now, o)
	case kinRenewed:
		return k.renewed(now, m)
	case kinWant:
		return k.wanted(now, o, m)
	case kinGrants:
		return k.granted(now, o, m)
	}
	return nil // of a later version
}

// Counters returns how many messages were dropped so far.
func (k *Kin) Counters() Counters { return k.counters }

func (k *Kin) send(p Peer, b []byte) { k.out = append(k.out, Outgoing{To: p, Body: b}) }

func (k *Kin) emit(e KinEvent) { k.events = append(k.events, e) }

func (k *Kin) sendList(p Peer) {
	if k.list.Raw() != nil {
		k.send(p, appendDevice(kinList, k.list.Raw(), k.revoke.Raw()))
	}
}

// refresh keeps a holder's list true: this device in it, nothing in it that is
// over. It makes a first list only when there is somebody to tell.
func (k *Kin) refresh(now time.Time) {
	if !k.self.Holder() || k.Revoked() || k.list.Raw() == nil {
		return
	}
	k.change(now, k.list.Merge(identity.DeviceList{}, now))
}

// change makes a list of these devices and of this one, if that is another than
// the present one, and tells everybody.
func (k *Kin) change(now time.Time, devices []identity.Listed) {
	mine := k.entry()
	i := slices.IndexFunc(devices, func(e identity.Listed) bool { return e.Device == mine.Device })
	if i < 0 {
		slot, ok := identity.FreeSlot(devices, now)
		if !ok {
			return // five others
		}
		mine.Slot = slot
		devices = append(slices.Clone(devices), mine)
	} else if e := devices[i]; !e.Revoked && (mine.Until.Sub(e.Until) >= time.Hour || !e.Holder) {
		devices = slices.Clone(devices)
		mine.Slot = e.Slot
		devices[i] = mine
	}
	order.Sort(devices, func(a, b identity.Listed) int { return bytes.Compare(a.Device[:], b.Device[:]) })
	if k.list.Raw() != nil && slices.Equal(devices, k.list.Devices) {
		return
	}
	l, err := identity.MakeDeviceList(k.self, k.list.Sequence+1, devices)
	if err != nil {
		return // more than there is room for
	}
	k.adopt(now, l)
}

// adopt takes a list into use.
func (k *Kin) adopt(now time.Time, l identity.DeviceList) {
	slot := k.Slot()
	k.list = l
	if k.self.Holder() {
		if v, err := l.Revocations(k.self); err == nil {
			k.revoke = v
		}
	}
	if k.Slot() != slot {
		for _, n := range k.grants {
			n.have = nil
		}
	}
	k.emit(KinChanged{k.list, k.revoke})
	for _, o := range k.peers { // those that are revoked as well: they should stop
		k.sendList(o.peer)
	}
	k.peers = slices.DeleteFunc(k.peers, func(o *kinsman) bool { return k.gone(o.peer.Device) })
	k.lack(now)
}

// receiveList takes the list of another device.
func (k *Kin) receiveList(now time.Time, o *kinsman, m deviceMessage) error {
	l, err := identity.ParseDeviceList(m.f[1])
	if err == nil && l.ID != k.self.ID() {
		err = errors.New("somebody else's")
	}
	if err != nil {
		return fmt.Errorf("%w: device list: %w", ErrForged, err)
	}
	var v identity.Revocations
	if m.f[2] != nil {
		if v, err = identity.ParseRevocations(m.f[2], k.self.ID()); err != nil {
			return fmt.Errorf("%w: %w", ErrForged, err)
		}
	}
	if bytes.Equal(l.Raw(), k.list.Raw()) {
		return nil
	}
	if k.self.Holder() {
		if k.Revoked() {
			return nil // what this one signs counts for nobody
		}
		before := k.list.Raw()
		seq := max(k.list.Sequence, l.Sequence)
		merged := k.list.Merge(l, now)
		if slices.Equal(merged, l.Devices) && l.Sequence >= k.list.Sequence {
			k.adopt(now, l)
		} else {
			k.list.Sequence = seq
			k.change(now, merged)
		}
		if bytes.Equal(before, k.list.Raw()) {
			k.sendList(o.peer) // theirs is the older one
		}
		return nil
	}
	switch {
	case l.Sequence < k.list.Sequence, l.Sequence == k.list.Sequence && bytes.Compare(l.Raw(), k.list.Raw()) < 0:
		k.sendList(o.peer)
		return nil
	case v.Raw() != nil:
		k.revoke = v
	}
	k.adopt(now, l)
	return nil
}

// Revoke takes a device from the person: for ever. Error: ErrNoDevice, for one
// that is not in the list, and identity's when this device is no holder or
// eight are revoked already.
func (k *Kin) Revoke(now time.Time, id identity.DeviceID) error {
	if !k.self.Holder() {
		return ErrNotHolder
	}
	list := slices.Clone(k.list.Devices)
	i := slices.IndexFunc(list, func(e identity.Listed) bool { return e.Device == id })
	if i < 0 || id == k.me() {
		return ErrNoDevice
	}
	if list[i].Revoked {
		return nil
	}
	list[i].Revoked = true
	if _, err := identity.MakeDeviceList(k.self, k.list.Sequence+1, list); err != nil {
		return err
	}
	k.change(now, list)
	return nil
}

// LearnRevoked takes revocations of the person's own that were found somewhere:
// this device may be among them.
func (k *Kin) LearnRevoked(now time.Time, v identity.Revocations) {
	if v.ID != k.self.ID() || !slices.ContainsFunc(v.Devices, func(d identity.DeviceID) bool { return !k.gone(d) }) {
		return
	}
	if !k.self.Holder() || slices.Contains(v.Devices, k.me()) {
		k.revoke = v
		k.emit(KinChanged{k.list, k.revoke})
		return
	}
	list := slices.Clone(k.list.Devices)
	for i := range list {
		list[i].Revoked = list[i].Revoked || slices.Contains(v.Devices, list[i].Device)
	}
	k.change(now, list)
}

// Advance does what is due at now.
func (k *Kin) Advance(now time.Time) {
	if now.Before(k.next) {
		return
	}
	k.next = now.Add(kinEvery)
	k.overdue(now)
	k.renewSelf(now)
	k.refresh(now)
	k.lack(now)
	for _, a := range k.asks {
		if a.until.Before(k.next) {
			k.next = a.until
		}
	}
}

// Deadline returns when Advance is due next.
func (k *Kin) Deadline() time.Time { return k.next }

// Poll returns the next message to send.
func (k *Kin) Poll() (Outgoing, bool) {
	if len(k.out) == 0 {
		return Outgoing{}, false
	}
	o := k.out[0]
	k.out = k.out[1:]
	return o, true
}

// NextEvent returns the next event.
func (k *Kin) NextEvent() (KinEvent, bool) {
	if len(k.events) == 0 {
		return nil, false
	}
	e := k.events[0]
	k.events = k.events[1:]
	return e, true
}
