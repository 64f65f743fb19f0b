// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestIsInitial(t *testing.T) {
	with := func(version uint32, change func(b []byte)) []byte {
		b := initial(version)
		change(b)
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"version 1":             {initial(version1), true},
		"version 2":             {initial(version2), true},
		"longer":                {append(initial(version1), 0), true},
		"longest IDs":           {with(version1, func(b []byte) { b[5], b[26] = 20, 20 }), true},
		"too short":             {initial(version1)[:minInitial-1], false},
		"no fixed bit":          {with(version1, func(b []byte) { b[0] = 0x80 }), false},
		"short header":          {with(version1, func(b []byte) { b[0] = 0x40 }), false},
		"1: 0-RTT":              {with(version1, func(b []byte) { b[0] = 0xd0 }), false},
		"1: Handshake":          {with(version1, func(b []byte) { b[0] = 0xe0 }), false},
		"1: Retry":              {with(version1, func(b []byte) { b[0] = 0xf0 }), false},
		"2: Retry":              {with(version2, func(b []byte) { b[0] = 0xc0 }), false},
		"2: 0-RTT":              {with(version2, func(b []byte) { b[0] = 0xe0 }), false},
		"2: Handshake":          {with(version2, func(b []byte) { b[0] = 0xf0 }), false},
		"negotiation":           {initial(0), false},
		"unknown version":       {initial(0xff00001d), false},
		"destination ID of 21":  {with(version1, func(b []byte) { b[5] = 21 }), false},
		"destination ID of 255": {with(version1, func(b []byte) { b[5] = 255 }), false},
		"source ID of 21":       {with(version1, func(b []byte) { b[14] = 21 }), false},
		"empty":                 {nil, false},
	} {
		if isInitial(c.b) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
}

func FuzzReceiveQUIC(f *testing.F) {
	f.Add(initial(version1))
	f.Add(initial(version2))
	f.Add(shortHeader())
	f.Add(bytes.Repeat([]byte{0xff}, minInitial))
	s := Open(Config{})
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > MaxDatagram {
			return
		}
		buf := s.pool.get()
		buf.n = copy(buf.b[:], b)
		if !s.receive(to("192.0.2.1:9"), buf) {
			s.pool.put(buf)
		} else if got := make([]byte, MaxDatagram); len(b) > 0 {
			n, from, err := s.quic.ReadFrom(got)
			if err != nil || !bytes.Equal(got[:n], b) || s.PeerAt(from) == nil {
				t.Fatalf("%d of %d bytes from %v, %v", n, len(b), from, err)
			}
		}
	})
}

// An Initial brings in a stranger; QUIC answers it at its source, and what it
// sends then is its own.
func TestStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, peers, _ := world("192.0.2.1:9")
		defer s.Close()
		conn.feed("192.0.2.1:9", initial(version1), nil)
		_, virtual := readQUIC(t, s)
		p := s.PeerAt(virtual)
		if p == nil || p.Addr() != virtual || s.Provisional() != 1 || p.Closed() {
			t.Fatalf("peer %v at %v", p, virtual)
		}
		conn.feed("192.0.2.1:9", shortHeader(), nil)
		if _, from := readQUIC(t, s); from != virtual {
			t.Errorf("its second packet shows %v", from)
		}
		if _, err := s.QUIC().WriteTo([]byte("answer"), virtual); err != nil {
			t.Fatal(err)
		}
		if d := <-peers[0].in; string(d.b) != "answer" {
			t.Errorf("got %q", d.b)
		}
		if p.Replay(to("192.0.2.1:9"), 8) != 0 {
			t.Error("packets are kept for a stranger")
		}
		if got := p.Confirm(nil); got != p || s.Provisional() != 0 || p.Closed() {
			t.Errorf("confirmed as %v", got)
		}
		time.Sleep(2 * ProvisionalLife)
		conn.feed("192.0.2.1:9", shortHeader(), nil)
		if _, from := readQUIC(t, s); from != virtual || s.PeerAt(virtual) != p {
			t.Error("a confirmed peer expired")
		}
		p.Close()
		if s.known != 0 || len(s.virtual) != 0 {
			t.Errorf("%d peers known, %d addresses", s.known, len(s.virtual))
		}
	})
}

func TestStrangerExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, peers, _ := world("192.0.2.1:9")
		defer s.Close()
		conn.feed("192.0.2.1:9", initial(version1), nil)
		_, virtual := readQUIC(t, s)
		p := s.PeerAt(virtual)
		time.Sleep(ProvisionalLife - 1)
		if s.PeerAt(virtual) != p || p.Closed() {
			t.Error("expired early")
		}
		time.Sleep(1)
		if s.PeerAt(virtual) != nil || !p.Closed() {
			t.Error("not expired")
		}
		if _, err := s.QUIC().WriteTo([]byte("late"), virtual); err != nil || len(peers[0].in) != 0 {
			t.Errorf("written to an expired peer: %v", err)
		}
		conn.feed("192.0.2.1:9", shortHeader(), nil)
		synctest.Wait()
		dropped(t, s, map[reason]uint64{unknownSource: 1, unknownVirtual: 1})
		if s.Provisional() != 0 || len(s.bound) != 0 || len(s.virtual) != 0 {
			t.Errorf("%d provisional, %d bindings, %d addresses", s.Provisional(), len(s.bound), len(s.virtual))
		}
		old := s.NewPeer()
		if p.Confirm(nil) != p || !p.Closed() || p.Confirm(old) != old || s.PeerAt(virtual) != nil {
			t.Error("an expired peer was confirmed")
		}
		conn.feed("192.0.2.1:9", initial(version1), nil) // it may try again
		if _, from := readQUIC(t, s); from == virtual || s.PeerAt(from) == nil {
			t.Errorf("second attempt shows %v", from)
		}
	})
}

// 1,024 strangers wait; the next one replaces the oldest once it has had its
// second, and finds no place before.
func TestManyStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		arrive := func(i, n int) {
			for ; n > 0; i, n = i+1, n-1 {
				conn.feed(source(i).String(), initial(version1), nil)
			}
			synctest.Wait()
			for s.quic.count > 0 {
				readQUIC(t, s)
			}
		}
		arrive(0, 1)
		confirmed := s.PeerAt(s.bound[Path{0, source(0)}].peer.Addr()).Confirm(nil)
		arrive(1, MaxProvisional)
		time.Sleep(provisionalStay - 1)
		arrive(10_000, 500)
		dropped(t, s, map[reason]uint64{provisionalFull: 500})
		if s.Provisional() != MaxProvisional {
			t.Errorf("%d provisional", s.Provisional())
		}
		time.Sleep(1)
		arrive(20_000, 3)
		dropped(t, s, map[reason]uint64{provisionalFull: 500})
		for i, want := range map[int]bool{0: true, 1: false, 3: false, 4: true, 20_000: true, 20_002: true} {
			if got := s.bound[Path{0, source(i)}] != nil; got != want {
				t.Errorf("stranger %d is there: %v, want %v", i, got, want)
			}
		}
		if s.Provisional() != MaxProvisional || len(s.bound) != MaxProvisional+1 || len(s.virtual) != MaxProvisional+1 {
			t.Errorf("%d provisional, %d bindings, %d addresses", s.Provisional(), len(s.bound), len(s.virtual))
		}
		time.Sleep(ProvisionalLife)
		if s.Provisional() != 0 || len(s.bound) != 1 || len(s.virtual) != 1 || confirmed.Closed() {
			t.Errorf("%d provisional, %d bindings, %d addresses left", s.Provisional(), len(s.bound), len(s.virtual))
		}
	})
}

// A peer that comes back from a new address becomes an alias of itself.
func TestMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, peers, _ := world("192.0.2.1:9", "192.0.2.2:9")
		defer s.Close()
		old := s.NewPeer()
		old.Bind(to("192.0.2.1:9"))
		old.Use(to("192.0.2.1:9"))

		conn.feed("192.0.2.2:9", initial(version1), nil)
		_, alias := readQUIC(t, s)
		p := s.PeerAt(alias)
		if got := p.Confirm(old); got != old {
			t.Fatalf("confirmed as %v", got)
		}
		if s.PeerAt(alias) != old || s.PeerAt(old.Addr()) != old || !p.Closed() || s.known != 1 || s.Provisional() != 0 {
			t.Error("the new peer lives on, or the old one does not")
		}
		for _, from := range []string{"192.0.2.1:9", "192.0.2.2:9"} {
			conn.feed(from, shortHeader(), nil)
			if _, got := readQUIC(t, s); got != alias {
				t.Errorf("a packet from %v shows %v, want %v", from, got, alias)
			}
		}
		// Until somebody decides, the path that is alive gets everything too,
		// whichever address QUIC writes to.
		for _, a := range []net.Addr{alias, old.Addr()} {
			if _, err := s.QUIC().WriteTo([]byte("both"), a); err != nil {
				t.Fatal(err)
			}
			if string((<-peers[0].in).b)+string((<-peers[1].in).b) != "bothboth" {
				t.Error("not sent on both paths")
			}
		}
		old.Use(to("192.0.2.2:9"))
		if _, also, _ := old.Route(); len(also) != 0 {
			t.Errorf("duplicates after Use: %v", also)
		}

		// The used-up one does nothing any more.
		p.Bind(to("192.0.2.2:9"))
		p.Close()
		conn.feed("192.0.2.2:9", shortHeader(), nil)
		if _, got := readQUIC(t, s); got != alias {
			t.Errorf("shows %v after the merged peer was closed", got)
		}
		old.Close()
		if len(s.virtual) != 0 || len(s.bound) != 0 || s.known != 0 {
			t.Errorf("%d addresses, %d bindings, %d known", len(s.virtual), len(s.bound), s.known)
		}
	})
}

// A peer without a path takes that of the one it is merged with; aliases are
// bounded, its own address stays.
func TestMergeOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		old := s.NewPeer()
		var aliases []*net.UDPAddr
		for i := range 2 * MaxAliases {
			conn.feed(source(i).String(), initial(version2), nil)
			_, a := readQUIC(t, s)
			aliases = append(aliases, a)
			if s.PeerAt(a).Confirm(old) != old {
				t.Fatal("not merged")
			}
		}
		primary, also, ok := old.Route()
		last := 2*MaxAliases - 1
		if !ok || primary != (Path{0, source(0)}) || !slices.Equal(also, []Path{{0, source(last - 2)}, {0, source(last - 1)}, {0, source(last)}}) {
			t.Errorf("route %v, %v, %v", primary, also, ok)
		}
		if len(s.virtual) != MaxAliases || s.PeerAt(old.Addr()) != old {
			t.Errorf("%d addresses for one peer", len(s.virtual))
		}
		for i, a := range aliases {
			if got, want := s.PeerAt(a) == old, i > last-(MaxAliases-1); got != want {
				t.Errorf("alias %d is known: %v, want %v", i, got, want)
			}
		}
		if old.shown.Load() != aliases[last] {
			t.Errorf("shows %v", old.shown.Load())
		}
	})
}

// Two provisional peers may turn out to be one; a closed one takes nobody in.
func TestMergeStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn, _, _ := world()
		defer s.Close()
		stranger := func(i int) *Peer {
			conn.feed(source(i).String(), initial(version1), nil)
			_, a := readQUIC(t, s)
			return s.PeerAt(a)
		}
		a, b := stranger(1), stranger(2)
		if a.Confirm(b) != b || s.known != 1 || s.Provisional() != 0 || b.Closed() {
			t.Errorf("%d known, %d provisional", s.known, s.Provisional())
		}
		b.Close()
		c := stranger(3)
		if c.Confirm(b) != c || s.known != 1 || c.Closed() {
			t.Error("a closed peer took another one in")
		}
		if c.Confirm(c) != c || c.Confirm(nil) != c || s.known != 1 {
			t.Error("confirming twice changed something")
		}
		d := s.NewPeer() // two known ones that turn out to be the same
		if d.Confirm(c) != c || s.known != 1 || s.PeerAt(d.Addr()) != c {
			t.Errorf("%d known", s.known)
		}
	})
}
