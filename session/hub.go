// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/drive"
	"github.com/p2pos/p2pos/overlay"
)

// Config configures a Hub.
type Config struct {
	Self   *identity.Device
	Name   string // display name, sent with INVITEs
	Calls  Options
	Logger *slog.Logger // nil = silent
	// Allow decides, on a goroutine of its own, whether a proved peer's call
	// rings at all. nil = every proved peer's does.
	Allow func(from identity.ID, name string) error
}

// A Hub holds all sessions and calls of one node: it proves identities over
// the overlay's links, runs the call Machine, and moves media between sockets
// and tracks. All methods may be called from anywhere.
type Hub struct {
	cfg     Config
	log     *slog.Logger
	ov      *overlay.Overlay
	loop    *drive.Loop
	m       *Machine // owned by loop, as is everything up to events
	rng     *mrand.Rand
	peers   map[identity.NodeID]*remote
	calls   map[CallID]*Call
	ssrcs   SSRCs[*flow]
	early   earlyMedia
	events  chan HubEvent
	badMsgs atomic.Uint64
	wg      sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
	once    sync.Once
}

// remote is what the loop knows of the other end of a link.
type remote struct {
	ov      *overlay.Peer
	peer    Peer
	cert    identity.Certificate
	proved  bool
	again   *asking      // how to prove anew when the link was lost under a call
	release func()       // lets the overlay drop the link; nil until proved
	asking  *asking      // our proof is on its way
	waiting []chan error // who waits for its answer
}

// asking is a proof that we sent.
type asking struct {
	link   *overlay.Link
	callee identity.ID
	secret identity.Secret
}

const (
	// proveTime bounds the wait for the answer to a proof.
	proveTime = 5 * time.Second
	// maxWaiting bounds how many calls may wait for one proof.
	maxWaiting = 8
	// eventRoom is how many events may wait for the application side; each
	// call makes fewer than ten, and a full channel makes the hub wait, never
	// lose one.
	eventRoom = 256
)

// NewHub returns a Hub that takes media from the start but is on no network
// yet: hand its Media method to the overlay, then call Start.
func NewHub(cfg Config) *Hub {
	h := &Hub{
		cfg: cfg, log: cfg.Logger,
		peers:  make(map[identity.NodeID]*remote),
		calls:  make(map[CallID]*Call),
		events: make(chan HubEvent, eventRoom),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	var seed [16]byte
	rand.Read(seed[:])
	h.rng = mrand.New(mrand.NewPCG(binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:])))
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Start connects the hub with its overlay. It is called once.
func (h *Hub) Start(ov *overlay.Overlay) {
	h.ov = ov
	h.m = NewMachine(h.cfg.Self, ov.Node(), h.cfg.Name, h.rng, h.cfg.Calls)
	h.loop = drive.New(h.m, h.drain)
	h.wg.Go(h.listen)
}

// listen takes the overlay's events until it closes.
func (h *Hub) listen() {
	for {
		e, err := h.ov.Next(h.ctx)
		if err != nil {
			return
		}
		switch e := e.(type) {
		case overlay.PeerUp:
			h.emit(LinkUp{Node: e.Peer.Node()})
			h.loop.Do(h.ctx, func(now time.Time) { h.back(now, e.Peer) })
		case overlay.PeerDown:
			h.emit(LinkDown{Node: e.Peer.Node()})
			h.loop.Do(h.ctx, func(now time.Time) { h.gone(now, e.Peer, e.Bye) })
		case overlay.PathChanged:
			h.loop.Do(h.ctx, func(time.Time) { h.moved(e) })
		case overlay.Message:
			h.loop.Do(h.ctx, func(now time.Time) { h.receive(now, e) })
		}
	}
}

// receive takes one session message from a link.
func (h *Hub) receive(now time.Time, e overlay.Message) {
	r := h.peers[e.Peer.Node()]
	if IsProof(e.Body) {
		if r == nil {
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
	if err := h.m.Receive(now, r.peer, e.Body); err != nil {
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
			h.settle(r, cert, err)
			return
		}
		// It may be a question that crossed ours.
	}
	self := h.cfg.Self
	cert, secret, err := OpenProof(now, body, h.binding(l, r.ov), Asker, self.ID(), []identity.Secret{self.Reach()})
	if err != nil {
		h.badMsgs.Add(1)
		h.log.Debug("proof refused", "node", r.ov.Node(), "err", err)
		if !errors.Is(err, ErrDenied) {
			l.Send(Refusal())
		}
		return
	}
	if err := l.Send(NewProof(now, self, h.binding(l, r.ov), Answerer, self.ID(), secret)); err != nil {
		h.log.Debug("proof not answered", "node", r.ov.Node(), "err", err)
		return
	}
	h.know(r, cert)
}

// settle ends our own asking, well or not.
func (h *Hub) settle(r *remote, cert identity.Certificate, err error) {
	if err == nil {
		r.again = r.asking
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
	if r.proved {
		return
	}
	r.proved = true
	r.release = r.ov.Keep()
	r.ov.Share()
}

// gone is called when the last link to a node has ended.
func (h *Hub) gone(now time.Time, p *overlay.Peer, bye bool) {
	r := h.peers[p.Node()]
	if r == nil {
		return
	}
	delete(h.peers, p.Node())
	if r.asking != nil {
		h.settle(r, identity.Certificate{}, overlay.ErrDown)
	}
	if !r.proved {
		return
	}
	r.proved = false
	r.release()
	if bye {
		h.m.Leave(now, r.peer)
	} else {
		h.m.Forget(now, r.peer)
	}
	if r.again != nil && h.talking(p) {
		h.peers[p.Node()] = r // for when the overlay has linked again
	}
}

// back is called when a node is linked. Whoever proved himself first does so
// again for a call that outlived its link.
func (h *Hub) back(now time.Time, p *overlay.Peer) {
	if r := h.peers[p.Node()]; r != nil && !r.proved && r.asking == nil && r.again != nil {
		h.ask(now, p, r.again.callee, r.again.secret, make(chan error, 1))
	}
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
	if r.asking != nil && r.asking.link == p.Link() {
		return
	}
	l := p.Link()
	if l == nil {
		h.settle(r, identity.Certificate{}, overlay.ErrDown)
		return
	}
	r.asking = &asking{link: l, callee: callee, secret: secret}
	if err := l.Send(NewProof(now, h.cfg.Self, h.binding(l, p), Asker, callee, secret)); err != nil {
		h.settle(r, identity.Certificate{}, err)
	}
}

// find returns a proved peer of an identity: one that is here already, or the
// first that Reach finds and that proves to be it.
func (h *Hub) find(ctx context.Context, t overlay.Target) (Peer, error) {
	var known Peer
	if err := h.loop.Do(ctx, func(time.Time) { known = h.known(t.ID) }); err != nil {
		return Peer{}, err
	}
	if known != (Peer{}) {
		return known, nil
	}
	if t.Secret == (identity.Secret{}) {
		return Peer{}, ErrUnknownPeer
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		peer Peer
		err  error
	}
	err := overlay.ErrUnreachable
	found, results, proving := h.ov.Reach(ctx, t), make(chan result), 0
	for found != nil || proving > 0 {
		select {
		case p, ok := <-found:
			if !ok {
				found = nil
				continue
			}
			proving++
			wg.Go(func() {
				peer, err := h.prove(ctx, p, t.ID, t.Secret)
				select {
				case results <- result{peer, err}:
				case <-ctx.Done():
				}
			})
		case r := <-results:
			proving--
			if r.err == nil {
				return r.peer, nil
			}
			h.log.Debug("not the one", "err", r.err)
			if errors.Is(r.err, ErrDenied) {
				err = r.err
			}
		case <-ctx.Done():
			return Peer{}, ctx.Err()
		}
	}
	return Peer{}, err
}

// known returns a proved peer of an identity. The smallest node ID is taken
// so that map order decides nothing.
func (h *Hub) known(id identity.ID) (best Peer) {
	for _, r := range h.peers {
		if r.proved && r.peer.Identity == id && (best == (Peer{}) || r.peer.Node.Less(best.Node)) {
			best = r.peer
		}
	}
	return best
}

// emit hands an event to the application side. It waits when there is no
// room: the root takes events without pause.
func (h *Hub) emit(e HubEvent) {
	select {
	case h.events <- e:
	case <-h.ctx.Done():
	}
}

// Next returns the next event; net.ErrClosed after Close. Only one goroutine
// should call it.
func (h *Hub) Next(ctx context.Context) (HubEvent, error) {
	select {
	case e := <-h.events:
		return e, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Dropped counts what was refused, by reason.
func (h *Hub) Dropped() map[string]uint64 {
	return map[string]uint64{"session": h.badMsgs.Load(), "ssrc": h.ssrcs.Dropped()}
}

// Close ends every call without a word (the overlay, closed first, has said
// bye) and waits for every goroutine.
func (h *Hub) Close() {
	h.once.Do(func() {
		h.cancel()
		h.loop.Close() // from here on nothing starts a goroutine
		for id, c := range h.calls {
			c.finish(Ended{ID: id, Peer: c.peer, Reason: HungUp, Stage: Talk, ByUs: true})
		}
		h.wg.Wait()
	})
}
