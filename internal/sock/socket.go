// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"container/list"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxPeers bounds the peers a socket knows: forty times the links of a node in
// a network of a million, at about 1 KiB each while they are idle.
const MaxPeers = 4096

// ErrLocal reports a path whose local connection does not exist.
var ErrLocal = errors.New("sock: no such local connection")

// ErrNoPath reports a peer that has been given no path yet.
var ErrNoPath = errors.New("sock: peer has no path")

// Config says what a Socket reads and who gets it. Callbacks run on the
// goroutine of the connection's reader, one at a time for each connection:
// they must not block, keep b, or call Socket.Close. A nil callback drops and
// counts.
type Config struct {
	// Conns are the local connections; Path.Local counts them from 0. The
	// Socket owns them: Close closes them. Those that are not *net.UDPConn
	// must return a *net.UDPAddr from ReadFrom and take one in WriteTo.
	Conns []net.PacketConn

	// DSCP marks packets of media, 1 to 63; 0 = no mark. Real sockets on Linux do.
	DSCP uint8

	// STUN gets each STUN message that passed ValidSTUN, from any source.
	STUN func(p Path, b []byte)

	// Media gets each SRTP or SRTCP packet, from any source, and says what it was. The
	// path of one that was not forged counts as heard.
	Media func(p Path, b []byte) MediaKind

	// Relay gets each relayed frame, first byte included, from any source.
	Relay func(p Path, b []byte)

	// Down is called at most once for each local connection, when it has died
	// for good, or was closed by somebody else. Not called because of Close.
	Down func(local int, err error)

	// Now is the clock of expiry, Heard and replays; nil means time.Now.
	Now func() time.Time
}

// MediaKind says what a packet of media was.
type MediaKind uint8

const (
	Forged  MediaKind = iota // or of no call: dropped and counted
	Genuine                  // its path lives
	Voice                    // genuine, and of those by which paths are weighed
	Copy                     // one of these that had come already, whole
)

// Socket reads the node's local connections and knows its peers.
type Socket struct {
	cfg    Config
	start  time.Time // instants are kept as durations since then
	mark   *mark     // of media
	pool   buffers
	drops  counters
	locals atomic.Pointer[[]*local] // nil where one was removed; replaced under mu
	quic   *pathConn

	done    chan struct{} // closed by Close, so that readers don't wait
	readers sync.WaitGroup
	closing sync.Once
	closed  error // result of the first Close; read after closing.Do

	mu          sync.RWMutex // guards all below, and Peer fields that say so
	bound       map[Path]*binding
	virtual     map[netip.AddrPort]*Peer
	known       int                             // peers that are neither provisional nor closed
	provisional *list.List                      // of *Peer, oldest first
	prefix      [8]byte                         // of virtual addresses
	serial      uint64                          // of the latest virtual address
	free        []int                           // numbers of removed connections, oldest first
	gone        struct{ received, sent uint64 } // bytes of those
}

// Open starts reading the connections. It sets generous kernel buffers on
// those that are *net.UDPConn.
func Open(cfg Config) *Socket {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Socket{
		cfg:         cfg,
		start:       cfg.Now().Add(-1), // so that no instant is 0, which means never
		mark:        newMark(cfg.DSCP),
		done:        make(chan struct{}),
		bound:       make(map[Path]*binding),
		virtual:     make(map[netip.AddrPort]*Peer),
		provisional: list.New(),
	}
	rand.Read(s.prefix[1:]) // never fails, by its documentation
	s.prefix[0] = 0xfd      // RFC 4193: locally assigned, and never a real source
	s.quic = newPathConn(s, s.nextVirtual())
	var locals []*local
	for i, c := range cfg.Conns {
		locals = append(locals, newLocal(i, c, s.mark))
	}
	s.locals.Store(&locals)
	for _, l := range locals {
		s.readers.Go(func() { s.read(l) })
	}
	return s
}

// MaxLocals bounds the local connections: two port searches of 256 sockets and
// what a classification opens.
const MaxLocals = 1024

// Add takes one more connection into use, which Close and Remove close, and
// returns its number. The error is ErrLocal when there are MaxLocals, or
// net.ErrClosed; c is then closed.
func (s *Socket) Add(c net.PacketConn) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		c.Close()
		return 0, net.ErrClosed
	default:
	}
	locals := slices.Clone(*s.locals.Load())
	i := len(locals)
	if i == MaxLocals {
		// The number that has been free for longest: what is on its way for
		// the one before is the least then.
		if len(s.free) == 0 {
			c.Close()
			return 0, ErrLocal
		}
		i, s.free = s.free[0], s.free[1:]
	} else {
		locals = append(locals, nil)
	}
	l := newLocal(i, c, s.mark)
	locals[i] = l
	s.locals.Store(&locals)
	s.readers.Go(func() { s.read(l) })
	return i, nil
}

// Remove closes a connection that Add took, without calling Down, and forgets
// what is bound to it.
func (s *Socket) Remove(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	locals := slices.Clone(*s.locals.Load())
	if i < len(s.cfg.Conns) || i >= len(locals) || locals[i] == nil {
		return
	}
	l := locals[i]
	locals[i] = nil
	s.locals.Store(&locals)
	s.free = append(s.free, i)
	for path, at := range s.bound {
		if path.Local == i {
			delete(s.bound, path)
			at.peer.paths = without(at.peer.paths, path)
		}
	}
	l.removed.Store(true)
	s.gone.received += l.received.Load()
	s.gone.sent += l.sent.Load()
	_ = l.conn.Close()
}

// local returns a connection by its number; nil when there is none.
func (s *Socket) local(i int) *local {
	locals := *s.locals.Load()
	if i < 0 || i >= len(locals) {
		return nil
	}
	return locals[i]
}

// Close closes the connections and the path socket and waits until the readers
// have ended: no callback runs afterwards. It is safe to call twice. The error
// is the first one a connection reported.
func (s *Socket) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		close(s.done) // from here on nothing is added
		s.mu.Unlock()
		for _, l := range *s.locals.Load() {
			if l == nil {
				continue
			}
			if err := l.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) && s.closed == nil {
				s.closed = err
			}
		}
		s.quic.Close()
		s.readers.Wait()
	})
	return s.closed
}

// LocalAddr returns the address of a local connection as its system reports
// it, or the zero value when there is none.
func (s *Socket) LocalAddr(local int) netip.AddrPort {
	l := s.local(local)
	if l == nil {
		return netip.AddrPort{}
	}
	return l.addr
}

// WriteTo sends one raw datagram. The error is the system's, ErrLocal, or
// wraps net.ErrClosed when the local connection is down.
func (s *Socket) WriteTo(p Path, b []byte) error {
	l := s.local(p.Local)
	if l == nil {
		return ErrLocal
	}
	return l.write(p.Remote, b)
}

// QUIC returns the path socket, always the same. quic.Transport may be its
// only reader.
func (s *Socket) QUIC() net.PacketConn { return s.quic }

// now returns the time since Open.
func (s *Socket) now() time.Duration { return s.cfg.Now().Sub(s.start) }

// at returns the instant that lies d after Open; zero stays zero.
func (s *Socket) at(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return s.start.Add(d)
}
