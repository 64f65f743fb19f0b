// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package natlab

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
)

// Host is a computer in the lab: a network namespace of its own.
type Host struct {
	name string
	site *Site
	ns   *netns
	addr netip.Addr // as the host sees it; invalid for a public one, whose site has it
	six  netip.Addr // invalid without IPv6
}

// Name returns the name the host was given.
func (h *Host) Name() string { return h.name }

// Site returns where the host is.
func (h *Host) Site() *Site { return h.site }

// Addr returns the host's own IPv4 address, a private one behind a NAT.
func (h *Host) Addr() netip.Addr {
	if !h.addr.IsValid() {
		return h.site.Addr()
	}
	return h.addr
}

// Addr6 returns the host's IPv6 address; it is invalid where there is none.
func (h *Host) Addr6() netip.Addr { return h.six }

// Path returns the file that names the host's namespace, for
// "nsenter --net=PATH" while the lab stands.
func (h *Host) Path() string { return h.ns.path() }

// Run runs f on the calling goroutine, whose thread is in the host's namespace
// meanwhile. Sockets that f opens belong to the host for good, whoever uses
// them later; goroutines that f starts do not run there. It fails the test when
// it can't.
func (h *Host) Run(f func()) {
	h.site.lab.t.Helper()
	h.site.lab.must(h.ns.do(func() error { f(); return nil }))
}

// Listen is net.ListenPacket on the host.
func (h *Host) Listen(network, addr string) (c net.PacketConn, err error) {
	e := h.ns.do(func() error {
		c, err = net.ListenPacket(network, addr)
		return nil
	})
	if e != nil {
		return nil, e
	}
	return c, err
}

// Command is exec.CommandContext for a program on the host. Its SysProcAttr is
// set so that it dies with this process, and the test's end kills it; set
// other fields of that, don't replace it. The program sees the machine's files, and in
// /sys/class/net the machine's interfaces.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(h.site.lab.t.Context(), cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	h.ns.command(cmd)
	return cmd
}
