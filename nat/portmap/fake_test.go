// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// router is a small real PCP, NAT-PMP and UPnP server with one table, on a
// loopback address of its own. The fields above mu are set before start.
type router struct {
	t       *testing.T
	addr    netip.Addr
	outside netip.Addr
	speaks  []Method
	// twist changes or multiplies a datagram that is about to be sent: "pcp",
	// "nat-pmp" or "ssdp". Nil sends it as it is.
	twist func(proto string, reply []byte) [][]byte
	from  netip.Addr // answers of datagrams come from here if set
	igd   fakeIGD

	mu    sync.Mutex
	table map[uint16]entryOf // by outside port
	seen  map[string]int     // requests by kind
	born  time.Time
}

type entryOf struct {
	client netip.AddrPort
	by     string // nonce, or method
}

// newRouter returns a router that is not started. Only Linux has the whole of
// 127.0.0.0/8 on its loopback interface.
func newRouter(t *testing.T, speaks ...Method) *router {
	t.Helper()
	return &router{
		t: t, speaks: speaks,
		addr:    netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(250)), byte(rand.IntN(256)), byte(1 + rand.IntN(250))}),
		outside: netip.MustParseAddr("203.0.113.7"),
		table:   map[uint16]entryOf{}, seen: map[string]int{}, born: time.Now().Add(-time.Hour),
	}
}

func (r *router) start() *router {
	r.t.Helper()
	conn := r.listen(pcpPort)
	go r.serve(conn, func(b []byte, from netip.AddrPort) (string, []byte) {
		if b[0] == 0 {
			return "nat-pmp", r.pmp(b, from)
		}
		return "pcp", r.pcp(b, from)
	})
	if slices.Contains(r.speaks, UPnP) {
		r.igd.start(r)
	}
	return r
}

func (r *router) listen(port uint16) *net.UDPConn {
	r.t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.addr, port)))
	if err != nil {
		r.t.Skipf("no router on loopback: %v", err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

func (r *router) serve(conn *net.UDPConn, handle func([]byte, netip.AddrPort) (string, []byte)) {
	out := conn
	if r.from.IsValid() {
		port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		other, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.from, port)))
		if err != nil {
			return
		}
		defer other.Close()
		out = other
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if n < 2 {
			continue
		}
		proto, reply := handle(buf[:n], from)
		if reply == nil {
			continue
		}
		replies := [][]byte{reply}
		if r.twist != nil {
			replies = r.twist(proto, reply)
		}
		for _, b := range replies {
			out.WriteToUDPAddrPort(b, from)
		}
	}
}

func (r *router) epoch() uint32 { return uint32(time.Since(r.born) / time.Second) }

// mapPort finds or makes the entry for a client; wish may be 0.
func (r *router) mapPort(client netip.AddrPort, wish uint16, by string) uint16 {
	for port, e := range r.table {
		if e.client == client && e.by == by {
			return port
		}
	}
	for wish == 0 || r.table[wish].client.IsValid() {
		wish++
	}
	r.table[wish] = entryOf{client, by}
	return wish
}

func (r *router) pcp(b []byte, from netip.AddrPort) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[fmt.Sprintf("pcp %d", b[1])]++
	if !slices.Contains(r.speaks, PCP) {
		if !slices.Contains(r.speaks, NATPMP) {
			return nil
		}
		return binary.BigEndian.AppendUint32([]byte{0, b[1] | 0x80, 0, 1}, r.epoch())
	}
	if len(b) < pcpHeader {
		return nil
	}
	reply := slices.Clone(b)
	reply[1] |= pcpReply
	clear(reply[8:24])
	binary.BigEndian.PutUint32(reply[8:], r.epoch())
	if b[1] == opMap && len(b) >= pcpMap {
		inside := netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(b[40:]))
		by := string(b[24:36])
		if binary.BigEndian.Uint32(b[4:]) == 0 {
			for port, e := range r.table {
				if e.client == inside && e.by == by {
					delete(r.table, port)
				}
			}
			return reply
		}
		port := r.mapPort(inside, binary.BigEndian.Uint16(b[42:]), by)
		binary.BigEndian.PutUint16(reply[42:], port)
		ext := r.outside.As16()
		copy(reply[44:], ext[:])
	}
	return reply
}

func (r *router) pmp(b []byte, from netip.AddrPort) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[fmt.Sprintf("nat-pmp %d", b[1])]++
	if !slices.Contains(r.speaks, NATPMP) {
		return nil
	}
	reply := binary.BigEndian.AppendUint32([]byte{0, b[1] | 0x80, 0, 0}, r.epoch())
	switch {
	case b[1] == 0:
		return append(reply, r.outside.AsSlice()...)
	case b[1] == 1 && len(b) == 12:
		inside := netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(b[4:]))
		port := uint16(0)
		if binary.BigEndian.Uint32(b[8:]) == 0 {
			for p, e := range r.table {
				if e.client == inside { // whoever made it
					delete(r.table, p)
				}
			}
		} else {
			port = r.mapPort(inside, binary.BigEndian.Uint16(b[6:]), "nat-pmp")
		}
		reply = append(reply, b[4:6]...)
		reply = binary.BigEndian.AppendUint16(reply, port)
		return append(reply, b[8:12]...)
	}
	return nil
}

// entries returns the router's table.
func (r *router) entries() map[uint16]entryOf {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := map[uint16]entryOf{}
	for k, v := range r.table {
		list[k] = v
	}
	return list
}

func (r *router) count(kind string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[kind]
}

// client opens a client behind the router.
func (r *router) client(methods ...Method) *Client {
	c := Open(Config{
		Internal: netip.MustParseAddrPort("127.0.0.1:4321"),
		Methods:  methods,
		Gateway:  func() (netip.Addr, error) { return r.addr, nil },
	})
	r.t.Cleanup(func() { c.Close() })
	return c
}
