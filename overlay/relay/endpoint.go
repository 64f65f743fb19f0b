// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// QueueLen bounds the datagrams that wait to be read: more than a second
	// of two calls through two relays each, 384 KiB. When it is full the
	// oldest goes; it is of the least use to a call.
	QueueLen = 256

	// MaxConnFlows bounds the flows of a Conn: twice what a Client keeps.
	MaxConnFlows = 2 * maxOwnFlows
)

// Conn is the net.PacketConn that stands for "through a relay" on this node.
// The node's socket takes it as one more local connection; each flow is a
// remote address there, so that a relayed path is probed, chosen and left like
// any other. What it hands out goes through the socket's filters like
// everything that comes from a network. It reads no clock but the system's.
//
// P is how the caller names neighbours, as with Forwarder. All methods may be
// called from any goroutine.
type Conn[P comparable] struct {
	addr *net.UDPAddr
	done chan struct{} // closed by Close
	more chan struct{} // capacity 1, never blocks: there are datagrams
	pool sync.Pool     // of *parcel

	mu     sync.RWMutex // guards the flows
	serial uint64
	ends   map[End[P]]*connFlow[P]
	addrs  map[netip.AddrPort]*connFlow[P]

	queueMu     sync.Mutex // guards the queue and the deadline
	closed      bool
	queue       [QueueLen]*parcel
	head, count int
	until       time.Time
	moved       chan struct{} // closed and replaced when until changes

	drops [numConnDrops]atomic.Uint64
}

// connFlow is a flow of this node's own.
type connFlow[P comparable] struct {
	end    End[P]
	addr   *net.UDPAddr
	nested bool
	send   func(frame []byte) error
	last   atomic.Int64 // Unix ns
}

// parcel is a datagram on its way in, or a frame on its way out.
type parcel struct {
	from *net.UDPAddr
	n    int
	b    [MaxFrame]byte
}

// The reasons for which a Conn drops a datagram.
const (
	connMalformed = iota
	connUnknown
	connNested
	connFull
	numConnDrops
)

// errOversize reports a datagram that no frame can hold, or one that would
// nest relayed frames where none was agreed.
var errOversize = errors.New("relay: datagram cannot be relayed")

// NewConn returns a Conn without flows.
func NewConn[P comparable]() *Conn[P] {
	c := &Conn[P]{
		done: make(chan struct{}), more: make(chan struct{}, 1), moved: make(chan struct{}),
		ends: make(map[End[P]]*connFlow[P]), addrs: make(map[netip.AddrPort]*connFlow[P]),
	}
	ip := make(net.IP, net.IPv6len)
	rand.Read(ip[1:8]) // never fails, by its documentation
	ip[0] = 0xfd       // RFC 4193: locally assigned, and never a real source
	c.addr = &net.UDPAddr{IP: ip, Port: 1}
	return c
}

// Open begins a flow of this node's own and returns the address that stands
// for it: one that was never used before. send takes whole frames to the
// neighbour; it must not block or keep the slice. With nested, datagrams may be
// relayed frames, one level deep. The error is ErrFlow, or net.ErrClosed.
func (c *Conn[P]) Open(end End[P], nested bool, send func(frame []byte) error) (*net.UDPAddr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		return nil, net.ErrClosed
	default:
	}
	if c.ends[end] != nil || len(c.ends) >= MaxConnFlows {
		return nil, ErrFlow
	}
	c.serial++
	ip := append(make(net.IP, 0, net.IPv6len), c.addr.IP[:8]...)
	f := &connFlow[P]{end: end, nested: nested, send: send}
	f.addr = &net.UDPAddr{IP: binary.BigEndian.AppendUint64(ip, c.serial), Port: 1}
	c.ends[end] = f
	c.addrs[f.addr.AddrPort()] = f
	return f.addr, nil
}

// CloseFlow ends a flow. What waits to be read stays.
func (c *Conn[P]) CloseFlow(end End[P]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.ends[end]; f != nil {
		delete(c.ends, end)
		delete(c.addrs, f.addr.AddrPort())
	}
}

// LastUsed returns when the flow at an end last carried a datagram, in or out;
// zero means never.
func (c *Conn[P]) LastUsed(end End[P]) time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	f := c.ends[end]
	if f == nil || f.last.Load() == 0 {
		return time.Time{}
	}
	return time.Unix(0, f.last.Load())
}

// Deliver takes a frame that came from a neighbour with a label, and queues
// its inner datagram for ReadFrom. It copies, never blocks, and returns whether
// the frame was for a flow of this node's.
func (c *Conn[P]) Deliver(label Label, from P, frame []byte) bool {
	if _, ok := LabelOf(frame); !ok {
		c.drops[connMalformed].Add(1)
		return false
	}
	c.mu.RLock()
	f := c.ends[End[P]{from, label}]
	c.mu.RUnlock()
	if f == nil {
		c.drops[connUnknown].Add(1)
		return false
	}
	if yes, ok := nested(frame); !ok || yes && !f.nested {
		c.drops[connNested].Add(1)
		return false
	}
	f.last.Store(time.Now().UnixNano())
	p := c.get()
	p.from = f.addr
	p.n = copy(p.b[:], frame[HeaderLen:])
	c.push(p)
	return true
}

func (c *Conn[P]) get() *parcel {
	if p, ok := c.pool.Get().(*parcel); ok {
		return p
	}
	return new(parcel)
}

func (c *Conn[P]) push(p *parcel) {
	c.queueMu.Lock()
	defer c.queueMu.Unlock()
	if c.closed {
		return
	}
	if c.count == QueueLen {
		c.pool.Put(c.pop())
		c.drops[connFull].Add(1)
	}
	c.queue[(c.head+c.count)%QueueLen] = p
	c.count++
	c.signal()
}

// pop takes the oldest datagram; c.queueMu is held and there is one.
func (c *Conn[P]) pop() *parcel {
	p := c.queue[c.head]
	c.queue[c.head] = nil
	c.head = (c.head + 1) % QueueLen
	c.count--
	return p
}

func (c *Conn[P]) signal() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// ReadFrom returns the next datagram and the address of its flow, a
// *net.UDPAddr nobody may change. Its only errors are net.ErrClosed and
// os.ErrDeadlineExceeded.
func (c *Conn[P]) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		p, until, moved, err := c.take()
		if err != nil {
			return 0, nil, err
		}
		if p != nil {
			n, from := copy(b, p.b[:p.n]), p.from
			c.pool.Put(p)
			return n, from, nil
		}
		c.await(until, moved)
	}
}

// take returns the oldest datagram, or what to wait for.
func (c *Conn[P]) take() (p *parcel, until time.Time, moved chan struct{}, err error) {
	c.queueMu.Lock()
	defer c.queueMu.Unlock()
	switch {
	case c.closed:
		return nil, until, nil, net.ErrClosed
	case !c.until.IsZero() && !time.Now().Before(c.until):
		return nil, until, nil, os.ErrDeadlineExceeded
	case c.count == 0:
		return nil, c.until, c.moved, nil
	}
	p = c.pop()
	if c.count > 0 {
		c.signal() // there may be another reader
	}
	return p, until, nil, nil
}

func (c *Conn[P]) await(until time.Time, moved chan struct{}) {
	var passed <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		passed = t.C
	}
	select {
	case <-c.more:
	case <-c.done:
	case <-moved:
	case <-passed:
	}
}

// WriteTo sends b through the flow with this address. The error is the
// neighbour's, ErrFlow when there is no such flow, or net.ErrClosed.
func (c *Conn[P]) WriteTo(b []byte, to net.Addr) (int, error) {
	select {
	case <-c.done:
		return 0, net.ErrClosed
	default:
	}
	u, ok := to.(*net.UDPAddr)
	if !ok || u == nil {
		return 0, ErrFlow
	}
	c.mu.RLock()
	f := c.addrs[u.AddrPort()]
	c.mu.RUnlock()
	if f == nil {
		return 0, ErrFlow
	}
	if len(b) == 0 || len(b) > MaxFrame-HeaderLen {
		return 0, errOversize
	}
	p := c.get()
	defer c.pool.Put(p)
	frame := AppendFrame(p.b[:0], f.end.Label, b)
	if yes, ok := nested(frame); !ok || yes && !f.nested {
		return 0, errOversize
	}
	if err := f.send(frame); err != nil {
		return 0, err
	}
	f.last.Store(time.Now().UnixNano())
	return len(b), nil
}

// Close ends the Conn: reads and writes fail with net.ErrClosed from now on.
// It is safe to call twice.
func (c *Conn[P]) Close() error {
	c.queueMu.Lock()
	if !c.closed {
		c.closed = true
		close(c.done)
		for c.count > 0 {
			c.pool.Put(c.pop())
		}
	}
	c.queueMu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.ends)
	clear(c.addrs)
	return nil
}

// LocalAddr returns an address that means nothing elsewhere.
func (c *Conn[P]) LocalAddr() net.Addr { return c.addr }

// SetDeadline sets the deadline of reads; writes never wait.
func (c *Conn[P]) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads that wait, and later ones, fail from t on; zero
// means never.
func (c *Conn[P]) SetReadDeadline(t time.Time) error {
	c.queueMu.Lock()
	defer c.queueMu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.until = t
	close(c.moved)
	c.moved = make(chan struct{})
	return nil
}

// SetWriteDeadline does nothing: writes never wait.
func (c *Conn[P]) SetWriteDeadline(time.Time) error { return nil }

// Dropped returns how many datagrams were dropped since the start, by reason;
// every reason is present. Reasons are words for people, not an interface.
func (c *Conn[P]) Dropped() map[string]uint64 {
	return map[string]uint64{
		"malformed frame": c.drops[connMalformed].Load(),
		"no such flow":    c.drops[connUnknown].Load(),
		"nested frame":    c.drops[connNested].Load(),
		"queue full":      c.drops[connFull].Load(),
	}
}
