// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ends are both sides of a TLS connection over pipes, with what lies between
// them; each has one address.
type ends struct {
	a, b       *Conn // a has dialled; nil where the test plays that side itself
	rawA, rawB *tls.Conn
}

// join makes a TLS connection between two pipes. Those sides that run become
// a Conn.
func join(t *testing.T, x, y net.Conn, runA, runB bool) *ends {
	t.Helper()
	cfg, err := serverTLS(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	e := &ends{rawA: tls.Client(x, clientTLS("")), rawB: tls.Server(y, cfg)}
	failed := make(chan error, 1)
	go func() { failed <- e.rawB.Handshake() }()
	if err := errors.Join(e.rawA.Handshake(), <-failed); err != nil {
		t.Fatal(err)
	}
	at := [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")}
	if runA {
		e.a = newConn(x, e.rawA, at[0], at[1]).run()
	}
	if runB {
		e.b = newConn(y, e.rawB, at[1], at[0]).run()
	}
	t.Cleanup(func() {
		if runA {
			e.a.Close()
		}
		if runB {
			e.b.Close()
		}
		x.Close()
		y.Close()
	})
	return e
}

// slowLine carries bytes from x to y at a rate, in pieces of 500, and back at
// once.
func slowLine(rate int) (x, y net.Conn) {
	x, x2 := net.Pipe()
	y2, y := net.Pipe()
	go func() {
		b := make([]byte, 500)
		for {
			n, err := x2.Read(b)
			if err != nil {
				y2.Close()
				return
			}
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
			if _, err := y2.Write(b[:n]); err != nil {
				x2.Close()
				return
			}
		}
	}()
	go func() {
		_, _ = io.Copy(x2, y2)
		x2.Close()
	}()
	return x, y
}

// mustRead returns the next datagram.
func mustRead(t *testing.T, c *Conn) []byte {
	t.Helper()
	b := make([]byte, MaxDatagram+1)
	n, from, err := c.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if from != c.RemoteAddr() {
		t.Fatalf("from %v", from)
	}
	return b[:n]
}

// readAll reads until an error, which it returns.
func readAll(c *Conn) ([][]byte, error) {
	var got [][]byte
	for {
		b := make([]byte, MaxDatagram)
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return got, err
		}
		got = append(got, b[:n])
	}
}

func TestRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		e := join(t, x, y, true, true)
		for i := range 300 {
			b := numbered(i, 4+5*i%1496)
			if n, err := e.a.WriteTo(b, e.a.RemoteAddr()); n != len(b) || err != nil {
				t.Fatal(n, err)
			}
			if got := mustRead(t, e.b); !bytes.Equal(got, b) {
				t.Fatalf("%d: %d bytes", i, len(got))
			}
			if _, err := e.b.WriteTo(b, net.UDPAddrFromAddrPort(e.b.Remote())); err != nil { // equal, not the same
				t.Fatal(err)
			}
			if got := mustRead(t, e.a); !bytes.Equal(got, b) {
				t.Fatalf("%d: %d bytes back", i, len(got))
			}
		}
		synctest.Wait() // it counts after it has written
		if s := e.a.Stats(); s != (Stats{Received: 300, Sent: 300}) {
			t.Errorf("%+v", s)
		}
	})
}

func TestWriteToRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		e := join(t, x, y, true, true)
		var none *net.UDPAddr
		for _, to := range []net.Addr{nil, none, &net.TCPAddr{}, e.a.LocalAddr(), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 3}} {
			if _, err := e.a.WriteTo([]byte("x"), to); err == nil {
				t.Errorf("a datagram for %v was taken", to)
			}
		}
		if _, err := e.a.WriteTo(make([]byte, MaxDatagram+1), e.a.RemoteAddr()); err == nil {
			t.Error("too long, and taken")
		}
		if _, err := e.a.WriteTo(nil, e.a.RemoteAddr()); err != nil {
			t.Error(err)
		}
		if _, err := e.a.WriteTo([]byte("y"), e.a.RemoteAddr()); err != nil {
			t.Error(err)
		}
		if got := mustRead(t, e.b); string(got) != "y" {
			t.Errorf("got %q", got)
		}
	})
}

// Four times what the line takes is offered: what arrives is in order and
// young, the rest was dropped from the front and counted.
func TestSlowLineDropsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, every, rate, count = 1000, 10 * time.Millisecond, 25000, 400
		x, y := slowLine(rate)
		e := join(t, x, y, true, true)
		start := time.Now()
		var oldest time.Duration
		last, got := -1, 0
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			b := make([]byte, MaxDatagram)
			for {
				if _, _, err := e.b.ReadFrom(b); err != nil {
					return
				}
				i := int(binary.BigEndian.Uint32(b))
				if i <= last {
					t.Errorf("%d after %d", i, last)
				}
				last = i
				got++
				oldest = max(oldest, time.Since(start)-time.Duration(i)*every)
			}
		}()
		for i := range count {
			if _, err := e.a.WriteTo(numbered(i, size), e.a.RemoteAddr()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(every)
		}
		time.Sleep(time.Second)
		s := e.a.Stats()
		e.a.Close()
		<-finished
		t.Logf("%d of %d arrived, the oldest after %v; %d late", got, count, oldest, s.Late)
		// In the line itself there are one datagram that is written and one
		// that is carried: 2 × 42 ms.
		if oldest > maxWait+100*time.Millisecond {
			t.Errorf("one was %v old", oldest)
		}
		if s.Full != 0 || int(s.Late)+int(s.Sent) != count || int(s.Sent) != got || got < count/5 || last < count-10 {
			t.Errorf("%+v; last was %d", s, last)
		}
	})
}

// A peer that reads nothing: writes never wait, memory is bounded, and after a
// while the connection is down.
func TestPeerReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		e := join(t, x, y, true, false)
		start := time.Now()
		for i := range 2000 {
			if _, err := e.a.WriteTo(numbered(i, 1400), e.a.RemoteAddr()); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(start) > 0 || len(e.a.out.ring) > maxQueue {
			t.Errorf("took %v and %d bytes", time.Since(start), len(e.a.out.ring))
		}
		<-e.a.Done()
		if d := time.Since(start); d != maxWriteTime {
			t.Errorf("down after %v", d)
		}
		if _, err := e.a.WriteTo([]byte("x"), e.a.RemoteAddr()); !errors.Is(err, net.ErrClosed) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestStall(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		every      time.Duration // one more byte; 0 = none
		want       time.Duration
	}{
		{"silence", "", 0, maxSilence},
		{"half a length", "\x05", 0, maxFrameTime},
		{"half a frame", "\x05\x00abc", 0, maxFrameTime},
		{"drip", "\x05\x00abc", 700 * time.Millisecond, maxFrameTime},
		{"a frame and a half", "\x00\x01a\x00\x05b", 0, maxFrameTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, y := net.Pipe()
				e := join(t, x, y, true, false)
				go func() { _, _ = io.Copy(io.Discard, e.rawB) }()
				var sender sync.WaitGroup
				sender.Go(func() {
					_, err := e.rawB.Write([]byte(c.sent))
					for c.every > 0 && err == nil {
						time.Sleep(c.every)
						_, err = e.rawB.Write([]byte("x"))
					}
				})
				start := time.Now()
				_, err := readAll(e.a)
				if d := time.Since(start); d != c.want {
					t.Errorf("down after %v, want %v", d, c.want)
				}
				if !errors.Is(err, net.ErrClosed) || !errors.Is(err, os.ErrDeadlineExceeded) || e.a.Err() == nil {
					t.Error(err)
				}
				sender.Wait()
			})
		})
	}
}

// Two sides with nothing to say stay connected.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		e := join(t, x, y, true, true)
		for _, c := range []*Conn{e.a, e.b} {
			go func() { _, _ = readAll(c) }()
		}
		time.Sleep(time.Hour)
		if e.a.Err() != nil || e.b.Err() != nil {
			t.Error(e.a.Err(), e.b.Err())
		}
		if s := e.a.Stats(); s != (Stats{}) {
			t.Errorf("%+v", s)
		}
	})
}

func TestNoFrames(t *testing.T) {
	for _, sent := range []string{"\xff\xff\xff", "\x05\xdd", "HTTP/1.1 400 Bad Request\r\n\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			x, y := net.Pipe()
			e := join(t, x, y, true, false)
			go func() { _, _ = io.Copy(io.Discard, e.rawB) }()
			go func() { _, _ = e.rawB.Write([]byte("\x00\x02ok" + sent)) }()
			got, err := readAll(e.a)
			var f *FrameError
			if len(got) != 1 || !errors.As(err, &f) || !errors.Is(err, net.ErrClosed) {
				t.Errorf("%q: %d datagrams, %v", sent, len(got), err)
			}
			if _, _, err := e.a.ReadFrom(make([]byte, 10)); !errors.As(err, &f) {
				t.Errorf("second read: %v", err)
			}
		})
	}
}

func TestReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		e := join(t, x, y, true, false)
		go func() { _, _ = io.Copy(io.Discard, e.rawB) }()
		b := make([]byte, 10)
		if err := e.a.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = e.rawB.Write([]byte("\x00\x03ab")) }()
		start := time.Now()
		if _, _, err := e.a.ReadFrom(b); err != os.ErrDeadlineExceeded || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		// Later, from another goroutine, and the half frame is still there.
		go func() {
			time.Sleep(time.Second)
			_ = e.a.SetReadDeadline(time.Time{})
			time.Sleep(time.Second)
			_, _ = e.rawB.Write([]byte("c"))
		}()
		_ = e.a.SetReadDeadline(time.Now().Add(time.Hour))
		if n, _, err := e.a.ReadFrom(b); err != nil || string(b[:n]) != "abc" {
			t.Errorf("%q, %v", b[:n], err)
		}
		go func() {
			time.Sleep(time.Second)
			_ = e.a.SetReadDeadline(time.Now()) // as quic.Transport.Close does
		}()
		if _, _, err := e.a.ReadFrom(b); err != os.ErrDeadlineExceeded {
			t.Error(err)
		}
		if e.a.Err() != nil {
			t.Error(e.a.Err())
		}
	})
}

// What was written before Close arrives; afterwards nothing runs and
// everything says so.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		e := join(t, x, y, true, true)
		reader := make(chan error)
		go func() {
			_, err := readAll(e.a)
			reader <- err
		}()
		for i := range 50 {
			if _, err := e.a.WriteTo(numbered(i, 1000), e.a.RemoteAddr()); err != nil {
				t.Fatal(err)
			}
		}
		second := make(chan struct{})
		go func() {
			e.a.Close()
			close(second)
		}()
		go e.a.Close()
		got, err := readAll(e.b)
		if len(got) != 50 || !errors.Is(err, io.EOF) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%d datagrams, %v", len(got), err)
		}
		<-second
		if err := <-reader; err != net.ErrClosed {
			t.Error(err)
		}
		if _, err := e.a.WriteTo([]byte("x"), e.a.RemoteAddr()); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if e.a.Close() != nil || e.a.Err() != net.ErrClosed {
			t.Error("not closed")
		}
	})
}

// Close does not wait for a peer that takes nothing.
func TestCloseStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		e := join(t, x, y, true, false)
		_, _ = e.a.WriteTo(make([]byte, 1000), e.a.RemoteAddr())
		synctest.Wait() // the writer is in the middle of it
		start := time.Now()
		e.a.Close()
		if d := time.Since(start); d > flushTime {
			t.Errorf("took %v", d)
		}
	})
}
