// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// A node is met when it is talked to over the route, before any link stands:
// its own INVITE, or its reach record, says whose device it runs. A link may
// come while it rings; it needs no further proof, since INVITE and record name
// the node's key.

// place is where a device was last: on the node of this key.
type place struct {
	cert identity.Certificate
	key  ed25519.PublicKey
}

const (
	// maxMet nodes are held without a link: those that ring here, and the
	// devices of those we ring.
	maxMet = 32
	// metLife is how long a node is held from the meeting to its first call.
	metLife = 2 * time.Second
	// maxPlaces people are remembered with the nodes of their devices.
	maxPlaces = 256
	// searchTime bounds the search for a person's devices: two rounds of
	// lookups, and a dial at an address that doesn't answer.
	searchTime = 8 * time.Second
	// ticketHold is a little more than a look at a reach record and a ring take
	// over slow routes; see patient.
	ticketHold = 700 * time.Millisecond
	// locateTries and locateAgain: how often a record is looked for.
	locateTries = 4
	locateAgain = 700 * time.Millisecond
)

// rung takes a RING from a node.
func (h *Hub) rung(now time.Time, p *overlay.Peer, body []byte) {
	drop := func(err error) {
		h.badMsgs.Add(1)
		h.log.Debug("ring dropped", "node", p.Node(), "err", err)
	}
	secrets := h.secrets(now)
	if typeOf(body) == typePassed {
		secrets = secrets[:1] // a one-use ticket can't be passed on
	}
	groups := h.rosters[:min(len(h.rosters), maxRoomSecret)]
	cert, secret, invite, err := openRing(now, h.cfg.Self, secrets, groups, p.Node(), h.ov.Node(), body)
	if err != nil {
		drop(err)
		return
	}
	if h.shut(cert.Identity) {
		drop(errBlocked)
		return
	}
	if h.isRevoked(cert) {
		drop(errRevoked)
		return
	}
	ok, once := h.admitted(secret, cert.Identity)
	if !ok {
		drop(errOnce)
		return
	}
	r, err := h.met(now, p, cert)
	if err != nil {
		drop(err)
		return
	}
	r.came(once)
	if err := h.invited(now, r, invite); err != nil {
		drop(err)
	}
}

// met notes whose device runs on a node, as a signed message or record says.
func (h *Hub) met(now time.Time, p *overlay.Peer, cert identity.Certificate) (*remote, error) {
	r := h.peers[p.Node()]
	switch {
	case r == nil && len(h.lobby) >= maxMet:
		return nil, overlay.ErrCongested
	case r == nil:
		r = &remote{ov: p}
		h.peers[p.Node()] = r
	case r.proved && (cert.Identity != r.peer.Identity || cert.DeviceID() != r.peer.Device):
		return nil, ErrForged
	case r.proved:
		r.until = now.Add(metLife)
		return r, nil
	}
	r.until = now.Add(metLife)
	h.know(r, cert)
	if p.Link() == nil {
		h.lobby = append(h.lobby, r)
		h.wg.Go(func() { h.wakeAfter(metLife) })
	}
	return r, nil
}

// sweep lets go of nodes that were met and are not needed any more.
func (h *Hub) sweep(now time.Time) {
	h.lobby = slices.DeleteFunc(h.lobby, func(r *remote) bool {
		switch {
		case h.peers[r.ov.Node()] != r || r.ov.Link() != nil:
			return true
		case now.Before(r.until) || h.busyWith(r.ov) || h.screening[r.peer]:
			return false
		}
		h.unmeet(now, r)
		return true
	})
}

// busyWith says whether any call rings or runs between this node and p.
func (h *Hub) busyWith(p *overlay.Peer) bool {
	for _, c := range h.calls {
		if c.rings(p) {
			return true
		}
	}
	return false
}

func (h *Hub) unmeet(now time.Time, r *remote) {
	delete(h.peers, r.ov.Node())
	r.proved = false
	h.hide(r)
	h.m.Forget(now, r.peer)
	r.release()
	h.closeSession(r)
	h.forgetCourier(r)
}

// unrouted ends what rang at a node that the route does not reach: it is gone,
// or was never there.
func (h *Hub) unrouted(now time.Time, p *overlay.Peer) {
	r := h.peers[p.Node()]
	if r == nil || p.Link() != nil || !slices.Contains(h.lobby, r) {
		return
	}
	h.leavePlace(r.peer.Identity, p)
	h.m.Unreached(now, r.peer)
}

// leavePlace forgets that a device of id is on node p.
func (h *Hub) leavePlace(id identity.ID, p *overlay.Peer) {
	list := slices.DeleteFunc(h.places[id], func(q place) bool { return bytes.Equal(q.key, p.Key()) })
	if h.places[id] = list; len(list) == 0 {
		delete(h.places, id)
	}
}

// keepPlace remembers where a device is.
func (h *Hub) keepPlace(cert identity.Certificate, key ed25519.PublicKey) {
	list := slices.DeleteFunc(h.places[cert.Identity], func(q place) bool { return q.cert.DeviceID() == cert.DeviceID() })
	if list == nil && len(h.places) >= maxPlaces {
		for id := range h.places { // any: all can be found again
			delete(h.places, id)
			break
		}
	}
	if len(list) == maxDevices {
		list = list[1:]
	}
	h.places[cert.Identity] = append(list, place{cert, key})
}

// seal is what the INVITEs of one call are wrapped with: a pass or a group's
// secret.
type seal struct {
	secret identity.Secret
	pass   *Pass
}

// visit meets the node of a device, whose reach secret is known unless it is zero.
// It returns the peer to ring.
func (h *Hub) visit(ctx context.Context, at place, secret identity.Secret) (Peer, error) {
	p, release, err := h.ov.Meet(ctx, at.key)
	if err != nil {
		return Peer{}, err
	}
	defer release() // from here on what is known of it holds it
	var peer Peer
	e := h.loop.Do(ctx, func(now time.Time) {
		if err = errRevoked; h.isRevoked(at.cert) {
			return
		}
		var r *remote
		if r, err = h.met(now, p, at.cert); err == nil {
			if secret != (identity.Secret{}) {
				r.secret = secret
			}
			peer = r.peer
		}
	})
	if e != nil {
		err = e
	}
	return peer, err
}
