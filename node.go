// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/overlay/relay"
	"github.com/p2pos/p2pos/session"
	"github.com/p2pos/p2pos/session/files"
)

// A Node is one person's place in the network, on one device. All methods may
// be called from any goroutine.
type Node struct {
	cfg Config
	dir string
	log *slog.Logger
	dev *identity.Device
	hub *session.Hub
	ov  *overlay.Overlay
	db  *store.Store // touches no disk before it is used

	book   *Contacts
	writes backlog // to the database, in the background

	desk      *files.Desk
	transfers transferHandles

	verdicts verdicts // of the policy, about nodes
	auditor  auditor

	ports   *portMapper       // nil = the router is left alone
	turn    *relay.TURNServer // nil = none
	near    *nearby           // nil = nobody is looked for on the LAN
	recalls bool              // nodes of earlier starts are remembered; set by newNode
	moved   chan struct{}     // capacity 1, dropped when full: the network is another one

	events  feed[Event]
	calls   feed[*Call]
	tally   *tally
	started time.Time

	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once

	mu       sync.Mutex // guards what follows
	handles  map[*session.Call]*Call
	ringing  []*Call // incoming calls that nobody has answered yet
	links    int
	first    chan struct{}                  // closed by the first link
	known    map[identity.ID]overlay.Target // from tickets that were used here
	hopes    map[identity.ID]overlay.Target // from tickets that nothing has proved yet
	sessions map[identity.ID]int            // with how many devices one stands
	linkedAt map[identity.NodeID]AuditEvent // for the audit: how it began
	joining  bool
	tried    chan struct{} // closed, and replaced, when a round of Join has failed
	tryErr   error         // of that round
	closed   bool

	sight    sight       // whether contacts are online
	kins     *kins       // what is known of the person's devices, beside the hub
	sisters  sisters     // those that are linked
	past     past        // what they are told of calls and files
	replaced atomic.Bool // the key store is another identity's now: nothing of this one's is written

	quieting sync.Mutex // held while the desk is told whether a call is up

	knockAsks atomic.Int32 // questions to Config.KnockRings that are open

	groups   map[session.GroupID]*session.GroupRoster
	rooms    map[*session.Conference]*GroupCall
	grouping sync.Mutex // held while a group is changed

	port    uint16     // of the first socket
	saving  sync.Mutex // guards what follows
	saved   []byte     // the state as it was written last
	unsaved bool       // that was tried in vain since
}

// storeLabel is the purpose of the database's key.
const storeLabel = "p2pos store v1"

// New opens a node: it loads or makes the identity, opens the socket and
// accepts links at once. Before Join or Call it reaches out to nodes on the LAN
// and those that it remembers from earlier starts alone. Errors:
// those of identity.Open (a damaged, newer or encrypted key store is never
// replaced), of opening the socket, and of a Config that makes no sense.
func New(cfg Config) (*Node, error) {
	n, err := newNode(cfg, nil, nil)
	if err != nil && cfg.PacketConn != nil {
		cfg.PacketConn.Close()
	}
	return n, err
}

// newNode lets tests of this package give more than one socket.
func newNode(cfg Config, conns []net.PacketConn, open opener) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	dir, err := cfg.dir()
	if err != nil {
		return nil, err
	}
	dev, err := identity.Open(dir, time.Now(), "", cfg.Passphrase)
	if err != nil {
		return nil, storeError(dir, err)
	}
	st, damaged := loadState(dir, dev.Derive(stateLabel))
	real := conns == nil && cfg.PacketConn == nil
	if conns == nil {
		if conns, err = cfg.sockets(st.port); err != nil {
			return nil, err
		}
		open = cfg.opener(conns)
	}
	n := &Node{
		cfg: cfg, dir: dir, log: cfg.Logger, dev: dev,
		db:       store.New(store.Options{Dir: dir, Key: dev.Derive(storeLabel), Size: cfg.StoreSize, Logger: cfg.Logger}),
		handles:  make(map[*session.Call]*Call),
		known:    make(map[identity.ID]overlay.Target),
		hopes:    make(map[identity.ID]overlay.Target),
		sessions: make(map[identity.ID]int),
		linkedAt: make(map[identity.NodeID]AuditEvent),
		first:    make(chan struct{}),
		tried:    make(chan struct{}),
		moved:    make(chan struct{}, 1),
		groups:   make(map[session.GroupID]*session.GroupRoster),
		rooms:    make(map[*session.Conference]*GroupCall),
		tally:    newTally(), started: time.Now(),
		sight: newSight(),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	for _, w := range dev.Warnings() {
		n.log.Warn("identity", "err", w)
	}
	if damaged != nil {
		n.log.Warn("state", "err", damaged)
	}
	for _, t := range st.known {
		n.known[t.ID] = t
	}
	if a, ok := conns[0].LocalAddr().(*net.UDPAddr); ok {
		n.port = uint16(a.Port)
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.serveTURN(); err != nil {
		n.undo(conns)
		return nil, err
	}
	if n.book, err = openContacts(n); err != nil {
		n.undo(conns)
		if errors.Is(err, store.ErrInUse) {
			return nil, wrong("Dir", "it is in use", "give each node a directory of its own, or end the other one", err)
		}
		return nil, fmt.Errorf("p2pos: contacts: %w", err)
	}
	if err := n.openDesk(); err != nil { // the contacts were there a moment ago
		n.log.Warn("transfers not read", "err", err)
	}
	hc := session.Config{
		Self: dev, Name: cfg.Name, Logger: n.log,
		// What every Opus decoder can take, and what the session does itself.
		Calls: session.Options{
			MaxCalls:     cfg.MaxCalls,
			Capabilities: session.CapDTX | session.CapFEC | session.CapRED | session.CapKeys | session.CapRecord,
		},
	}
	hc.Blocked = func(id identity.ID) bool { return n.book.blocked(id) || n.belongs(id) != nil }
	var devices session.KinState
	if devices, n.kins, err = loadDevices(n.db, dev, time.Now()); err != nil {
		n.log.Warn("devices", "err", err)
	}
	hc.Kin, hc.Revoked = session.NewKin(time.Now(), dev, devices), n.kins.theirs
	hc.Once = n.kins.once
	publish := n.publishing(hc.Kin, hc.Once)
	hc.Chat = &chatStore{db: n.db}
	hc.Near = func(id identity.ID) bool { _, ok := n.book.Get(id); return ok }
	hc.Target = n.knownTarget
	if hc.Groups, err = loadGroups(n.db, time.Now()); err != nil {
		n.log.Warn("groups", "err", err)
	}
	for _, r := range hc.Groups {
		n.groups[r.ID] = r
	}
	if cfg.Policy != nil {
		hc.Allow = func(a session.Asking) error {
			return n.judge(Ask{Action: ActCall, Peer: a.From, Name: a.Name, By: a.By, Group: a.GroupName})
		}
		hc.MayWrite = n.mayWrite
		hc.AllowTransfer = func(by, to identity.ID) error {
			return n.judge(Ask{Action: ActTransfer, Peer: by, To: to})
		}
	}
	n.hub = session.NewHub(hc)
	var roster []byte
	if !cfg.Admin.IsZero() {
		if roster, err = loadRoster(dir, cfg.Admin, cfg.Network); err != nil {
			n.log.Warn("roster", "err", err)
		}
	}
	oc := overlay.Config{
		Admin: cfg.Admin, Roster: roster,
		Conns: conns, Network: cfg.Network, Identity: dev.ID(),
		Publishing: publish, Device: dev, ResetKey: dev.Reset(),
		Open: open, Media: n.hub.Media, Logger: n.log,
		UseTCP: real, ListenTCP: cfg.ListenTCP, Relay: cfg.Relay, MayRelay: cfg.MayRelay, TURN: slices.Clone(cfg.TURN), PortShare: cfg.PortShare,
		MaxLinks: cfg.MaxLinks, DSCP: uint8(cfg.DSCP), Hold: cfg.HoldSize,
	}
	if cfg.Policy != nil {
		oc.MayLink = n.mayLink
		if cfg.MayRelay == nil {
			oc.MayRelay = func(a RelayAsk) error { return n.judge(Ask{Action: ActRelay, Node: a.Node, Addr: a.Addr}) }
		}
	}
	n.auditor.start(cfg.Audit, n.log)
	n.ov, err = overlay.New(oc)
	if err != nil {
		n.undo(conns)
		return nil, fmt.Errorf("p2pos: %w", err)
	}
	n.screenOffers()
	n.hub.Start(n.ov)
	n.wg.Go(n.pump)
	n.wg.Go(n.keepDevices)
	n.wg.Go(n.fetch)
	if !cfg.Admin.IsZero() {
		n.wg.Go(n.keepSifting)
	}
	n.wg.Go(n.keepPresence)
	if len(cfg.STUN) > 0 {
		n.wg.Go(n.findServers)
	}
	n.recall(st.memories)
	n.wg.Go(n.keepState)
	if !cfg.NoPortMap && cfg.PacketConn == nil {
		n.ports = mapPorts(n.ov, conns, dev.Reset(), n.log)
	}
	if real && !cfg.NoLAN {
		n.findNearby(conns)
	}
	if watchable(conns) {
		n.wg.Go(func() { nat.Watch(n.ctx, n.networkChanged) })
	}
	return n, nil
}

// undo closes what newNode has opened when it fails before there is an overlay.
func (n *Node) undo(conns []net.PacketConn) {
	n.cancel()
	if n.desk != nil {
		n.desk.Close()
	}
	n.writes.close()
	n.db.Close()
	n.auditor.close()
	n.closeTURN()
	for _, c := range conns {
		c.Close()
	}
}

// ID returns the identity's ID: the text of it is what people exchange.
func (n *Node) ID() identity.ID { return n.dev.ID() }

// NodeID returns the name under which neighbours know this node. It is new at
// each start.
func (n *Node) NodeID() identity.NodeID { return n.ov.Node() }

// NAT returns what is known of the NATs around this node, from its neighbours;
// the zero NAT before the first verdict, some seconds after Join.
func (n *Node) NAT() NAT {
	return natOf(n.ov.NAT())
}

func (n *Node) closing(err error) error {
	if n.ctx.Err() != nil {
		return net.ErrClosed
	}
	return err
}

// Call rings somebody, named by a ticket, by a contact's name, or by the ID of
// a contact, of somebody whose ticket was used before on this node, or with whom
// a session stands. It blocks
// while it looks for their node and returns while it rings: Call.Answered
// waits for the answer. o may be nil. ctx ends the search, not the call.
//
// Errors, before anything is sent: identity.ErrNotID, *identity.TypoError and
// the ticket errors of identity for texts that are wrong; ErrOtherNetwork,
// ErrBlocked.
// Then a *CallError with ErrSelf, ErrNotFound, ErrOffline, ErrNotMember (the
// network's roster keeps this node out), ErrBusy (this node has as many calls as it
// may, or one with this very device), or ctx's error; net.ErrClosed. A denial comes
// while it rings.
func (n *Node) Call(ctx context.Context, to string, o *CallOptions) (*Call, error) {
	t, err := n.target(to)
	if err != nil {
		return nil, err
	}
	fail := func(stage session.Stage, r session.Reason, err error) (*Call, error) {
		return nil, &CallError{Peer: t.ID, Stage: stage.String(), Reason: r.String(), Err: err}
	}
	if t.ID == n.dev.ID() {
		return fail(session.Lookup, session.Failed, ErrSelf)
	}
	n.startJoin()
	began := time.Now()
	c, err := n.hub.PlaceVideo(ctx, t, o.video())
	switch {
	case err == nil:
		n.remember(t)
		h := n.handle(c)
		if o == nil {
			o = new(CallOptions)
		}
		n.others(h, o.Others)
		return h, nil
	case n.ctx.Err() != nil:
		return nil, net.ErrClosed
	case errors.Is(err, session.ErrUnknownPeer):
		return fail(session.Lookup, session.NotFound, ErrNotFound)
	case errors.Is(err, session.ErrInCall):
		return fail(session.Ring, session.Busy, fmt.Errorf("%w: there is a call with that device already", ErrBusy))
	case errors.Is(err, session.ErrBusy):
		return fail(session.Ring, session.Busy, fmt.Errorf("%w: this node has as many calls as it may", ErrBusy))
	case errors.Is(err, overlay.ErrUnreachable), errors.Is(err, overlay.ErrDown):
		if err := n.shutOut(began); err != nil {
			return fail(session.Lookup, session.Denied, err)
		}
		n.leaveWord(t)
		return fail(session.Lookup, session.Offline, ErrOffline)
	}
	return fail(session.Lookup, session.Failed, err)
}

// handle returns the one Call of the app for a session's call.
func (n *Node) handle(c *session.Call) *Call {
	n.mu.Lock()
	h, begins := n.handles[c], false
	if h == nil {
		h = &Call{n: n, c: c}
		select {
		case <-c.Done(): // over before the app got it
		default:
			n.handles[c], begins = h, true
		}
	}
	n.mu.Unlock()
	if begins {
		n.hush()
	}
	return h
}

// hush tells the desk whether a call is up. It is not called with mu held: the
// desk may wait for the disk, and what is written there needs mu.
func (n *Node) hush() {
	n.quieting.Lock() // or an older answer could come last
	defer n.quieting.Unlock()
	n.mu.Lock()
	on := len(n.handles) > 0
	n.mu.Unlock()
	n.desk.Quiet(on)
}

// Incoming returns the calls that ring here, first those that ring already.
// Each iterator gets every call. The iteration ends when ctx does or the node
// is closed. A call that nobody answers rings out and counts as missed.
func (n *Node) Incoming(ctx context.Context) iter.Seq[*Call] {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls.all(ctx, append([]*Call(nil), n.ringing...))
}

// Events returns what happens from now on, for display and logs. Each
// iterator gets every event; one that stops reading loses old events after
// 1,024. The iteration ends when ctx does or the node is closed.
func (n *Node) Events(ctx context.Context) iter.Seq[Event] {
	return n.events.all(ctx, nil)
}

// spawn runs f on a goroutine that Close waits for; net.ErrClosed once that has
// begun.
func (n *Node) spawn(f func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return net.ErrClosed
	}
	n.wg.Go(f)
	return nil
}

// pump carries events from the sessions to the app's readers.
func (n *Node) pump() {
	var missed *Call // the call that has just ended, if it was
	for {
		e, err := n.hub.Next(n.ctx)
		if err != nil {
			return
		}
		switch e := e.(type) {
		case session.SessionUp:
			n.sessionChanged(e.Session, true)
		case session.SessionDown:
			n.sessionChanged(e.Session, false)
		case session.StreamOpened:
			if e.Kind == session.BookStream {
				n.hearSister(e.Session, e.Stream)
				break
			}
			n.desk.Incoming(filePeer(e.Session), fileSession{e.Session}, e.Stream)
		case session.LinkUp:
			n.auditLinkUp(e)
			n.linked(1)
		case session.LinkDown:
			n.auditLinkDown(e.Node)
			n.linked(-1)
		case session.KinNews:
			n.kinEvent(e.Event)
		case session.DeviceUp, session.DeviceDown:
			n.events.publish(DevicesChanged{})
		case session.Knocked:
			n.knocked(e)
		case session.PersonUp, session.PersonDown:
			n.presenceNews(e)
		case session.RevokedNews, session.OnceUsed:
			n.kins.wake()
		case session.RosterFound:
			n.rosterChanged(e.Roster)
		case session.MemberRefused:
			n.auditor.tell(AuditEvent{
				Action: ActLink, When: time.Now(), Peer: e.Member, Node: e.Node, Incoming: true, Result: "denied", Detail: e.Err.Error(),
			})
		case session.RosterRefused:
			n.events.publish(Refused{memberError(e.Err)})
		case session.NATFound:
			n.tell(natOf(e.NATChanged))
		case session.CallIncoming:
			c := n.handle(e.Call)
			n.remember(overlay.Target{ID: e.Call.Peer(), Secret: e.Reach}) // so that it can be called back
			n.mu.Lock()
			n.ringing = append(n.ringing, c)
			n.calls.publish(c)
			n.mu.Unlock()
		case session.CallSearch:
			n.tell(CallSearch{e.Peer, string(e.State)})
		case session.CallRinging:
			n.tell(CallRinging{n.handle(e.Call), e.RTT})
		case session.CallAnswered:
			c := n.handle(e.Call)
			n.quiet(c)
			n.tell(CallAnswered{c})
		case session.CallMedia:
			n.tell(CallMedia{n.handle(e.Call)})
		case session.CallPath:
			c, path := n.handle(e.Call), pathOf(e.Path)
			if path.Kind != "" {
				c.kind.Store(&path.Kind)
			}
			n.tell(CallPath{c, path})
		case session.CallHeld:
			if c := n.handle(e.Call); e.On {
				n.tell(CallHeld{c, e.ByUs})
			} else {
				n.tell(CallResumed{c, e.ByUs})
			}
		case session.CallWords:
			n.tell(CallWords{n.handle(e.Call)})
		case session.CallKey:
			n.tell(CallDTMF{n.handle(e.Call), e.Digit})
		case session.CallRecording:
			c := n.handle(e.Call)
			c.records.told(e.On, e.ByUs)
			n.tell(CallRecording{c, e.On, e.ByUs})
		case session.CallQuality:
			n.tell(CallQuality{n.handle(e.Call), e.Began, e.Ended})
		case session.CallTransfer:
			x := CallTransfer{Call: n.handle(e.Call), State: transferWord(e.State)}
			if e.State == session.TransferFailed {
				x.Reason = e.Reason.String()
			}
			n.tell(x)
		case session.CallDiverted:
			n.tell(CallDiverted{n.handle(e.Call), n.handle(e.New)})
		case session.CallEnded:
			c := n.handle(e.Call)
			n.quiet(c)
			n.mu.Lock()
			delete(n.handles, e.Call)
			n.mu.Unlock()
			n.hush()
			n.recordCall(c)
			n.tell(CallEnded{c})
			n.endedUnheard(c)
			if c.missed() {
				missed = c // CallMissed follows
			}
		case session.GroupChanged, session.GroupForgotten, session.ConferenceRings, session.ConferenceMember, session.ConferenceEnded:
			n.groupNews(e)
		case session.ChatNews:
			n.chatNews(e.Event)
		case session.CallMissed:
			m := CallMissed{Peer: e.Missed.Peer.Identity, Name: e.Missed.Name, When: e.Missed.When}
			if missed == nil { // it never rang: the line was busy
				n.recordMissed(m)
			}
			missed = nil
			if !n.book.blocked(m.Peer) {
				n.tell(m)
			}
		}
	}
}

// tell counts an event and hands it to the app.
func (n *Node) tell(e Event) {
	n.tally.note(e, time.Now())
	n.events.publish(e)
}

// quiet takes a call off the list of those that ring.
func (n *Node) quiet(c *Call) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, r := range n.ringing {
		if r == c {
			n.ringing = append(n.ringing[:i:i], n.ringing[i+1:]...)
			return
		}
	}
}

func (n *Node) linked(by int) {
	n.mu.Lock()
	n.links += by
	links, joined := n.links, by > 0 && n.links == 1
	if links == 0 {
		n.first = make(chan struct{})
	}
	if joined {
		select {
		case <-n.first:
		default:
			close(n.first)
		}
	}
	n.mu.Unlock()
	if joined {
		n.events.publish(Joined{links})
	}
}

// Shutdown hangs up every call so that the other sides hear it, leaves texts
// that wait in the mailboxes of those they are for, tells the network that this
// device is gone, and closes the node. ctx
// bounds the politeness, not the closing.
func (n *Node) Shutdown(ctx context.Context) error {
	n.mu.Lock()
	calls := make([]*Call, 0, len(n.handles))
	for _, c := range n.handles {
		calls = append(calls, c)
	}
	n.mu.Unlock()
	n.ports.stop() // the router may be slow
	for _, c := range calls {
		c.HangUp()
	}
	if err := n.hub.Flush(ctx); err != nil {
		n.log.Debug("texts wait here", "err", err) // until the next start
	}
	if n.ov.Linked() && n.ov.Withdraw(ctx) == nil || len(calls) > 0 {
		n.ov.Flush(ctx)
	}
	return n.Close()
}

// Close ends everything now and returns when the last goroutine has. It is
// safe to call twice. Calls that were up end without a word to the other side
// but the end of their links.
func (n *Node) Close() error {
	n.once.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.saveNow(n.ctx)
		n.near.close() // before the links go, or others would dial again
		n.cancel()
		n.ports.stop()
		n.hub.Close() // first, or calls would end as if the others had gone
		n.ov.Close()
		n.closeTURN()
		n.ports.wait()
		n.wg.Wait()
		n.mu.Lock()
		left := slices.Collect(maps.Values(n.handles)) // calls whose end the pump has not seen
		n.mu.Unlock()
		for _, c := range left {
			n.recordCall(c)
		}
		n.desk.Close()
		n.writes.close()
		n.db.Close()
		n.auditor.close()
		n.events.close()
		n.calls.close()
	})
	return nil
}
