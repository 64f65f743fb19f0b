// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for what must come: far longer than any
// limit of the package, since the machine may be busy.
const patience = 30 * time.Second

func next(t *testing.T, c *Client) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := c.Next(ctx)
	if err != nil {
		t.Fatalf("no event: %v; stats %+v", err, c.Stats())
	}
	return e
}

// await skips to the next event of a kind.
func await[E Event](t *testing.T, c *Client) E {
	t.Helper()
	for {
		if e, ok := next(t, c).(E); ok {
			return e
		}
	}
}

func TestMapsAndWithdraws(t *testing.T) {
	igd := func(version int) func(*router) { return func(r *router) { r.igd.version = version } }
	for _, c := range []struct {
		name   string
		speaks []Method
		set    func(*router)
		want   Method
	}{
		{"PCP", []Method{PCP}, nil, PCP},
		{"NAT-PMP", []Method{NATPMP}, nil, NATPMP},
		{"UPnP IGD 1", []Method{UPnP}, igd(1), UPnP},
		{"UPnP IGD 2", []Method{UPnP}, igd(2), UPnP},
		{"PCP is best of all", []Method{PCP, NATPMP, UPnP}, nil, PCP},
		{"NAT-PMP before UPnP", []Method{NATPMP, UPnP}, nil, NATPMP},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRouter(t, c.speaks...)
			if c.set != nil {
				c.set(r)
			}
			client := r.start().client()
			if e := await[External](t, client); e.Addr != r.outside || e.Layer2 {
				t.Errorf("outside address %+v", e)
			}
			m := await[Mapped](t, client)
			if m.Method != c.want || m.Mapping.External != netip.MustParseAddrPort("203.0.113.7:4321") ||
				m.Internal != netip.MustParseAddrPort("127.0.0.1:4321") || m.Gateway != r.addr || m.Lifetime != time.Hour || m.Layer2 {
				t.Errorf("mapped %+v", m)
			}
			if got := client.Mappings(); len(got) != 1 || got[0] != m.Mapping {
				t.Errorf("mappings %+v", got)
			}
			if e := r.entries()[4321]; e.client != m.Internal {
				t.Errorf("the router's table: %+v", r.entries())
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			if left := r.entries(); len(left) > 0 {
				t.Errorf("left behind: %+v", left)
			}
			if e, ok := next(t, client).(Lost); !ok || e.Mapping != m.Mapping {
				t.Errorf("told %+v at the end", e)
			}
			if _, err := client.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
			if s := client.Stats(); s != (Stats{}) {
				t.Errorf("bad input from a good router: %+v", s)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	for _, c := range []struct {
		name    string
		version int
		rude    bool
	}{{"IGD 1", 1, false}, {"IGD 1 that would overwrite it", 1, true}, {"IGD 2", 2, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRouter(t, UPnP)
			r.igd.version, r.igd.rude = c.version, c.rude
			neighbour := entryOf{netip.MustParseAddrPort("127.0.0.2:4321"), "upnp"}
			r.table[4321] = neighbour
			client := r.start().client()
			m := await[Mapped](t, client)
			if p := m.Mapping.External.Port(); p == 4321 || r.entries()[p].client != m.Internal {
				t.Errorf("mapped %v, table %+v", m.Mapping.External, r.entries())
			}
			client.Close()
			if left := r.entries(); len(left) != 1 || left[4321] != neighbour {
				t.Errorf("the neighbour's mapping: %+v", left)
			}
		})
	}
}

func TestRouterThatKnowsOnlyPermanentLeases(t *testing.T) {
	t.Parallel()
	r := newRouter(t, UPnP)
	r.igd.fault = func(action string, args map[string]string) int {
		if action == "AddPortMapping" && args["NewLeaseDuration"] != "0" {
			return upnpOnlyPermanent
		}
		return 0
	}
	client := r.start().client()
	if m := await[Mapped](t, client); m.Lifetime != time.Hour { // then it is asked for again
		t.Errorf("mapped %+v", m)
	}
	client.Close()
	if left := r.entries(); len(left) > 0 {
		t.Errorf("a permanent mapping is left behind: %+v", left)
	}
}

func TestRefreshRenewsAtTheRouter(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{PCP, NATPMP, UPnP} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			r := newRouter(t, m).start()
			client := r.client()
			await[Mapped](t, client)
			r.mu.Lock()
			clear(r.table) // it lost power
			r.outside = netip.MustParseAddr("203.0.113.8")
			r.mu.Unlock()
			client.Refresh()
			if e := await[Mapped](t, client); e.Mapping.External != netip.MustParseAddrPort("203.0.113.8:4321") {
				t.Errorf("mapped %v", e.Mapping.External)
			}
			if e := await[Lost](t, client); e.Mapping.External != netip.MustParseAddrPort("203.0.113.7:4321") {
				t.Errorf("lost %v", e.Mapping.External)
			}
			if len(r.entries()) != 1 {
				t.Errorf("the router's table: %+v", r.entries())
			}
		})
	}
}

func TestAnotherNetworkIsMappedAndTheOldOneLeft(t *testing.T) {
	t.Parallel()
	first, second := newRouter(t, PCP).start(), newRouter(t, PCP)
	second.outside = netip.MustParseAddr("203.0.113.99")
	second.start()
	var moved atomic.Bool
	client := Open(Config{
		Internal: netip.MustParseAddrPort("127.0.0.1:4321"),
		Gateway: func() (netip.Addr, error) {
			if moved.Load() {
				return second.addr, nil
			}
			return first.addr, nil
		},
	})
	defer client.Close()
	await[Mapped](t, client)
	moved.Store(true)
	client.Refresh()
	if e := await[Lost](t, client); e.Gateway != first.addr {
		t.Errorf("lost %+v", e)
	}
	if e := await[Mapped](t, client); e.Gateway != second.addr || e.Mapping.External.Addr() != second.outside {
		t.Errorf("mapped %+v", e)
	}
	client.Close()
	if len(first.entries())+len(second.entries()) > 0 {
		t.Errorf("left behind: %+v, %+v", first.entries(), second.entries())
	}
}

func TestSecretMakesTheNonceRepeatable(t *testing.T) {
	var c counters
	secret := []byte("0123456789abcdef")
	first, again := newSession(home4, secret, &c), newSession(home4, secret, &c)
	other, random := newSession(home6, secret, &c), newSession(home4, nil, &c)
	if first.nonce != again.nonce {
		t.Error("a program started again can't renew its mapping")
	}
	if first.nonce == other.nonce || first.nonce == random.nonce || random.nonce == newSession(home4, nil, &c).nonce {
		t.Error("nonces repeat where they must not")
	}
}

func TestNoRouter(t *testing.T) {
	t.Parallel()
	c := Open(Config{
		Internal: netip.MustParseAddrPort("127.0.0.1:4321"),
		Gateway:  func() (netip.Addr, error) { return netip.Addr{}, ErrNoGateway },
	})
	defer c.Close()
	if e := await[Failed](t, c); !errors.Is(e.Err, ErrNoGateway) || e.V6 {
		t.Errorf("told %+v", e)
	}
}

// TestCloseLeavesNothingRunning closes at every stage of the work, with a
// router that answers and one that doesn't.
func TestCloseLeavesNothingRunning(t *testing.T) {
	silent := newRouter(t).start()
	good := newRouter(t, PCP, NATPMP, UPnP).start()
	for _, r := range []*router{silent, good} {
		for _, stage := range []string{"at once", "a request is out", "something was told"} {
			before := r.count("pcp 1")
			c := r.client()
			switch stage {
			case "a request is out":
				for r.count("pcp 1") == before {
					runtime.Gosched()
				}
			case "something was told":
				next(t, c)
			}
			c.Close()
			c.Close()
			// A goroutine that has said its last word may take a moment to be gone.
			for end := time.Now().Add(patience); ; runtime.Gosched() {
				who, stacks := running()
				if who == "" {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("closed when %s: %s still runs:\n%s", stage, who, stacks)
				}
			}
		}
	}
	if left := good.entries(); len(left) > 0 {
		t.Errorf("left behind: %+v", left)
	}
}

// running names a goroutine of a client, if there is one.
func running() (who, stacks string) {
	buf := make([]byte, 1<<20)
	stacks = string(buf[:runtime.Stack(buf, true)])
	for _, who := range []string{"portmap.(*loop)", "portmap.(*session)", "portmap.(*igd)"} {
		if strings.Contains(stacks, who) {
			return who, stacks
		}
	}
	return "", ""
}

func TestEventsOfAReaderThatSleepsAreBounded(t *testing.T) {
	c := &Client{wake: make(chan struct{}, 1), stopped: make(chan struct{}), log: slog.New(slog.DiscardHandler)}
	for i := range 1000 {
		c.publish([]Event{Lost{Mapping: Mapping{External: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i))}}}, nil)
	}
	if e := next(t, c).(Lost); e.Mapping.External.Port() != 1000-maxBacklog || c.Stats().Events != 1000-maxBacklog {
		t.Errorf("the oldest is %v, %d dropped", e.Mapping.External, c.Stats().Events)
	}
}

func TestFamilies(t *testing.T) {
	for _, c := range []struct {
		internal string
		v4, v6   bool
	}{
		{"0.0.0.0:1", true, false}, {"[::]:1", true, true}, {"192.168.1.5:1", true, false},
		{"[2001:db8::5]:1", false, true}, {"[::ffff:192.168.1.5]:1", true, false},
	} {
		if v4, v6 := (Config{Internal: netip.MustParseAddrPort(c.internal)}).families(); v4 != c.v4 || v6 != c.v6 {
			t.Errorf("%s: %v %v", c.internal, v4, v6)
		}
	}
	if v4, v6 := (Config{}).families(); !v4 || !v6 {
		t.Error("no address is not both families")
	}
}
