// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/sock"
)

const (
	// handshakeTime bounds the two HELLOs after TLS is done, busyTime while
	// many wait: that is two round trips around the world.
	handshakeTime = 5 * time.Second
	busyTime      = 1200 * time.Millisecond
	// maxQueued frames wait for one link: a ring with its answer is four, a
	// burst of introductions twenty.
	maxQueued = 256
	// maxUnread session messages of one link wait for the session layer;
	// then the link's reader, and so the other side, waits.
	maxUnread = 64
	// writeTime is how long the other side may refuse to take frames.
	writeTime = 30 * time.Second
)

// A Link is one authenticated QUIC connection to a node. Its control stream
// carries frames in order; it may be replaced by another link to the same
// node at any time, so that most code talks to a Peer instead.
type Link struct {
	o        *Overlay
	peer     *Peer
	conn     *quic.Conn
	stream   *quic.Stream
	dialled  bool
	exporter [32]byte
	hello    hello // theirs
	since    time.Time
	node     identity.NodeID
	member   identity.ID   // whose device they are, in a network with a roster
	roster   uint64        // number of the roster in our HELLO
	via      sock.Path     // the path it was made over; zero when the paths chose
	ending   bool          // the roster forbids it; owned by the loop
	unread   chan struct{} // one token for each session message not yet taken

	mu      sync.Mutex // guards what follows
	queue   []byte     // frames waiting, in bytes on the wire
	waiting int
	writing bool
	closed  bool
}

// Exporter returns 32 bytes that only the two ends of this link know
// (RFC 8446 §7.5). Proofs of identity are bound to it.
func (l *Link) Exporter() [32]byte { return l.exporter }

// Member returns whose device the other side is, as it has proved in a network
// with a roster; zero elsewhere.
func (l *Link) Member() identity.ID { return l.member }

// Dialled reports whether this node opened the link.
func (l *Link) Dialled() bool { return l.dialled }

// Abort ends the link without a goodbye, as a fault would: nodes that still
// need each other link again.
func (l *Link) Abort() { l.close(codeProtocol, "aborted") }

// Send queues a session message on exactly this link. It never blocks. Errors:
// ErrCongested, net.ErrClosed as ErrDown.
func (l *Link) Send(body []byte) error { return l.send(frameSession, body) }

func (l *Link) send(typ byte, body []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrDown
	case l.waiting == maxQueued:
		return ErrCongested
	}
	l.queue = appendFrame(l.queue, typ, body)
	l.waiting++
	if !l.writing {
		// Links are silent most of the time: a writer lives only while
		// there is something to write.
		l.writing = l.o.tasks.run(l.write)
	}
	return nil
}

// idle reports whether everything queued was handed to QUIC.
func (l *Link) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed || !l.writing
}

func (l *Link) write() {
	for {
		l.mu.Lock()
		b := l.queue
		l.queue, l.waiting = nil, 0
		if len(b) == 0 || l.closed {
			l.writing = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		l.stream.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := l.stream.Write(b); err != nil {
			l.close(codeProtocol, "write failed")
		}
	}
}

// read hands frames on until the link ends, and says why it did.
func (l *Link) read(ctx context.Context) error {
	for {
		typ, body, err := readFrame(l.stream)
		if err != nil {
			return err
		}
		switch typ {
		case frameSession:
			select {
			case l.unread <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			l.o.events.push(Message{Peer: l.peer, Link: l, Body: body})
		case frameHello:
			return fmt.Errorf("%w: second hello", errFrame)
		case frameStay, frameHole, frameCandidates, frameOffer, frameKnown, frameMesh, frameRelay, frameRoster:
			// Waiting here is what makes a flooding peer wait.
			if err := l.o.loop.Do(ctx, func(now time.Time) { l.o.core.frame(now, l, typ, body) }); err != nil {
				return err
			}
		}
	}
}

func (l *Link) close(code uint64, text string) {
	l.mu.Lock()
	l.closed = true
	l.queue = nil
	l.mu.Unlock()
	l.conn.CloseWithError(quic.ApplicationErrorCode(code), text)
}

// shake runs the link handshake on a fresh QUIC connection: the dialler
// proves the network secret, then the listener (design §4).
func (o *Overlay) shake(ctx context.Context, conn *quic.Conn, via sock.Path, sp *sock.Peer, dialled bool) (*Link, error) {
	l, err := o.shakeHands(ctx, conn, via, sp, dialled)
	if err == nil {
		return l, nil
	}
	if l != nil {
		o.turnedAway(MemberRefused{Node: l.node, Member: l.member, Remote: via.Remote, Err: err})
	}
	return nil, err
}

func (o *Overlay) shakeHands(ctx context.Context, conn *quic.Conn, via sock.Path, sp *sock.Peer, dialled bool) (*Link, error) {
	limit := handshakeTime
	if !dialled && o.arrivals.count() > busyArrivals {
		limit = busyTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cs := conn.ConnectionState().TLS
	key, err := nodeKeyOf(cs)
	if err != nil {
		return nil, err
	}
	exp, err := cs.ExportKeyingMaterial(exporterLabel, nil, 32)
	if err != nil {
		return nil, fmt.Errorf("overlay: exporter: %w", err)
	}
	l := &Link{o: o, conn: conn, dialled: dialled, exporter: [32]byte(exp), unread: make(chan struct{}, maxUnread)}
	l.roster = o.rosterNumber()
	mine, theirs := listener, dialler
	if dialled {
		mine, theirs = dialler, listener
		l.stream, err = conn.OpenStreamSync(ctx)
	} else {
		l.stream, err = conn.AcceptStream(ctx)
	}
	if err != nil {
		return l, err
	}
	deadline, _ := ctx.Deadline()
	l.stream.SetDeadline(deadline)
	node := identity.NodeIDOf(key)
	l.node = node
	if !dialled {
		if err := l.readHello(theirs, node); err != nil {
			return l, err
		}
		if o.rostered() && l.hello.roster <= l.roster {
			// Who does not belong doesn't learn who this is.
			if err := o.belongs(time.Now(), l.member); err != nil {
				return l, err
			}
		}
		if err := o.admit(ctx, node, via.Remote); err != nil {
			return l, err
		}
	}
	if l.peer, err = o.reserve(ctx, node, key, sp); err != nil {
		return l, err
	}
	err = l.writeHello(mine, via)
	if err == nil && dialled {
		if err = l.readHello(theirs, node); err == nil {
			err = o.admit(ctx, node, via.Remote)
		}
	}
	if err == nil {
		err = l.agree()
	}
	if err != nil {
		o.release(l.peer)
		return l, err
	}
	l.stream.SetDeadline(time.Time{})
	return l, nil
}

// admit asks whether a node may link. The answer may take its time: nothing
// but this handshake waits for it.
func (o *Overlay) admit(ctx context.Context, node identity.NodeID, remote netip.AddrPort) error {
	if o.cfg.MayLink == nil {
		return nil
	}
	verdict := make(chan error, 1)
	go func() { verdict <- o.cfg.MayLink(node, remote, ctx.Done()) }()
	select {
	case err := <-verdict:
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Link) readHello(r role, node identity.NodeID) error {
	typ, body, err := readFrame(l.stream)
	if err != nil {
		return err
	}
	if typ != frameHello {
		return fmt.Errorf("%w: type %d instead of hello", errFrame, typ)
	}
	if l.hello, err = checkHello(body, l.o.networkKey, r, l.exporter); err != nil {
		return err
	}
	return l.seeMember(r, node)
}

func (l *Link) writeHello(r role, via sock.Path) error {
	h := hello{
		major: versionMajor, minor: versionMinor,
		proof: networkProof(l.o.networkKey, r, l.exporter),
		tag:   l.peer.mine.Tag, key: l.peer.mine.Key,
		observed: via.Remote, caps: l.o.caps.Load(),
	}
	l.showMember(&h, r)
	_, err := l.stream.Write(appendFrame(nil, frameHello, h.append(nil)))
	return err
}

// linkError translates what quic-go reports into this package's errors.
func linkError(err error) error {
	var app *quic.ApplicationError
	if errors.As(err, &app) && app.Remote {
		switch uint64(app.ErrorCode) {
		case codeNetwork:
			return ErrNetwork
		case codeVersion:
			return &VersionError{Ours: versionMajor}
		case codePeer:
			return ErrPeer
		case codeRefused:
			return ErrRefused
		case codeRoster:
			return fmt.Errorf("%w: the other node says: %s", ErrMember, spoken(app.ErrorMessage))
		}
	}
	return err
}
