// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// SearchState says how the search for somebody goes, in the words of events.
type SearchState string

// The states of a search for somebody of whom nothing is known but a ticket.
const (
	SearchAsking    SearchState = "asking"    // the network is asked where their devices are
	SearchFound     SearchState = "found"     // a device is somewhere; it is being rung
	SearchUnknown   SearchState = "unknown"   // nobody in the network knows of them
	SearchWithdrawn SearchState = "withdrawn" // their device has said that it goes offline
)

// CallSearch tells how the search for a callee goes.
type CallSearch struct {
	Peer  identity.ID
	State SearchState
}

func (CallSearch) hubEvent() {}

const (
	// emptyEnough: so many times in a row the holders of somebody's record have
	// none. Whoever is online publishes within a second or two of joining, and
	// again every ten minutes; the third answer comes before dialEnough.
	emptyEnough = 3
	// dialEnough is how long the addresses in a ticket are tried beside a record,
	// or the word that there is none: two handshakes around the world after
	// ticketHold.
	dialEnough = 2500 * time.Millisecond
	// aloneEnough is how long a node without links waits for one: it may be
	// about to join.
	aloneEnough = 4 * time.Second
)

// seek looks for the nodes of a target's devices, and sends each that has
// proved to be one. The channel is closed when there are no more, or ctx ends.
// Errors: ErrUnknownPeer, net.ErrClosed.
func (h *Hub) seek(ctx context.Context, t overlay.Target, rings <-chan struct{}) (<-chan Peer, error) {
	var known Peer
	var places []place
	if err := h.loop.Do(ctx, func(time.Time) {
		known = h.known(t.ID)
		places = slices.Clone(h.places[t.ID])
	}); err != nil {
		return nil, err
	}
	out := make(chan Peer, 2*maxDevices+1)
	if known != (Peer{}) {
		out <- known
	}
	if t.Secret == (identity.Secret{}) {
		close(out)
		if known == (Peer{}) {
			return nil, ErrUnknownPeer
		}
		return out, nil
	}
	if !h.spawn(func() { defer close(out); h.search(ctx, t, known, places, rings, out) }) {
		return nil, net.ErrClosed
	}
	return out, nil
}

// search looks for a person's devices where they were last, in their reach
// records, and at the addresses in its ticket.
func (h *Hub) search(ctx context.Context, t overlay.Target, known Peer, places []place, rings <-chan struct{}, out chan<- Peer) {
	began := time.Now()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	dialing, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var wg sync.WaitGroup
	defer wg.Wait()
	located, unknown := make(chan struct{}), make(chan struct{})
	defer close(located)
	visit := func(at place) {
		peer, err := h.visit(ctx, at, t.Secret)
		if err != nil {
			h.log.Debug("not visited", "node", identity.NodeIDOf(at.key), "err", err)
			return
		}
		select {
		case out <- peer:
		case <-ctx.Done():
		}
	}
	for _, at := range places {
		if known == (Peer{}) || identity.NodeIDOf(at.key) != known.Node {
			visit(at)
		}
	}
	if known == (Peer{}) {
		wg.Go(func() {
			if h.patient(dialing, rings, unknown) {
				h.reach(dialing, t, out)
			}
			h.alone(located, began, stop)
		})
	}
	silent := known == (Peer{}) && len(places) == 0
	news := func(s SearchState) {
		if silent {
			h.emit(CallSearch{t.ID, s})
		}
	}
	news(SearchAsking)
	empty := 0
	// Its record may be on its way to where it belongs, or this node be just
	// about to join.
	for range locateTries {
		found := false
		s := h.ov.Locate(ctx, t.ID, t.Secret)
		for at := range s.Places {
			if !h.ov.Linked() {
				continue // it was kept here, and leads nowhere from here
			}
			if !found {
				news(SearchFound)
			}
			found = true
			h.learnFrom(ctx, at)
			visit(place{at.Cert, at.Key})
		}
		v := s.Verdict()
		switch {
		case found:
			time.AfterFunc(time.Until(began.Add(dialEnough)), giveUp)
			return
		case ctx.Err() != nil:
		case v.Withdrawn:
			news(SearchWithdrawn)
			if empty == 0 {
				close(unknown)
			}
			empty = emptyEnough
		case v.Answered:
			if empty++; empty == 1 {
				news(SearchUnknown)
				close(unknown)
			}
		}
		if empty == emptyEnough {
			time.AfterFunc(time.Until(began.Add(dialEnough)), giveUp)
			return
		}
		wait := time.NewTimer(locateAgain)
		select {
		case <-wait.C:
		case <-rings:
			wait.Stop()
			return
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// patient waits before the addresses in a ticket are dialled, while the network may
// find the callee without: many routers take a packet that comes too early for a
// connection of their own, and then move the port that punches aim at. It reports
// whether to dial.
func (h *Hub) patient(ctx context.Context, rings, unknown <-chan struct{}) bool {
	if !h.ov.Linked() {
		return true
	}
	wait := time.NewTimer(ticketHold)
	defer wait.Stop()
	select {
	case <-unknown:
		return true
	case <-wait.C:
		return true
	case <-rings:
	case <-ctx.Done():
	}
	return false
}

// alone ends a search when no link has come about: then there is nobody to ask.
func (h *Hub) alone(located <-chan struct{}, began time.Time, stop func()) {
	wait := time.NewTimer(time.Until(began.Add(aloneEnough)))
	defer wait.Stop()
	select {
	case <-wait.C:
		if !h.ov.Linked() {
			stop()
		}
	case <-located:
	}
}

// reach finds nodes by a ticket's addresses and through introducers, and has
// them prove themselves.
func (h *Hub) reach(ctx context.Context, t overlay.Target, out chan<- Peer) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for p := range h.ov.Reach(ctx, t) {
		wg.Go(func() {
			peer, err := h.prove(ctx, p, t.ID, t.Secret)
			if err != nil {
				// Who answers from an old address may be anybody, and his
				// refusal says nothing about the one we look for.
				h.log.Debug("not the one", "err", err)
				return
			}
			select {
			case out <- peer:
			case <-ctx.Done():
			}
		})
	}
}
