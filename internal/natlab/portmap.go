// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// PortMap says which protocols the gateway of a LAN maps ports by. A real
// miniupnpd does it.
type PortMap uint8

// What it speaks.
const (
	NoPortMap PortMap = iota
	UPnP              // IGD 2
	PCP               // and NAT-PMP
)

// NeedPortMap skips the test, with the reason, where there can be no lab with
// port mapping.
func NeedPortMap(t testing.TB) {
	t.Helper()
	Need(t)
	if _, err := tool("miniupnpd"); err != nil {
		t.Skip("natlab: there is no miniupnpd (Debian package miniupnpd-nftables)")
	}
}

// portMapChains are what miniupnpd fills; the guard's forward chain jumps to the
// first one.
const portMapChains = `	chain miniupnpd { }
	chain prerouting_miniupnpd { }
	chain postrouting_miniupnpd { }
	chain before {
		type nat hook prerouting priority dstnat;
		jump prerouting_miniupnpd
	}
	chain after {
		type nat hook postrouting priority srcnat - 1;
		jump postrouting_miniupnpd
	}
`

// daemonConfig is what miniupnpd is told. It refuses to map anything when its
// own address is private, unless Says names another one.
func (s *Site) daemonConfig() string {
	yes := func(p PortMap) string {
		if s.spec.PortMap == p {
			return "yes"
		}
		return "no"
	}
	lan := inside(s.n, 0).String() + "/24"
	c := fmt.Sprintf(`ext_ifname=wan0
listening_ip=lan0
http_port=0
enable_upnp=%s
enable_natpmp=%s
secure_mode=yes
min_lifetime=120
max_lifetime=86400
uuid=00000000-0000-0000-0000-%012d
upnp_table_name=guard
upnp_nat_table_name=guard
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
allow 1024-65535 %s 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`, yes(UPnP), yes(PCP), s.n, lan)
	if s.spec.Says.IsValid() {
		c += "ext_ip=" + s.spec.Says.String() + "\n"
	}
	return c
}

// startDaemon runs miniupnpd at the LAN's gateway until the test ends, and
// waits until it listens.
func (s *Site) startDaemon() {
	l := s.lab
	l.t.Helper()
	NeedPortMap(l.t)
	path, err := tool("miniupnpd")
	l.must(err)
	dir := l.t.TempDir()
	conf := filepath.Join(dir, "miniupnpd.conf")
	l.must(os.WriteFile(conf, []byte(s.daemonConfig()), 0o600))
	log, err := os.Create(filepath.Join(dir, "log"))
	l.must(err)
	s.daemon = exec.Command(path, "-d", "-f", conf, "-P", filepath.Join(dir, "pid"))
	s.home.command(s.daemon)
	s.daemon.Stdout, s.daemon.Stderr = log, log
	l.must(s.daemon.Start())
	port := 1900 // SSDP
	if s.spec.PortMap == PCP {
		port = 5351
	}
	want := fmt.Appendf(nil, ":%04X ", port)
	l.until(s.home, "miniupnpd", func() (bool, error) {
		table, err := os.ReadFile("/proc/thread-self/net/udp")
		return bytes.Contains(table, want), err
	})
}

// stopDaemon kills it as a power cut would: nothing is withdrawn.
func (s *Site) stopDaemon() {
	if s.daemon == nil {
		return
	}
	log := s.daemon.Stdout.(*os.File)
	s.daemon.Process.Kill()
	s.daemon.Wait()
	s.daemon = nil
	if b, err := os.ReadFile(log.Name()); err == nil && s.lab.t.Failed() {
		s.lab.t.Logf("miniupnpd:\n%s", b[max(0, len(b)-4000):])
	}
	log.Close()
}

// Mapped reports whether the gateway maps an outside UDP port to a host, by the
// rules that are there.
func (s *Site) Mapped(to netip.AddrPort) bool {
	s.lab.t.Helper()
	path, err := tool("nft")
	s.lab.must(err)
	cmd := exec.Command(path, "list", "table", "inet", "guard")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	s.lab.must(s.home.do(cmd.Run))
	return strings.Contains(out.String(), fmt.Sprintf("dnat ip to %v\n", to))
}
