// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/nat"
)

// An allocation is written from to no more addresses than it has room for, whatever
// people name, and goes on serving those it has.
func TestTURNAddresses(t *testing.T) {
	l := turnLocal{addr: netip.MustParseAddrPort("45.0.0.1:5000"), used: make(map[netip.AddrPort]bool)}
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{46, 0, byte(i >> 8), byte(i)}), 4000)
	}
	six := netip.MustParseAddrPort("[2001:db8::1]:4000")
	if list := l.choose([]netip.AddrPort{{}, six, at(0), at(1), at(2), at(3), at(4)}); len(list) != turnTries || list[0] != at(0) {
		t.Errorf("%v", list)
	}
	for i := range 1000 {
		l.choose([]netip.AddrPort{at(i), at(i + 1)})
	}
	if n := len(l.used); n != turnFull {
		t.Errorf("%d addresses", n)
	}
	if list := l.choose([]netip.AddrPort{at(1000), at(7)}); len(list) != 1 || list[0] != at(7) {
		t.Errorf("full: %v", list)
	}
}

// Worn allocations are changed when no call runs, whoever the people are whose call
// has ended.
func TestTURNRest(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		p, err := a.Dial(t.Context(), addrOf(b))
		if err != nil {
			t.Fatal(err)
		}
		renew := make(chan struct{}, 1)
		a.loop.Do(t.Context(), func(time.Time) {
			used := make(map[netip.AddrPort]bool)
			for i := range turnWorn + 1 {
				used[netip.AddrPortFrom(netip.AddrFrom4([4]byte{46, 0, 0, byte(i)}), 4000)] = true
			}
			a.core.turn.renewed = append(a.core.turn.renewed, renew)
			a.core.turn.locals[1] = turnLocal{server: "turn:there", addr: addrOf(b), used: used}
			p.state.atTURN = append(p.state.atTURN, addrOf(b)) // so that it is not reached directly
		})
		p.SetMedia(true)
		time.Sleep(time.Second)
		p.SetMedia(false)
		if len(renew) != 0 {
			t.Error("changed in a call")
		}
		time.Sleep(2 * coolTime)
		if len(renew) != 1 {
			t.Error("not changed after the call")
		}
		a.loop.Do(t.Context(), func(time.Time) { delete(a.core.turn.locals, 1) })
	})
}

// A server that gives addresses and takes them back is asked less and less often;
// after one that lasted, or when a new one is wanted, at once.
func TestTURNRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		n := 0
		retryTURN(ctx, nil, func() error { n++; return errors.New("lost") }, func(error, time.Duration) {})
		if n < 10 || n > 30 {
			t.Errorf("asked %d times in an hour", n)
		}
		for _, c := range []struct {
			lasts time.Duration
			err   error
		}{{turnLasts, errors.New("lost")}, {time.Second, nil}} {
			ctx, stop := context.WithTimeout(t.Context(), 100*c.lasts-c.lasts/2)
			n := 0
			retryTURN(ctx, nil, func() error {
				n++
				time.Sleep(c.lasts)
				return c.err
			}, func(err error, _ time.Duration) { t.Error(err) })
			if stop(); n != 100 {
				t.Errorf("%d times, want 100", n)
			}
		}
	})
}

// What comes from a person's new address at a server before the word of it is taken
// for a direct path; with the word it is a relayed one. Paths to an address that the
// person has no longer end.
func TestTURNTold(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.node(Config{}), l.node(Config{})
		p, err := a.Dial(t.Context(), addrOf(b))
		if err != nil {
			t.Fatal(err)
		}
		kinds := func() (list []nat.Kind) {
			for _, q := range p.state.paths.Snapshot() {
				list = append(list, q.Kind)
			}
			return list
		}
		a.loop.Do(t.Context(), func(now time.Time) {
			before := kinds()
			a.core.turnAt(now, p, []netip.AddrPort{addrOf(b)})
			if k := kinds(); len(before) != 1 || before[0] == nat.Relay || len(k) != 1 || k[0] != nat.Relay || a.core.direct(p) {
				t.Errorf("%v, then %v", before, k)
			}
			a.core.turnAt(now, p, nil) // says nothing
			if k := kinds(); len(k) != 1 {
				t.Errorf("%v", k)
			}
			a.core.turnAt(now, p, []netip.AddrPort{netip.MustParseAddrPort("46.0.0.9:4000")})
			if k := kinds(); len(k) != 0 {
				t.Errorf("left: %v", k)
			}
		})
	})
}
