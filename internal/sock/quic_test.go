// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What quic-go looks for, and must not find, on the path socket.
func TestPathSocketShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _, _ := world()
		defer s.Close()
		pc := s.QUIC()
		if pc != s.QUIC() {
			t.Error("QUIC returns another one each time")
		}
		if _, ok := pc.(interface {
			SyscallConn() (syscall.RawConn, error)
		}); ok {
			t.Error("has SyscallConn: quic-go would search for a larger MTU")
		}
		buffers, ok := pc.(interface {
			SetReadBuffer(int) error
			SetWriteBuffer(int) error
		})
		if !ok || buffers.SetReadBuffer(1) != nil || buffers.SetWriteBuffer(1) != nil {
			t.Error("quic-go would log that it can't set buffers")
		}
		if _, ok := pc.LocalAddr().(*net.UDPAddr); !ok {
			t.Errorf("LocalAddr is a %T", pc.LocalAddr())
		}
		if pc.SetWriteDeadline(time.Now()) != nil {
			t.Error("SetWriteDeadline failed")
		}
	})
}

func TestReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		p := s.NewPeer()
		p.Bind(to("192.0.2.1:9"))
		pc := s.QUIC()
		start := time.Now()
		results := make(chan error, 10)
		read := func() {
			_, _, err := pc.ReadFrom(make([]byte, 100))
			results <- err
		}
		expect := func(what string, after time.Duration, want error) {
			t.Helper()
			err := <-results
			if took := time.Since(start); !errors.Is(err, want) || took != after {
				t.Errorf("%s: %v after %v, want %v after %v", what, err, took, want, after)
			}
			start = time.Now()
		}
		set := func(d time.Duration) {
			if err := pc.SetReadDeadline(time.Now().Add(d)); err != nil {
				t.Error(err)
			}
		}

		set(time.Second)
		go read()
		expect("set before", time.Second, os.ErrDeadlineExceeded)
		go read()
		expect("stays passed", 0, os.ErrDeadlineExceeded)

		conn.feed("192.0.2.1:9", shortHeader(), nil)
		synctest.Wait()
		go read()
		expect("passed, with a packet waiting", 0, os.ErrDeadlineExceeded)
		set(time.Second)
		go read()
		expect("packet before the deadline", 0, nil)

		// Moved while somebody reads: later, then to now, as Transport.Close does.
		go read()
		synctest.Wait()
		set(5 * time.Second)
		expect("moved to later", 5*time.Second, os.ErrDeadlineExceeded)
		_ = pc.SetDeadline(time.Time{})
		go read()
		go read()
		time.Sleep(time.Hour)
		set(0)
		expect("moved to now", time.Hour, os.ErrDeadlineExceeded)
		expect("the second reader", 0, os.ErrDeadlineExceeded)

		// Cleared again: the next Transport may use the socket.
		_ = pc.SetReadDeadline(time.Time{})
		go read()
		go read()
		synctest.Wait()
		conn.feed("192.0.2.1:9", shortHeader(), nil)
		conn.feed("192.0.2.1:9", shortHeader(), nil)
		expect("cleared", 0, nil)
		expect("cleared, second reader", 0, nil)

		// Two packets that arrive at once wake two readers.
		go read()
		go read()
		synctest.Wait()
		s.quic.mu.Lock()
		for i := range 2 {
			s.quic.queue[(s.quic.head+i)%QueueLen] = arrival{p.Addr(), s.pool.get()}
		}
		s.quic.count = 2
		s.quic.signal()
		s.quic.mu.Unlock()
		expect("first of two", 0, nil)
		expect("second of two", 0, nil)

		var ne net.Error // quic-go goes on reading after a temporary error
		set(-1)
		go read()
		if err := <-results; !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		_ = pc.SetReadDeadline(time.Time{})

		go read()
		synctest.Wait()
		set(time.Minute) // leaves no timer behind
		pc.Close()
		expect("Close", 0, net.ErrClosed)
		if err := pc.Close(); err != nil {
			t.Error(err)
		}
		if err := pc.SetReadDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if _, err := pc.WriteTo([]byte{0x40}, p.Addr()); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		conn.feed("192.0.2.1:9", shortHeader(), nil) // nobody reads it
		synctest.Wait()
		if s.quic.count != 0 {
			t.Error("a closed path socket queues packets")
		}
	})
}

// A slow QUIC loses the oldest packets, and nothing else waits for it.
func TestQueueDropsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		s.NewPeer().Bind(to("192.0.2.1:9"))
		const extra = 10
		for i := range QueueLen + extra {
			conn.feed("192.0.2.1:9", binary.BigEndian.AppendUint32([]byte{0x40}, uint32(i)), nil)
		}
		synctest.Wait()
		dropped(t, s, map[reason]uint64{queueFull: extra})
		for i := range QueueLen {
			b, _ := readQUIC(t, s)
			if got := int(binary.BigEndian.Uint32(b[1:])); got != i+extra {
				t.Fatalf("packet %d is number %d, want %d", i, got, i+extra)
			}
		}
		if s.quic.count != 0 {
			t.Errorf("%d packets left", s.quic.count)
		}
	})
}

// Whatever QUIC writes to, it counts as written.
func TestWritesAreSwallowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _, _ := world()
		defer s.Close()
		p := s.NewPeer()
		gone := s.NewPeer()
		gone.Close()
		for _, a := range []net.Addr{p.Addr(), gone.Addr(), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}, &net.TCPAddr{}, (*net.UDPAddr)(nil), nil} {
			if n, err := s.QUIC().WriteTo([]byte{0x40, 0}, a); n != 2 || err != nil {
				t.Errorf("write to %v: %d, %v", a, n, err)
			}
		}
		dropped(t, s, map[reason]uint64{noPath: 1, unknownVirtual: 5})
	})
}
