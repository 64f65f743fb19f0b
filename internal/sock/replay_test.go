// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func held(p *Peer) (n int) {
	for _, b := range p.replay.ring {
		if b != nil {
			n++
		}
	}
	return n
}

func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, peers, _ := world("192.0.2.1:9", "192.0.2.2:9")
		defer s.Close()
		p := s.NewPeer()
		p.Use(to("192.0.2.1:9"))
		if p.Replay(to("192.0.2.2:9"), MaxReplay) != 0 {
			t.Error("replayed what nobody sent")
		}
		sent := 0
		write := func(n int) {
			for range n {
				sent++
				if _, err := s.QUIC().WriteTo(fmt.Appendf(nil, "packet %d", sent), p.Addr()); err != nil {
					t.Fatal(err)
				}
			}
		}
		replay := func(n int) (got []string) {
			want := p.Replay(to("192.0.2.2:9"), n)
			for range len(peers[1].in) {
				got = append(got, string((<-peers[1].in).b))
			}
			if len(got) != want {
				t.Errorf("Replay says %d, %d arrived", want, len(got))
			}
			return got
		}
		check := func(n int, want ...string) {
			t.Helper()
			if got := replay(n); !slices.Equal(got, want) {
				t.Errorf("last %d: %q, want %q", n, got, want)
			}
		}
		write(2)
		check(MaxReplay, "packet 1", "packet 2")
		check(1, "packet 2")
		check(0)
		check(-1)
		write(MaxReplay + 1)
		check(100, "packet 4", "packet 5", "packet 6", "packet 7", "packet 8", "packet 9", "packet 10", "packet 11")
		check(3, "packet 9", "packet 10", "packet 11")
		if err := p.Send([]byte{128}); err != nil { // media is not kept
			t.Fatal(err)
		}
		check(1, "packet 11")
		if p.Replay(Path{5, source(1)}, 3) != 0 {
			t.Error("replayed on a path that isn't")
		}
		p.Close()
		if held(p) != 0 {
			t.Errorf("%d packets kept for a closed peer", held(p))
		}
	})
}

// What is kept goes when QUIC can't need it any more, and not before.
func TestTrim(t *testing.T) {
	write := func(s *Socket, p *Peer) {
		if _, err := s.QUIC().WriteTo(shortHeader(), p.Addr()); err != nil {
			t.Error(err)
		}
	}
	trimmed := func(t *testing.T, p *Peer, want int, when string) {
		t.Helper()
		p.Trim(time.Now())
		if held(p) != want {
			t.Errorf("%s: %d packets kept, want %d", when, held(p), want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world("192.0.2.1:9")
		defer s.Close()
		p := s.NewPeer()
		p.Bind(to("192.0.2.1:9"))
		p.Use(to("192.0.2.1:9"))
		trimmed(t, p, 0, "empty")

		// A healthy link: a packet, its acknowledgement, silence.
		write(s, p)
		time.Sleep(100 * time.Millisecond)
		conn.feed("192.0.2.1:9", shortHeader(), nil)
		readQUIC(t, s)
		time.Sleep(replayQuiet - 100*time.Millisecond - 1)
		trimmed(t, p, 1, "just acknowledged")
		time.Sleep(1)
		trimmed(t, p, 0, "silent")

		// An outage: QUIC's probes double their distance; whatever is in
		// flight is there when the path comes back.
		time.Sleep(time.Hour)
		for gap := 200 * time.Millisecond; gap < time.Minute; gap *= 2 {
			write(s, p)
			for range 100 {
				time.Sleep(gap / 100)
				p.Trim(time.Now())
			}
			if held(p) == 0 {
				t.Fatalf("nothing kept %v into the outage", gap)
			}
		}
		time.Sleep(replayMax)
		trimmed(t, p, 0, "after the link's idle timeout")

		// A link that was busy for long, and answered, is as healthy.
		time.Sleep(time.Hour)
		for range 10 {
			time.Sleep(time.Second)
			write(s, p)
			conn.feed("192.0.2.1:9", shortHeader(), nil)
			readQUIC(t, s)
		}
		time.Sleep(replayQuiet - 1)
		trimmed(t, p, MaxReplay, "just busy")
		time.Sleep(1)
		trimmed(t, p, 0, "silent after being busy")
	})
}
