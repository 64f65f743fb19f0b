// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
)

func TestMemories(t *testing.T) {
	x, y := memoryPair("sym-counter", "sym-block")
	x.Addrs = append(x.Addrs, netip.MustParseAddrPort("[2001:db8::1]:9"))
	x.Mine.Step, x.Mine.Confidence, x.Mine.Absolute = -3, 1, 50*time.Second
	x.Mine.Hairpin, x.Mine.Carrier, x.Mine.IPv6 = No, Yes, FirewalledIPv6
	b := AppendMemories(nil, []Memory{x, y})
	got, err := ParseMemories(b)
	if err != nil || !reflect.DeepEqual(got, []Memory{x, y}) {
		t.Fatalf("%v: got %+v", err, got)
	}
	if !bytes.Equal(AppendMemories(nil, got), b) {
		t.Error("another form the second time")
	}
	if got, err := ParseMemories([]byte{memoryVersion}); err != nil || len(got) != 0 {
		t.Errorf("none: %v, %v", got, err)
	}
	var version VersionError
	if _, err := ParseMemories([]byte{9, 1, 2}); !errors.As(err, &version) || version != 9 {
		t.Errorf("version 9: %v", err)
	}
	for i := range b {
		if i == 1 || i == len(b)/2 {
			if _, err := ParseMemories(b[:i+1]); !errors.Is(err, ErrMemory) {
				t.Errorf("cut at %d: %v", i, err)
			}
		}
	}
	many := make([]Memory, 100)
	for i := range many {
		many[i] = x
	}
	if got, err := ParseMemories(AppendMemories(nil, many)); err != nil || len(got) != MaxMemories {
		t.Errorf("%d of 100: %v", len(got), err)
	}
	one := AppendMemories(nil, []Memory{x})[1:]
	long := []byte{memoryVersion}
	for range MaxMemories + 1 {
		long = append(long, one...)
	}
	if _, err := ParseMemories(long); !errors.Is(err, ErrMemory) {
		t.Errorf("65 memories: %v", err)
	}
}

func FuzzMemories(f *testing.F) {
	x, y := memoryPair("sym-counter", "sym-block")
	f.Add(AppendMemories(nil, []Memory{x, y}))
	f.Add(AppendMemories(nil, nil))
	f.Add([]byte{1, 0, 3, 1, 0, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseMemories(b)
		if err != nil {
			return
		}
		again, err := ParseMemories(AppendMemories(nil, list))
		if err != nil || !reflect.DeepEqual(list, again) {
			t.Fatalf("%v: %+v, then %+v", err, list, again)
		}
		a := NewAppointments()
		for _, m := range list {
			a.Remember(epoch, m)
		}
		a.Seek(epoch)
		for _, m := range a.meets {
			p := NewPuncher(epoch, m.Config, NewBudget(epoch), rand.New(rand.NewPCG(1, 1)))
			p.Advance(epoch.Add(time.Second))
			if s, ok := p.Poll(); ok && (s.Path == sock.Path{} || s.Path.Remote.Addr() != m.Config.Remote.Addr()) {
				t.Fatalf("shot at %v", s.Path)
			}
		}
	})
}
