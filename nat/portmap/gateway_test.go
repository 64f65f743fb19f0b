// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"errors"
	"net/netip"
	"testing"
)

func TestGuessIsTheFirstAddressOfAPrivateNet(t *testing.T) {
	for _, c := range []struct{ ours, want string }{
		{"192.168.1.57", "192.168.1.1"}, {"10.20.30.40", "10.20.30.1"},
		{"192.168.1.1", ""}, {"203.0.113.7", ""}, {"2001:db8::5", ""}, {"fd00::5", ""},
	} {
		got, err := guess(netip.MustParseAddr(c.ours))
		if c.want == "" && !errors.Is(err, ErrNoGateway) || c.want != "" && (err != nil || got.String() != c.want) {
			t.Errorf("%s: %v, %v", c.ours, got, err)
		}
	}
}

// TestSystemGateway can only look at this machine: there is a router or there
// is none, and in both cases the answer makes sense.
func TestSystemGateway(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		a, err := systemGateway(v6)
		if err == nil && (a.Is6() != v6 || a.IsUnspecified() || a.IsLinkLocalUnicast() && v6 && a.Zone() == "") {
			t.Errorf("IPv6 %v: %v", v6, a)
		}
		if err != nil && !errors.Is(err, ErrNoGateway) {
			t.Errorf("IPv6 %v: %v", v6, err)
		}
	}
}

func TestConfiguredGatewayIsChecked(t *testing.T) {
	for _, c := range []struct {
		answer string
		v6, ok bool
	}{
		{"192.168.1.1", false, true}, {"::ffff:192.168.1.1", false, true}, {"fe80::1", false, false}, {"0.0.0.0", false, false},
		{"224.0.0.1", false, false}, {"192.168.1.1", true, false}, {"2001:db8::1", true, true}, {"ff02::1", true, false},
	} {
		answer := func() (netip.Addr, error) { return netip.MustParseAddr(c.answer), nil }
		inside := home4.internal
		if c.v6 {
			inside = home6.internal
		}
		n, err := Config{Internal: inside, Gateway: answer, Gateway6: answer}.network(c.v6)
		if (err == nil) != c.ok || c.ok && n.internal != inside {
			t.Errorf("%s: %+v, %v", c.answer, n, err)
		}
	}
}
