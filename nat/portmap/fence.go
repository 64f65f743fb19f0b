// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

const (
	// maxBody bounds a description or an answer: the longest descriptions of
	// real routers have some 20 KiB.
	maxBody = 128 << 10
	// maxHeaderBytes bounds what comes before it.
	maxHeaderBytes = 16 << 10
	// httpLimit bounds one request from connecting to the last byte. Cheap
	// routers take seconds when they are busy.
	httpLimit = 5 * time.Second
)

var errOversized = errors.New("portmap: the router's answer is too long")

// newHTTP returns a client that can talk to the router and to nobody else:
// whatever host a URL names, the connection goes to the router's address.
// Redirects aren't followed, proxies not used, connections not kept.
func newHTTP(n network, count *counters) *http.Client {
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.internal.Addr(), 0))}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			_, text, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(n.gateway, uint16(port)).String())
		},
		Proxy:                  nil,
		DisableKeepAlives:      true,
		DisableCompression:     true, // a bomb otherwise
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	return &http.Client{
		Transport: fence{transport, n, count},
		Timeout:   httpLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			count.foreign.Add(1)
			return http.ErrUseLastResponse
		},
	}
}

// fence refuses URLs that can't be the router's and cuts answers off.
type fence struct {
	next  http.RoundTripper
	net   network
	count *counters
}

func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	if !f.net.onLAN(r.URL) {
		f.count.foreign.Add(1)
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errors.New("portmap: the router points to another host")
	}
	resp, err := f.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &limited{resp.Body, maxBody, f.count}
	return resp, nil
}

// limited is a body that fails, not ends, at its limit: half an answer must
// not pass for a whole one.
type limited struct {
	io.ReadCloser
	left  int
	count *counters
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		var one [1]byte
		n, err := l.ReadCloser.Read(one[:])
		if n > 0 {
			l.count.oversized.Add(1)
			err = errOversized
		}
		return 0, err
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
