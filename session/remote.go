// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// remote is what the loop knows of the other end of a link.
type remote struct {
	ov      *overlay.Peer
	peer    Peer
	cert    identity.Certificate
	proved  bool
	release func()       // lets the overlay drop the link; nil until proved
	asking  *asking      // our proof is on its way
	waiting []chan error // who waits for its answer
	until   time.Time    // one that was met is held until then without a call
	session *Session     // nil = none stands
	heard   map[*overlay.Link]bool
	guest   bool // came by a one-use ticket alone; seen: came at all
	seen    bool
	shown   bool            // PersonUp or DeviceUp was told
	secret  identity.Secret // under which our INVITEs go to a node that was met; zero = proved on a link
	once    *seal           // for the next INVITE, in place of secret
}

// asking is a proof that we sent.
type asking struct {
	link   *overlay.Link
	since  time.Time
	callee identity.ID
	secret identity.Secret
}

const (
	// proveTime bounds the wait for the answer to a proof.
	proveTime = 5 * time.Second
	// maxWaiting bounds how many calls may wait for one proof.
	maxWaiting = 8
	// maxAsked nodes are remembered to which this one has proved itself.
	maxAsked = 256
)

// receive takes one session message from a link.
func (h *Hub) receive(now time.Time, e overlay.Message) {
	if isRing(e.Body) {
		h.rung(now, e.Peer, e.Body)
		return
	}
	if typeOf(e.Body) == typeChat {
		if h.courier != nil && e.Link != nil { // over the route it only asks for a link
			h.courier.frame(e.Peer, e.Link, e.Body)
		}
		return
	}
	r := h.peers[e.Peer.Node()]
	if IsProof(e.Body) {
		if e.Link == nil {
			return // only a link can be proved
		}
		if r == nil {
			if e.Peer.Link() == nil {
				return // the link has ended behind it
			}
			r = &remote{ov: e.Peer}
			h.peers[e.Peer.Node()] = r
		}
		h.proof(now, r, e.Link, e.Body)
		return
	}
	if r == nil || !r.proved {
		h.badMsgs.Add(1)
		return
	}
	if isDevice(e.Body) {
		h.deviceMessage(now, r, e.Body)
		return
	}
	take := h.m.Receive
	if IsInvite(e.Body) {
		take = func(now time.Time, _ Peer, body []byte) error { return h.invited(now, r, body) }
	}
	if err := take(now, r.peer, e.Body); err != nil {
		h.badMsgs.Add(1)
		h.log.Debug("session message dropped", "peer", r.peer.Identity, "err", err)
	}
}

func (h *Hub) binding(l *overlay.Link, p *overlay.Peer) Binding {
	return Binding{Exporter: l.Exporter(), Self: h.ov.Node(), Peer: p.Node()}
}

// proof takes a PROVE: the answer to ours, or somebody else's question.
func (h *Hub) proof(now time.Time, r *remote, l *overlay.Link, body []byte) {
	if a := r.asking; a != nil && a.link == l {
		cert, _, err := OpenProof(now, body, h.binding(l, r.ov), Answerer, a.callee, []identity.Secret{a.secret})
		if err == nil || errors.Is(err, ErrDenied) {
			if h.settle(r, cert, err); r.proved {
				h.linked(now, r)
			}
			return
		}
		// It may be a question that crossed ours.
	}
	self := h.cfg.Self
	cert, secret, err := OpenProof(now, body, h.binding(l, r.ov), Asker, self.ID(), h.secrets(now))
	if err != nil {
		h.badMsgs.Add(1)
		h.log.Debug("proof refused", "node", r.ov.Node(), "err", err)
		if !errors.Is(err, ErrDenied) {
			l.Send(Refusal())
		}
		return
	}
	if h.shut(cert.Identity) {
		h.badMsgs.Add(1)
		h.log.Debug("proof of somebody blocked dropped", "node", r.ov.Node())
		return
	}
	if h.isRevoked(cert) {
		h.badMsgs.Add(1)
		h.log.Info("proof of a revoked device refused", "peer", cert.Identity)
		l.Send(Refusal())
		return
	}
	if r.proved && (cert.Identity != r.peer.Identity || cert.DeviceID() != r.peer.Device) {
		// A node is one device of one person for as long as it runs.
		h.badMsgs.Add(1)
		l.Send(Refusal())
		return
	}
	ok, once := h.admitted(secret, cert.Identity)
	if !ok {
		h.badMsgs.Add(1)
		h.log.Info("a one-use ticket was shown by somebody else", "peer", cert.Identity)
		l.Send(Refusal())
		return
	}
	if err := l.Send(NewProof(now, self, h.binding(l, r.ov), Answerer, self.ID(), secret)); err != nil {
		h.log.Debug("proof not answered", "node", r.ov.Node(), "err", err)
		return
	}
	h.know(r, cert)
	r.came(once)
	h.linked(now, r)
}

// came notes whether somebody came by a one-use ticket, or ever by another way.
func (r *remote) came(once bool) {
	r.guest = once && (r.guest || !r.seen)
	r.seen = true
}

// settle ends our own asking, well or not.
func (h *Hub) settle(r *remote, cert identity.Certificate, err error) {
	if err == nil && r.proved && (cert.Identity != r.peer.Identity || cert.DeviceID() != r.peer.Device) {
		err = ErrForged
	}
	if err == nil && h.isRevoked(cert) {
		err = ErrDenied
	}
	if err == nil {
		if _, ok := h.asked[r.ov.Node()]; ok || len(h.asked) < maxAsked {
			h.asked[r.ov.Node()] = r.asking
		}
		h.know(r, cert)
	}
	r.asking = nil
	for _, w := range r.waiting {
		w <- err
	}
	r.waiting = nil
	if err != nil && !r.proved {
		delete(h.peers, r.ov.Node())
	}
}

// know notes a proved identity behind a link, and keeps the link for it.
func (h *Hub) know(r *remote, cert identity.Certificate) {
	r.cert = cert
	r.peer = Peer{Identity: cert.Identity, Device: cert.DeviceID(), Node: r.ov.Node()}
	h.m.Know(r.peer, cert)
	h.keepPlace(cert, r.ov.Key())
	if r.proved {
		h.openSession(r) // it may have been met before it was linked
		return
	}
	r.proved = true
	r.release = r.ov.Keep()
	r.ov.Share()
	h.openSession(r)
	h.tellCourier(r)
}

// tellCourier says that texts can go over a proved peer's link.
func (h *Hub) tellCourier(r *remote) {
	if h.courier != nil && r.ov.Link() != nil {
		h.courier.up(r.ov, r.cert)
	}
}

// forgetCourier says that they can't any more.
func (h *Hub) forgetCourier(r *remote) {
	if h.courier != nil {
		h.courier.down(r.ov.Node())
	}
}

// gone is called when the last link to a node has ended.
func (h *Hub) gone(now time.Time, p *overlay.Peer, bye bool) {
	r := h.peers[p.Node()]
	if r == nil {
		return
	}
	if r.asking != nil {
		h.settle(r, identity.Certificate{}, overlay.ErrDown)
	}
	h.forgetCourier(r)
	if r.proved && !bye && h.outlives(now, r) {
		return
	}
	delete(h.peers, p.Node())
	if !r.proved {
		return
	}
	r.proved = false
	r.release()
	h.hide(r)
	h.closeSession(r)
	if bye {
		h.m.Leave(now, r.peer)
	} else {
		h.m.Forget(now, r.peer)
	}
	if bye {
		delete(h.asked, p.Node())
		h.leavePlace(r.peer.Identity, p)
	}
}

// outlives keeps somebody whose link ended in mid-call as one who was met: what is
// known of the node's key holds without a link, and with the next one nobody might
// prove anything again. So either side can still hang up, and have the call relayed.
func (h *Hub) outlives(now time.Time, r *remote) bool {
	h.m.Forget(now, r.peer) // what only rings ends
	if !h.busyWith(r.ov) || len(h.lobby) >= maxMet {
		return false
	}
	h.m.Know(r.peer, r.cert)
	r.until = now.Add(metLife)
	if !slices.Contains(h.lobby, r) {
		h.lobby = append(h.lobby, r)
	}
	return true
}

// back is called when a node is linked anew, or once more: the other side may
// have lost the older link, and with it what was proved. Whoever asked first
// does so again, for a call that outlived its link and for the session.
func (h *Hub) back(now time.Time, p *overlay.Peer) {
	a, r := h.asked[p.Node()], h.peers[p.Node()]
	if r != nil && r.proved {
		p.Share()
		h.openSession(r)
		h.tellCourier(r)
	}
	if a == nil || r != nil && r.asking != nil && now.Sub(r.asking.since) < proveTime {
		return
	}
	if r == nil {
		r = &remote{ov: p}
		h.peers[p.Node()] = r
	}
	h.question(now, r, a.callee, a.secret)
}

// talking reports whether a call's media runs to p.
func (h *Hub) talking(p *overlay.Peer) bool {
	for _, c := range h.calls {
		if c.release != nil && c.ov == p {
			return true
		}
	}
	return false
}

// prove shows our identity to whoever is behind p and learns his. It blocks
// for at most proveTime. Errors: ErrDenied, ErrForged, overlay.ErrDown,
// overlay.ErrUnreachable, ctx's.
func (h *Hub) prove(ctx context.Context, p *overlay.Peer, callee identity.ID, secret identity.Secret) (peer Peer, err error) {
	wait := make(chan error, 1)
	if e := h.loop.Do(ctx, func(now time.Time) { h.ask(now, p, callee, secret, wait) }); e != nil {
		return Peer{}, e
	}
	timeout := time.NewTimer(proveTime)
	defer timeout.Stop()
	select {
	case err = <-wait:
	case <-timeout.C:
		err = fmt.Errorf("%w: no proof of identity came", overlay.ErrUnreachable)
	case <-ctx.Done():
		err = ctx.Err()
	case <-h.ctx.Done():
		err = net.ErrClosed
	}
	if err != nil {
		h.loop.Do(h.ctx, func(time.Time) { h.unask(p, wait) })
		return Peer{}, err
	}
	e := h.loop.Do(ctx, func(time.Time) {
		if r := h.peers[p.Node()]; r != nil && r.proved {
			peer = r.peer
		} else {
			err = overlay.ErrDown
		}
	})
	if e != nil {
		return Peer{}, e
	}
	if err == nil && peer.Identity != callee {
		err = ErrForged
	}
	return peer, err
}

// unask forgets one who waited in vain; when nobody waits, the question too.
func (h *Hub) unask(p *overlay.Peer, wait chan error) {
	r := h.peers[p.Node()]
	if r == nil {
		return
	}
	r.waiting = slices.DeleteFunc(r.waiting, func(w chan error) bool { return w == wait })
	if len(r.waiting) == 0 {
		h.settle(r, identity.Certificate{}, overlay.ErrUnreachable)
	}
}

func (h *Hub) ask(now time.Time, p *overlay.Peer, callee identity.ID, secret identity.Secret, wait chan error) {
	r := h.peers[p.Node()]
	if r == nil {
		r = &remote{ov: p}
		h.peers[p.Node()] = r
	}
	switch {
	case r.proved && r.peer.Identity == callee:
		wait <- nil
		return
	case r.proved:
		wait <- ErrForged
		return
	case len(r.waiting) == maxWaiting:
		wait <- overlay.ErrCongested
		return
	}
	r.waiting = append(r.waiting, wait)
	if a := r.asking; a != nil && a.link == p.Link() && now.Sub(a.since) < proveTime {
		return
	}
	h.question(now, r, callee, secret)
}

// question sends our proof on the link that is in use now.
func (h *Hub) question(now time.Time, r *remote, callee identity.ID, secret identity.Secret) {
	p := r.ov
	l := p.Link()
	if l == nil {
		h.settle(r, identity.Certificate{}, overlay.ErrDown)
		return
	}
	r.asking = &asking{link: l, since: now, callee: callee, secret: secret}
	if err := l.Send(NewProof(now, h.cfg.Self, h.binding(l, p), Asker, callee, secret)); err != nil {
		h.settle(r, identity.Certificate{}, err)
	}
}

// known returns a proved peer of an identity. The smallest node ID is taken
// so that map order decides nothing.
func (h *Hub) known(id identity.ID) (best Peer) {
	for _, r := range h.peers {
		if r.proved && r.ov.Link() != nil && r.ov.Path().Up && r.peer.Identity == id && (best == (Peer{}) || r.peer.Node.Less(best.Node)) {
			best = r.peer
		}
	}
	return best
}
