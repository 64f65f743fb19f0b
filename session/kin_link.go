// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
)

// Linking: how an installation becomes a device of somebody. Nonces are fixed
// before either is known, so that the digits that people compare can't be aimed
// at.

const (
	// maxAsks questions wait for the user at a time, each for askLife.
	maxAsks = 3
	askLife = 5 * time.Minute
	// maxDenied askers are remembered for denyTime, in which they are not shown
	// again.
	maxDenied = 16
	denyTime  = 5 * time.Minute
	// maxDeviceName is what a certificate holds.
	maxDeviceName = 32
)

// The errors of linking.
var (
	// ErrNotHolder reports a device that does not hold the identity key: it
	// cannot link, renew or revoke.
	ErrNotHolder = errors.New("session: this device does not hold the identity key")
	// ErrNoDevice reports a device that is not in the list, or does not ask.
	ErrNoDevice = errors.New("session: no such device")
	// ErrNoRoom reports that the person has five devices.
	ErrNoRoom = errors.New("session: no room for another device")
)

// asked is an installation that wants to be a device of this person.
type asked struct {
	peer    Peer
	key     ed25519.PublicKey
	sealing [32]byte
	name    string
	commit  [32]byte
	nonce   [32]byte // ours
	shown   bool     // the user has been asked
	sealed  bool     // granted, and not confirmed yet
	code    string
	until   time.Time
}

func (a *asked) device() identity.DeviceID {
	h := sha256.Sum256(a.key)
	return identity.DeviceID(h[:16])
}

type deniedAsk struct {
	id    identity.ID
	until time.Time
}

// joining is this installation's own question.
type joining struct {
	peer     Peer
	n        *identity.Newcomer
	revealed bool
}

// KinAsked says that an installation wants to be a device of this person. The
// user should approve it when it shows the same digits.
type KinAsked struct {
	Device identity.DeviceID
	From   identity.ID // who it was until now
	Name   string      // as it calls itself
	Code   string      // six digits
}

// KinAskOver says that a question needs no answer any more. Linked: the device
// has what it was given.
type KinAskOver struct {
	Device identity.DeviceID
	Name   string
	Linked bool
}

// KinCode brings the digits that this installation should show.
type KinCode struct{ Code string }

// KinJoined says that this installation was approved: Device is what it can be
// from its next start on. Confirm with Kin.Joined when it is on disk.
type KinJoined struct {
	Device  *identity.Device
	Granted identity.Granted
}

// KinRefused says that it was not, and why.
type KinRefused struct{ Why error }

func (KinAsked) kinEvent()   {}
func (KinAskOver) kinEvent() {}
func (KinCode) kinEvent()    {}
func (KinJoined) kinEvent()  {}
func (KinRefused) kinEvent() {}

// Reasons in DENIED.
const (
	deniedByUser = 1
	deniedHolder = 2
	deniedRoom   = 3
	deniedBusy   = 4
)

// Join asks a proved peer, a device of another person, to make this installation
// one of that person's. A question that waits is given up.
func (k *Kin) Join(p Peer, n *identity.Newcomer) {
	k.joining = &joining{peer: p, n: n}
	commit := sha256.Sum256(n.Nonce[:])
	sealing := n.Sealing()
	k.send(p, appendDevice(kinAsk, n.Key(), sealing[:], []byte(n.Name), commit[:]))
}

// Joined tells the holder that this installation has stored what it was given.
func (k *Kin) Joined() {
	if k.joining != nil {
		k.send(k.joining.peer, appendDevice(kinTaken))
		k.joining = nil
	}
}

// Quit gives up this installation's own question.
func (k *Kin) Quit() { k.joining = nil }

// receiveHolder takes the other person's device's part.
func (k *Kin) receiveHolder(now time.Time, p Peer, m deviceMessage) error {
	j := k.joining
	if j == nil || j.peer != p {
		return fmt.Errorf("%w: nobody was asked", ErrUnknownPeer)
	}
	switch m.kind {
	case kinChallenge:
		if j.revealed {
			return fmt.Errorf("%w: challenge", ErrReplay)
		}
		j.revealed = true
		holder := [32]byte(m.f[1])
		k.send(p, appendDevice(kinReveal, j.n.Nonce[:], j.n.Sign(p.Identity, holder)))
		k.emit(KinCode{identity.DeviceCode(p.Identity, j.n.Key(), j.n.Sealing(), j.n.Nonce, holder)})
	case kinGranted:
		if !j.revealed {
			return fmt.Errorf("%w: granted before it was asked", ErrMessage)
		}
		g, err := j.n.Open(p.Identity, m.f[1], now)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrForged, err)
		}
		d, err := j.n.Device(g)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrForged, err)
		}
		k.emit(KinJoined{d, g})
	case kinDenied:
		k.joining = nil
		why := ErrDenied
		switch m.f[1][0] {
		case deniedHolder:
			why = ErrNotHolder
		case deniedRoom:
			why = ErrNoRoom
		case deniedBusy:
			why = ErrBusy
		}
		k.emit(KinRefused{why})
	}
	return nil
}

// receiveAsker takes a newcomer's part.
func (k *Kin) receiveAsker(now time.Time, p Peer, m deviceMessage) error {
	i := slices.IndexFunc(k.asks, func(a *asked) bool { return a.peer == p })
	switch m.kind {
	case kinAsk:
		return k.receiveAsk(now, p, i, m)
	case kinReveal:
		if i < 0 || k.asks[i].shown {
			return fmt.Errorf("%w: revealed", ErrReplay)
		}
		a := k.asks[i]
		nonce := [32]byte(m.f[1])
		if sha256.Sum256(nonce[:]) != a.commit || !identity.CheckNewcomer(k.self.ID(), a.key, a.sealing, nonce, a.nonce, m.f[2]) {
			k.asks = slices.Delete(k.asks, i, i+1)
			return fmt.Errorf("%w: newcomer", ErrForged)
		}
		a.shown = true
		a.code = identity.DeviceCode(k.self.ID(), a.key, a.sealing, nonce, a.nonce)
		k.emit(KinAsked{a.device(), p.Identity, a.name, a.code})
	case kinTaken:
		if i < 0 || !k.asks[i].sealed {
			return fmt.Errorf("%w: taken", ErrReplay)
		}
		a := k.asks[i]
		k.asks = slices.Delete(k.asks, i, i+1)
		k.emit(KinAskOver{a.device(), a.name, true})
	}
	return nil
}

func (k *Kin) receiveAsk(now time.Time, p Peer, i int, m deviceMessage) error {
	deny := func(why byte) error {
		k.send(p, appendDevice(kinDenied, []byte{why}))
		return nil
	}
	name := string(m.f[3])
	_, free := identity.FreeSlot(k.list.Devices, now)
	switch {
	case p.Identity == k.self.ID():
		return fmt.Errorf("%w: asked by an own device", ErrMessage)
	case len(name) > maxDeviceName || !utf8.ValidString(name) || cleanName(name) != name:
		return fmt.Errorf("%w: device name", ErrMessage)
	case !k.self.Holder() || k.Revoked():
		return deny(deniedHolder)
	case !free:
		return deny(deniedRoom)
	case slices.ContainsFunc(k.denied, func(d deniedAsk) bool { return d.id == p.Identity && now.Before(d.until) }):
		return deny(deniedByUser)
	case i < 0 && len(k.asks) == maxAsks:
		return deny(deniedBusy)
	}
	if i >= 0 {
		k.dropAsk(i)
	}
	a := &asked{peer: p, key: bytes.Clone(m.f[1]), sealing: [32]byte(m.f[2]), name: name, commit: [32]byte(m.f[4]), until: now.Add(askLife)}
	rand.Read(a.nonce[:])
	k.asks = append(k.asks, a)
	if k.next.After(a.until) {
		k.next = a.until
	}
	k.send(p, appendDevice(kinChallenge, a.nonce[:]))
	return nil
}

// dropAsk forgets a question, and says so when the user has seen it.
func (k *Kin) dropAsk(i int) {
	a := k.asks[i]
	k.asks = slices.Delete(k.asks, i, i+1)
	if a.shown && !a.sealed {
		k.emit(KinAskOver{a.device(), a.name, false})
	}
}

// lostAsker forgets what a peer whose link is gone has asked.
func (k *Kin) lostAsker(p Peer) {
	if i := slices.IndexFunc(k.asks, func(a *asked) bool { return a.peer == p }); i >= 0 {
		k.dropAsk(i)
	}
	if k.joining != nil && k.joining.peer == p {
		k.joining = nil
		k.emit(KinRefused{ErrUnknownPeer})
	}
}

func (k *Kin) overdue(now time.Time) {
	for i := len(k.asks) - 1; i >= 0; i-- {
		if !now.Before(k.asks[i].until) {
			k.dropAsk(i)
		}
	}
	k.denied = slices.DeleteFunc(k.denied, func(d deniedAsk) bool { return !now.Before(d.until) })
}

// shown finds a question that the user has seen.
func (k *Kin) shown(id identity.DeviceID) *asked {
	for _, a := range k.asks {
		if a.device() == id && a.shown && !a.sealed {
			return a
		}
	}
	return nil
}

// Approve makes an installation that asks a device of this person; with holder
// it gets the identity key as well. Errors: ErrNotHolder, ErrNoDevice,
// ErrNoRoom.
func (k *Kin) Approve(now time.Time, id identity.DeviceID, holder bool) error {
	a := k.shown(id)
	if !k.self.Holder() || k.Revoked() {
		return ErrNotHolder
	}
	if a == nil {
		return ErrNoDevice
	}
	slot, ok := identity.FreeSlot(k.list.Devices, now)
	if k.list.Raw() == nil && slot == k.Slot() {
		slot++ // this device's own, which no list names yet
	}
	if !ok || slot >= identity.MaxSlots {
		return ErrNoRoom
	}
	list := append(slices.Clone(k.list.Devices), identity.Listed{
		Device: id, Slot: slot, Holder: holder, Name: a.name,
		Until: now.Add(certLife).Truncate(time.Hour),
	})
	if k.list.Raw() == nil {
		mine := k.entry()
		list = append(list, mine)
	}
	before := k.list.Sequence
	if k.change(now, list); k.list.Sequence == before {
		return ErrNoRoom
	}
	sealed, err := k.self.SealGranted(now, a.key, a.sealing, a.name, slot, k.list, k.revoke, holder)
	if err != nil {
		return err
	}
	a.sealed = true
	k.send(a.peer, appendDevice(kinGranted, sealed))
	return nil
}

// certLife is for how long a certificate holds, and an hour for clocks.
const certLife = 90*24*time.Hour + time.Hour

// Deny refuses an installation that asks. Error: ErrNoDevice.
func (k *Kin) Deny(now time.Time, id identity.DeviceID) error {
	a := k.shown(id)
	if a == nil {
		return ErrNoDevice
	}
	k.asks = slices.DeleteFunc(k.asks, func(x *asked) bool { return x == a })
	if len(k.denied) == maxDenied {
		k.denied = k.denied[1:]
	}
	k.denied = append(k.denied, deniedAsk{a.peer.Identity, now.Add(denyTime)})
	k.send(a.peer, appendDevice(kinDenied, []byte{deniedByUser}))
	k.emit(KinAskOver{id, a.name, false})
	return nil
}
