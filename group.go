// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/session"
)

// What a group can't be.
var (
	// ErrNoGroup reports a group that is not known here, or that this person
	// doesn't belong to.
	ErrNoGroup = errors.New("p2pos: no such group")
	// ErrNotMaker reports a change of a group that somebody else has made.
	ErrNotMaker = errors.New("p2pos: only who made a group changes it")
	// ErrGroupFull reports a ninth member.
	ErrGroupFull = errors.New("p2pos: a group has eight members at most")
)

func groupError(err error) error {
	switch {
	case errors.Is(err, session.ErrNoGroup):
		return ErrNoGroup
	case errors.Is(err, session.ErrNotMaker):
		return ErrNotMaker
	case errors.Is(err, session.ErrMembers):
		return ErrGroupFull
	case errors.Is(err, session.ErrBusy):
		return fmt.Errorf("%w: this node is in as many group calls as it may", ErrBusy)
	}
	return err
}

// A Group is up to eight people who talk together (design/010). Who made it says
// who belongs to it; the others learn of it when they are called. A node remembers
// 64 groups. All methods may be called from anywhere.
type Group struct {
	n  *Node
	id session.GroupID
}

// NewGroup makes a group of this person alone; see Group.Add. Of the name the
// first 64 bytes count. Error: net.ErrClosed.
func (n *Node) NewGroup(name string) (*Group, error) {
	r, err := session.NewGroupRoster(time.Now(), n.dev, name)
	if err != nil {
		return nil, groupError(err)
	}
	return &Group{n, r.ID}, n.setGroup(r)
}

// Group finds a group by what ID says. Error: ErrNoGroup.
func (n *Node) Group(id string) (*Group, error) {
	for _, g := range n.Groups() {
		if g.ID() == id {
			return g, nil
		}
	}
	return nil, fmt.Errorf("%w: %.40q", ErrNoGroup, id)
}

// Groups returns the groups that are known here, by name.
func (n *Node) Groups() (list []*Group) {
	n.mu.Lock()
	for id := range n.groups {
		list = append(list, &Group{n, id})
	}
	n.mu.Unlock()
	order.Sort(list, func(a, b *Group) int { return slices.Compare([]byte(a.Name()+a.ID()), []byte(b.Name()+b.ID())) })
	return list
}

// setGroup makes a roster the one that counts, here and, in a call, with the
// others.
func (n *Node) setGroup(r *session.GroupRoster) error {
	n.adoptGroup(r)
	return n.closing(n.hub.SetGroup(n.ctx, r))
}

// adoptGroup notes a roster, unless it is old news.
func (n *Node) adoptGroup(r *session.GroupRoster) {
	n.mu.Lock()
	news := r.Newer(n.groups[r.ID])
	if news {
		n.groups[r.ID] = r
	}
	n.mu.Unlock()
	if !news {
		return
	}
	n.writes.add(func() {
		if err := n.db.Update(func(tx *store.Tx) error { return tx.Map(store.Groups).Put(r.ID[:], r.Raw()) }); err != nil {
			n.log.Warn("group not written", "err", err)
		}
	})
}

// groupGone forgets a group.
func (n *Node) groupGone(id session.GroupID) {
	n.mu.Lock()
	delete(n.groups, id)
	n.mu.Unlock()
	n.writes.add(func() {
		if err := n.db.Update(func(tx *store.Tx) error { return tx.Map(store.Groups).Delete(id[:]) }); err != nil {
			n.log.Warn("group not written", "err", err)
		}
	})
}

// loadGroups reads what the database has.
func loadGroups(db *store.Store, now time.Time) (list []*session.GroupRoster, err error) {
	bad := 0
	err = db.View(func(tx *store.Tx) error {
		for _, b := range tx.Map(store.Groups).All() {
			if r, err := session.ParseGroupRoster(now, b); err == nil {
				list = append(list, r)
			} else {
				bad++
			}
		}
		return nil
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("p2pos: %d groups can't be read", bad)
	}
	return list, err
}

// roster returns the group's list as it is known now; an empty one when it has
// been forgotten.
func (g *Group) roster() *session.GroupRoster {
	g.n.mu.Lock()
	defer g.n.mu.Unlock()
	if r := g.n.groups[g.id]; r != nil {
		return r
	}
	return &session.GroupRoster{ID: g.id}
}

// ID names the group, in hex, for ever and on all nodes.
func (g *Group) ID() string { return g.id.String() }

// Name returns what its maker calls it: show it, don't trust it.
func (g *Group) Name() string { return g.roster().Name }

// Maker returns who made it, and says who belongs to it.
func (g *Group) Maker() identity.ID { return g.roster().Maker }

// Members returns who belongs to it, as far as is known here, the maker included.
func (g *Group) Members() []identity.ID { return slices.Clone(g.roster().Members) }

// Add takes somebody into the group, named by a ticket, a contact's name or an ID.
// During a call of the group they are called in. Adding twice is no error. Errors:
// those of Node.Call for texts that are wrong, ErrNoGroup, ErrNotMaker,
// ErrGroupFull, net.ErrClosed.
func (g *Group) Add(who string) error {
	t, err := g.n.target(who)
	if err != nil {
		return err
	}
	return g.change(func(r *session.GroupRoster) (*session.GroupRoster, error) {
		next, err := r.With(time.Now(), g.n.dev, t.ID)
		if err == nil && identity.IsTicket(who) {
			g.n.rememberNew(t) // so that the group can be called
		}
		return next, err
	})
}

// Remove takes somebody out of the group: in a call, at once; else those who hear
// of it hang up on them. Errors: ErrNoGroup, ErrNotMaker (also for the maker),
// net.ErrClosed.
func (g *Group) Remove(id identity.ID) error {
	return g.change(func(r *session.GroupRoster) (*session.GroupRoster, error) {
		return r.Without(time.Now(), g.n.dev, id)
	})
}

func (g *Group) change(f func(*session.GroupRoster) (*session.GroupRoster, error)) error {
	g.n.grouping.Lock() // two changes at once would make two editions of one number
	defer g.n.grouping.Unlock()
	r := g.roster()
	if r.Edition == 0 {
		return ErrNoGroup
	}
	next, err := f(r)
	if err != nil {
		return groupError(err)
	}
	if next == r {
		return nil
	}
	return g.n.setGroup(next)
}

// Forget leaves the group's call and forgets the group on this node. Whoever calls
// it makes it known again. Error: net.ErrClosed.
func (g *Group) Forget() error {
	err := g.n.closing(g.n.hub.ForgetGroup(g.n.ctx, g.id))
	if err == nil {
		g.n.groupGone(g.id) // before the event comes
	}
	return err
}

// Call enters the group's call and rings all members who are not in it; it may be
// repeated. Members are reached as in Node.Call: by what is known of them here,
// contacts and those called before, or by whoever is in the call already. Other
// calls are put on hold. It returns at once: events tell who comes, and Done when
// nobody does. Errors: ErrNoGroup, ErrBusy (in two group calls already), ctx's,
// net.ErrClosed.
func (g *Group) Call(ctx context.Context) (*GroupCall, error) { return g.enter(ctx, false) }

// Join is Call that rings nobody: it finds those who are in the group's call.
func (g *Group) Join(ctx context.Context) (*GroupCall, error) { return g.enter(ctx, true) }

func (g *Group) enter(ctx context.Context, quiet bool) (*GroupCall, error) {
	g.n.startJoin()
	f, err := g.n.hub.Enter(ctx, g.id, quiet)
	if err != nil {
		return nil, groupError(g.n.closing(err))
	}
	g.n.others(nil, HoldOthers)
	return g.n.groupCall(f), nil
}
