// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxProxyAnswer bounds the header of a proxy's answer: 16 times what they
// send.
const maxProxyAnswer = 16 << 10

// ProxyError reports a proxy that was reached and refused.
type ProxyError struct {
	Proxy  string // host:port
	Target string // host:port
	Status int    // of HTTP; 407 means that it wants a name and password, or others
	Reason string // as the proxy puts it
}

func (e *ProxyError) Error() string {
	return fmt.Sprintf("carrier: proxy %s refuses to connect to %s: %d %s", e.Proxy, e.Target, e.Status, e.Reason)
}

// ErrProxyScheme reports a proxy that is neither http nor https.
var ErrProxyScheme = errors.New("carrier: only http and https proxies can be used")

// dialProxy asks a proxy for a connection to target (RFC 9110 §9.3.6).
func dialProxy(ctx context.Context, proxy *url.URL, target string) (net.Conn, error) {
	port := proxy.Port()
	switch {
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, fmt.Errorf("%w: %s", ErrProxyScheme, proxy.Redacted())
	case port == "" && proxy.Scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	at := net.JoinHostPort(proxy.Hostname(), port)
	tcp, err := dialTCP(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("carrier: proxy %s: %w", at, err)
	}
	c := tcp
	if proxy.Scheme == "https" {
		// It gets a password: here the certificate counts.
		t := tls.Client(tcp, &tls.Config{ServerName: proxy.Hostname(), NextProtos: []string{"http/1.1"}})
		if err := t.HandshakeContext(ctx); err != nil {
			_ = tcp.Close()
			return nil, fmt.Errorf("carrier: TLS with proxy %s: %w", at, err)
		}
		c = t
	}
	stop := aborted(ctx, tcp)
	tunnel, err := connect(c, proxy.User, at, target)
	if !stop() && err == nil {
		err = fmt.Errorf("carrier: proxy %s: %w", at, context.Cause(ctx))
	}
	if err != nil {
		_ = tcp.Close()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		return nil, err
	}
	_ = tcp.SetDeadline(time.Time{})
	return tunnel, nil
}

// connect sends CONNECT and reads the answer.
func connect(c net.Conn, user *url.Userinfo, proxy, target string) (net.Conn, error) {
	request := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if user != nil {
		password, _ := user.Password()
		token := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password)) // RFC 7617
		request += "Proxy-Authorization: Basic " + token + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		return nil, fmt.Errorf("carrier: asking proxy %s: %w", proxy, err)
	}
	r := bufio.NewReader(io.LimitReader(c, maxProxyAnswer))
	answer, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, fmt.Errorf("carrier: answer of proxy %s: %w", proxy, err)
	}
	if answer.StatusCode/100 != 2 {
		_ = answer.Body.Close()
		reason := answer.Status // "407 Proxy Authentication Required"
		if len(reason) > 4 {
			reason = reason[4:]
		}
		return nil, &ProxyError{Proxy: proxy, Target: target, Status: answer.StatusCode, Reason: clean(reason)}
	}
	rest, err := r.Peek(r.Buffered())
	if err != nil {
		return nil, fmt.Errorf("carrier: answer of proxy %s: %w", proxy, err)
	}
	return &tunnel{c, append([]byte(nil), rest...)}, nil
}

// clean makes a stranger's words fit for a terminal and a log line.
func clean(s string) string {
	out := make([]byte, 0, min(len(s), 80))
	for i := 0; i < len(s) && i < 80; i++ {
		if b := s[i]; ' ' <= b && b <= '~' {
			out = append(out, b)
		}
	}
	return string(out)
}

// tunnel is a connection through a proxy. Bytes that came in one piece with
// the answer are read first.
type tunnel struct {
	net.Conn
	rest []byte
}

func (t *tunnel) Read(b []byte) (int, error) {
	if len(t.rest) > 0 {
		n := copy(b, t.rest)
		t.rest = t.rest[n:]
		return n, nil
	}
	return t.Conn.Read(b)
}
