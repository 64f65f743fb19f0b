// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

var (
	home4 = network{gateway: netip.MustParseAddr("192.168.1.1"), internal: netip.MustParseAddrPort("192.168.1.5:4000")}
	home6 = network{gateway: netip.MustParseAddr("fe80::1%eth0"), internal: netip.MustParseAddrPort("[2001:db8::5]:4000")}
)

func TestJudgeExternal(t *testing.T) {
	const fine, layer2, bad = "fine", "layer2", "bad"
	for _, c := range []struct {
		net      network
		external string
		want     string
	}{
		{home4, "203.0.113.7:4000", fine},
		{home4, "[::ffff:203.0.113.7]:4000", fine},
		{home4, "10.1.2.3:4000", layer2},
		{home4, "172.31.0.1:4000", layer2},
		{home4, "192.168.0.2:4000", layer2},
		{home4, "100.64.0.1:4000", layer2},
		{home4, "100.127.255.255:4000", layer2},
		{home4, "192.0.0.2:4000", layer2},
		{home4, "100.63.255.255:4000", fine},
		{home4, "100.128.0.0:4000", fine},
		{home4, "203.0.113.7:0", bad},
		{home4, "0.0.0.0:4000", bad},
		{home4, "0.1.2.3:4000", bad},
		{home4, "127.0.0.1:4000", bad},
		{home4, "169.254.3.4:4000", bad},
		{home4, "224.0.0.1:4000", bad},
		{home4, "240.0.0.1:4000", bad},
		{home4, "255.255.255.255:4000", bad},
		{home4, "192.168.1.1:4000", bad}, // the router's inside address
		{home4, "192.168.1.5:4000", bad}, // our own
		{home4, "[2001:db8::5]:4000", bad},
		{home6, "[2001:db8::5]:4000", fine}, // a pinhole
		{home6, "[2001:db8:1::5]:4000", fine},
		{home6, "[fd00::5]:4000", layer2},
		{home6, "[::]:4000", bad},
		{home6, "[::1]:4000", bad},
		{home6, "[fe80::5]:4000", bad},
		{home6, "[ff02::1]:4000", bad},
		{home6, "203.0.113.7:4000", bad},
	} {
		m, err := judge(c.net, PCP, grant{external: netip.MustParseAddrPort(c.external), lifetime: time.Hour})
		got := fine
		switch {
		case errors.Is(err, errBadExternal) && errors.Is(err, ErrUnusable):
			got = bad
		case err != nil:
			t.Errorf("%s: %v", c.external, err)
		case m.Layer2:
			got = layer2
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.external, got, c.want)
		}
	}
	if _, err := judge(home4, PCP, grant{lifetime: time.Hour}); !errors.Is(err, errBadExternal) {
		t.Error("no address at all:", err)
	}
}

func TestJudgeLifetime(t *testing.T) {
	ext := netip.MustParseAddrPort("203.0.113.7:4000")
	for _, c := range []struct{ given, want time.Duration }{
		{0, 0}, {time.Second, 0}, {29 * time.Second, 0},
		{30 * time.Second, 30 * time.Second},
		{time.Hour, time.Hour},
		{(1<<32 - 1) * time.Second, 24 * time.Hour},
	} {
		m, err := judge(home4, NATPMP, grant{external: ext, lifetime: c.given})
		if c.want == 0 && !errors.Is(err, errBadLifetime) || c.want != 0 && err != nil || m.Lifetime != c.want {
			t.Errorf("%v: %v, %v", c.given, m.Lifetime, err)
		}
	}
}

func TestEpochTellsRestartFromClockError(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		name      string
		elapsed   time.Duration
		seconds   uint32
		wantsLost bool
	}{
		{"in step", time.Hour, 1000 + 3600, false},
		{"reordered by a second", 0, 999, false},
		{"back by two", 0, 998, true},
		{"restarted", time.Hour, 5, true},
		{"restarted early in its life", 10 * time.Minute, 1010, true},
		{"slow by a twentieth", time.Hour, 1000 + 3420, false},
		{"slow by a tenth", time.Hour, 1000 + 3240, true},
		{"fast by a twentieth", time.Hour, 1000 + 3780, false},
		{"fast by a fifth: it, or we, slept", time.Hour, 1000 + 4320, true},
		{"two seconds are nothing", time.Second, 1003, false},
	} {
		var e epoch
		if e.observe(start, 1000) {
			t.Error("the first value is a loss")
		}
		if got := e.observe(start.Add(c.elapsed), c.seconds); got != c.wantsLost {
			t.Errorf("%s: lost = %v", c.name, got)
		}
		if e.observe(start.Add(c.elapsed+time.Minute), c.seconds+60) {
			t.Errorf("%s: a loss is reported twice", c.name)
		}
	}
}
