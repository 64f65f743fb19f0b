// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/directory"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// Strangers who know an ID and nothing else leave word at its inbox, held by the
// nodes near its place. It costs them a fifth of a second of work.

// Knocked says what a stranger has left in this device's inbox. The certificate
// is the only thing in it that is proved.
type Knocked struct{ identity.Knock }

func (Knocked) event() {}

// ErrNoInbox reports an ID at which nobody can knock: its devices don't want
// that, or have been off for hours.
var ErrNoInbox = errors.New("overlay: no inbox is known for this ID")

const (
	// workSlice is how many numbers are tried between two looks at the context: a
	// millisecond.
	workSlice = 1 << 13
	// knockWait is how long holders have to answer.
	knockWait = 5 * time.Second
)

// Knock leaves word at the inboxes of everybody's devices that have id. It looks
// for them, works for a fifth of a second of a core for each, and waits until a
// holder has taken it. Errors: ErrNoInbox, ErrCongested, ErrUnreachable when no
// holder takes it, ctx's, net.ErrClosed.
func (o *Overlay) Knock(ctx context.Context, id identity.ID, g identity.Greeting) error {
	if o.cfg.Device == nil {
		return errNoDevice
	}
	list, err := o.inboxes(ctx, id)
	if err != nil {
		return err
	}
	err = ErrNoInbox
	for _, in := range list {
		if e := o.knockAt(ctx, in, g); e == nil || err == ErrNoInbox {
			err = e
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// inboxes looks for the inboxes of an ID, the newest of each slot.
func (o *Overlay) inboxes(ctx context.Context, id identity.ID) (list []identity.Inbox, err error) {
	l := &lookup{inboxes: make(chan identity.Inbox, 2*maxFound)}
	e := o.loop.Do(ctx, func(now time.Time) {
		if len(o.core.records.lookups) >= maxLookups {
			err = ErrCongested
		} else if l.m, err = directory.NewInboxLookup(now, id); err == nil {
			o.core.records.lookups = append(o.core.records.lookups, l)
		}
	})
	if err = cmp.Or(e, err); err != nil {
		return nil, err
	}
	for {
		select {
		case in, ok := <-l.inboxes:
			if !ok {
				return list, nil
			}
			list = slices.DeleteFunc(list, func(o identity.Inbox) bool { return o.Slot == in.Slot })
			list = append(list, in)
		case <-ctx.Done():
			o.loop.Do(o.ctx, func(time.Time) { o.core.abandon(l) })
			return nil, ctx.Err()
		case <-o.ctx.Done():
			return nil, net.ErrClosed
		}
	}
}

// knockAt does the work and leaves the knock.
func (o *Overlay) knockAt(ctx context.Context, in identity.Inbox, g identity.Greeting) error {
	job, err := identity.MakeKnock(o.cfg.Device, in, g)
	if err != nil {
		return fmt.Errorf("overlay: knock: %w", err)
	}
	var knock []byte
	for knock == nil {
		if knock = job.Try(workSlice, identity.KnockWork); ctx.Err() != nil {
			return ctx.Err()
		}
		if o.ctx.Err() != nil {
			return net.ErrClosed
		}
	}
	at := &knocking{taken: make(chan struct{})}
	key := identity.InboxKey(in.ID, in.Epoch)
	body := directory.KnockMessage{Knock: knock}.Append(nil)
	if err := o.loop.Do(ctx, func(now time.Time) {
		o.core.sendRecord(now, 0, at, mesh.Request{To: key, Kind: mesh.Store, Body: body})
	}); err != nil {
		return err
	}
	timer := time.NewTimer(knockWait)
	defer timer.Stop()
	select {
	case <-at.taken:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: nobody holds the knock", ErrUnreachable)
	case <-ctx.Done():
		return ctx.Err()
	case <-o.ctx.Done():
		return net.ErrClosed
	}
}

// knocking waits for a holder's word. The loop owns it.
type knocking struct {
	taken chan struct{} // closed once
	done  bool
}

// Answer implements asker.
func (k *knocking) Answer(_ time.Time, _ uint32, _ identity.NodeID, body []byte) {
	m, err := directory.Parse(body)
	if err != nil {
		return
	}
	if a, ok := m.(directory.StoredMessage); ok && len(a.Lines) == 1 && a.Lines[0].Outcome.Held() && !k.done {
		k.done = true
		close(k.taken)
	}
}

// Undelivered implements asker: other copies may still arrive.
func (k *knocking) Undelivered(time.Time, uint32) {}

// collector lets an inbox's collector ask.
type collector struct{ *directory.Collector }

func (collector) Undelivered(time.Time, uint32) {}

// setInbox begins or ends looking into this device's own inbox.
func (r *recording) setInbox(now time.Time, o *Overlay, open bool, slot uint8) {
	switch {
	case !open:
		r.inbox = nil
	case r.inbox == nil || r.inboxSlot != slot:
		r.inbox, r.inboxSlot = directory.NewCollector(now, o.cfg.Device, slot, r.rng), slot
	}
}

// drainInbox carries out what the collector wants.
func (c *core) drainInbox(now time.Time) {
	for c.records.inbox != nil {
		e, ok := c.records.inbox.NextEvent()
		if !ok {
			return
		}
		switch e := e.(type) {
		case directory.Ask:
			c.sendRecord(now, e.Ref, collector{c.records.inbox}, mesh.Request{To: e.Key, Kind: mesh.Fetch, Body: e.Body, Copies: e.Copies})
		case directory.Knocked:
			c.o.events.push(Knocked{e.Knock})
		}
	}
}
