// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

// What is wanted of copies is what the socket makes of it: else each tick of a call
// would find that they go elsewhere, and announce a path that is the same.
func TestCopiesOnce(t *testing.T) {
	path := func(n byte) sock.Path {
		return sock.Path{Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{45, 0, 0, n}), 4000)}
	}
	inLab(t, func(t *testing.T, l *lab) {
		sp := l.node(Config{}).sock.NewPeer()
		defer sp.Close()
		for _, list := range [][]sock.Path{
			nil, {path(0)}, {path(1), path(1)}, {path(1), path(0), path(2)}, {path(1), path(2), path(1), path(3), path(4)},
		} {
			sp.Use(path(0), list...)
			_, used, _ := sp.Route()
			want := others(path(0), list)
			if want = want[:min(len(want), sock.MaxAlso)]; !slices.Equal(used, want) {
				t.Errorf("%v: want %v, used %v", list, want, used)
			}
		}
	})
}

// A path that is named twice, or leads, gets no copies on that account.
func TestDoubledOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		p, err := a.Dial(t.Context(), addrOf(b))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		p.SetMedia(true)
		defer p.SetMedia(false)
		a.loop.Do(t.Context(), func(now time.Time) {
			primary, _, ok := p.state.paths.Active()
			if !ok {
				t.Error("no path")
				return
			}
			got := a.core.double(now, p, primary, []sock.Path{primary, {Remote: addrOf(a)}, {Remote: addrOf(a)}})
			if want := []sock.Path{{Remote: addrOf(a)}}; !slices.Equal(got, want) {
				t.Errorf("copies go to %v", got)
			}
		})
	})
}
