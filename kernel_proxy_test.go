// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/p2pos/p2pos/internal/natlab"
)

// officeProxy is an HTTP proxy on a host: CONNECT to port 443 and nothing else, as
// offices have it.
type officeProxy struct {
	host *natlab.Host
	ln   net.Listener
	wg   sync.WaitGroup

	mu    sync.Mutex // guards what follows
	asked []string   // targets
	conns []net.Conn
}

func startProxy(t *testing.T, h *natlab.Host) *officeProxy {
	t.Helper()
	p := &officeProxy{host: h}
	var err error
	h.Run(func() { p.ln, err = net.Listen("tcp4", h.Addr().String()+":3128") })
	if err != nil {
		t.Fatal(err)
	}
	p.wg.Go(func() {
		for {
			c, err := p.ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(t.Context(), c) })
		}
	})
	t.Cleanup(func() {
		p.ln.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *officeProxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
}

func (p *officeProxy) targets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func (p *officeProxy) serve(ctx context.Context, c net.Conn) {
	p.keep(c)
	defer c.Close()
	in := bufio.NewReader(c)
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if req.Method != http.MethodConnect || !strings.HasSuffix(req.Host, ":443") {
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, req.Host)
	p.mu.Unlock()
	var far net.Conn
	p.host.Run(func() { far, err = new(net.Dialer).DialContext(ctx, "tcp4", req.Host) })
	if err != nil {
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	p.keep(far)
	defer far.Close()
	io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	p.wg.Go(func() {
		io.Copy(far, in)
		far.Close()
	})
	io.Copy(c, far)
}

// A node in an office, whose network lets through nothing but connections to the
// proxy that the environment names, joins over it and talks to one behind a carrier's
// NAT.
func TestKernelProxy(t *testing.T) {
	natlab.Need(t)
	t.Parallel()
	l := natlab.New(t)
	var join []string
	for _, name := range []string{"p1", "p2", "p3"} {
		h := l.Public(name)
		at := h.Addr().String() + ":443"
		p := startChild(t, h, append([]string{"listen=" + at, "tcp=" + at}, join[:min(len(join), 1)]...)...)
		p.wait("ready")
		join = append(join, "join="+at)
	}
	proxy := startProxy(t, l.Public("proxy"))
	office := l.Site("a", natlab.UDPBlocked)
	rules := fmt.Sprintf(`table inet office {
		chain out { type filter hook output priority 0; policy drop; oif lo accept; tcp dport 3128 ip daddr %v accept; }
	}`, proxy.host.Addr())
	if out, err := office.Command(t.Context(), "nft", rules).CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	a := startChild(t, office, append([]string{"env=HTTPS_PROXY=http://" + proxy.ln.Addr().String()}, join...)...)
	b := startChild(t, l.Site("b", natlab.CGN), join...)
	for _, n := range []*child{a, b} {
		n.wait("joined ")
	}
	b.wait("verdict ")
	talk(t, a, b)
	if len(proxy.targets()) == 0 {
		t.Error("the proxy was asked for nothing")
	}
	t.Logf("the proxy was asked for %v", proxy.targets())
}
