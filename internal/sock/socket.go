// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"container/list"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"sync"
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

	// STUN gets each STUN message that passed ValidSTUN, from any source.
	STUN func(p Path, b []byte)

	// Media gets each SRTP or SRTCP packet, from any source. It returns whether the packet was
	// authentic, duplicates included; then the path counts as heard.
	Media func(p Path, b []byte) (genuine bool)

	// Relay gets each relayed frame, first byte included, from any source.
	Relay func(p Path, b []byte)

	// Down is called at most once for each local connection, when it has died
	// for good, or was closed by somebody else. Not called because of Close.
	Down func(local int, err error)

	// Now is the clock of expiry, Heard and replays; nil means time.Now.
	Now func() time.Time
}

// Socket reads the node's local connections and knows its peers.
type Socket struct {
	cfg    Config
	start  time.Time // instants are kept as durations since then
	pool   buffers
	drops  counters
	locals []*local
	quic   *pathConn

	done    chan struct{} // closed by Close, so that readers don't wait
	readers sync.WaitGroup
	closing sync.Once
	closed  error // result of the first Close; read after closing.Do

	mu          sync.RWMutex // guards all below, and Peer fields that say so
	bound       map[Path]*binding
	virtual     map[netip.AddrPort]*Peer
	known       int        // peers that are neither provisional nor closed
	provisional *list.List // of *Peer, oldest first
	prefix      [8]byte    // of virtual addresses
	serial      uint64     // of the latest virtual address
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
		done:        make(chan struct{}),
		bound:       make(map[Path]*binding),
		virtual:     make(map[netip.AddrPort]*Peer),
		provisional: list.New(),
	}
	rand.Read(s.prefix[1:]) // never fails, by its documentation
	s.prefix[0] = 0xfd      // RFC 4193: locally assigned, and never a real source
	s.quic = newPathConn(s, s.nextVirtual())
	for i, c := range cfg.Conns {
		s.locals = append(s.locals, newLocal(i, c))
	}
	for _, l := range s.locals {
		s.readers.Go(func() { s.read(l) })
	}
	return s
}

// Close closes the connections and the path socket and waits until the readers
// have ended: no callback runs afterwards. It is safe to call twice. The error
// is the first one a connection reported.
func (s *Socket) Close() error {
	s.closing.Do(func() {
		close(s.done)
		for _, l := range s.locals {
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
	if local < 0 || local >= len(s.locals) {
		return netip.AddrPort{}
	}
	return s.locals[local].addr
}

// WriteTo sends one raw datagram. The error is the system's, ErrLocal, or
// wraps net.ErrClosed when the local connection is down.
func (s *Socket) WriteTo(p Path, b []byte) error {
	if p.Local < 0 || p.Local >= len(s.locals) {
		return ErrLocal
	}
	return s.locals[p.Local].write(p.Remote, b)
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
