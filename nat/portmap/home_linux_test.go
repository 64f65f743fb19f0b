// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests of this file run a real miniupnpd between a host and the world
// outside, each in a network namespace. The program under test runs in the
// host's: this test binary again, with insideEnv set.
const (
	insideEnv = "P2POS_PORTMAP_INSIDE" // methods to use, or the address to send to
	roleEnv   = "P2POS_PORTMAP_ROLE"   // "host" or "outside"

	wanAddr  = "5.5.5.7" // not one of documentation: miniupnpd refuses those
	hostIPv6 = "2001:db8:77::5"
	hostPort = 24321
)

const lanRules = `
table inet filter {
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		iifname "lan" accept
		ip6 nexthdr icmpv6 accept
		jump miniupnpd
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		jump prerouting_miniupnpd
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		jump postrouting_miniupnpd
		meta nfproto ipv4 oifname "wan" masquerade
	}
	chain miniupnpd { }
	chain prerouting_miniupnpd { }
	chain postrouting_miniupnpd { }
}
`

const daemonConfig = `
ext_ifname=wan
listening_ip=lan
http_port=0
enable_upnp=yes
enable_natpmp=yes
secure_mode=yes
min_lifetime=120
max_lifetime=86400
notify_interval=900
uuid=00000000-0000-0000-0000-000000000077
allow 1024-65535 192.168.77.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`

// home is a host, a router with miniupnpd and the world outside.
type home struct {
	t                     *testing.T
	host, router, outside string // namespaces
	dir                   string
	daemon                *exec.Cmd
}

// newHome builds the namespaces, or skips. wan is the router's outside address.
func newHome(t *testing.T, wan string) *home {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft", "miniupnpd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing (Debian: miniupnpd-nftables, nftables, iproute2)", tool)
		}
	}
	prefix := fmt.Sprintf("p2pm%d-", os.Getpid())
	h := &home{t: t, host: prefix + "h", router: prefix + "r", outside: prefix + "o", dir: t.TempDir()}
	t.Cleanup(func() {
		h.stop()
		for _, ns := range []string{h.host, h.router, h.outside} {
			exec.Command("ip", "netns", "del", ns).Run() // gone already if building failed
		}
	})
	for _, ns := range []string{h.host, h.router, h.outside} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("no network namespaces here: %v: %s", err, out)
		}
		h.in(ns, "ip", "link", "set", "lo", "up")
		h.set(ns, "ipv6/conf/all/accept_dad", "0")
		h.set(ns, "ipv6/conf/default/accept_dad", "0")
	}
	h.in(h.host, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "lan", "netns", h.router)
	h.in(h.outside, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wan", "netns", h.router)
	h.set(h.router, "ipv4/ip_forward", "1")
	h.set(h.router, "ipv6/conf/all/forwarding", "1")
	for _, a := range [][3]string{
		{h.host, "eth0", "192.168.77.5/24"}, {h.host, "eth0", hostIPv6 + "/64"},
		{h.router, "lan", "192.168.77.1/24"}, {h.router, "lan", "2001:db8:77::1/64"}, {h.router, "lan", "fe80::77:1/64"},
		{h.router, "wan", wan + "/24"}, {h.router, "wan", "2001:db8:99::1/64"},
		{h.outside, "eth0", wan[:strings.LastIndex(wan, ".")] + ".99/24"}, {h.outside, "eth0", "2001:db8:99::99/64"},
	} {
		args := []string{"addr", "add", a[2], "dev", a[1]}
		if strings.Contains(a[2], ":") {
			args = append(args, "nodad")
		}
		h.in(a[0], "ip", args...)
		h.in(a[0], "ip", "link", "set", a[1], "up")
	}
	h.in(h.host, "ip", "route", "add", "default", "via", "192.168.77.1")
	h.in(h.host, "ip", "-6", "route", "add", "default", "via", "fe80::77:1", "dev", "eth0")
	h.in(h.outside, "ip", "-6", "route", "add", "2001:db8:77::/64", "via", "2001:db8:99::1")
	h.load(lanRules)
	return h
}

func (h *home) in(ns, name string, args ...string) string {
	h.t.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", ns, name}, args...)...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// set writes a kernel setting, or skips where that isn't allowed.
func (h *home) set(ns, name, value string) {
	h.t.Helper()
	out, err := exec.Command("ip", "netns", "exec", ns, "sh", "-c", "echo "+value+" > /proc/sys/net/"+name).CombinedOutput()
	if err != nil {
		h.t.Skipf("no routing between namespaces here: %v: %s", err, out)
	}
}

func (h *home) load(rules string) {
	h.t.Helper()
	file := filepath.Join(h.dir, "rules.nft")
	if err := os.WriteFile(file, []byte("flush ruleset\n"+rules), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.in(h.router, "nft", "-f", file)
}

func (h *home) rules() string { return h.in(h.router, "nft", "list", "ruleset") }

// start runs miniupnpd until stop and waits until it listens.
func (h *home) start(flags ...string) {
	h.t.Helper()
	conf, pid := filepath.Join(h.dir, "miniupnpd.conf"), filepath.Join(h.dir, "pid")
	if err := os.WriteFile(conf, []byte(daemonConfig), 0o600); err != nil {
		h.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(h.dir, "log"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	h.daemon = exec.Command("ip", append([]string{"netns", "exec", h.router, "miniupnpd", "-d", "-f", conf, "-P", pid}, flags...)...)
	h.daemon.Stdout, h.daemon.Stderr = log, log
	if err := h.daemon.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.until("miniupnpd listens", func() bool {
		return strings.Contains(h.in(h.router, "ss", "-lun"), ":5351")
	})
}

func (h *home) stop() {
	if h.daemon == nil {
		return
	}
	h.daemon.Process.Kill() // as in a power cut: nothing is withdrawn
	h.daemon.Wait()
	h.daemon = nil
	if h.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(h.dir, "log"))
		h.t.Logf("miniupnpd:\n%s", log[max(0, len(log)-6000):])
	}
}

// until polls: the kernel and the daemon have no channel to wait on.
func (h *home) until(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			h.t.Fatalf("never: %s\n%s", what, h.rules())
		}
		select {
		case <-h.t.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// node is the program in the host's namespace.
type node struct {
	h     *home
	cmd   *exec.Cmd
	in    *os.File
	lines chan string
	said  []string // and nobody has asked for yet
}

func (h *home) run(methods string) *node {
	h.t.Helper()
	n := &node{h: h, lines: make(chan string, 100)}
	n.cmd = exec.Command("ip", "netns", "exec", h.host, os.Args[0], "-test.run", "^TestInside$", "-test.timeout", "60s")
	n.cmd.Env = append(os.Environ(), roleEnv+"=host", insideEnv+"="+methods)
	in, out, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	n.cmd.Stdin, n.in = in, out
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	n.cmd.Stderr = os.Stderr
	if err := n.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	in.Close()
	go func() {
		defer close(n.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			n.lines <- s.Text()
		}
	}()
	h.t.Cleanup(func() { out.Close(); n.cmd.Process.Kill(); n.cmd.Wait() })
	return n
}

// says waits for a line that begins so and returns the rest. The two families
// come in any order.
func (n *node) says(prefix string) string {
	n.h.t.Helper()
	for i, line := range n.said {
		if rest, found := strings.CutPrefix(line, prefix); found {
			n.said = slices.Delete(n.said, i, i+1)
			return rest
		}
	}
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-n.lines:
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest
			}
			if n.said = append(n.said, line); !ok {
				n.h.t.Fatalf("the node ended without %q; it said:\n%s", prefix, strings.Join(n.said, "\n"))
			}
		case <-timeout:
			n.h.t.Fatalf("the node never says %q; it said:\n%s\n%s", prefix, strings.Join(n.said, "\n"), n.h.rules())
		}
	}
}

func (n *node) tell(command string) {
	n.h.t.Helper()
	if _, err := fmt.Fprintln(n.in, command); err != nil {
		n.h.t.Fatal(err)
	}
}

// reaches sends a datagram from outside and wants it answered.
func (h *home) reaches(to string) bool {
	cmd := exec.Command("ip", "netns", "exec", h.outside, os.Args[0], "-test.run", "^TestInside$")
	cmd.Env = append(os.Environ(), roleEnv+"=outside", insideEnv+"="+to)
	out, err := cmd.CombinedOutput()
	return err == nil && bytes.Contains(out, []byte("answered"))
}

// TestInside is what runs in the namespaces; see newHome.
func TestInside(t *testing.T) {
	switch os.Getenv(roleEnv) {
	case "host":
		insideHost(t)
	case "outside":
		insideOutside(t)
	default:
		t.Skip("runs in the namespaces of other tests")
	}
}

func insideOutside(t *testing.T) {
	conn, err := net.Dial("udp", os.Getenv(insideEnv))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 100)
	for range 4 {
		conn.Write([]byte("knock"))
		conn.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
		if n, err := conn.Read(buf); err == nil && string(buf[:n]) == "who is there" {
			fmt.Println("answered")
			return
		}
	}
}

func insideHost(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: hostPort})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			conn.WriteToUDP([]byte("who is there"), from)
		}
	}()
	c := Config{Internal: netip.AddrPortFrom(netip.IPv6Unspecified(), hostPort)}
	for m := range strings.SplitSeq(os.Getenv(insideEnv), ",") {
		c.Methods = append(c.Methods, Method(m))
	}
	client := Open(c)
	closed := make(chan struct{})
	defer func() { <-closed }()
	go func() {
		defer close(closed)
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			if s.Text() == "refresh" {
				client.Refresh()
				continue
			}
			break
		}
		start := time.Now()
		client.Close()
		fmt.Printf("closed %+v in %v\n", client.Stats(), time.Since(start))
	}()
	for e := range client.Changes(context.Background()) {
		family := func(a netip.Addr) int {
			if a.Is6() {
				return 6
			}
			return 4
		}
		switch e := e.(type) {
		case Mapped:
			fmt.Printf("mapped%d %s %v from %v layer2=%v\n", family(e.Internal.Addr()), e.Method, e.Mapping.External, e.Internal, e.Layer2)
		case Lost:
			fmt.Printf("lost%d %s %v: %v\n", family(e.Internal.Addr()), e.Method, e.Mapping.External, e.Err)
		case External:
			fmt.Printf("external %v layer2=%v\n", e.Addr, e.Layer2)
		case Failed:
			family := 4
			if e.V6 {
				family = 6
			}
			fmt.Printf("failed%d %s\n", family, strings.ReplaceAll(e.Err.Error(), "\n", "; "))
		}
	}
}

func (h *home) logged(what string) int {
	h.t.Helper()
	log, err := os.ReadFile(filepath.Join(h.dir, "log"))
	if err != nil {
		h.t.Fatal(err)
	}
	return bytes.Count(log, []byte(what))
}
