// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxyServer is a small HTTP proxy that knows CONNECT alone.
type proxyServer struct {
	ln     net.Listener
	auth   string // "name:password" it wants; "" = none
	answer string // instead of connecting
	wg     sync.WaitGroup
	mu     sync.Mutex
	asked  []string // targets
}

func newProxy(t *testing.T, p *proxyServer) *proxyServer {
	t.Helper()
	var err error
	if p.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.wg.Go(func() {
		for {
			c, err := p.ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		p.ln.Close()
		p.wg.Wait()
	})
	return p
}

func (p *proxyServer) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, req.Method+" "+req.Host)
	p.mu.Unlock()
	if p.answer != "" {
		_, _ = io.WriteString(c, p.answer)
		return
	}
	if want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.auth)); p.auth != "" && req.Header.Get("Proxy-Authorization") != want {
		_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 5\r\nProxy-Authenticate: Basic realm=x\r\n\r\nsorry")
		return
	}
	target, err := net.Dial("tcp", req.Host)
	if err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		_, _ = io.Copy(target, r)
		target.Close()
	}()
	_, _ = io.Copy(c, target)
	target.Close()
}

// use returns a Config that goes through p.
func (p *proxyServer) use(user *url.Userinfo) Config {
	return Config{Proxy: func(u *url.URL) (*url.URL, error) {
		if u.Scheme != "https" {
			return nil, errors.New("asked for " + u.String())
		}
		return &url.URL{Scheme: "http", User: user, Host: p.ln.Addr().String()}, nil
	}}
}

func TestProxy(t *testing.T) {
	l := listen(t, Config{})
	p := newProxy(t, &proxyServer{auth: "aladdin:open sesame"})
	a, b := pair(t, long(t), l, p.use(url.UserPassword("aladdin", "open sesame")))
	exchange(t, a, b)
	if a.Remote() != l.Addr() {
		t.Errorf("remote is %v, dialled was %v", a.Remote(), l.Addr())
	}
	if len(p.asked) != 1 || p.asked[0] != "CONNECT "+l.Addr().String() {
		t.Errorf("the proxy was asked: %q", p.asked)
	}
	a.Close()
}

// The name is the proxy's to look up.
func TestProxyLooksUp(t *testing.T) {
	p := newProxy(t, &proxyServer{answer: "HTTP/1.1 503 Not now\r\n\r\n"})
	_, err := Dial(long(t), p.use(nil), "nowhere.invalid:443")
	var e *ProxyError
	if !errors.As(err, &e) || *e != (ProxyError{p.ln.Addr().String(), "nowhere.invalid:443", 503, "Not now"}) {
		t.Error(err)
	}
}

// No address smuggles a line into the request.
func TestProxyInjection(t *testing.T) {
	p := newProxy(t, &proxyServer{})
	for _, addr := range []string{"a\r\nX: y:443", "a b:443", "a/b:443", "user@a:443", "a:443\r\n"} {
		if _, err := Dial(t.Context(), p.use(nil), addr); err == nil {
			t.Errorf("%q is an address", addr)
		}
	}
	if p.ln.Close(); len(p.asked) > 0 {
		t.Errorf("the proxy was asked: %q", p.asked)
	}
}

func TestProxyRefuses(t *testing.T) {
	l := listen(t, Config{})
	p := newProxy(t, &proxyServer{auth: "aladdin:open sesame"})
	for _, user := range []*url.Userinfo{nil, url.UserPassword("aladdin", "hocus"), url.User("aladdin")} {
		_, err := Dial(long(t), p.use(user), l.Addr().String())
		var e *ProxyError
		if !errors.As(err, &e) || e.Status != 407 || e.Reason != "Proxy Authentication Required" {
			t.Fatal(err)
		}
		if strings.Contains(err.Error(), "hocus") {
			t.Errorf("the password is in %q", err)
		}
	}
	for _, answer := range []string{
		"", "HTTP", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", maxProxyAnswer), "HTTP/1.1 999999 \x1b[31m\r\n\r\n",
	} {
		p := newProxy(t, &proxyServer{answer: answer + " "})
		if _, err := Dial(long(t), p.use(nil), l.Addr().String()); err == nil || strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("answer %.20q: %v", answer, err)
		}
	}
	for _, proxy := range []string{"socks5://name:hocus@127.0.0.1:1080", "ftp://127.0.0.1:1"} {
		cfg := Config{Proxy: func(*url.URL) (*url.URL, error) { return url.Parse(proxy) }}
		if _, err := Dial(long(t), cfg, l.Addr().String()); !errors.Is(err, ErrProxyScheme) || strings.Contains(err.Error(), "hocus") {
			t.Error(err)
		}
	}
	broken := errors.New("broken")
	cfg := Config{Proxy: func(*url.URL) (*url.URL, error) { return nil, broken }}
	if _, err := Dial(long(t), cfg, l.Addr().String()); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// A proxy that never answers ends with the context.
func TestProxySilent(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, (&proxyServer{ln: ln}).use(nil), "192.0.2.1:443"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// What comes in one piece with the proxy's answer belongs to the connection.
func TestTunnelRest(t *testing.T) {
	x, y := net.Pipe()
	defer x.Close()
	go func() {
		defer y.Close()
		if _, err := http.ReadRequest(bufio.NewReader(y)); err == nil {
			_, _ = io.WriteString(y, "HTTP/1.1 200 OK\r\n\r\nfirst,")
			_, _ = io.WriteString(y, "second")
		}
	}()
	c, err := connect(x, nil, "proxy", "target:443")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "first,second" {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzProxyAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\nrest"))
	f.Add([]byte("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 9\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 200\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		c, err := connect(&scripted{answer: answer}, nil, "proxy", "target:443")
		if err != nil {
			if c != nil || len(err.Error()) > 20000 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			return
		}
		if rest, _ := io.ReadAll(c); !strings.HasSuffix(string(answer), string(rest)) {
			t.Errorf("%q remains of %q", rest, answer)
		}
	})
}

// scripted is a connection whose other end says one thing.
type scripted struct {
	net.Conn
	answer []byte
}

func (s *scripted) Write(b []byte) (int, error) { return len(b), nil }

func (s *scripted) Read(b []byte) (int, error) {
	if len(s.answer) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.answer)
	s.answer = s.answer[n:]
	return n, nil
}
