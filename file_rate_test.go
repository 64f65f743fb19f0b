// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media"
)

// host returns a public host behind an access link of its own kind.
func (s *sim) hostOn(name string, p simnet.Profile) *simnet.Host {
	old := access
	access = p
	defer func() { access = old }()
	return s.public(name)
}

// rawRate measures a bare quic-go stream between two hosts, in bytes a second.
func rawRate(t *testing.T, s *sim, a, b *simnet.Host, size int) float64 {
	t.Helper()
	_, key, _ := ed25519.GenerateKey(nil)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{"raw"}, InsecureSkipVerify: true,
	}
	connA, connB := s.listen(a, 5000), s.listen(b, 5000)
	trA, trB := &quic.Transport{Conn: connA}, &quic.Transport{Conn: connB}
	defer func() {
		trA.Close()
		trB.Close()
		connA.Close()
		connB.Close()
	}()
	ln, err := trB.Listen(conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan time.Time, 1)
	s.wg.Go(func() {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		st, err := conn.AcceptStream(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		if n, err := io.Copy(io.Discard, st); n != int64(size) {
			t.Errorf("%d bytes, %v", n, err)
		}
		got <- time.Now()
	})
	start := time.Now()
	conn, err := trA.Dial(context.Background(), connB.LocalAddr(), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := conn.OpenStreamSync(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	st.Close()
	took := (<-got).Sub(start)
	conn.CloseWithError(0, "")
	return float64(size) / took.Seconds()
}

// A file goes nearly as fast as a bare QUIC stream on the same path, though it
// is asked for, checked, written, read back, and though packets stay small.
func TestFileRate(t *testing.T) {
	size, cases := 2<<20, 1
	if os.Getenv("P2POS_LONG") != "" {
		size, cases = 8<<20, 4
	}
	for _, c := range []struct {
		what string
		link simnet.Profile
	}{
		{"20 Mbit/s, 50 ms", simnet.Profile{Delay: oneWay, Rate: 20e6}},
		{"20 Mbit/s, 50 ms, 0.5 % lost", simnet.Profile{Delay: oneWay, Rate: 20e6, Loss: 0.0025}},
		{"100 Mbit/s, 10 ms", simnet.Profile{Delay: oneWay / 5, Rate: 100e6}},
		{"100 Mbit/s, 200 ms", simnet.Profile{Delay: 4 * oneWay, Rate: 100e6}},
	}[:cases] {
		simTest(t, func(t *testing.T, s *sim) {
			ha, hb := s.hostOn("a", c.link), s.hostOn("b", c.link)
			raw := rawRate(t, s, ha, hb, size)
			a, b := s.node(ha, Config{}), s.node(hb, Config{})
			ins := s.accept(b, t.TempDir())
			path, _ := randomFile(t, "x", size)
			if _, err := a.SendFile(t.Context(), s.ticket(b), path); err != nil {
				t.Fatal(err)
			}
			in := <-ins
			start := time.Now()
			s.complete(in)
			rate := float64(size) / time.Since(start).Seconds()
			t.Logf("%s: raw %.1f Mbit/s, file %.1f Mbit/s, %.0f %%", c.what, raw*8e-6, rate*8e-6, 100*rate/raw)
			if rate < 0.7*raw {
				t.Errorf("%s: %.0f %% of a bare stream", c.what, 100*rate/raw)
			}
		})
	}
}

// score returns the MOS of what a call hears from now on for a while.
func (s *sim) score(c *Call, d time.Duration) float64 {
	before := c.Stats()
	time.Sleep(d)
	now := c.Stats()
	now.Score(&before)
	return now.MOS
}

// voiceFrame is 20 ms of 24 kb/s.
func voiceFrame() *media.Frame {
	f := &media.Frame{Payload: append([]byte{0x78}, make([]byte, 59)...)}
	for i := range f.Payload[1:] {
		f.Payload[1+i] = byte(i*7 + 1)
	}
	return f
}

// speak writes frames of an ordinary bit rate.
func (s *sim) speak(c *Call) {
	_, out := c.Tracks()
	frame := voiceFrame()
	s.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for out.WriteFrame(frame) == nil {
			<-tick.C
		}
	})
}

// A file beside a call on a narrow link is hardly heard, whether it was there
// first or comes later, and whichever way it goes.
func TestFileBesideVoice(t *testing.T) {
	link := simnet.Profile{Delay: oneWay, Rate: 2e6}
	cases, seconds := 1, 8.0
	if os.Getenv("P2POS_LONG") != "" {
		cases, seconds = 3, 20
	}
	for _, c := range []struct {
		what  string
		first bool // the file
		back  bool // from the callee
	}{
		{"the file comes later", false, false},
		{"the file is first", true, false},
		{"from the callee", false, true},
	}[:cases] {
		simTest(t, func(t *testing.T, s *sim) {
			a, b := s.node(s.hostOn("a", link), Config{}), s.node(s.hostOn("b", link), Config{})
			theirs := make(chan *Call, 1)
			calls := b.Incoming(t.Context())
			s.wg.Go(func() {
				for x := range calls {
					x.Answer()
					theirs <- x
				}
			})
			from, to := a, b
			if c.back {
				from, to = b, a
			}
			ins := s.accept(to, t.TempDir())
			path, _ := randomFile(t, "x", 12<<20) // more than goes in that time
			ticket := s.ticket(to)
			send := func() *Transfer {
				if _, err := from.SendFile(t.Context(), ticket, path); err != nil {
					t.Fatal(err)
				}
				return <-ins
			}
			var in *Transfer
			if c.first {
				in = send()
				time.Sleep(5 * time.Second)
				t.Logf("%s: %.2f Mbit/s without a call", c.what, in.Progress().Speed*8e-6)
			}
			mine, err := a.Call(t.Context(), s.ticket(b), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := mine.Answered(t.Context()); err != nil {
				t.Fatal(err)
			}
			other := <-theirs
			s.speak(mine)
			s.speak(other)
			s.hear(mine)
			s.hear(other)
			time.Sleep(3 * time.Second)
			clean := 0.0
			if !c.first {
				clean = s.score(other, 10*time.Second)
				in = send()
			}
			worst, sum := 5.0, 0.0
			for range int(seconds) {
				m := make(chan float64)
				s.wg.Go(func() { m <- s.score(mine, time.Second) })
				o := s.score(other, time.Second)
				both := min(o, <-m)
				worst, sum = min(worst, both), sum+both
			}
			synctest.Wait()
			p := in.Progress()
			if c.first {
				in.Pause()
				time.Sleep(3 * time.Second)
				clean = s.score(other, 10*time.Second)
				in.Continue()
			}
			t.Logf("%s: MOS %.2f alone, %.2f beside the file, worst second %.2f; file at %.2f Mbit/s", c.what, clean, sum/seconds, worst, p.Speed*8e-6)
			if clean-sum/seconds > 0.1 {
				t.Errorf("%s: MOS falls by %.2f", c.what, clean-sum/seconds)
			}
			if p.Speed*8 < 1e6 {
				t.Errorf("%s: the file gets %.0f bit/s of 2 Mbit/s", c.what, p.Speed*8)
			}
			mine.HangUp()
			in.Cancel()
		})
	}
}

// Where only a relay helps, a file crawls, and says why.
func TestFileRelayed(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		hard := simnet.NATConfig{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random}
		join := s.publics(4)
		a, b := s.node(s.behind("a", hard), Config{Join: join}), s.node(s.behind("b", hard), Config{Join: join})
		for _, n := range []*Node{a, b} {
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		ins := s.accept(b, t.TempDir())
		path, content := randomFile(t, "x", 100_000)
		out, err := a.SendFile(t.Context(), s.ticket(b), path)
		if err != nil {
			t.Fatal(err)
		}
		in := <-ins
		time.Sleep(10 * time.Second)
		if p := out.Progress(); !p.Relayed {
			t.Errorf("%+v", p)
		}
		start := time.Now()
		s.complete(in)
		t.Logf("100 kB over a relay in %v", time.Since(start)+10*time.Second)
		same(t, in.Path(), content)
	})
}

// BenchmarkFile is the cost of a file between two nodes on this computer.
func BenchmarkFile(b *testing.B) {
	const size = 64 << 20
	path, _ := randomFile(b, "x", size)
	x, y := benchNode(b), benchNode(b)
	ticket, err := y.Ticket(time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	events := y.Events(b.Context())
	dir := b.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range events {
			if f, ok := e.(FileEvent); ok && f.State == FileOffered {
				f.Transfer.Accept(dir)
			}
		}
	}()
	b.SetBytes(size)
	for b.Loop() {
		t, err := x.SendFile(b.Context(), ticket, path)
		if err != nil {
			b.Fatal(err)
		}
		<-t.Done()
		if err := t.Err(); err != nil {
			b.Fatal(err)
		}
	}
	y.Close()
	<-done
}

func benchNode(b *testing.B) *Node {
	n, err := New(Config{Dir: b.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.Close() })
	return n
}
