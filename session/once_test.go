// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// A one-use secret has one user, and rings once; it ends with its time, and the
// list is bounded by those that nobody has used.
func TestOnces(t *testing.T) {
	var o onces
	now := start
	secret := func(n int) identity.Secret { return identity.Secret{byte(n), 1} }
	anna, ben := identity.ID{1}, identity.ID{2}
	for n := range MaxOnce {
		if err := o.add(now, Once{Secret: secret(n), Expires: now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.add(now, Once{Secret: secret(99), Expires: now.Add(time.Hour)}); !errors.Is(err, ErrManyOnce) {
		t.Errorf("one too many: %v", err)
	}
	if ok, once, news := o.admit(identity.Secret{9, 9}, anna); !ok || once || news != nil {
		t.Errorf("an ordinary secret: %t %t %v", ok, once, news)
	}
	if ok, once, news := o.admit(secret(3), anna); !ok || !once || news == nil || news.By != anna {
		t.Errorf("the first use: %t %t %v", ok, once, news)
	}
	if ok, _, news := o.admit(secret(3), anna); !ok || news != nil {
		t.Errorf("the same again: %t %v", ok, news)
	}
	if ok, once, _ := o.admit(secret(3), ben); ok || !once {
		t.Error("somebody else was let in")
	}
	if o.ring(ben) != nil {
		t.Error("rang for somebody without one")
	}
	if x := o.ring(anna); x == nil || x.Secret != secret(3) || !x.Rung {
		t.Errorf("the first ring: %v", x)
	}
	if o.ring(anna) != nil {
		t.Error("it rang twice")
	}
	if ok, _, _ := o.admit(secret(3), anna); !ok {
		t.Error("a call that was rung can't go on") // with a new link
	}
	// What has rung makes room.
	if err := o.add(now, Once{Secret: secret(99), Expires: now.Add(time.Minute)}); err != nil {
		t.Errorf("%v", err)
	}
	if n := len(o.secrets(now)); n != MaxOnce {
		t.Errorf("%d secrets", n)
	}
	if n := len(o.secrets(now.Add(time.Minute))); n != MaxOnce-1 {
		t.Errorf("%d secrets after the last one's time", n)
	}
}
