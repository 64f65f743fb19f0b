// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// TestForget: what has been flushed, rebooted or renumbered knows no mapping
// any more, of either sort of NAT and in both layers.
func TestForget(t *testing.T) {
	t.Parallel()
	for _, k := range []Kind{EIMAPDF, EIMADF, CGN, CGNBox} {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			h := r.Site("host", k)
			site := h.Site()
			for name, forget := range map[string]func(){
				"flush":   site.Flush,
				"reboot":  site.Reboot,
				"address": func() { site.ChangeAddress() },
			} {
				c, old := r.open(h, 0), site.Addr()
				m := r.observe(c, r.x1)
				if site.Mappings() == 0 {
					t.Error("no mappings")
				}
				forget()
				if n := site.Mappings(); n != 0 {
					t.Errorf("%s: %d mappings left", name, n)
				}
				tag := r.send(r.x1, m)
				if r.settled(c, r.y1, tag) {
					t.Errorf("%s: the mapping %v is still there", name, m)
				}
				again := r.observe(c, r.x1)
				if again.Addr() != site.Addr() || (again.Addr() != old) != (name == "address") {
					t.Errorf("%s: %v became %v, the site has %v", name, m, again, site.Addr())
				}
				if !r.reaches(r.x1, again, c, r.y1) {
					t.Errorf("%s: the new mapping %v does not work", name, again)
				}
			}
		})
	}
}

// TestPublicMoves: a public host can get another address, too.
func TestPublicMoves(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := r.Public("host")
	c, old := r.open(h, 0), h.Addr()
	r.observe(c, r.x1)
	if h.Site().ChangeAddress() == old || h.Addr() == old {
		t.Error("the address is the old one")
	}
	if m := r.observe(c, r.x1); m.Addr() != h.Addr() || !r.reaches(r.x2, m, c, r.x1) {
		t.Errorf("seen as %v, the host has %v", m, h.Addr())
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(r.Site("host", EIMAPDF), 0)
	m := r.observe(s, r.x1)
	site := r.sites[2]
	for _, c := range []struct {
		drop       string
		kill, mend func()
	}{
		{"link: noise", func() { site.SetProfile(simnet.Profile{Loss: 1}) }, func() { site.SetProfile(simnet.Profile{}) }},
		{"link: link down", func() { site.Cut(true) }, func() { site.Cut(false) }},
	} {
		c.kill()
		out, in := r.send(s, r.x1.at), r.send(r.x1, m)
		tick := time.NewTicker(5 * time.Millisecond)
		for r.Drops()[c.drop] < 2 {
			<-tick.C
		}
		tick.Stop()
		c.mend()
		if _, came := r.wait(r.x1, r.send(s, r.x1.at), out); came[0] {
			t.Errorf("%s: a packet got out", c.drop)
		}
		if r.settled(s, r.x1, in) {
			t.Errorf("%s: a packet got in", c.drop)
		}
	}

	const far = 300 * time.Millisecond
	r.SetDelay(far)
	begin := time.Now()
	if r.observe(s, r.x1); time.Since(begin) < far {
		t.Errorf("one way took %v, less than %v", time.Since(begin), far)
	}
	if sent, received := site.Packets(); sent < 5 || received < 2 {
		t.Errorf("%d packets out, %d in", sent, received)
	}
}

// TestEdge: what does not belong on the Internet does not get there.
func TestEdge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ip := func(args ...string) {
		if out, err := r.y.Command(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	ip("addr", "add", "45.77.10.2/32", "dev", "lo")
	c, err := r.y.Listen("udp4", "45.77.10.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	forger := &sock{c.(*net.UDPConn), netip.AddrPort{}}
	r.send(forger, r.x1.at)
	for _, to := range []string{"192.168.1.10:9", "45.99.10.2:9", "8.8.8.8:9"} {
		r.send(r.y1, at(to))
	}
	r.observe(r.y1, r.x1)
	if d := r.Drops(); d["foreign source"] != 1 || d["no route"] != 3 {
		t.Errorf("dropped %v", d)
	}

	big := make([]byte, 1473) // one byte more than fits into a packet
	if _, err := r.y1.WriteToUDPAddrPort(big, r.x1.at); err != nil {
		t.Fatal(err)
	}
	r.x1.SetReadDeadline(time.Now().Add(patience))
	if n, _, err := r.x1.ReadFromUDPAddrPort(big); n != len(big) || err != nil {
		t.Errorf("fragments brought %d bytes, %v", n, err)
	}
}

// TestCommand: a program runs on the host, and not for longer than its test.
func TestCommand(t *testing.T) {
	t.Parallel()
	var running *exec.Cmd
	t.Run("one", func(t *testing.T) {
		l := New(t)
		h := l.Site("host", EIMAPDF)
		out, err := h.Command(t.Context(), "ip", "-4", "-o", "addr", "show", "dev", "eth0").Output()
		if err != nil || !bytes.Contains(out, []byte(h.Addr().String()+"/24")) {
			t.Errorf("%v: %s", err, out)
		}
		running = h.Command(context.Background(), "sleep", "1000")
		if err := running.Start(); err != nil {
			t.Fatal(err)
		}
		if err := h.Command(t.Context(), "no-such-program").Run(); err == nil {
			t.Error("a program that isn't there ran")
		}
	})
	if err := running.Wait(); err == nil {
		t.Error("the program was not killed")
	}
}

// TestSpec: what can't be built is refused.
func TestSpec(t *testing.T) {
	box := &simnet.NATConfig{}
	for name, s := range map[string]Spec{
		"two":             {Kernel: &Kernel{}, Box: box},
		"home alone":      {Home: &Kernel{}},
		"public, no UDP":  {NoUDP: true},
		"IPv6, two NATs":  {Home: &Kernel{}, Box: box, IPv6: OpenIPv6},
		"many addresses":  {Box: box, Addresses: maxAddresses + 1},
		"kernel's pool":   {Kernel: &Kernel{}, Addresses: 2},
		"half a second":   {Kernel: &Kernel{Unreplied: time.Second / 2}},
		"negative":        {Home: &Kernel{Replied: -time.Second}, Box: box},
		"backwards ports": {Kernel: &Kernel{Ports: [2]uint16{2, 1}}},
	} {
		if s.check() == nil {
			t.Errorf("%s is allowed", name)
		}
	}
	for _, k := range Kinds() {
		if err := k.Spec().check(); err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
}

// TestNothingLeft runs alone: a lab leaves no name, no thread in a foreign
// namespace, no file of one and no goroutine behind.
func TestNothingLeft(t *testing.T) {
	Need(t)
	var ours []os.FileInfo
	t.Run("lab", func(t *testing.T) {
		r := newRig(t)
		for _, k := range []Kind{CGN, CGNBox, EIMEIF} {
			r.mapping(r.Site(string(k), k), k.Traits())
		}
		if ours = spaces(t); len(ours) < 9 {
			t.Errorf("a look at the process finds %d namespaces", len(ours))
		}
	})
	if left := spaces(t); len(left) != 0 {
		t.Errorf("%d references to namespaces are left", len(left))
	}
	names, err := filepath.Glob("/run/netns/*") // others may make some, too
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if is, err := os.Stat(name); err == nil && slices.ContainsFunc(ours, func(o os.FileInfo) bool { return os.SameFile(o, is) }) {
			t.Errorf("%s is ours", name)
		}
	}
	stacks := make([]byte, 1<<20)
	if s := string(stacks[:runtime.Stack(stacks, true)]); strings.Contains(s, "natlab.(*end)") || strings.Contains(s, "simnet.(*Net)") {
		t.Errorf("still running:\n%s", s)
	}
}

// spaces returns the network namespaces other than its own that this process
// holds by a file or a thread.
func spaces(t *testing.T) (held []os.FileInfo) {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"/proc/self/fd/*", "/proc/self/task/*/ns/net"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if to, err := os.Readlink(p); err == nil && strings.HasPrefix(to, "net:[") && to != own {
				if is, err := os.Stat(p); err == nil {
					held = append(held, is)
				}
			}
		}
	}
	return held
}
