// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/overlay"
)

// What devices have to say to each other, and the search for one's own.

// KinNews brings what Kin tells.
type KinNews struct{ Event KinEvent }

// RevokedNews says that devices of somebody else don't count any more: keep it
// (Hub.Revoked).
type RevokedNews struct{ Revoked Revoked }

// PersonUp and PersonDown say that a device of somebody else is proved on a link,
// or that its link is gone.
type (
	PersonUp   struct{ Peer Peer }
	PersonDown struct{ Peer Peer }
)

// DeviceUp and DeviceDown say that another device of this person is proved on a
// link, or that its link is gone.
type (
	DeviceUp   struct{ Peer Peer }
	DeviceDown struct{ Peer Peer }
)

func (KinNews) hubEvent()     {}
func (RevokedNews) hubEvent() {}
func (DeviceUp) hubEvent()    {}
func (DeviceDown) hubEvent()  {}
func (PersonUp) hubEvent()    {}
func (PersonDown) hubEvent()  {}

// rules are the machines that the hub's loop runs.
type rules struct{ h *Hub }

func (r rules) Advance(now time.Time) {
	r.h.m.Advance(now)
	r.h.kin.Advance(now)
	for _, f := range r.h.conferences() {
		f.room.Advance(now)
	}
}

func (r rules) Deadline() time.Time {
	d := sooner(r.h.m.Deadline(), r.h.kin.Deadline())
	for _, f := range r.h.rooms {
		d = sooner(d, f.room.Deadline())
	}
	return d
}

// isRevoked tells whether a device does not count any more.
func (h *Hub) isRevoked(c identity.Certificate) bool {
	if c.Identity == h.cfg.Self.ID() {
		return h.kin.gone(c.DeviceID())
	}
	return h.revoked.has(c.Identity, c.DeviceID())
}

// learn takes revocations of anybody.
func (h *Hub) learn(now time.Time, v identity.Revocations) {
	if v.ID == h.cfg.Self.ID() {
		h.kin.LearnRevoked(now, v)
		return
	}
	if !h.revoked.add(v.ID, v.Devices) {
		return
	}
	h.expelRevoked(now, v.ID)
	i := h.revoked.find(v.ID)
	h.emit(RevokedNews{h.revoked.list[i]})
}

// learnFrom takes what a reach record says of revoked devices.
func (h *Hub) learnFrom(ctx context.Context, at overlay.Place) {
	if at.Revoked.Raw() != nil {
		h.loop.Do(ctx, func(now time.Time) { h.learn(now, at.Revoked) })
	}
}

// expelRevoked ends what stands with devices that don't count any more.
func (h *Hub) expelRevoked(now time.Time, id identity.ID) {
	gone := func(p Peer) bool {
		if p.Identity != id {
			return false
		}
		if id == h.cfg.Self.ID() {
			return h.kin.gone(p.Device)
		}
		return h.revoked.has(id, p.Device)
	}
	for _, c := range h.m.snapshot() {
		switch {
		case !gone(c.peer):
		case c.phase == phaseTalk:
			h.m.HangUp(now, c.id)
		case c.outgoing:
			h.m.Cancel(now, c.id, Elsewhere) // others of the person's may ring as well
		}
	}
	h.places[id] = slices.DeleteFunc(h.places[id], func(p place) bool {
		return gone(Peer{Identity: id, Device: p.cert.DeviceID()})
	})
	if len(h.places[id]) == 0 {
		delete(h.places, id)
	}
	h.expel(now, gone)
}

// linked tells who is proved on a link what he should know.
func (h *Hub) linked(now time.Time, r *remote) {
	own := r.peer.Identity == h.cfg.Self.ID()
	switch {
	case r.shown:
	case own:
		h.emit(DeviceUp{r.peer})
	default:
		h.emit(PersonUp{r.peer})
	}
	r.shown = true
	if own {
		h.kin.Meet(now, r.peer, r.cert)
		return
	}
	if v := h.kin.Revocations(); v.Raw() != nil {
		h.tell(r, appendDevice(kinRevoked, v.Raw()))
	}
}

// hide tells that somebody is not linked any more.
func (h *Hub) hide(r *remote) {
	switch {
	case !r.shown:
	case r.peer.Identity == h.cfg.Self.ID():
		h.emit(DeviceDown{r.peer})
	default:
		h.emit(PersonDown{r.peer})
	}
	r.shown = false
	h.kin.Lost(r.peer)
}

// tell sends what is for a link alone: nothing of it is for devices that were
// only met, and none of it should come twice.
func (h *Hub) tell(r *remote, body []byte) {
	l, err := r.ov.Link(), overlay.ErrDown
	if l != nil {
		err = l.Send(body)
	}
	if err != nil {
		h.log.Debug("session message not sent", "peer", r.peer.Identity, "err", err)
	}
}

// deviceMessage takes a DEVICE from a proved peer.
func (h *Hub) deviceMessage(now time.Time, r *remote, body []byte) {
	m, err := parseDevice(body)
	if err == nil && m.kind == kinRevoked {
		var v identity.Revocations
		if v, err = identity.ParseRevocations(m.f[1], r.peer.Identity); err == nil {
			h.learn(now, v)
			return
		}
	}
	if err == nil {
		err = h.kin.Receive(now, r.peer, body)
	}
	if err != nil {
		h.badMsgs.Add(1)
		h.log.Debug("device message dropped", "peer", r.peer.Identity, "err", err)
	}
}

// drainKin carries out what Kin tells.
func (h *Hub) drainKin(now time.Time) {
	for {
		e, ok := h.kin.NextEvent()
		if !ok {
			return
		}
		if c, ok := e.(KinChanged); ok {
			h.flushKin() // the revoked should hear of it
			h.expelRevoked(now, h.cfg.Self.ID())
			if c.Revoked.Raw() != nil {
				for _, r := range h.proved() {
					if r.peer.Identity != h.cfg.Self.ID() && r.ov.Link() != nil {
						h.tell(r, appendDevice(kinRevoked, c.Revoked.Raw()))
					}
				}
			}
		}
		h.emit(KinNews{e})
	}
}

// flushKin sends what Kin has to say now.
func (h *Hub) flushKin() {
	for o, ok := h.kin.Poll(); ok; o, ok = h.kin.Poll() {
		if r := h.peers[o.To.Node]; r != nil {
			h.tell(r, o.Body)
		}
	}
}

// proved returns the proved peers, in the order of their nodes.
func (h *Hub) proved() (list []*remote) {
	for _, r := range h.peers {
		if r.proved {
			list = append(list, r)
		}
	}
	order.Sort(list, func(a, b *remote) int { return a.peer.Node.Compare(b.peer.Node) })
	return list
}

// Kin runs f with the rules among this person's devices, on the hub's loop: it
// must not block. What f causes is told by events. Errors: ctx's,
// net.ErrClosed.
func (h *Hub) Kin(ctx context.Context, f func(now time.Time, k *Kin)) error {
	return h.closedOr(h.loop.Do(ctx, func(now time.Time) { f(now, h.kin) }))
}

// Online returns the devices of a person that are proved on a link now.
func (h *Hub) Online(ctx context.Context, id identity.ID) (list []Peer, err error) {
	err = h.loop.Do(ctx, func(time.Time) {
		for _, r := range h.proved() {
			if r.peer.Identity == id && r.ov.Link() != nil {
				list = append(list, r.peer)
			}
		}
	})
	return list, h.closedOr(err)
}

// Revoked returns what others have revoked.
func (h *Hub) Revoked(ctx context.Context) (list []Revoked, err error) {
	err = h.loop.Do(ctx, func(time.Time) { list = h.revoked.all() })
	return list, h.closedOr(err)
}

// Sessions looks for the devices of a person and has each prove itself on a
// link. It sends them as they come, and closes the channel when no more are
// found or ctx ends.
func (h *Hub) Sessions(ctx context.Context, t overlay.Target) <-chan Peer {
	out := make(chan Peer, 2*maxDevices+1)
	if !h.spawn(func() { defer close(out); h.sessions(ctx, t, locateTries, out) }) {
		close(out)
	}
	return out
}

// MeetKin looks once for this person's other devices and links with them: Kin
// is told. It returns when all that were found have been tried, or ctx ends.
func (h *Hub) MeetKin(ctx context.Context) {
	out := make(chan Peer, 2*maxDevices+1)
	done := make(chan struct{})
	self := overlay.Target{ID: h.cfg.Self.ID(), Secret: h.cfg.Self.Reach()}
	if h.spawn(func() { defer close(done); h.sessions(ctx, self, 1, out) }) {
		<-done
	}
}

// sessions sends at most as many peers as out has room for.
func (h *Hub) sessions(ctx context.Context, t overlay.Target, tries int, out chan<- Peer) {
	ctx, stop := context.WithTimeout(ctx, searchTime+proveTime)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex // guards seen
	seen := map[Peer]bool{}
	found := func(p Peer) {
		mu.Lock()
		defer mu.Unlock()
		if !seen[p] && len(seen) < cap(out) {
			seen[p] = true
			out <- p
		}
	}
	known, err := h.Online(ctx, t.ID)
	if err != nil {
		return
	}
	for _, p := range known {
		found(p)
	}
	if t.Secret == (identity.Secret{}) {
		return
	}
	if len(t.Addrs)+len(t.Introducers) > 0 && len(known) == 0 {
		there := make(chan Peer, cap(out))
		wg.Go(func() { defer close(there); h.reach(ctx, t, there) })
		wg.Go(func() {
			for p := range there {
				found(p)
			}
		})
	}
	for _, at := range h.lately(ctx, t.ID) {
		wg.Go(func() {
			if p, err := h.meetAt(ctx, t, overlay.Place{Cert: at.cert, Key: at.key}); err == nil {
				found(p)
			}
		})
	}
	for range tries {
		some := false
		for at := range h.ov.Locate(ctx, t.ID, t.Secret).Places {
			some = true
			wg.Go(func() {
				if p, err := h.meetAt(ctx, t, at); err == nil {
					found(p)
				} else if !errors.Is(err, errOwnNode) {
					h.log.Debug("device not reached", "node", identity.NodeIDOf(at.Key), "err", err)
				}
			})
		}
		if some || tries == 1 {
			return
		}
		select {
		case <-time.After(locateAgain):
		case <-ctx.Done():
			return
		}
	}
}

// lately returns where a person's devices were met last.
func (h *Hub) lately(ctx context.Context, id identity.ID) (list []place) {
	h.loop.Do(ctx, func(time.Time) { list = slices.Clone(h.places[id]) })
	return list
}

var errOwnNode = errors.New("session: this device itself")

// meetAt links with a device where its record says that it is, and has it prove
// itself.
func (h *Hub) meetAt(ctx context.Context, t overlay.Target, at overlay.Place) (Peer, error) {
	var known Peer
	err := errOwnNode
	if e := h.loop.Do(ctx, func(now time.Time) {
		h.learn(now, at.Revoked)
		if at.Cert.DeviceID() == h.cfg.Self.Certificate().DeviceID() {
			return
		}
		if err = errRevoked; h.isRevoked(at.Cert) {
			return
		}
		if err = nil; h.peers[identity.NodeIDOf(at.Key)] != nil {
			if r := h.peers[identity.NodeIDOf(at.Key)]; r.proved && r.ov.Link() != nil {
				known = r.peer
			}
		}
	}); e != nil {
		err = e
	}
	if err != nil || known != (Peer{}) {
		return known, err
	}
	p, release, err := h.ov.Connect(ctx, at.Key)
	if err != nil {
		return Peer{}, fmt.Errorf("session: device: %w", err)
	}
	defer release() // what is proved holds it
	return h.prove(ctx, p, t.ID, t.Secret)
}

// sooner returns the earlier of two times of which either may be zero, never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
