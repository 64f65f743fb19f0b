// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

// Every device of an identity is found through one introducer, and a liar who
// registered the same tag first hides none.
func TestSecondDevice(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		id, secret := identity.ID{7}, identity.Secret{8}
		c := l.node(Config{})
		person := Config{Identity: id, Secrets: []identity.Secret{secret}}
		b1, b2 := l.node(person), l.node(person)
		a := l.node(Config{})
		for _, o := range []*Overlay{c, b1, b2, a} {
			l.watch(o)
		}
		for _, o := range []*Overlay{b1, b2, a} {
			if _, err := o.Dial(t.Context(), addrOf(c)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		found := map[identity.NodeID]bool{}
		for p := range a.Reach(t.Context(), Target{ID: id, Secret: secret}) {
			found[p.Node()] = true
		}
		if !found[b1.Node()] || !found[b2.Node()] || len(found) != 2 {
			t.Errorf("found %d of 2", len(found))
		}
		time.Sleep(time.Minute)
		a.loop.Do(t.Context(), func(time.Time) {
			if len(a.core.asks) != 0 {
				t.Errorf("%d questions left open", len(a.core.asks))
			}
		})
	})
}

// Offers name a node key: only its holder can make one, for one place.
func TestOfferSignature(t *testing.T) {
	now := epoch
	pub, key, _ := ed25519.GenerateKey(rand.Reader)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	secret, tg := identity.Secret{1}, tag{2}
	offer := nat.Offer{NodeKey: pub, Cred: nat.NewCred(), Expires: now.Add(offerLife)}
	q, err := sealQuestion(key, secret, tg, offer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := openQuestion(secret, tg, q.sealed, now)
	if err != nil || !got.NodeKey.Equal(pub) {
		t.Fatalf("own question: %v", err)
	}
	forged, err := sealQuestion(other, secret, tg, offer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openQuestion(secret, tg, forged.sealed, now); !errors.Is(err, errOfferSignature) {
		t.Errorf("in another node's name: %v", err)
	}
	if _, err := openQuestion(identity.Secret{9}, tg, q.sealed, now); err == nil {
		t.Error("opened with another secret")
	}
	// A signature made for one tag does not serve under another.
	elsewhere := tag{3}
	moved := identity.SealSecret(offerKey(secret, elsewhere), elsewhere[:], signed(key, offer, tg[:]))
	if _, err := openQuestion(secret, elsewhere, moved, now); !errors.Is(err, errOfferSignature) {
		t.Errorf("moved to another tag: %v", err)
	}
	reply, err := sealReply(key, got.Reply, q.sealed, offer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.open(reply, now); err != nil {
		t.Errorf("reply: %v", err)
	}
	again, err := sealQuestion(key, secret, tg, offer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.open(reply, now); err == nil {
		t.Error("a reply to another question was accepted")
	}
}

// Many keys behind one address have one voice about ours, and no voice can
// push the interfaces' own addresses out.
func TestAddressVotes(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		o := l.node(Config{})
		peer := func(from, sees string) *Peer {
			p := &Peer{}
			p.state.active = sock.Path{Remote: netip.MustParseAddrPort(from)}
			o.core.seenAt(p, 0, netip.MustParseAddrPort(sees))
			return p
		}
		o.loop.Do(t.Context(), func(time.Time) {
			o.core.order = append(o.core.order,
				peer("203.0.113.1:1", "6.6.6.1:53"), peer("203.0.113.2:1", "6.6.6.1:53"), peer("203.0.113.3:1", "6.6.6.1:53"),
				peer("198.51.100.1:1", "46.0.0.9:9"), peer("192.0.2.1:1", "46.0.0.9:9"),
				peer("192.0.2.2:1", "10.0.0.1:53"), peer("192.0.2.3:1", "6.6.6.2:53"), peer("192.0.2.4:1", "6.6.6.3:53"),
			)
			got := o.core.addresses()
			o.core.order = nil
			if got[0] != netip.MustParseAddrPort("46.0.0.9:9") || got[len(got)-1] != addrOf(o) || len(got) > maxOutside+1 {
				t.Errorf("%v", got)
			}
			for _, a := range got {
				if a.Addr().IsPrivate() {
					t.Errorf("a neighbour out there put %v into our ticket", a)
				}
			}
		})
	})
}
