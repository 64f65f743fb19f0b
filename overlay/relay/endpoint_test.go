// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink is where a flow of a Conn sends its frames.
type sink struct {
	mu  sync.Mutex
	got [][]byte
	err error
}

func (s *sink) send(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, bytes.Clone(b))
	return s.err
}

func openConn(t *testing.T, c *Conn[string], e End[string], nested bool) (*net.UDPAddr, *sink) {
	t.Helper()
	s := &sink{}
	a, err := c.Open(e, nested, s.send)
	if err != nil {
		t.Fatal(err)
	}
	return a, s
}

// Each flow is an address: what is written there leaves as a frame, what comes
// in under the flow's label comes from there.
func TestConn(t *testing.T) {
	c := NewConn[string]()
	defer c.Close()
	addr, out := openConn(t, c, end("r", 7), false)
	other, _ := openConn(t, c, end("s", 7), false) // the same label on another link
	if addr.String() == other.String() || addr.Port == 0 || !addr.IP.IsPrivate() || addr.IP[0] != 0xfd || !c.LocalAddr().(*net.UDPAddr).IP.Mask(net.CIDRMask(64, 128)).Equal(addr.IP.Mask(net.CIDRMask(64, 128))) {
		t.Error(addr, other, c.LocalAddr())
	}
	if !c.LastUsed(end("r", 7)).IsZero() {
		t.Error("used before anything was sent")
	}
	if n, err := c.WriteTo([]byte{128, 1}, addr); n != 2 || err != nil {
		t.Error(n, err)
	}
	if len(out.got) != 1 || !bytes.Equal(out.got[0], frame(7, 128, 1)) {
		t.Errorf("% x", out.got)
	}
	if c.LastUsed(end("r", 7)).IsZero() || !c.LastUsed(end("s", 7)).IsZero() || !c.LastUsed(end("x", 7)).IsZero() {
		t.Error("times of use")
	}
	if !c.Deliver(7, "s", frame(7, 128, 2)) || !c.Deliver(7, "r", frame(7, 128, 3)) {
		t.Error("not for a flow")
	}
	b := make([]byte, 100)
	for _, want := range []struct {
		from *net.UDPAddr
		b    []byte
	}{{other, []byte{128, 2}}, {addr, []byte{128, 3}}} {
		n, from, err := c.ReadFrom(b)
		if err != nil || from != net.Addr(want.from) || !bytes.Equal(b[:n], want.b) {
			t.Errorf("%v % x %v", from, b[:n], err)
		}
	}
	for name, bad := range map[string]struct {
		label Label
		from  string
		b     []byte
	}{
		"other label": {8, "r", frame(8, 128)}, "other link": {7, "x", frame(7, 128)}, "nobody": {7, "", frame(7, 128)},
		"no frame": {7, "r", []byte{5, 0, 0, 0, 7, 1}}, "empty": {7, "r", []byte{4, 0, 0, 0, 7}}, "too long": {7, "r", sized(7, MaxFrame+1)},
		"nested": {7, "r", frame(7, frame(9, 128)...)},
	} {
		if c.Deliver(bad.label, bad.from, bad.b) {
			t.Errorf("%s was taken", name)
		}
	}
	for name, bad := range map[string]struct {
		b    []byte
		to   net.Addr
		want error
	}{
		"nobody":    {[]byte{1}, &net.UDPAddr{IP: addr.IP, Port: 2}, ErrFlow},
		"no UDP":    {[]byte{1}, &net.TCPAddr{}, ErrFlow},
		"nil":       {[]byte{1}, nil, ErrFlow},
		"empty":     {nil, addr, errOversize},
		"too long":  {make([]byte, MaxFrame-HeaderLen+1), addr, errOversize},
		"nested":    {frame(9, 128), addr, errOversize},
		"for later": {make([]byte, MaxFrame-HeaderLen), addr, nil},
	} {
		if _, err := c.WriteTo(bad.b, bad.to); !errors.Is(err, bad.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := map[string]uint64{"no such flow": 3, "malformed frame": 3, "nested frame": 1, "queue full": 0}
	for k, n := range c.Dropped() {
		if n != want[k] {
			t.Errorf("%s: %d, want %d", k, n, want[k])
		}
	}
	out.err = net.ErrClosed
	if _, err := c.WriteTo([]byte{1}, addr); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Open(end("r", 7), false, out.send); !errors.Is(err, ErrFlow) {
		t.Error(err)
	}
	c.CloseFlow(end("r", 7))
	c.CloseFlow(end("r", 7))
	if _, err := c.WriteTo([]byte{1}, addr); !errors.Is(err, ErrFlow) || c.Deliver(7, "r", frame(7, 1)) {
		t.Error("the flow outlived its end")
	}
	again, _ := openConn(t, c, end("r", 7), false)
	if again.String() == addr.String() {
		t.Error("an address was used twice")
	}
	for i := len(c.ends); i < MaxConnFlows; i++ {
		openConn(t, c, end("y", Label(i)), false)
	}
	if _, err := c.Open(end("z", 1), false, out.send); !errors.Is(err, ErrFlow) {
		t.Error(err)
	}
}

// In a flow that was agreed to be nested relayed frames pass, one level deep.
func TestConnNested(t *testing.T) {
	c := NewConn[string]()
	defer c.Close()
	addr, out := openConn(t, c, end("r", 7), true)
	inner := frame(9, 128, 1)
	if _, err := c.WriteTo(inner, addr); err != nil || !bytes.Equal(out.got[0], frame(7, inner...)) {
		t.Error(err)
	}
	if !c.Deliver(7, "r", frame(7, inner...)) || !c.Deliver(7, "r", frame(7, 128)) {
		t.Error("refused")
	}
	deep := frame(8, inner...)
	if _, err := c.WriteTo(deep, addr); err == nil || c.Deliver(7, "r", frame(7, deep...)) {
		t.Error("frames within frames within frames")
	}
}

// A reader that is slow loses the oldest.
func TestConnQueue(t *testing.T) {
	c := NewConn[string]()
	defer c.Close()
	openConn(t, c, end("r", 7), false)
	for i := range QueueLen + 10 {
		c.Deliver(7, "r", frame(7, 128, byte(i), byte(i>>8)))
	}
	b := make([]byte, 3)
	for i := range QueueLen {
		if _, _, err := c.ReadFrom(b); err != nil || b[1] != byte(i+10) || b[2] != byte((i+10)>>8) {
			t.Fatalf("datagram %d is % x, %v", i, b, err)
		}
	}
	if n := c.Dropped()["queue full"]; n != 10 {
		t.Errorf("%d dropped", n)
	}
}

func TestConnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewConn[string]()
		openConn(t, c, end("r", 7), false)
		b := make([]byte, 10)
		start := time.Now()
		c.SetDeadline(start.Add(time.Second))
		if _, _, err := c.ReadFrom(b); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Error(err, time.Since(start))
		}
		c.Deliver(7, "r", frame(7, 128))
		if _, _, err := c.ReadFrom(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		// Moved while somebody waits: later, then earlier.
		c.SetReadDeadline(time.Time{})
		if n, _, err := c.ReadFrom(b); n != 1 || err != nil {
			t.Error(n, err)
		}
		var took time.Duration
		var err error
		var wg sync.WaitGroup
		start = time.Now()
		c.SetReadDeadline(start.Add(time.Minute))
		wg.Go(func() { _, _, err = c.ReadFrom(b); took = time.Since(start) })
		synctest.Wait()
		c.SetReadDeadline(start.Add(time.Hour))
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		c.SetReadDeadline(start)
		wg.Wait()
		if !errors.Is(err, os.ErrDeadlineExceeded) || took != 2*time.Minute {
			t.Error(err, took)
		}
		c.SetReadDeadline(time.Time{})
		for range 3 {
			wg.Go(func() {
				if _, _, err := c.ReadFrom(b); !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		c.Close()
		c.Close()
		wg.Wait()
		if _, err := c.WriteTo([]byte{1}, c.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := c.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) || c.SetWriteDeadline(start) != nil {
			t.Error(err)
		}
		if _, err := c.Open(end("r", 8), false, nil); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if c.Deliver(7, "r", frame(7, 1)) {
			t.Error("delivered to a closed Conn")
		}
	})
}

// Everything at once, for the race detector.
func TestConnConcurrently(t *testing.T) {
	c := NewConn[int]()
	var wg sync.WaitGroup
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			b := make([]byte, 100)
			for {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				if n != 2 || b[1] != 7 || from == nil {
					t.Errorf("% x from %v", b[:n], from)
				}
			}
		})
	}
	for p := range 4 {
		wg.Go(func() {
			for i := range 500 {
				e := End[int]{p + 1, Label(i % 5)}
				a, err := c.Open(e, false, func([]byte) error { return nil })
				if err != nil {
					t.Error(err)
					return
				}
				c.Deliver(e.Label, e.Peer, AppendFrame(nil, e.Label, []byte{128, 7}))
				if _, err := c.WriteTo([]byte{128, 7}, a); err != nil {
					t.Error(err)
				}
				c.LastUsed(e)
				c.CloseFlow(e)
			}
		})
	}
	wg.Wait()
	c.Close()
	readers.Wait()
	if a := netip.MustParseAddrPort(c.LocalAddr().String()); a.Addr().Is4() {
		t.Error(a)
	}
}
