// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Dial connects to a Listener at addr, "host:port", directly or through the
// proxy that Config.Proxy names; behind a proxy it is the proxy that looks up
// the host. It takes two round trips, and two more with a proxy, and 15 s at
// most. A *ProxyError says that the proxy refused.
func Dial(ctx context.Context, cfg Config, addr string) (*Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("carrier: address %q: %w", addr, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || strings.ContainsFunc(host, odd) {
		return nil, fmt.Errorf("carrier: address %q is no host and port", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	proxy := cfg.Proxy
	if proxy == nil {
		proxy = fromEnvironment
	}
	via, err := proxy(&url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)})
	if err != nil {
		return nil, fmt.Errorf("carrier: finding the proxy for %s: %w", addr, err)
	}
	var raw net.Conn
	if via == nil {
		raw, err = dialTCP(ctx, addr)
	} else {
		raw, err = dialProxy(ctx, via, addr)
	}
	if err != nil {
		return nil, err
	}
	remote := addrPort(raw.RemoteAddr())
	if a, err := netip.ParseAddrPort(addr); err == nil {
		remote = unmap(a)
	}
	return handshake(ctx, cfg, raw, host, remote)
}

func fromEnvironment(u *url.URL) (*url.URL, error) {
	return http.ProxyFromEnvironment(&http.Request{URL: u})
}

// odd reports what no host name or address contains, and what could end a line
// of the request to a proxy.
func odd(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/?#@\\\"<>", r) }

// handshake makes a Conn of the connection, or closes it.
func handshake(ctx context.Context, cfg Config, raw net.Conn, host string, remote netip.AddrPort) (*Conn, error) {
	t := tls.Client(raw, clientTLS(serverName(cfg, host)))
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("carrier: TLS with %v: %w", remote, err)
	}
	return newConn(raw, t, addrPort(raw.LocalAddr()), remote).run(), nil
}

// dialTCP connects and sets what a carrier needs. TCP's own keepalives find
// out what empty frames would as well, at no cost to the other end.
func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: tcpKeepalive()}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("carrier: dial: %w", err)
	}
	prepare(c)
	return c, nil
}

func tcpKeepalive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: keepalive, Interval: keepalive / 3, Count: 3}
}

// prepare tunes a TCP connection. That a system refuses costs only delay.
func prepare(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	_ = t.SetNoDelay(true)
	limitUnsent(t)
}

// aborted makes calls on c fail when ctx ends before stop is called.
func aborted(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
}
