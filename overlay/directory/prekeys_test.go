// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package directory

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// Prekeys are published for this and the next period under every secret, found
// by ticket holders, replaced when they are new, and stay when the device goes.
func TestPrekeys(t *testing.T) {
	o := newOwner(t)
	d, s := o.dev, NewStore(node(1), newRand(1))
	at := now
	publish := func(d time.Duration) (objects int) {
		t.Helper()
		for end := at.Add(d); ; {
			next := o.p.Deadline()
			if next.IsZero() || next.After(end) {
				at = end
				return objects
			}
			at = next
			o.p.Advance(at)
			for _, ev := range drain(o.p.NextEvent) {
				p := ev.(Publish)
				answers, err := s.Receive(at, p.Body, netip.Prefix{})
				if err != nil {
					t.Fatal(err)
				}
				for i := range byte(wantRoutes) {
					o.p.Answer(at, p.Ref, node(i), answers[0])
				}
				if p.Body[0] == typeStorePrekeys {
					objects++
				}
			}
		}
	}
	find := func(when time.Time, id identity.ID, reach identity.Secret) (list []identity.Prekeys) {
		t.Helper()
		l, err := NewPrekeysLookup(when, id, reach)
		if err != nil {
			t.Fatal(err)
		}
		for ev, ok := l.NextEvent(); ok; ev, ok = l.NextEvent() {
			switch ev := ev.(type) {
			case Ask:
				answers, err := s.Receive(when, ev.Body, netip.Prefix{})
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range answers {
					l.Answer(when, ev.Ref, node(1), b)
				}
			case FoundPrekeys:
				list = append(list, ev.Prekeys)
			}
		}
		return list
	}
	if err := o.p.SetPrekeys(now, make([]byte, identity.MaxBundle+1)); err == nil {
		t.Error("a bundle that is too long was taken")
	}
	secrets := []identity.Secret{{1}, {2}}
	o.reach(secrets...)
	bundle := bytes.Repeat([]byte{9}, identity.MaxBundle)
	if err := o.p.SetPrekeys(now, bundle); err != nil {
		t.Fatal(err)
	}
	o.locate(location(1))
	if n := publish(ahead); n != 4 {
		t.Errorf("%d objects, want 2 secrets in 2 periods", n)
	}
	for _, reach := range secrets {
		for _, when := range []time.Time{at, at.Add(identity.EpochEnd(14*24 - 1).Sub(time.Unix(0, 0)))} {
			if got := find(when, d.ID(), reach); len(got) != 1 || !bytes.Equal(got[0].Bundle, bundle) {
				t.Errorf("%d found at %v", len(got), when)
			}
		}
	}
	if got := find(at, d.ID(), identity.Secret{3}); len(got) != 0 {
		t.Error("found without the ticket")
	}
	if n := publish(5 * time.Hour); n < 4*4 || n > 4*7 {
		t.Errorf("%d objects in five hours", n)
	}
	// A new bundle replaces the old one at once.
	o.p.SetPrekeys(at, []byte("new"))
	publish(5 * time.Second)
	if got := find(at, d.ID(), secrets[0]); len(got) != 1 || string(got[0].Bundle) != "new" {
		t.Errorf("%d found, or not the new one", len(got))
	}
	// The device goes: its prekeys stay.
	o.p.Withdraw(at)
	publish(time.Minute)
	if got := find(at, d.ID(), secrets[0]); len(got) != 1 {
		t.Errorf("%d found of a device that is away", len(got))
	}
	if got := find(at.Add(43*24*time.Hour), d.ID(), secrets[0]); len(got) != 0 {
		t.Error("found after their time")
	}
	if _, err := NewPrekeysLookup(now, d.ID(), identity.Secret{}); err == nil {
		t.Error("a lookup without a secret")
	}
}

// In a store's room prekeys count as what they take.
func TestPrekeysRoom(t *testing.T) {
	d, s := newDevice(t), NewStore(node(1), newRand(1))
	s.quota.most, s.quota.share = 10, 8
	prekeys := func(n byte) []byte {
		b, err := identity.MakePrekeys(d, identity.RecordPlan{Reach: identity.Secret{n}, Epoch: identity.PrekeyPeriod(now), Sequence: 1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	from := prefixOf("203.0.113.1")
	outcomes := map[Outcome]int{}
	for n := byte(1); n < 30; n++ {
		outcomes[s.Put(now, prekeys(n), from)]++
		if s.quota.blobs > 8 {
			t.Fatalf("%d blobs of one prefix", s.quota.blobs)
		}
	}
	if s.quota.blobs != 8 || outcomes[Stored] < 2 || outcomes[Full] == 0 {
		t.Errorf("%d blobs, %v", s.quota.blobs, outcomes)
	}
	// Smaller ones fit beside them, up to the store's limit.
	for i, b := range many(t, d, 20) {
		s.Put(now, b, prefixOf([]string{"198.51.100.1", "192.0.2.1"}[i%2]))
		if s.quota.blobs > 10 {
			t.Fatalf("%d blobs", s.quota.blobs)
		}
	}
	n := 0
	for _, e := range s.entries {
		for _, it := range e.slots {
			if it != nil {
				n += blobsOf(it.raw)
			}
		}
	}
	if n != s.quota.blobs || len(s.entries) < 4 {
		t.Errorf("%d blobs counted, %d there, %d keys", s.quota.blobs, n, len(s.entries))
	}
}
