// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// lan starts a world with two public hosts, 10 ms apart, and a Conn on each.
func lan(t *testing.T) (n *Net, a, b *Conn) {
	t.Helper()
	w := NewWorld(1, time.Now())
	ha := w.Host("a", Profile{Delay: ms(5)}, addr("45.0.0.1"), addr("2001:db8::1"))
	hb := w.Host("b", Profile{Delay: ms(5)}, addr("45.0.0.2"), addr("2001:db8::2"))
	n = Start(w)
	a, err := n.Listen(ha, 1000)
	if err != nil {
		t.Fatal(err)
	}
	b, err = n.Listen(hb, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n, a, b
}

func TestConnInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := lan(t)
		defer n.Close()
		begin := time.Now()
		if _, err := a.WriteTo([]byte("hello"), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 3) // too short: cut off
		k, from, err := b.ReadFrom(buf)
		if err != nil || string(buf[:k]) != "hel" || from.String() != "45.0.0.1:1000" {
			t.Fatalf("%q from %v: %v", buf[:k], from, err)
		}
		if d := time.Since(begin); d != ms(10) {
			t.Fatalf("took %v", d)
		}
		// A world with nothing to do keeps the time, too.
		time.Sleep(time.Hour + ms(3))
		begin = time.Now()
		b.WriteTo([]byte("later"), a.LocalAddr())
		if _, _, err := a.ReadFrom(buf); err != nil || time.Since(begin) != ms(10) {
			t.Fatalf("took %v: %v", time.Since(begin), err)
		}
		// IPv6, and a mapped IPv4 address as net packages make them.
		b.WriteToUDPAddrPort([]byte("six"), at("[2001:db8::1]:1000"))
		k, six, err := a.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:k]) != "six" || six.Addr() != addr("2001:db8::2") {
			t.Fatalf("%q from %v: %v", buf[:k], six, err)
		}
		b.WriteTo([]byte("map"), &net.UDPAddr{IP: net.ParseIP("45.0.0.1"), Port: 1000})
		if _, four, err := a.ReadFromUDPAddrPort(buf); err != nil || !four.Addr().Is4() {
			t.Fatalf("from %v: %v", four, err)
		}
		if a.SetReadBuffer(1) != nil || a.SetWriteBuffer(1) != nil {
			t.Fatal("buffers")
		}
	})
}

func TestReadDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := lan(t)
		defer n.Close()
		buf := make([]byte, 10)
		late := func(want time.Duration) {
			t.Helper()
			begin := time.Now()
			_, _, err := b.ReadFrom(buf)
			var ne net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
				t.Fatalf("read: %v", err)
			}
			if d := time.Since(begin); d != want {
				t.Fatalf("waited %v, want %v", d, want)
			}
		}
		b.SetReadDeadline(time.Now().Add(time.Second))
		late(time.Second)
		late(0) // it stays over, which vnet forgets
		a.WriteTo([]byte("x"), b.LocalAddr())
		time.Sleep(time.Second)
		late(0)                                        // even with something to read
		b.SetReadDeadline(time.Now().Add(time.Second)) // again
		if k, _, err := b.ReadFrom(buf); k != 1 || err != nil {
			t.Fatal(k, err)
		}
		late(time.Second)
		b.SetReadDeadline(time.Now().Add(time.Second))
		b.SetReadDeadline(time.Now().Add(2 * time.Second)) // the first one's timer must not count
		late(2 * time.Second)

		// Moving it to the past wakes a reader that waits, as quic-go relies on.
		b.SetReadDeadline(time.Time{})
		go func() {
			time.Sleep(ms(300))
			b.SetReadDeadline(time.Now())
		}()
		late(ms(300))

		b.SetDeadline(time.Now().Add(-1))
		if _, err := b.WriteTo(nil, a.LocalAddr()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		b.SetWriteDeadline(time.Now().Add(1))
		if _, err := b.WriteTo(nil, a.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConnErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := lan(t)
		var h *Host
		n.Do(func(w *World) { h = w.Host("v4 only", Profile{}, addr("45.0.0.3")) })
		c, err := n.Listen(h, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(h, 1); err == nil {
			t.Fatal("a port is given twice")
		}
		if _, err := n.Listen(NewWorld(1, epoch).Host("x", Profile{}), 1); err == nil {
			t.Fatal("a host of another world")
		}
		for _, e := range []struct {
			to   netip.AddrPort
			size int
			want error
		}{
			{at("[2001:db8::1]:1"), 1, syscall.ENETUNREACH},
			{at("45.0.0.1:0"), 1, syscall.EINVAL},
			{netip.AddrPort{}, 1, syscall.EINVAL},
			{at("45.0.0.1:1"), 65508, syscall.EMSGSIZE},
			{at("45.0.0.1:1"), 65507, nil}, // lost on the way, which nobody learns
		} {
			if _, err := c.WriteToUDPAddrPort(make([]byte, e.size), e.to); !errors.Is(err, e.want) {
				t.Errorf("%d bytes to %v: %v, want %v", e.size, e.to, err, e.want)
			}
		}
		if _, err := c.WriteTo(nil, &net.TCPAddr{}); err == nil {
			t.Error("wrote to a TCP address")
		}
		if _, err := c.WriteTo(nil, (*net.UDPAddr)(nil)); err == nil {
			t.Error("wrote to nil")
		}

		// Closing ends reads that wait; the port is free for another.
		done := make(chan error)
		for range 2 {
			go func() {
				_, _, err := c.ReadFrom(nil)
				done <- err
			}()
		}
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
		}
		for name, err := range map[string]error{
			"close":    c.Close(),
			"deadline": c.SetDeadline(time.Now()),
			"write":    func() error { _, err := c.WriteTo(nil, a.LocalAddr()); return err }(),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
		if _, err := n.Listen(h, 1); err != nil {
			t.Fatal(err)
		}

		// Net.Close ends the rest, with a deadline and datagrams under way.
		b.SetReadDeadline(time.Now().Add(time.Hour))
		a.WriteTo([]byte("x"), b.LocalAddr())
		begin := time.Now()
		n.Close()
		n.Close()
		if d := time.Since(begin); d != 0 {
			t.Fatalf("Close waited %v", d)
		}
		if _, _, err := b.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := n.Listen(h, 2); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		// The bubble fails if a goroutine is left.
	})
}

func TestQueueDropsNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := lan(t)
		defer n.Close()
		const more = 10
		for i := range maxQueue + more {
			a.WriteTo([]byte{byte(i), byte(i >> 8)}, b.LocalAddr())
		}
		time.Sleep(time.Second)
		var s Stats
		n.Do(func(w *World) { s = w.Stats() })
		if s.Delivered != maxQueue || s.Dropped[QueueFull] != more {
			t.Fatalf("%+v", s)
		}
		buf := make([]byte, 2)
		read := func(i int) {
			t.Helper()
			b.SetReadDeadline(time.Now().Add(time.Second))
			if _, _, err := b.ReadFrom(buf); err != nil || int(buf[0])|int(buf[1])<<8 != i {
				t.Fatalf("%v: %v, want %d", buf, err, i)
			}
		}
		// Half empty, then full again: the queue turns over its slice.
		for i := range maxQueue / 2 {
			read(i)
		}
		for i := range maxQueue / 2 {
			i += maxQueue
			a.WriteTo([]byte{byte(i), byte(i >> 8)}, b.LocalAddr())
		}
		time.Sleep(time.Second)
		for i := range maxQueue {
			read(i + maxQueue/2)
		}
		if cap(b.queue) > 2*maxQueue {
			t.Fatalf("the queue has grown to %d", cap(b.queue))
		}
	})
}

// A machine on a port, a scripted event and Conns live in one driven world.
func TestMachinesInADrivenWorld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, _ := lan(t)
		defer n.Close()
		var to netip.AddrPort
		n.Do(func(w *World) {
			to = w.Host("echo", Profile{Delay: ms(20)}, addr("50.0.0.1")).Attach(7, &probe{})
		})
		begin := time.Now()
		a.WriteToUDPAddrPort([]byte("ping"), to)
		buf := make([]byte, 10)
		if k, _, err := a.ReadFrom(buf); err != nil || string(buf[:k]) != "pong" || time.Since(begin) != ms(50) {
			t.Fatalf("%q after %v: %v", buf[:k], time.Since(begin), err)
		}
		n.Do(func(w *World) {
			w.At(w.Now().Add(time.Second), func() { a.host.Cut(true) })
		})
		a.SetReadDeadline(time.Now().Add(10 * time.Second))
		pongs := 0
		go func() {
			for range 20 {
				a.WriteToUDPAddrPort([]byte("ping"), to)
				time.Sleep(ms(100))
			}
		}()
		for {
			if _, _, err := a.ReadFrom(buf); err != nil {
				break
			}
			pongs++
		}
		if pongs != 10 { // sent at 0 … 900 ms; the one at 1 s meets the cut
			t.Fatalf("%d pongs", pongs)
		}
	})
}

// The same on the real clock: nothing is promised of times, but all arrives,
// and Close waits for everything.
func TestRealClock(t *testing.T) {
	n, a, b := lan(t)
	const each = 200
	var wg sync.WaitGroup
	for _, c := range [][2]*Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			for i := range each {
				if _, err := c[0].WriteTo([]byte{byte(i)}, c[1].LocalAddr()); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			buf := make([]byte, 1)
			c[0].SetReadDeadline(time.Now().Add(20 * time.Second))
			for i := range each {
				if _, _, err := c[0].ReadFrom(buf); err != nil || buf[0] != byte(i) {
					t.Errorf("datagram %d: %d, %v", i, buf[0], err)
					return
				}
			}
		})
	}
	wg.Wait()
	n.Close()
	if n.w.Stats().Delivered != 2*each { // the world is ours again
		t.Errorf("%+v", n.w.Stats())
	}
}
