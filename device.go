// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session"
)

var (
	// ErrNotHolder reports a device that does not hold the identity key: it
	// cannot link other devices, nor revoke them.
	ErrNotHolder = errors.New("p2pos: this device does not hold the identity key; do it on one that does")
	// ErrNoDevice reports a device that is none of this person's, or that does
	// not ask to be one.
	ErrNoDevice = errors.New("p2pos: no such device")
	// ErrManyDevices reports that the person has five devices, or has revoked
	// eight within 90 days.
	ErrManyDevices = errors.New("p2pos: no room for another device")
)

// Device is one of the devices of the person whose node this is.
type Device struct {
	ID      identity.DeviceID
	Name    string
	This    bool
	Online  bool // linked with this one now
	Holder  bool // it holds the identity key: it can link and revoke devices
	Revoked bool
	Until   time.Time // what it was given holds until then; it is renewed before
}

// DeviceAsks says that an installation wants to become a device of this person:
// it was given a ticket. Ask the user to compare the code with what the other
// screen shows, and call ApproveDevice or DenyDevice. The question is over after
// five minutes.
type DeviceAsks struct {
	Device identity.DeviceID
	From   identity.ID // whose it was until now
	Name   string      // as it calls itself
	Code   string      // six digits
}

// DeviceAskEnded says that a question needs no answer any more. Linked: the
// device is one of this person's now, and has stored what it needs.
type DeviceAskEnded struct {
	Device identity.DeviceID
	Name   string
	Linked bool
}

// DevicesChanged says that Node.Devices returns something else now.
type DevicesChanged struct{}

func (DeviceAsks) event()     {}
func (DeviceAskEnded) event() {}
func (DevicesChanged) event() {}

// Devices returns the person's devices, this one included, those that were
// revoked last. Error: net.ErrClosed.
func (n *Node) Devices() (list []Device, err error) {
	online, err := n.hub.Online(n.ctx, n.dev.ID())
	if err != nil {
		return nil, n.closing(err)
	}
	me := n.dev.Certificate().DeviceID()
	err = n.hub.Kin(n.ctx, func(_ time.Time, k *session.Kin) {
		for _, d := range k.Devices() {
			x := Device{ID: d.Device, Name: d.Name, Holder: d.Holder, Revoked: d.Revoked, Until: d.Until, This: d.Device == me}
			for _, p := range online {
				x.Online = x.Online || p.Device == d.Device
			}
			x.Online = (x.Online || x.This) && !x.Revoked
			list = append(list, x)
		}
	})
	return list, n.closing(err)
}

// ApproveDevice makes an installation that asks (DeviceAsks) a device of this
// person: it is called, found and believed like this one. With holder it gets
// the identity key as well, so that it can link and revoke devices, this one
// included, and go on when this one is lost. Errors: ErrNotHolder, ErrNoDevice,
// ErrManyDevices, net.ErrClosed.
func (n *Node) ApproveDevice(id identity.DeviceID, holder bool) error {
	return n.kin(func(now time.Time, k *session.Kin) error { return k.Approve(now, id, holder) })
}

// DenyDevice refuses an installation that asks. Errors: ErrNoDevice,
// net.ErrClosed.
func (n *Node) DenyDevice(id identity.DeviceID) error {
	return n.kin(func(now time.Time, k *session.Kin) error { return k.Deny(now, id) })
}

// RevokeDevice takes a device from this person, for ever: contacts and own
// devices refuse it as soon as they hear of it, at once when they are linked,
// else when they look this person up. Errors: ErrNotHolder, ErrNoDevice (this
// device itself, too), ErrManyDevices, net.ErrClosed.
func (n *Node) RevokeDevice(id identity.DeviceID) error {
	return n.kin(func(now time.Time, k *session.Kin) error { return k.Revoke(now, id) })
}

func (n *Node) kin(f func(now time.Time, k *session.Kin) error) (err error) {
	if e := n.hub.Kin(n.ctx, func(now time.Time, k *session.Kin) { err = f(now, k) }); e != nil {
		return n.closing(e)
	}
	return deviceError(err)
}

// deviceError maps the session's errors to this package's.
func deviceError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, session.ErrNotHolder):
		return ErrNotHolder
	case errors.Is(err, session.ErrNoDevice):
		return ErrNoDevice
	case errors.Is(err, session.ErrNoRoom), errors.Is(err, identity.ErrDevices):
		return ErrManyDevices
	case errors.Is(err, session.ErrDenied):
		return ErrDenied
	case errors.Is(err, session.ErrBusy):
		return ErrBusy
	case errors.Is(err, session.ErrUnknownPeer):
		return ErrOffline
	}
	return fmt.Errorf("p2pos: device: %w", err)
}

// kinEvent takes what the rules among devices tell. It runs on the pump.
func (n *Node) kinEvent(e session.KinEvent) {
	switch e := e.(type) {
	case session.KinAsked:
		n.events.publish(DeviceAsks{e.Device, e.From, e.Name, e.Code})
	case session.KinAskOver:
		n.events.publish(DeviceAskEnded{e.Device, e.Name, e.Linked})
	case session.KinChanged, session.KinRenewed:
		n.kins.wake()
		n.events.publish(DevicesChanged{})
	case session.KinGranted:
		n.kins.wake()
	case session.KinCode, session.KinJoined, session.KinRefused:
		n.kins.linking(e)
	}
}

// keepDevices keeps what is known of the person's devices on disk and has the
// overlay publish by it, and looks for the others every now and then.
func (n *Node) keepDevices() {
	look := time.NewTimer(firstLook)
	defer look.Stop()
	for round := 0; ; {
		select {
		case <-n.kins.changed:
			if err := n.saveDevices(); err != nil && n.ctx.Err() == nil {
				n.log.Warn("devices not saved", "err", err)
			}
			n.publishDevice()
		case <-look.C:
			wait := firstLook
			if n.hasKin() && n.ov.Linked() {
				n.wg.Go(func() {
					ctx, cancel := context.WithTimeout(n.ctx, lookTime)
					defer cancel()
					n.hub.MeetKin(ctx)
				})
				wait = lookWaits(round)
				round++
			}
			look.Reset(wait)
		case <-n.ctx.Done():
			return
		}
	}
}

const (
	// firstLook is when a node looks for the person's other devices, or
	// whether there is somebody to ask; lookTime bounds it.
	firstLook = 2 * time.Second
	lookTime  = 20 * time.Second
	// lookEvery: a lookup of one person in five minutes is nothing; devices that
	// start find those that run at once.
	lookEvery = 5 * time.Minute
)

// lookWaits returns the time to the next look.
func lookWaits(round int) time.Duration {
	switch round {
	case 0:
		return 8 * time.Second
	case 1:
		return 50 * time.Second
	}
	return lookEvery
}

// hasKin tells whether the person has other devices that could be found.
func (n *Node) hasKin() (yes bool) {
	n.hub.Kin(n.ctx, func(_ time.Time, k *session.Kin) {
		others := 0
		for _, d := range k.Devices() {
			if !d.Revoked {
				others++
			}
		}
		yes = (others > 1 || !n.dev.Holder()) && !k.Revoked()
	})
	return yes
}
