// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/internal/wire"
)

// crook is a relay's socket that does something to what the relay forwards.
type crook struct {
	net.PacketConn

	mu sync.Mutex                                 // guards what follows
	do func(to netip.AddrPort, b []byte) [][]byte // what is sent instead of a relayed frame; nil = nothing is done
}

func (c *crook) turn(do func(to netip.AddrPort, b []byte) [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.do = do
}

func (c *crook) WriteTo(b []byte, to net.Addr) (int, error) {
	list := [][]byte{b}
	c.mu.Lock()
	if c.do != nil && len(b) > wire.RelayHeader && wire.KindOf(b[0]) == wire.Relay {
		list = c.do(to.(*net.UDPAddr).AddrPort(), bytes.Clone(b))
	}
	c.mu.Unlock()
	for _, b := range list {
		if _, err := c.PacketConn.WriteTo(b, to); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// carriesMedia says whether a relayed frame has voice in it.
func carriesMedia(b []byte) bool { return wire.KindOf(b[wire.RelayHeader]) == wire.Media }

// later sends a frame once more, after a while.
func (c *crook) later(d time.Duration, to netip.AddrPort, b []byte) {
	time.AfterFunc(d, func() { c.PacketConn.WriteTo(b, net.UDPAddrFromAddrPort(to)) })
}

// A relay that answers and forwards, and harms what it carries: the call goes on over
// the other one as if nothing was, nothing is played that was not said, and where the
// harm would be heard without the other one both sides leave that relay for a new one.
func TestCrookedRelay(t *testing.T) {
	t.Parallel()
	var now *crook // the relay
	toCallee := func(tr *trial, to netip.AddrPort) bool { return to.Addr() == tr.b.outside }
	// spoil changes one byte, not those by which packets are told apart.
	spoil := func(b []byte) [][]byte {
		b[wire.RelayHeader+13] ^= 0x55
		return [][]byte{b}
	}
	var held [][]byte
	var other [2][]byte
	n := 0
	cases := []struct {
		name  string
		leave chance // none: whoever doubles doesn't make the other relay look bad
		do    func(tr *trial, to netip.AddrPort, b []byte) [][]byte
	}{
		{"corrupts everything", certain, func(_ *trial, _ netip.AddrPort, b []byte) [][]byte { return spoil(b) }},
		{"corrupts voice", certain, func(_ *trial, _ netip.AddrPort, b []byte) [][]byte {
			if carriesMedia(b) {
				return spoil(b)
			}
			return [][]byte{b}
		}},
		{"corrupts voice to the callee", certain, func(tr *trial, to netip.AddrPort, b []byte) [][]byte {
			if carriesMedia(b) && toCallee(tr, to) {
				return spoil(b)
			}
			return [][]byte{b}
		}},
		{"drops voice", certain, func(_ *trial, _ netip.AddrPort, b []byte) [][]byte {
			if carriesMedia(b) {
				return nil
			}
			return [][]byte{b}
		}},
		{"drops voice to the caller", certain, func(tr *trial, to netip.AddrPort, b []byte) [][]byte {
			if carriesMedia(b) && !toCallee(tr, to) {
				return nil
			}
			return [][]byte{b}
		}},
		{"drops three of four packets of voice", certain, func(_ *trial, _ netip.AddrPort, b []byte) [][]byte {
			if n++; carriesMedia(b) && n%4 > 0 {
				return nil
			}
			return [][]byte{b}
		}},
		{"sends each side its own voice", certain, func(tr *trial, to netip.AddrPort, b []byte) [][]byte {
			if !carriesMedia(b) {
				return [][]byte{b}
			}
			i := 0
			if toCallee(tr, to) {
				i = 1
			}
			other[i] = b[wire.RelayHeader:]
			if other[1-i] == nil {
				return nil
			}
			return [][]byte{append(bytes.Clone(b[:wire.RelayHeader]), other[1-i]...)}
		}},
		{"doubles and repeats everything", none, func(_ *trial, to netip.AddrPort, b []byte) [][]byte {
			now.later(300*time.Millisecond, to, b)
			now.later(3*time.Second, to, b)
			return [][]byte{b, b}
		}},
		{"reorders everything", likely, func(_ *trial, _ netip.AddrPort, b []byte) (out [][]byte) {
			if held = append(held, b); len(held) < 4 {
				return nil
			}
			slices.Reverse(held)
			out, held = held, nil
			return out
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range seeds(1, 20) {
				simSeed(t, uint64(seed+1), func(t *testing.T, s *sim) {
					held, other, n = nil, [2][]byte{}, 0
					tr := s.hold("edm", "edm", 5, RelayLimits{})
					before := tr.calls[0].Path().Vias
					bad := before[0]
					now = tr.crooks[bad]
					e := tr.watch(8*time.Second, func() {
						now.turn(func(to netip.AddrPort, b []byte) [][]byte { return c.do(tr, to, b) })
					})
					vias := [2][]identity.NodeID{tr.calls[0].Path().Vias, tr.calls[1].Path().Vias}
					left := !slices.Contains(vias[0], bad) && !slices.Contains(vias[1], bad)
					t.Logf("%d: %+v, left: %t, relays after it %d and %d", seed, e, left, len(vias[0]), len(vias[1]))
					if e.lost > 0 || e.arrivals > 100*time.Millisecond {
						t.Errorf("heard: %+v", e)
					}
					if c.leave == certain && (!left || len(vias[0]) < 2 || len(vias[1]) < 2) {
						t.Errorf("relays %v and %v, bad is %v", vias[0], vias[1], bad)
					}
					for i := range vias {
						if c.leave == none && (len(vias[i]) != len(before) || slices.ContainsFunc(vias[i], func(v identity.NodeID) bool { return !slices.Contains(before, v) })) {
							t.Errorf("relays %v, before %v", vias[i], before)
						}
					}
					tr.end()
				})
			}
		})
	}
}

// A relay whose network loses, delays, doubles and reorders is left or made up for by
// the other one.
func TestBadRelay(t *testing.T) {
	t.Parallel()
	simSeed(t, 1, func(t *testing.T, s *sim) {
		tr := s.hold("edm", "edm", 5, RelayLimits{})
		bad := tr.relays[tr.calls[0].Path().Vias[0]]
		e := tr.watch(10*time.Second, func() {
			tr.net.Do(func(*simnet.World) {
				bad.SetProfile(simnet.Profile{Delay: 60 * time.Millisecond, Jitter: 40 * time.Millisecond, Loss: 0.3, Duplicate: 0.3, Reorder: 0.3})
			})
		})
		t.Logf("%+v", e)
		if e.lost > 10 { // 2 %
			t.Errorf("%d frames lost", e.lost)
		}
		tr.end()
	})
}
