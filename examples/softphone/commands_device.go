// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/p2pos/p2pos"
)

// linkTime bounds the wait for somebody to confirm a new device.
const linkTime = 5 * time.Minute

// link asks to make this phone a device of the person whose ticket is given.
// When that is confirmed over there, the phone starts anew as that.
func (p *phone) link(ctx context.Context, arg string) error {
	ticket, name, _ := strings.Cut(arg, " ")
	switch {
	case ticket == "":
		return errors.New("whose? link TICKET [NAME OF THIS DEVICE]")
	case p.linking:
		return errors.New("it is asked already")
	case len(p.calls) > 0:
		return errors.New("hang up first: the phone starts anew")
	}
	if name = strings.TrimSpace(name); name == "" {
		name = p.opt.name
	}
	p.linking = true
	p.wg.Go(func() {
		short, cancel := context.WithTimeout(ctx, linkTime)
		defer cancel()
		l, err := p.node.LinkDevice(short, ticket, name)
		if err == nil {
			p.post(ctx, func() { p.emit(linkingEvent{l.Person().String(), l.Code()}) })
			err = l.Wait(short)
		}
		p.post(ctx, func() {
			p.linking = false
			if err != nil {
				p.complain("link", err)
				return
			}
			p.emit(linkedEvent{l.Person().String()})
			p.again, p.quit = true, true
		})
	})
	return nil
}

// confirm makes a phone that asks a device of this person. The digits that it
// shows are the surest way to name it: who reads them has compared them.
func (p *phone) confirm(arg string) error {
	which, more, _ := strings.Cut(arg, " ")
	if more = strings.TrimSpace(more); more != "" && more != "holder" {
		return fmt.Errorf("takes no %q", clip(more, 40))
	}
	a, err := p.asking(which)
	if err != nil {
		return err
	}
	return p.node.ApproveDevice(a.Device, more == "holder")
}

func (p *phone) refuse(which string) error {
	a, err := p.asking(which)
	if err != nil {
		return err
	}
	return p.node.DenyDevice(a.Device)
}

// asking returns the question that is meant.
func (p *phone) asking(which string) (p2pos.DeviceAsks, error) {
	for _, a := range p.asks {
		if which != "" && (which == a.Code || which == hex.EncodeToString(a.Device[:])) {
			return a, nil
		}
	}
	if len(p.asks) == 0 {
		return p2pos.DeviceAsks{}, errors.New("no phone asks to be one of yours")
	}
	return p2pos.DeviceAsks{}, errors.New("which? give the six digits that the other phone shows; if yours shows others, refuse")
}

// devices lists this person's devices.
func (p *phone) devices() error {
	list, err := p.node.Devices()
	if err != nil {
		return err
	}
	e := devicesEvent{Devices: []deviceEntry{}}
	for _, d := range list {
		e.Devices = append(e.Devices, deviceEntry{
			Device: hex.EncodeToString(d.ID[:]), Name: d.Name, This: d.This, Online: d.Online, Holder: d.Holder,
			Revoked: d.Revoked, Until: d.Until.UTC().Format(time.RFC3339),
		})
	}
	p.emit(e)
	return nil
}

// revoke takes a device from this person, named by its ID or the name that one
// device alone has.
func (p *phone) revoke(which string) error {
	list, err := p.node.Devices()
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(d p2pos.Device) bool {
		return which == "" || which != hex.EncodeToString(d.ID[:]) && !strings.EqualFold(which, d.Name)
	})
	if len(list) != 1 {
		return errors.New("which? devices lists them; name one by its ID")
	}
	return p.node.RevokeDevice(list[0].ID)
}

// deviceNews tells what happened among this person's devices.
func (p *phone) deviceNews(e p2pos.Event) {
	switch e := e.(type) {
	case p2pos.DeviceAsks:
		p.asks = append(p.asks, e)
		p.emit(asksEvent{hex.EncodeToString(e.Device[:]), e.Name, e.Code, e.From.String()})
	case p2pos.DeviceAskEnded:
		p.asks = slices.DeleteFunc(p.asks, func(a p2pos.DeviceAsks) bool { return a.Device == e.Device })
		p.emit(askedEvent{hex.EncodeToString(e.Device[:]), e.Name, e.Linked})
	case p2pos.DevicesChanged:
		if err := p.devices(); err != nil {
			p.complain("devices", err)
		}
	}
}

type linkingEvent struct {
	Peer string `json:"peer"`
	Code string `json:"code"`
}

func (linkingEvent) name() string { return "linking" }
func (e linkingEvent) text() string {
	return fmt.Sprintf("on your other phone, where the same digits must show, type:  confirm %s", e.Code)
}

type linkedEvent struct {
	Peer string `json:"peer"`
}

func (linkedEvent) name() string   { return "linked" }
func (e linkedEvent) text() string { return "this phone is one of yours now, and starts anew" }

type asksEvent struct {
	Device string `json:"device"`
	Name   string `json:"name"`
	Code   string `json:"code"`
	From   string `json:"from"`
}

func (asksEvent) name() string { return "asks" }
func (e asksEvent) text() string {
	return fmt.Sprintf("a phone called %q asks to be one of yours. Only if it is in your hands and shows the digits %s, type:  confirm %s\n"+
		"(with holder behind it, that phone can link and revoke others as well); else:  refuse %s", e.Name, e.Code, e.Code, e.Code)
}

type askedEvent struct {
	Device string `json:"device"`
	Name   string `json:"name"`
	Linked bool   `json:"linked"`
}

func (askedEvent) name() string { return "asked" }
func (e askedEvent) text() string {
	if e.Linked {
		return fmt.Sprintf("%q is one of your phones now", e.Name)
	}
	return fmt.Sprintf("%q does not become one of your phones", e.Name)
}

type deviceEntry struct {
	Device  string `json:"device"`
	Name    string `json:"name"`
	This    bool   `json:"this"`
	Online  bool   `json:"online"`
	Holder  bool   `json:"holder"`
	Revoked bool   `json:"revoked"`
	Until   string `json:"until"`
}

type devicesEvent struct {
	Devices []deviceEntry `json:"devices"`
}

func (devicesEvent) name() string { return "devices" }
func (e devicesEvent) text() string {
	var b strings.Builder
	for _, d := range e.Devices {
		what := "offline"
		switch {
		case d.Revoked:
			what = "revoked"
		case d.This:
			what = "this one"
		case d.Online:
			what = "online"
		}
		if d.Holder && !d.Revoked {
			what += ", may link and revoke"
		}
		fmt.Fprintf(&b, "%s  %q: %s\n", d.Device, d.Name, what)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
