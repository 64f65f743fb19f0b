// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// captureBuffer holds what comes between two looks; a packet that finds no room
// there fails the test.
const captureBuffer = 16 << 20

// Capture sees every IP packet that leaves a host, by any interface, loopback
// included.
type Capture struct {
	h    *Host
	fd   int
	stop atomic.Bool
	done chan struct{}
	sent map[Sent]int // the goroutine's, until done
}

// Sent is where packets went.
type Sent struct {
	To       netip.AddrPort // the port is 0 where the protocol has none
	Protocol uint8          // of IP: 6 TCP, 17 UDP, 1 and 58 ICMP
}

// Capture begins to look at what the host sends.
func (h *Host) Capture() *Capture {
	h.site.lab.t.Helper()
	c := &Capture{h: h, done: make(chan struct{}), sent: make(map[Sent]int)}
	h.site.lab.must(h.ns.do(func() (err error) {
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network order
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer)
		wait := unix.Timeval{Usec: 50_000}
		return unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	}))
	go c.read()
	return c
}

func (c *Capture) read() {
	defer close(c.done)
	b := make([]byte, 64<<10)
	for {
		n, from, err := unix.Recvfrom(c.fd, b, 0)
		if err != nil && c.stop.Load() {
			return // nothing more waits
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && ll.Pkttype == unix.PACKET_OUTGOING {
			if s, ok := destination(b[:n]); ok {
				c.sent[s]++
			}
		}
	}
}

// Stop ends the capture and returns how many packets went where. It fails the
// test if any was not seen.
func (c *Capture) Stop() map[Sent]int {
	c.h.site.lab.t.Helper()
	c.stop.Store(true)
	<-c.done
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	unix.Close(c.fd)
	if err != nil || stats.Drops > 0 {
		c.h.site.lab.t.Errorf("natlab: the capture on %s is not whole: %+v, %v", c.h.name, stats, err)
	}
	return c.sent
}

// destination reads the headers of an IP packet.
func destination(b []byte) (s Sent, ok bool) {
	var to netip.Addr
	var rest []byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		to, s.Protocol = netip.AddrFrom4([4]byte(b[16:20])), b[9]
		if head := int(b[0]&15) * 4; len(b) >= head {
			rest = b[head:]
		}
	case len(b) >= 40 && b[0]>>4 == 6: // extension headers are left as the protocol that they are
		to, s.Protocol = netip.AddrFrom16([16]byte(b[24:40])), b[6]
		rest = b[40:]
	default:
		return Sent{}, false // ARP
	}
	var port uint16
	if (s.Protocol == unix.IPPROTO_TCP || s.Protocol == unix.IPPROTO_UDP) && len(rest) >= 4 {
		port = binary.BigEndian.Uint16(rest[2:])
	}
	s.To = netip.AddrPortFrom(to, port)
	return s, true
}
