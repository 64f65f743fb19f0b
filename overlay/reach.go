// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"cmp"
	"context"
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

// abandon ends a lookup whose asker has gone.
func (c *core) abandon(l *lookup) {
	if i := slices.Index(c.records.lookups, l); i >= 0 {
		c.records.lookups = slices.Delete(c.records.lookups, i, i+1)
		close(l.found)
	}
}

// Linked reports whether any link stands.
func (o *Overlay) Linked() (yes bool) {
	o.loop.Do(o.ctx, func(time.Time) { yes = o.core.linked() > 0 })
	return yes
}
