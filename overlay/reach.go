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

// reachTime bounds the attempts at the addresses in a ticket while somebody
// waits: what takes UDP answers within two trips around the world, and TCP, begun
// after tcpAfter, in the time that is left.
const reachTime = 4 * time.Second

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
	ctx, cancel := context.WithTimeout(ctx, reachTime)
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

// Verdict is what a look for somebody's records has brought.
type Verdict struct {
	Answered  bool // holders of records have answered
	Withdrawn bool // a device has said there that it goes, and none is there
}

// A Search looks for a person's devices.
type Search struct {
	// Places gets each place as it is found, and is closed when there are no
	// more, or the context has ended. What a Place says is signed by the
	// person's identity for this hour.
	Places  <-chan Place
	verdict *Verdict
}

// Verdict says what the search has brought. It may be called when Places is
// closed.
func (s Search) Verdict() Verdict { return *s.verdict }

// Locate looks a person's devices up in their reach records.
func (o *Overlay) Locate(ctx context.Context, id identity.ID, secret identity.Secret) Search {
	l := &lookup{found: make(chan Place, 2*maxFound)}
	s := Search{l.found, &l.verdict}
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
		return s
	}
	context.AfterFunc(ctx, func() {
		o.loop.Do(o.ctx, func(time.Time) { o.core.abandon(l) })
	})
	return s
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
