// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v2"
)

// TURNServerConfig is what a TURNServer gives, and to whom. Relay must be set,
// everything else works as it is.
type TURNServerConfig struct {
	// Listen is the UDP address for guests, "host:port"; "" means ":3478".
	Listen string

	// Relay is the address, IPv4, at which guests' peers see them: the node's
	// public one. Its router, if there is one, must let through all UDP.
	Relay netip.Addr

	// Bind is the local address of the relaying sockets; none means all.
	Bind netip.Addr

	Realm    string        // as shown to guests; "" means "p2pos"
	Lifetime time.Duration // of credentials; 0 means 10 minutes

	// MaxAllocations bounds what all hold; MaxPerUser one name, MaxPerPrefix
	// one IPv4 /24 or IPv6 /48. 0 means 16, 4 and 8: four calls of two guests
	// with two attempts each.
	MaxAllocations, MaxPerUser, MaxPerPrefix int

	// Rate bounds one allocation, and TotalRate all of them, in bit/s of
	// payload, both directions together; 0 means 2 and 8 Mbit/s. What is
	// beyond is dropped.
	Rate, TotalRate int64

	// AllowPeer says to whom guests may send; nil means to addresses on the
	// Internet only. It must not block.
	AllowPeer func(netip.Addr) bool
}

const (
	// turnBurst is what may pass at once beyond the rate: a video frame.
	turnBurst = 64 << 10

	// turnErrorRate bounds the refusals for each second, which are up to five
	// times as long as what provokes them: nobody is worth flooding with
	// 20 kB/s. maxTURNRefusals are allowed at once.
	turnErrorRate   = 100
	maxTURNRefusals = 200
)

// TURNServer relays for guests that aren't nodes, such as browsers (RFC 8656,
// UDP, IPv4). It runs only where somebody calls ServeTURN, on sockets of its own.
type TURNServer struct {
	cfg    TURNServerConfig
	secret []byte // of this start
	start  time.Time
	conn   *turnListener
	turn   *turn.Server
	once   sync.Once
	closed error // result of the first Close; read after once.Do

	total   bucket
	refuse  bucket
	counted struct{ relayed, filtered, refused, limited atomic.Uint64 }

	mu       sync.Mutex // guards what follows
	ending   bool
	ledger   *turnLedger
	asking   turnAsking // whom the library asked about last: all its questions come from one goroutine
	sockets  map[*turnSocket]bool
	reading  int // readers of the library's in one of them
	finished sync.Cond
}

// turnAsking is who wants something.
type turnAsking struct {
	user string
	from netip.AddrPort
}

// ServeTURN starts a server.
func ServeTURN(cfg TURNServerConfig) (*TURNServer, error) {
	cfg.Relay = cfg.Relay.Unmap()
	if !cfg.Relay.Is4() || cfg.Relay.IsUnspecified() {
		return nil, fmt.Errorf("relay: TURN server: %v is no address to relay at", cfg.Relay)
	}
	if cfg.Listen == "" {
		cfg.Listen = ":3478"
	}
	if cfg.Realm == "" {
		cfg.Realm = "p2pos"
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = 10 * time.Minute
	}
	if cfg.AllowPeer == nil {
		cfg.AllowPeer = outside
	}
	conn, err := net.ListenPacket("udp4", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("relay: TURN server: %w", err)
	}
	s := &TURNServer{
		cfg: cfg, secret: make([]byte, 32), start: time.Now(),
		ledger:  newTURNLedger(number(cfg.MaxAllocations, 16), number(cfg.MaxPerUser, 4), number(cfg.MaxPerPrefix, 8)),
		sockets: make(map[*turnSocket]bool),
	}
	s.finished.L = &s.mu
	rand.Read(s.secret) // never fails, by its documentation
	s.total.set(rate(cfg.TotalRate, 8_000_000), turnBurst)
	s.refuse.set(8*turnErrorRate, maxTURNRefusals) // a "byte" is one refusal
	s.conn = &turnListener{PacketConn: conn, s: s, ended: make(chan struct{})}
	s.turn, err = turn.NewServer(turn.ServerConfig{
		Realm:         cfg.Realm,
		AuthHandler:   s.authenticate,
		LoggerFactory: silentTURN(),
		InboundMTU:    maxTURNMessage + 1,
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: s.conn, RelayAddressGenerator: turnSockets{s}, PermissionHandler: s.permit,
		}},
	})
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("relay: TURN server: %w", err)
	}
	return s, nil
}

func rate(r, standard int64) int64 {
	if r > 0 {
		return r
	}
	return standard
}

// Addr returns the address it listens on.
func (s *TURNServer) Addr() netip.AddrPort { return turnAddr(s.conn.LocalAddr()) }

// Credentials returns what the guest with this name needs for the next
// Config.Lifetime. Renewals go on for as long as an allocation is held, for 12
// hours at most.
func (s *TURNServer) Credentials(name string) TURNCredentials {
	name = printable([]byte(strings.ReplaceAll(name, ":", "")))
	name = name[:min(len(name), maxTURNName)]
	expires := time.Now().Add(s.cfg.Lifetime).Truncate(time.Second)
	user := turnUser(expires, name)
	return TURNCredentials{
		URL:      fmt.Sprintf("turn:%v:%d?transport=udp", s.cfg.Relay, s.Addr().Port()),
		Username: user, Password: turnPassword(s.secret, user), Expires: expires,
	}
}

// TURNServerStats counts what a server did.
type TURNServerStats struct {
	Allocations int    // now
	Relayed     uint64 // bytes of payload, both directions
	Filtered    uint64 // malformed messages, dropped
	Refused     uint64 // allocations and permissions beyond a limit
	Limited     uint64 // datagrams dropped beyond a rate, answers included
}

// Stats returns the counters.
func (s *TURNServer) Stats() TURNServerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.counted
	return TURNServerStats{s.ledger.open, c.relayed.Load(), c.filtered.Load(), c.refused.Load(), c.limited.Load()}
}

// Close ends all allocations and waits for the sockets' readers. It is safe to
// call twice.
func (s *TURNServer) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.ending = true
		s.mu.Unlock()
		if err := s.turn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.closed = fmt.Errorf("relay: closing the TURN server: %w", err)
		}
		<-s.conn.ended // from here on it makes no allocation
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.sockets {
			_ = c.PacketConn.Close()
		}
		for s.reading > 0 {
			s.finished.Wait()
		}
	})
	return s.closed
}

func (s *TURNServer) since() time.Duration { return time.Since(s.start) }

// authenticate returns the key of a user name, if it is one of ours and valid;
// the library checks the message with it.
func (s *TURNServer) authenticate(user, realm string, from net.Addr) (key []byte, ok bool) {
	expires, _, ok := turnExpiry(user)
	if !ok || realm != s.cfg.Realm {
		return nil, false
	}
	at := turnAddr(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.After(expires) && (!s.ledger.holds(user, at) || now.After(expires.Add(maxTURNSession))) {
		return nil, false
	}
	s.asking = turnAsking{user, at}
	return turn.GenerateAuthKey(user, realm, turnPassword(s.secret, user)), true
}

// permit reports whether an authenticated guest may send to this peer.
func (s *TURNServer) permit(from net.Addr, peer net.IP) bool {
	a, ok := netip.AddrFromSlice(peer)
	if !ok || !s.cfg.AllowPeer(a.Unmap()) {
		s.counted.refused.Add(1)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ledger.permit(s.since(), turnAddr(from), a.Unmap()) {
		s.counted.refused.Add(1)
		return false
	}
	return true
}

// pass reports whether n bytes of payload are within the rates.
func (s *TURNServer) pass(own *bucket, n int) bool {
	now := s.since()
	if !own.take(now, n) || !s.total.take(now, n) {
		s.counted.limited.Add(1)
		return false
	}
	s.counted.relayed.Add(uint64(n))
	return true
}

func turnAddr(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok || u == nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(u.AddrPort().Addr().Unmap(), u.AddrPort().Port())
}
