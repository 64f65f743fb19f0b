// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// memNet carries datagrams between memConns at once and in order; those to an
// address nobody has, or to one that is cut off, are lost.
type memNet struct {
	mu    sync.Mutex
	conns map[netip.AddrPort]*memConn
	cut   map[netip.AddrPort]bool
}

func newMemNet() *memNet {
	return &memNet{conns: make(map[netip.AddrPort]*memConn), cut: make(map[netip.AddrPort]bool)}
}

type memDatagram struct {
	from *net.UDPAddr
	b    []byte
	err  error
}

// memConn is a net.PacketConn on a memNet. Unlike a *net.UDPConn it lets a
// testing/synctest bubble see that nothing is going on.
type memConn struct {
	net    *memNet
	addr   *net.UDPAddr
	in     chan memDatagram // capacity 4,096: what doesn't fit is lost
	closed chan struct{}
	once   sync.Once
}

func (n *memNet) listen(addr string) *memConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := netip.MustParseAddrPort(addr)
	c := &memConn{net: n, addr: net.UDPAddrFromAddrPort(a), in: make(chan memDatagram, 4096), closed: make(chan struct{})}
	n.conns[a] = c
	return c
}

// sever loses everything from and to these addresses, or none again.
func (n *memNet) sever(cut bool, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addrs {
		n.cut[netip.MustParseAddrPort(a)] = cut
	}
}

// feed delivers a datagram, or an error, as if from the network, and waits for
// room.
func (c *memConn) feed(from string, b []byte, err error) {
	c.in <- memDatagram{net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)), b, err}
}

func (c *memConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.closed:
		return 0, nil, net.ErrClosed
	default:
	}
	select {
	case d := <-c.in:
		if d.err != nil {
			return 0, nil, d.err
		}
		return copy(b, d.b), d.from, nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *memConn) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	dst := addrPort(to)
	d := c.net.conns[dst]
	if d == nil || c.net.cut[dst] || c.net.cut[addrPort(c.addr)] {
		return len(b), nil
	}
	select {
	case d.in <- memDatagram{c.addr, append([]byte(nil), b...), nil}:
	default:
	}
	return len(b), nil
}

func (c *memConn) Close() error                     { c.once.Do(func() { close(c.closed) }); return nil }
func (c *memConn) LocalAddr() net.Addr              { return c.addr }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// to returns the path from local connection 0 to addr.
func to(addr string) Path { return Path{0, netip.MustParseAddrPort(addr)} }

// source returns a different address for each i.
func source(i int) netip.AddrPort {
	ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	return netip.AddrPortFrom(ip, uint16(1024+i%50000))
}

// initial returns a datagram that looks like a QUIC Initial of this version.
func initial(version uint32) []byte {
	b := make([]byte, minInitial)
	b[0] = 0xc0
	if version == version2 {
		b[0] = 0xd0
	}
	binary.BigEndian.PutUint32(b[1:], version)
	b[5] = 8 // destination connection ID
	return b
}

// shortHeader returns a QUIC packet that belongs to some connection.
func shortHeader() []byte { return append([]byte{0x40}, make([]byte, 99)...) }

// readQUIC returns the next packet of the path socket, which must be there.
func readQUIC(t *testing.T, s *Socket) ([]byte, *net.UDPAddr) {
	t.Helper()
	b := make([]byte, 2048)
	n, from, err := s.QUIC().ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n], from.(*net.UDPAddr)
}

// dropped checks the drop counters: those named have these values, all others
// are zero.
func dropped(t *testing.T, s *Socket, want map[reason]uint64) {
	t.Helper()
	got := s.Dropped()
	if len(got) != int(numReasons) {
		t.Errorf("%d reasons reported, there are %d", len(got), numReasons)
	}
	for r := range numReasons {
		if got[r.String()] != want[r] {
			t.Errorf("dropped for %q: %d, want %d", r, got[r.String()], want[r])
		}
	}
}
