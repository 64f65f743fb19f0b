// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
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
	"github.com/p2pos/p2pos/session/chat"
)

// Config configures a Hub.
type Config struct {
	Self   *identity.Device
	Name   string // display name, sent with INVITEs
	Calls  Options
	Logger *slog.Logger // nil = silent
	// Allow decides, on a goroutine of its own, whether a proved peer's call
	// rings at all. Nobody hears of the call before; Close does not wait for
	// it. nil = every proved peer's call rings.
	Allow func(Asking) error
	// AllowTransfer decides, in the same way, whether the other side of a call
	// may have this node call somebody else instead. nil = yes.
	AllowTransfer func(by, to identity.ID) error
	// Kin holds what is known of the person's other devices; nil = nothing. The
	// hub owns it from Start on.
	Kin *Kin
	// Once are the one-use tickets' reach secrets.
	Once []Once
	// Revoked are devices of others that don't count any more.
	Revoked []Revoked
	// Groups are those that are known, the ones used last first.
	Groups []*GroupRoster
	// Blocked tells whether somebody is shut out: what comes from there is
	// dropped without an answer. It is asked on the hub's loop and must not
	// block. nil = nobody.
	Blocked func(identity.ID) bool
	// MayWrite says whether the texts of somebody are taken: see chat.Config.
	MayWrite func(identity.ID) chat.Verdict
	// Chat keeps texts and what their protection needs. nil = this node takes and
	// sends none.
	Chat chat.Store
	// Near tells with whom to exchange keys as soon as a link stands: contacts. It
	// must not block. nil = nobody.
	Near func(identity.ID) bool
	// Target tells how a person is found to whom a text waits, or who is called into a
	// group. It must not block. nil = nobody is.
	Target func(identity.ID) (overlay.Target, bool)
}

// A Hub holds all sessions and calls of one node: it proves identities over
// the overlay's links, runs the call Machine, and moves media between sockets
// and tracks. All methods may be called from anywhere.
type Hub struct {
	cfg       Config
	log       *slog.Logger
	ov        *overlay.Overlay
	loop      *drive.Loop
	m         *Machine // owned by loop, as is everything up to events
	kin       *Kin
	revoked   revocations
	onces     onces
	rng       *mrand.Rand
	peers     map[identity.NodeID]*remote
	calls     map[CallID]*Call
	placing   []*Call   // own ones without an answer
	lobby     []*remote // met, and without a link
	places    map[identity.ID][]place
	asked     map[identity.NodeID]*asking // proofs that were accepted, to show again
	rooms     map[GroupID]*Conference
	rosters   []*GroupRoster // those used last first
	screening map[Peer]bool  // whose INVITE the application is asked about
	ssrcs     SSRCs[receiver]
	early     earlyMedia
	events    chan HubEvent
	courier   *courier // nil = no chat; set by Start
	badMsgs   atomic.Uint64
	wg        sync.WaitGroup
	ctx       context.Context
	cancel    context.CancelFunc
	once      sync.Once
}

// eventRoom is how many events may wait for the application side; each call
// makes fewer than ten, and a full channel makes the hub wait, never lose one.
const eventRoom = 256

// NewHub returns a Hub that takes media from the start but is on no network
// yet: hand its Media method to the overlay, then call Start.
func NewHub(cfg Config) *Hub {
	h := &Hub{
		cfg: cfg, log: cfg.Logger,
		peers:     make(map[identity.NodeID]*remote),
		calls:     make(map[CallID]*Call),
		asked:     make(map[identity.NodeID]*asking),
		screening: make(map[Peer]bool),
		rooms:     make(map[GroupID]*Conference),
		rosters:   slices.Clone(cfg.Groups),
		places:    make(map[identity.ID][]place),
		events:    make(chan HubEvent, eventRoom),
		revoked:   newRevocations(cfg.Revoked),
		onces:     onces{list: slices.Clone(cfg.Once)},
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
	if h.kin = h.cfg.Kin; h.kin == nil {
		h.kin = NewKin(time.Now(), h.cfg.Self, KinState{})
	}
	if h.cfg.Chat != nil {
		h.courier = newCourier(h)
	}
	h.loop = drive.New(rules{h}, h.drain)
	h.wg.Go(h.listen)
}

// listen takes the overlay's events until it closes.
func (h *Hub) listen() {
	links := 0
	linked := func(by int) {
		old := links
		if links += by; h.courier != nil && (old == 0) != (links == 0) {
			h.courier.reachable(links > 0)
		}
	}
	for {
		e, err := h.ov.Next(h.ctx)
		if err != nil {
			return
		}
		switch e := e.(type) {
		case overlay.PeerUp:
			up := LinkUp{Node: e.Peer.Node()}
			if l := e.Peer.Link(); l != nil {
				up.Member, up.Incoming = l.Member(), !l.Dialled()
			}
			h.emit(up)
			h.loop.Do(h.ctx, func(now time.Time) { h.back(now, e.Peer) })
			linked(1)
		case overlay.Knocked:
			h.knocked(e)
		case overlay.NATChanged:
			h.emit(NATFound{e})
		case overlay.RosterChanged:
			h.emit(RosterFound{e})
		case overlay.RosterRefused:
			h.emit(RosterRefused{e})
		case overlay.MemberRefused:
			h.emit(MemberRefused{e})
		case overlay.PeerRelinked:
			h.loop.Do(h.ctx, func(now time.Time) { h.back(now, e.Peer) })
		case overlay.PeerDown:
			h.emit(LinkDown{Node: e.Peer.Node()})
			h.loop.Do(h.ctx, func(now time.Time) { h.gone(now, e.Peer, e.Bye) })
			linked(-1)
		case overlay.PathChanged:
			h.loop.Do(h.ctx, func(time.Time) { h.moved(e) })
		case overlay.Unrouted:
			h.loop.Do(h.ctx, func(now time.Time) { h.unrouted(now, e.Peer) })
		case overlay.Message:
			h.loop.Do(h.ctx, func(now time.Time) { h.receive(now, e) })
		}
	}
}

// emit hands an event to the application side. It waits when there is no
// room: the root takes events without pause.
func (h *Hub) emit(e HubEvent) {
	select {
	case h.events <- e:
	case <-h.ctx.Done():
	}
}

// all returns each call once: an own one that rings has several legs, or none
// while it is looked for.
func (h *Hub) all() []*Call {
	list := slices.Clone(h.placing)
	for _, c := range h.calls {
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list
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
	d := map[string]uint64{"session": h.badMsgs.Load(), "ssrc": h.ssrcs.Dropped()}
	if h.courier != nil {
		d["chat"] = h.courier.bad.Load()
	}
	return d
}

// wakeAfter has the loop look at everything after a while.
func (h *Hub) wakeAfter(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		h.loop.Do(h.ctx, func(time.Time) {}) // draining is what looks
	case <-h.ctx.Done():
	}
}

// spawn runs f on a goroutine that Close waits for.
func (h *Hub) spawn(f func()) bool {
	return h.loop.Do(h.ctx, func(time.Time) { h.wg.Go(f) }) == nil
}

// closedOr returns err, or net.ErrClosed once Close has begun.
func (h *Hub) closedOr(err error) error {
	if h.ctx.Err() != nil {
		return net.ErrClosed
	}
	return err
}

// Close ends every call without a word and waits for every goroutine. Close the
// overlay after it: its goodbye ends the calls on the other sides.
func (h *Hub) Close() {
	h.once.Do(func() {
		h.cancel()
		h.loop.Close() // from here on nothing starts a goroutine
		for _, c := range h.all() {
			e := Ended{ID: c.id, Peer: c.peer, Reason: Cancelled, Stage: Ring, ByUs: true}
			select {
			case <-c.answered:
				e.Reason, e.Stage = HungUp, Talk
			default:
			}
			c.finish(e)
		}
		for _, f := range h.rooms {
			f.finish(HungUp)
		}
		if h.courier != nil {
			h.courier.close()
		}
		h.wg.Wait()
	})
}
