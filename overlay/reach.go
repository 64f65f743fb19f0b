// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/directory"
)

// Target is what a ticket says about the way to somebody.
type Target struct {
	ID          identity.ID
	Secret      identity.Secret
	Addrs       []netip.AddrPort // the node itself, perhaps
	Introducers []netip.AddrPort // nodes that had a link to it: a way into its network
}

// maxFound nodes may claim to be one person's: five devices (design §6) and one
// liar for each.
const maxFound = 10

// Reach dials the addresses in a ticket. It sends each node that a link was
// made to, and closes the channel when all were tried or ctx ends. Whether a
// node really is the target's only the session can tell.
func (o *Overlay) Reach(ctx context.Context, t Target) <-chan *Peer {
	out := make(chan *Peer, maxFound+len(t.Addrs))
	if !o.tasks.run(func() { o.reach(ctx, t, out) }) {
		close(out)
	}
	return out
}

func (o *Overlay) reach(ctx context.Context, t Target, out chan<- *Peer) {
	defer close(out)
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	stop := context.AfterFunc(o.ctx, cancel)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, a := range t.Addrs {
		wg.Go(func() {
			if p, err := o.Dial(ctx, a); err == nil {
				out <- p
			}
		})
	}
	if o.Linked() {
		return
	}
	for _, a := range t.Introducers {
		wg.Go(func() {
			if _, err := o.Dial(ctx, a); err != nil {
				o.log.Debug("introducer not reached", "addr", a, "err", err)
			}
		})
	}
}

// Locate looks a person's devices up in their reach records. It sends each
// place as it is found, and closes the channel when there are no more, or ctx
// ends. What it says is signed by the person's identity for this hour.
func (o *Overlay) Locate(ctx context.Context, id identity.ID, secret identity.Secret) <-chan Place {
	l := &lookup{found: make(chan Place, 2*maxFound)}
	var err error
	e := o.loop.Do(ctx, func(now time.Time) {
		if len(o.core.records.lookups) >= maxLookups {
			err = ErrCongested
			return
		}
		if l.m, err = directory.NewLookup(now, id, secret); err == nil {
			o.core.records.lookups = append(o.core.records.lookups, l)
			l.m.Advance(now)
		}
	})
	if e != nil || err != nil {
		o.log.Debug("no lookup", "err", cmp.Or(e, err))
		close(l.found)
		return l.found
	}
	context.AfterFunc(ctx, func() {
		o.loop.Do(o.ctx, func(time.Time) { o.core.abandon(l) })
	})
	return l.found
}

// Prekeys is what a device published for those who want to write to it while it
// is away. The certificate may have expired since: Certificate.Check tells.
type Prekeys struct {
	Device identity.Certificate
	Bundle []byte
}

// MaxBundle is how long the bundle of prekeys may be.
const MaxBundle = identity.MaxBundle

// PublishPrekeys has a bundle published for as long as this node runs, under
// every secret by which it can be found; it is found for at least 14 days after
// that. A new one replaces the last, nil ends it. It does not wait for the
// network. Errors: of a bundle longer than MaxBundle, of a node without a
// device, ctx's, net.ErrClosed.
func (o *Overlay) PublishPrekeys(ctx context.Context, bundle []byte) (err error) {
	e := o.loop.Do(ctx, func(now time.Time) {
		if p := o.core.records.publisher; p == nil {
			err = errNoDevice
		} else {
			err = p.SetPrekeys(now, bundle)
		}
	})
	if e != nil {
		return e
	}
	return err
}

// FetchPrekeys returns the prekeys of a person's devices, the newest of each. It
// takes a round trip where somebody holds them, else up to 8 s. None is no
// error. Errors: ErrCongested, ctx's, net.ErrClosed.
func (o *Overlay) FetchPrekeys(ctx context.Context, id identity.ID, secret identity.Secret) (list []Prekeys, err error) {
	l := &lookup{prekeys: make(chan identity.Prekeys, 2*maxFound)}
	e := o.loop.Do(ctx, func(now time.Time) {
		if len(o.core.records.lookups) >= maxLookups {
			err = ErrCongested
		} else if l.m, err = directory.NewPrekeysLookup(now, id, secret); err == nil {
			o.core.records.lookups = append(o.core.records.lookups, l)
		}
	})
	if err = cmp.Or(e, err); err != nil {
		return nil, err
	}
	for {
		select {
		case p, ok := <-l.prekeys:
			if !ok {
				return list, nil
			}
			list = slices.DeleteFunc(list, func(o Prekeys) bool { return o.Device.DeviceID() == p.Device.DeviceID() })
			list = append(list, Prekeys{p.Device, p.Bundle})
		case <-ctx.Done():
			o.loop.Do(o.ctx, func(time.Time) { o.core.abandon(l) })
			return list, ctx.Err()
		case <-o.ctx.Done():
			return list, net.ErrClosed
		}
	}
}

// abandon ends a lookup whose asker has gone.
func (c *core) abandon(l *lookup) {
	if i := slices.Index(c.records.lookups, l); i >= 0 {
		c.records.lookups = slices.Delete(c.records.lookups, i, i+1)
		l.close()
	}
}

// Linked reports whether any link stands.
func (o *Overlay) Linked() (yes bool) {
	o.loop.Do(o.ctx, func(time.Time) { yes = o.core.linked() > 0 })
	return yes
}
