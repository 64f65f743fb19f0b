// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/nat"
)

var holeTime = time.Unix(1_800_000_000, 0)

func testHole() nat.Offer {
	return nat.Offer{
		NodeKey: bytes.Repeat([]byte{0xaa}, 32), Cred: nat.Cred{Tag: [8]byte{1}, Key: [32]byte{2}}, Expires: holeTime,
		Behaviour: nat.Behaviour{Mapping: nat.EndpointIndependent, Absolute: 50 * time.Second},
		Outside:   netip.MustParseAddrPort("192.0.2.1:4000"),
	}
}

func TestHoleFrame(t *testing.T) {
	for _, answer := range []bool{false, true} {
		b := appendHole(nil, answer, testHole())
		if b[0] != map[bool]byte{false: 0, true: 1}[answer] || len(b) > MaxBody {
			t.Errorf("flags %d, %d bytes", b[0], len(b))
		}
		got, o, err := parseHole(b, holeTime)
		if err != nil || got != answer || o.Outside != testHole().Outside || o.Behaviour.Absolute != 50*time.Second {
			t.Errorf("answer %v, %+v, %v", got, o, err)
		}
		// Bits of later versions are no answer.
		b[0] |= 0x80
		if got, _, err := parseHole(b, holeTime); err != nil || got != answer {
			t.Errorf("with another bit: %v, %v", got, err)
		}
	}
	for _, b := range [][]byte{nil, {0}, {1, 1}, appendHole(nil, false, testHole())[:40]} {
		if _, _, err := parseHole(b, holeTime); err == nil {
			t.Errorf("% x is taken", b)
		}
	}
}

func FuzzHole(f *testing.F) {
	f.Add(appendHole(nil, false, testHole()))
	f.Add(appendHole(nil, true, testHole()))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, o, err := parseHole(b, holeTime)
		if err != nil {
			return
		}
		again, p, err := parseHole(appendHole(nil, answer, o), holeTime)
		if err != nil || again != answer || p.Outside != o.Outside {
			t.Errorf("%x: %+v became %+v, %v", b, o, p, err)
		}
	})
}

// When a hole is to be replaced: at half its life where it is our own NAT's, a
// little later where the other side should begin; from the call's start when
// nobody knows how old it is.
func TestRenewDue(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		o := l.node(Config{Open: func(bool, uint16) (net.PacketConn, error) { return nil, net.ErrClosed }})
		c := o.core
		o.loop.Do(t.Context(), func(now time.Time) {
			p := &Peer{o: o}
			p.path.Store(&PathInfo{Up: true, Kind: nat.Direct})
			s := &p.state
			s.media, s.linked, s.shared = true, true, true
			s.renewal.on = now
			if at := c.renewDue(p); !at.IsZero() {
				t.Errorf("without a known life: %v", at.Sub(now))
			}
			s.renewal.theirs.Absolute = 50 * time.Second
			if at := c.renewDue(p); at.Sub(now) != holePause {
				t.Errorf("of unknown age: %v", at.Sub(now))
			}
			s.renewal.born = now
			if at := c.renewDue(p); at.Sub(now) != 35*time.Second {
				t.Errorf("the other side's: %v", at.Sub(now))
			}
			s.renewal.next = now.Add(40 * time.Second)
			if at := c.renewDue(p); at.Sub(now) != 40*time.Second {
				t.Errorf("too soon after the last attempt: %v", at.Sub(now))
			}
			for what, f := range map[string]func(){
				"no call":    func() { s.media = false },
				"no link":    func() { s.linked = false },
				"no session": func() { s.shared = false },
				"no path":    func() { s.lost = true },
				"relayed":    func() { p.path.Store(&PathInfo{Up: true, Kind: nat.Relay}) },
			} {
				was := *s
				f()
				if at := c.renewDue(p); !at.IsZero() {
					t.Errorf("%s: %v", what, at.Sub(now))
				}
				*s = was
				p.path.Store(&PathInfo{Up: true, Kind: nat.Direct})
			}
		})
	})
}
