// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
)

// A service lists the interfaces of its own namespace, so those of the
// laboratory are processes: this test binary again, with childEnv set.
const childEnv = "P2POS_LAN_CHILD"

type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at its end
}

func startChild(t *testing.T, h *natlab.Host, flags string) *child {
	t.Helper()
	c := &child{t: t, lines: make(chan string, 1024)}
	c.cmd = h.Command(context.Background(), os.Args[0], "-test.run", "^TestKernelChild$", "-test.timeout", "3m")
	c.cmd.Env = append(os.Environ(), childEnv+"="+flags)
	c.cmd.Stderr = t.Output()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(c.stop)
	return c
}

// stop closes the service and waits for the process.
func (c *child) stop() {
	c.in.Close()
	for range c.lines {
	}
	c.cmd.Wait()
}

// wait reads until a line that begins so.
func (c *child) wait(prefix string) string {
	c.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case l, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("ended before %q", prefix)
			}
			if rest, found := strings.CutPrefix(l, prefix); found {
				return rest
			}
		case <-late:
			c.t.Fatalf("never said %q", prefix)
		}
	}
}

// TestKernelChild is a service in a namespace. It says what it finds and, when
// asked, how many others it holds.
func TestKernelChild(t *testing.T) {
	flags, ok := os.LookupEnv(childEnv)
	if !ok {
		t.Skip("runs in the namespaces of other tests")
	}
	cfg := Config{Network: testTag}
	if _, err := fmt.Sscan(flags, &cfg.Port, &cfg.Network[0]); err != nil {
		t.Fatal(err)
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for a := range s.Found() {
			fmt.Println("found", a)
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		s.loop.Do(t.Context(), func(time.Time) { fmt.Println("holds", len(s.machine.table.list)) })
		fmt.Println("dropped", s.Dropped())
	}
	s.Close()
}

// Services on two computers of one LAN find each other over real sockets, also
// two on one computer, not those of another network nor those of another LAN;
// and they take themselves back.
func TestKernelFind(t *testing.T) {
	natlab.Need(t)
	for name, spec := range map[string]natlab.Spec{
		"IPv4": {Kernel: &natlab.Kernel{}}, "both families": {Kernel: &natlab.Kernel{}, IPv6: natlab.FirewalledIPv6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := natlab.New(t)
			ha := l.Build("a", spec)
			hb := ha.Site().Host("b")
			other := startChild(t, l.Build("other", spec), "4000 1")
			a := startChild(t, ha, "4000 1")
			foreign := startChild(t, hb, "4009 7")
			b := startChild(t, hb, "4000 1")
			if got, want := a.wait("found "), netip.AddrPortFrom(hb.Addr(), 4000).String(); got != want {
				t.Errorf("a found %s, not %s", got, want)
			}
			if got, want := b.wait("found "), netip.AddrPortFrom(ha.Addr(), 4000).String(); got != want {
				t.Errorf("b found %s, not %s", got, want)
			}
			second := startChild(t, hb, "4001 1")
			for _, c := range []*child{a, b} {
				if got, want := c.wait("found "), netip.AddrPortFrom(hb.Addr(), 4001).String(); got != want {
					t.Errorf("found %s, not %s", got, want)
				}
			}
			b.stop()
			second.stop()
			for held := ""; held != "0"; { // their goodbye is on its way
				fmt.Fprintln(a.in)
				held = a.wait("holds ")
			}
			for why, c := range map[string]*child{"another LAN": other, "another network": foreign} {
				fmt.Fprintln(c.in)
				if got := c.wait("holds "); got != "0" {
					t.Errorf("%s holds %s", why, got)
				}
			}
		})
	}
}

// Where there is no IPv4, link-local IPv6 does.
func TestKernelIPv6(t *testing.T) {
	natlab.Need(t)
	l := natlab.New(t)
	ha := l.Build("a", natlab.Spec{Kernel: &natlab.Kernel{}, IPv6: natlab.FirewalledIPv6})
	hb := ha.Site().Host("b")
	for _, h := range []*natlab.Host{ha, hb} {
		if out, err := h.Command(t.Context(), "ip", "-4", "addr", "flush", "dev", "eth0").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	a, b := startChild(t, ha, "4000 1"), startChild(t, hb, "4000 1")
	for _, c := range []*child{a, b} {
		at, err := netip.ParseAddrPort(c.wait("found "))
		if err != nil || !at.Addr().IsLinkLocalUnicast() || at.Addr().Zone() != "eth0" || at.Port() != 4000 {
			t.Errorf("found %v, %v", at, err)
		}
	}
}

// Close waits for all that Start began, and may be called twice.
func TestClose(t *testing.T) {
	for range 10 {
		s, err := Start(Config{Port: 4000, Interfaces: func(net.Interface) bool { return false }})
		if err != nil {
			t.Skip("no mDNS here: ", err)
		}
		s.Refresh()
		if d := s.Dropped(); d == nil || len(d) > 0 {
			t.Errorf("dropped %v", d)
		}
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := s.loop.Do(t.Context(), func(time.Time) {}); err != net.ErrClosed {
			t.Errorf("the loop after Close: %v", err)
		}
		if _, ok := <-s.Found(); ok {
			t.Error("found something without an interface")
		}
		s.Refresh()
		if d := s.Dropped(); d != nil {
			t.Errorf("dropped %v after Close", d)
		}
	}
	b := make([]byte, 1<<20)
	if b = b[:runtime.Stack(b, true)]; bytes.Contains(b, []byte("lan.(*Service)")) {
		t.Errorf("still running:\n%s", b)
	}
}
