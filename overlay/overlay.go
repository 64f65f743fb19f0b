// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/carrier"
	"github.com/p2pos/p2pos/internal/drive"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
	"github.com/p2pos/p2pos/overlay/mailbox"
	"github.com/p2pos/p2pos/overlay/relay"
)

// Config configures an Overlay. Conns is required.
type Config struct {
	// Conns are the node's sockets, at most one for each address family in a
	// normal node. The overlay owns them from New on.
	Conns []net.PacketConn
	// Network is the network whose nodes may link; zero is the public one.
	Network identity.Network
	// Admin is who signs the network's roster, zero = it has none; Roster is the
	// one that is known from before, nil = none. Only who is on it may link.
	Admin  identity.Admin
	Roster []byte
	// Identity is whose reach tags are registered with neighbours.
	Identity identity.ID
	// Publishing is what this device publishes of itself from the start.
	Publishing Publishing
	// Device signs this device's reach records. nil = it publishes none.
	Device *identity.Device
	// UseTCP lets the node dial TCP where UDP gets no answer; ListenTCP takes
	// it, "" = not. TCP tells how.
	UseTCP    bool
	ListenTCP string
	TCP       carrier.Config
	// Relay limits what this node carries for others. MayRelay is asked once for
	// each neighbour, before anything is carried for it; an error refuses. It runs
	// on a goroutine of its own, for which Close does not wait.
	Relay    relay.Limits
	MayRelay func(RelayAsk) error
	// TURN are servers that relay this node's calls, at most MaxTURN.
	TURN []relay.TURN
	// MayLink decides, on a goroutine of its own, whether a node that has proved
	// the network may link; an error refuses it, and so does the end of the
	// handshake's time, when giveUp is closed. Close does not wait for it. nil =
	// every node of the network may.
	MayLink func(node identity.NodeID, remote netip.AddrPort, giveUp <-chan struct{}) error
	// PortShare is the part of its port block that a household behind a NAT with
	// endpoint-dependent mapping lends to a search; 0 means a quarter, more than
	// a half is cut to it.
	PortShare float64
	// MaxLinks bounds the links of the mesh; 0 = its own bound.
	MaxLinks int
	// DSCP marks packets of media (internal/sock).
	DSCP uint8
	// Hold bounds the bytes of others' mail: 0 = mailbox.MaxBytes, negative = none.
	Hold int64
	// Shelf keeps the bytes of others' mail; nil = memory.
	Shelf mailbox.Shelf
	// ResetKey is the installation's stateless reset key (RFC 9000 §10.3).
	ResetKey [32]byte
	// Open opens one more socket of a family, bound to port (0 = any) on all
	// of this machine's addresses. nil = the node makes do with Conns, and
	// learns less about its NAT.
	Open func(ipv4 bool, port uint16) (net.PacketConn, error)
	// Media takes SRTP and SRTCP packets on a socket reader's goroutine: it
	// must not block nor keep b. nil = each is Forged.
	Media func(b []byte) MediaKind
	// Logger is silent when nil.
	Logger *slog.Logger
}

// An Overlay is a node's place in the network: its socket, its links to other
// nodes, and what it does for them. All methods may be called from anywhere.
type Overlay struct {
	cfg        Config
	log        *slog.Logger
	public     ed25519.PublicKey
	key        ed25519.PrivateKey
	self       identity.NodeID
	cert       tls.Certificate
	networkKey [32]byte

	sock    *sock.Socket
	tr      *quic.Transport
	ln      *quic.Listener
	loop    *drive.Loop
	core    *core    // owned by loop
	tags    sync.Map // [8]byte → *Peer: probe requests for unknown tags stop in the reader
	handles sync.Map // [4]byte → *Peer: likewise for answers to probes (nat.Paths.Handle)
	events  *queue
	tasks   tasks
	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	once    sync.Once

	rosterMu    sync.Mutex // held while one takes the place of another; guards what follows
	refusedBy   error
	refusedWhen time.Time
	refusedTold time.Time
	refusedText string
	awayFull    time.Time // when the outsiders that were told of are forgotten, a second each
	roster      atomic.Pointer[identity.Roster]

	arrivals arrivals
	tcp      *carrier.Listener // nil = none

	// The packet path of relaying: used by socket readers as well.
	forward *relay.Forwarder[*sock.Peer]
	carrier *relay.Conn[*sock.Peer]
	began   time.Time // the forwarder's clock starts here
	nat     atomic.Pointer[NATChanged]
	asking  atomic.Bool // a STUN server's answer is waited for

	testHandle  [4]byte       // begins the transaction ids of our own tests
	caps        atomic.Uint32 // this node's own, for HELLO
	badFrames   atomic.Uint64
	strayFrames atomic.Uint64 // relayed ones, from no neighbour
	badProbes   atomic.Uint64
	refused     atomic.Uint64
	turned      atomic.Uint64 // nodes that the roster kept out
}

// New opens a node's overlay with a fresh node key and starts to accept links.
func New(cfg Config) (*Overlay, error) {
	if len(cfg.Conns) == 0 {
		return nil, errors.New("overlay: no socket given")
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("overlay: node key: %w", err)
	}
	o := &Overlay{
		cfg: cfg, log: cfg.Logger, public: public, key: key, self: identity.NodeIDOf(public),
		networkKey: cfg.Network.Key(), events: newQueue(),
	}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.cert, err = nodeCertificate(key); err != nil {
		return nil, err
	}
	if cfg.Roster != nil {
		r, err := identity.ParseRoster(cfg.Roster)
		if err == nil && (r.Admin != cfg.Admin || r.Network != cfg.Network.Tag()) {
			err = identity.ErrRosterAdmin
		}
		if err != nil {
			return nil, fmt.Errorf("overlay: %w", err)
		}
		o.roster.Store(r) // it may have expired: then a newer one has to come
	}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.began = time.Now()
	o.forward = relay.NewForwarder[*sock.Peer](cfg.Relay.TotalRate())
	o.carrier = relay.NewConn[*sock.Peer]()
	var seed [24]byte
	rand.Read(seed[:])
	o.core = &core{
		o:      o,
		rng:    mrand.New(mrand.NewPCG(binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:]))),
		peers:  make(map[identity.NodeID]*Peer),
		bySock: make(map[*sock.Peer]*Peer),
		tcp:    make(map[int]netip.AddrPort),
		budget: nat.NewBudget(time.Now()),
	}
	o.core.mesh = newMeshing(o, time.Now())
	o.core.meets.book = nat.NewAppointments()
	o.core.meets.names = make(map[identity.NodeID][32]byte)
	o.core.relays = newRelaying(o.core)
	o.core.turn.locals = make(map[int]turnLocal)
	if o.core.records, err = newRecording(o, o.core.rng); err != nil {
		return nil, err
	}
	o.core.obs = newObserver(o.core.rng, cfg.Open != nil)
	o.testHandle = o.core.obs.asker.Handle()
	o.core.latest = time.Now()
	if err := o.core.publish(o.core.latest, cfg.Publishing); err != nil {
		return nil, err
	}
	o.loop = drive.New(o.core, o.core.drain)
	o.sock = sock.Open(sock.Config{
		Conns: cfg.Conns, DSCP: cfg.DSCP,
		STUN: o.stun,
		Media: func(_ sock.Path, b []byte) MediaKind {
			if cfg.Media == nil {
				return Forged
			}
			return cfg.Media(b)
		},
		Relay: func(path sock.Path, b []byte) {
			if from := o.sock.PeerOn(path); from != nil {
				o.relayFrame(from, b)
			} else {
				o.strayFrames.Add(1)
			}
		},
		Down: func(local int, err error) {
			o.log.Warn("socket gone", "socket", local, "err", err)
			o.loop.Do(o.ctx, func(now time.Time) { o.core.socketDown(now, local) })
		},
	})
	if o.core.relays.local, err = o.sock.Add(o.carrier); err != nil {
		o.loop.Close()
		o.sock.Close()
		return nil, fmt.Errorf("overlay: %w", err)
	}
	o.loop.Do(o.ctx, func(now time.Time) {
		o.core.tellHosts(now)
		o.core.openSecond()
	})
	reset := quic.StatelessResetKey(resetKey(cfg.ResetKey, o.LocalAddrs(), time.Now()))
	o.tr = &quic.Transport{
		Conn:               o.sock.QUIC(),
		ConnectionIDLength: 8,
		StatelessResetKey:  &reset,
		VerifySourceAddress: func(net.Addr) bool {
			return o.sock.Provisional() > retryAbove || o.arrivals.count() > busyArrivals
		},
		ConnContext: o.arrive,
	}
	if o.ln, err = o.tr.Listen(tlsConfig(o.cert, o.self, nil), quicConfig()); err != nil {
		o.loop.Close()
		o.sock.Close()
		return nil, fmt.Errorf("overlay: listen: %w", err)
	}
	o.tasks.run(o.accept)
	for i, t := range cfg.TURN[:min(len(cfg.TURN), MaxTURN)] {
		renew := make(chan struct{}, 1)
		o.loop.Do(o.ctx, func(time.Time) { o.core.turn.renewed = append(o.core.turn.renewed, renew) })
		o.tasks.run(func() { o.holdTURN(i, t, renew) })
	}
	if cfg.ListenTCP != "" {
		if o.tcp, err = carrier.Listen(cfg.TCP, cfg.ListenTCP); err != nil {
			o.Close()
			return nil, fmt.Errorf("overlay: %w", err)
		}
		o.tasks.run(o.listenTCP)
	}
	return o, nil
}

func (o *Overlay) sinceStart() time.Duration { return time.Since(o.began) }

// Node returns this node's ID. It is new at each start.
func (o *Overlay) Node() identity.NodeID { return o.self }

// LocalAddrs returns the addresses of the node's sockets.
func (o *Overlay) LocalAddrs() []netip.AddrPort {
	out := make([]netip.AddrPort, len(o.cfg.Conns))
	for i := range out {
		out[i] = o.sock.LocalAddr(i)
	}
	return out
}

// Next returns the next event. It blocks until there is one, ctx ends, or the
// overlay is closed (net.ErrClosed). Only one goroutine should call it.
func (o *Overlay) Next(ctx context.Context) (Event, error) { return o.events.next(ctx) }

// Addresses returns where others may reach this node, best first, and the
// addresses of up to n neighbours that can introduce it.
func (o *Overlay) Addresses(ctx context.Context, n int) (own, introducers []netip.AddrPort, err error) {
	err = o.loop.Do(ctx, func(time.Time) {
		own = o.core.addresses()
		for _, p := range o.core.order {
			if i := p.Path(); p.state.linked && i.Up && i.Remote.IsValid() && len(introducers) < n {
				introducers = append(introducers, i.Remote)
			}
		}
	})
	return own, introducers, err
}

// Peers returns the nodes with which a link stands, oldest first.
func (o *Overlay) Peers(ctx context.Context) (peers []*Peer, err error) {
	err = o.loop.Do(ctx, func(time.Time) {
		for _, p := range o.core.order {
			if p.state.linked {
				peers = append(peers, p)
			}
		}
	})
	return peers, err
}

// stun takes filtered STUN messages on a reader's goroutine. Only messages
// that name a tag of ours get as far as the loop.
func (o *Overlay) stun(path sock.Path, b []byte) {
	if id, ok := nat.TxID(b); ok && [4]byte(id[:4]) == o.testHandle {
		c := append([]byte(nil), b...)
		o.loop.Post(func(now time.Time) { o.core.tested(now, path, c) })
		return
	}
	tag, request, ok := nat.ProbeTag(b)
	var p any
	switch {
	case request:
		p, ok = o.tags.Load(tag)
	case ok:
		id, _ := nat.TxID(b)
		p, ok = o.handles.Load([4]byte(id[:4]))
	}
	if !ok {
		if o.asking.Load() {
			c := append([]byte(nil), b...)
			o.loop.Post(func(now time.Time) { o.core.fromServer(now, path, c) })
			return
		}
		o.badProbes.Add(1)
		return
	}
	c := append([]byte(nil), b...)
	o.loop.Post(func(now time.Time) { o.core.probe(now, p.(*Peer), path, c) })
}

func (o *Overlay) reserve(ctx context.Context, node identity.NodeID, key ed25519.PublicKey, sp *sock.Peer) (p *Peer, err error) {
	if e := o.loop.Do(ctx, func(time.Time) { p, err = o.core.reserve(node, key, sp, nat.NewCred()) }); e != nil {
		return nil, e
	}
	return p, err
}

func (o *Overlay) release(p *Peer) {
	o.loop.Do(context.Background(), func(time.Time) { o.core.release(p) })
}

// pathsTo returns the ways to an address: one for each socket of its family.
func (o *Overlay) pathsTo(a netip.AddrPort) (paths []sock.Path) {
	if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
		return nil
	}
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	for i := range o.cfg.Conns {
		if o.sock.LocalAddr(i).Addr().Unmap().Is4() == a.Addr().Is4() {
			paths = append(paths, sock.Path{Local: i, Remote: a})
		}
	}
	return paths
}

// hosts returns the addresses of the node's own interfaces.
func (o *Overlay) hosts() (out []netip.AddrPort) {
	for i := range o.cfg.Conns {
		cs, err := nat.Hosts(o.sock.LocalAddr(i))
		if err != nil {
			o.log.Debug("interfaces not listed", "err", err)
		}
		for _, c := range cs {
			out = append(out, c.Addr)
		}
	}
	return out
}

// onLink returns the IPv6 prefixes of the LANs that the node's sockets are on.
func (o *Overlay) onLink() (out []netip.Prefix) {
	for i := range o.cfg.Conns {
		ps, err := nat.OnLink(o.sock.LocalAddr(i))
		if err != nil {
			o.log.Debug("interfaces not listed", "err", err)
		}
		out = append(out, ps...)
	}
	return out
}

// Flush waits until every queued frame was written and had the time to
// arrive, or ctx ends.
func (o *Overlay) Flush(ctx context.Context) {
	peers, err := o.Peers(ctx)
	if err != nil {
		return
	}
	var wait time.Duration
	for _, p := range peers {
		l := p.link.Load()
		if l == nil {
			continue
		}
		for !l.idle() {
			select {
			case <-time.After(flushTick):
			case <-ctx.Done():
				return
			}
		}
		wait = max(wait, l.conn.ConnectionStats().SmoothedRTT)
	}
	select {
	case <-time.After(min(wait+flushTick, flushMost)):
	case <-ctx.Done():
	}
}

const (
	flushTick = 5 * time.Millisecond
	flushMost = 500 * time.Millisecond
)

// Close says bye on every link, closes the sockets and waits for every
// goroutine. It is safe to call twice.
func (o *Overlay) Close() error {
	o.once.Do(func() {
		o.loop.Do(context.Background(), func(time.Time) {
			for _, p := range o.core.order {
				if l := p.link.Load(); l != nil {
					l.close(codeBye, "shut down")
				}
			}
		})
		o.cancel()
		o.events.close()
		o.ln.Close()
		if o.tcp != nil {
			o.tcp.Close()
		}
		o.tr.Close()
		o.sock.Close()
		o.tasks.close()
		o.loop.Close()
	})
	return nil
}

// Meet holds a peer for a node, by its key, without a link: what is sent to it
// goes over the route, with an offer to punch. release lets it go.
func (o *Overlay) Meet(ctx context.Context, key ed25519.PublicKey) (p *Peer, release func(), err error) {
	if p, err = o.reserve(ctx, identity.NodeIDOf(key), key, nil); err != nil {
		return nil, nil, err
	}
	return p, func() { o.release(p) }, nil
}
