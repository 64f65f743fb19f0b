// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// direct is a Config that uses no proxy.
func direct() Config {
	return Config{Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }}
}

// long is a context that no test outlives on a busy machine, unless it hangs.
func long(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func listen(t *testing.T, cfg Config) *Listener {
	t.Helper()
	l, err := Listen(cfg, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// pair dials a listener and accepts.
func pair(t testing.TB, ctx context.Context, l *Listener, cfg Config) (dialled, accepted *Conn) {
	t.Helper()
	dialled, err := Dial(ctx, cfg, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	if accepted, err = l.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return dialled, accepted
}

// until waits for a state that others bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
		<-time.After(time.Millisecond)
	}
}

// exchange sends a datagram each way.
func exchange(t *testing.T, a, b *Conn) {
	t.Helper()
	for i, way := range [][2]*Conn{{a, b}, {b, a}} {
		want := numbered(i, 1200)
		if _, err := way[0].WriteTo(want, way[0].RemoteAddr()); err != nil {
			t.Fatal(err)
		}
		if got := mustRead(t, way[1]); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes arrived", len(got))
		}
	}
}

func TestLoopback(t *testing.T) {
	l := listen(t, Config{})
	a, b := pair(t, long(t), l, direct())
	exchange(t, a, b)
	if a.Remote() != l.Addr() || b.Remote().String() != a.LocalAddr().String() || b.LocalAddr().String() != a.RemoteAddr().String() {
		t.Errorf("%v and %v, %v and %v", a.LocalAddr(), a.RemoteAddr(), b.LocalAddr(), b.RemoteAddr())
	}
	state := a.tls.ConnectionState()
	if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "http/1.1" || b.tls.ConnectionState().ServerName != "" {
		t.Errorf("%+v", state)
	}
	l.Close() // leaves what was accepted
	exchange(t, a, b)
	a.Close()
	if _, err := readAll(b); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	until(t, "its place is free", func() bool { return l.Stats().Open == 0 })
}

// A name that is dialled is asked for, as browsers do.
func TestServerName(t *testing.T) {
	l := listen(t, Config{})
	a, err := Dial(long(t), direct(), strings.Replace(l.Addr().String(), "127.0.0.1", "localhost", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := l.Accept(long(t))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if name := b.tls.ConnectionState().ServerName; name != "localhost" {
		t.Errorf("asked for %q", name)
	}
	for _, c := range []struct{ set, host, want string }{
		{"", "example.org", "example.org"}, {"", "192.0.2.1", ""}, {"", "2001:db8::1", ""}, {"cdn.example", "192.0.2.1", "cdn.example"},
	} {
		if got := serverName(Config{ServerName: c.set}, c.host); got != c.want {
			t.Errorf("%q for %q", got, c.host)
		}
	}
}

func TestDialFails(t *testing.T) {
	for _, addr := range []string{"", "192.0.2.1", "192.0.2.1:x", "192.0.2.1:99999", "a b:1", "a\r\nHost:x:443", "a/b:443"} {
		if _, err := Dial(t.Context(), direct(), addr); err == nil || !strings.HasPrefix(err.Error(), "carrier: ") {
			t.Errorf("%q: %v", addr, err)
		}
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, says nothing
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, direct(), silent.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	silent.Close()
	if _, err := Dial(t.Context(), direct(), silent.Addr().String()); err == nil {
		t.Error("nobody listens, and it is connected")
	}
}

// Whoever doesn't speak our language is answered like by a web server, or not
// at all, and never reaches Accept.
func TestStrangers(t *testing.T) {
	l := listen(t, Config{})
	raw := func(send string) string {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(c, send)
		b, err := io.ReadAll(c)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%.10q: not closed", send)
		}
		return string(b)
	}
	if got := raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n"); got != plainAnswer {
		t.Errorf("plain HTTP got %q", got)
	}
	for _, garbage := range []string{strings.Repeat("\x00", 100), "SSH-2.0-OpenSSH_9.9\r\n", strings.Repeat("\xa5\x5a", 5000), "\x16\x03\x01\x00\x05hello"} {
		if got := raw(garbage); strings.Contains(got, "HTTP") {
			t.Errorf("%.10q got %q", garbage, got)
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Proxy: nil, ForceAttemptHTTP2: true}}
	resp, err := client.Get("https://" + l.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 404 || string(body) != "404 page not found\n" || resp.Proto != "HTTP/1.1" || resp.Header.Get("Date") == "" {
		t.Errorf("HTTPS got %v, %q, %v", resp, body, err)
	}
	// TLS, and then garbage, or nothing and gone.
	for _, send := range []string{"\xff\xff", "\x16\x03\x03", ""} {
		c, err := tls.Dial("tcp", l.Addr().String(), clientTLS(""))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, send)
		_ = c.CloseWrite()
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%q got %q", send, b)
		}
		c.Close()
	}
	until(t, "all are counted", func() bool {
		s := l.Stats()
		return s.HTTP == 2 && s.Failed == 7 && s.Open == 0
	})
	// An old browser, TLS 1.2, has no business here.
	if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is accepted")
	}
	a, b := pair(t, long(t), l, direct())
	exchange(t, a, b)
}

// Half-open connections fill their places and no more; when they go, the
// places are free.
func TestHalfOpen(t *testing.T) {
	l := listen(t, Config{MaxHandshakesPerPrefix: 3})
	var held []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	until(t, "three handshakes", func() bool { return l.Stats().Open == 3 })
	if c, err := Dial(long(t), direct(), l.Addr().String()); err == nil {
		c.Close()
		t.Error("a fourth handshake is allowed")
	}
	held[0].Close()
	until(t, "a place is free", func() bool { return l.Stats().Open == 2 })
	a, b := pair(t, long(t), l, direct())
	exchange(t, a, b)
	if s := l.Stats(); s.Refused == 0 || s.Accepted != 1 {
		t.Errorf("%+v", s)
	}
}

func TestConnsPerPrefix(t *testing.T) {
	l := listen(t, Config{MaxPerPrefix: 2})
	a, _ := pair(t, long(t), l, direct())
	pair(t, long(t), l, direct())
	if c, err := Dial(long(t), direct(), l.Addr().String()); err == nil {
		c.Close()
		t.Error("a third connection is allowed")
	}
	a.Close()
	// The other end is told when it reads; here the reader is missing, so it
	// has to be closed as well.
	if s := l.Stats(); s.Open != 2 {
		t.Errorf("%+v", s)
	}
}

// Close ends handshakes and what nobody has accepted.
func TestListenerClose(t *testing.T) {
	l := listen(t, Config{})
	half, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	unaccepted, err := Dial(long(t), direct(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer unaccepted.Close()
	until(t, "one is ready", func() bool { s := l.Stats(); return s.Accepted == 1 && s.Open == 2 && len(l.ready) == 1 })
	accepting := make(chan error)
	closed, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := l.Accept(closed); err == nil { // may be either
		c.Close()
	}
	go func() {
		for {
			c, err := l.Accept(t.Context())
			if err != nil {
				accepting <- err
				return
			}
			c.Close()
		}
	}()
	l.Close()
	l.Close()
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := readAll(unaccepted); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := bufio.NewReader(half).ReadByte(); err == nil {
		t.Error("a handshake goes on")
	}
	if s := l.Stats(); s.Open != 0 {
		t.Errorf("%+v", s)
	}
}
