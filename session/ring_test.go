// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// rung makes the RING of anna's INVITE to ben.
func rung(t testing.TB) (ben *identity.Device, secret identity.Secret, caller, callee identity.NodeID, invite []byte) {
	anna := newDevice(t, "anna")
	ben = newDevice(t, "ben")
	caller, callee = nodeNamed("anna"), nodeNamed("ben")
	_, msg, err := newInvite(start, anna, caller, "Anna", ben.Certificate(), callee, CallID{1}, Offer{SSRC: 7})
	if err != nil {
		t.Fatal(err)
	}
	return ben, ben.Reach(), caller, callee, msg
}

func TestRing(t *testing.T) {
	ben, secret, caller, callee, invite := rung(t)
	secrets := []identity.Secret{{9}, secret}
	b := NewRing(start, ben.ID(), secret, caller, callee, invite)
	if len(b) > maxRing || len(b) > 3000 {
		t.Errorf("ring of %d bytes", len(b))
	}
	cert, _, got, err := OpenRing(start, ben, secrets, caller, callee, b)
	if err != nil || string(got) != string(invite) {
		t.Fatalf("opened to %d bytes, %v", len(got), err)
	}
	if cert.Name != "anna" {
		t.Errorf("from %q", cert.Name)
	}
	mallory := nodeNamed("mallory")
	changed := append([]byte(nil), b...)
	changed[len(changed)-1] ^= 1
	noInvite := NewRing(start, ben.ID(), secret, caller, callee, []byte{byte(typeHangup), 1, 2})
	for _, c := range []struct {
		rule           string
		b              []byte
		now            time.Time
		caller, callee identity.NodeID
		secrets        []identity.Secret
		want           error
	}{
		{"no ticket", b, start, caller, callee, []identity.Secret{{9}}, ErrNotForUs},
		{"hours later", b, start.Add(3 * time.Hour), caller, callee, secrets, ErrNotForUs},
		{"carried on by another node", b, start, mallory, callee, secrets, ErrForged},
		{"carried to another node", b, start, caller, mallory, secrets, ErrForged},
		{"changed", changed, start, caller, callee, secrets, ErrForged},
		{"cut", b[:10], start, caller, callee, secrets, ErrMessage},
		{"long", append(b, make([]byte, maxRing)...), start, caller, callee, secrets, ErrMessage},
		{"something else inside", noInvite, start, caller, callee, secrets, ErrMessage},
	} {
		if _, _, _, err := OpenRing(c.now, ben, c.secrets, c.caller, c.callee, c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.rule, err)
		}
	}
}

func FuzzRing(f *testing.F) {
	ben, secret, caller, callee, invite := rung(f)
	f.Add(NewRing(start, ben.ID(), secret, caller, callee, invite), false)
	f.Add(invite, true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed {
			b = NewRing(start, ben.ID(), secret, caller, callee, b)
		}
		if _, _, msg, err := OpenRing(start, ben, []identity.Secret{secret}, caller, callee, b); err == nil && !IsInvite(msg) {
			t.Error("opened to something else")
		}
	})
}
