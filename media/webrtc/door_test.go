// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/p2pos/p2pos/media/webrtc"
)

func TestDoor(t *testing.T) {
	for _, a := range []string{"0.0.0.0:80", "192.0.2.1:80", "[::]:80"} {
		if _, err := webrtc.NewDoor(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a))); err == nil {
			t.Errorf("a door at %s", a)
		}
	}
	d, err := webrtc.NewDoor(net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:4711")))
	must(t, err)
	address, token, ok := strings.Cut(d.URL(), "#")
	if !ok || address != "http://127.0.0.1:4711/" || len(token) != 22 {
		t.Fatalf("URL %q", d.URL())
	}
	var body error
	h := d.Handler(fstest.MapFS{"index.html": {Data: []byte("<p>page")}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, body = io.Copy(io.Discard, r.Body)
		io.WriteString(w, "api")
	}))
	const bearer = "Authorization: Bearer "
	for _, c := range []struct {
		rule, method, path, host string
		headers                  []string
		want                     int
	}{
		{"the page, typed", "GET", "/", "", []string{"Sec-Fetch-Site: none"}, 200},
		{"the page by its other name", "GET", "/", "localhost:4711", nil, 200},
		{"a rebound name", "GET", "/", "evil.example:4711", nil, 421},
		{"a rebound name with the token", "POST", "/api/call", "evil.example:4711", []string{bearer + token}, 421},
		{"another port", "GET", "/", "127.0.0.1:80", nil, 421},
		{"no port", "GET", "/", "127.0.0.1", nil, 421},
		{"the page, linked to by another", "GET", "/", "", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"the API without token", "POST", "/api/call", "", nil, 401},
		{"with a wrong one", "POST", "/api/call", "", []string{bearer + token[:21] + "_"}, 401},
		{"in the URL", "POST", "/api/call?token=" + token, "", nil, 401},
		{"of another kind", "POST", "/api/call", "", []string{"Authorization: Basic " + token}, 401},
		{"the API with token", "POST", "/api/call", "", []string{bearer + token, "Origin: http://127.0.0.1:4711", "Sec-Fetch-Site: same-origin"}, 200},
		{"by its other name", "POST", "/api/call", "localhost:4711", []string{bearer + token, "Origin: http://localhost:4711"}, 200},
		{"from another page", "POST", "/api/call", "", []string{bearer + token, "Origin: https://evil.example"}, 403},
		{"from another server of this computer", "POST", "/api/call", "", []string{bearer + token, "Origin: http://127.0.0.1:8080"}, 403},
		{"from a sandbox", "POST", "/api/call", "", []string{bearer + token, "Origin: null"}, 403},
		{"a same-site page", "POST", "/api/call", "", []string{bearer + token, "Sec-Fetch-Site: same-site"}, 403},
		{"a preflight", "OPTIONS", "/api/call", "", []string{"Origin: https://evil.example", "Access-Control-Request-Method: POST"}, 403},
		{"writing the page", "PUT", "/", "", nil, 405},
	} {
		r := httptest.NewRequest(c.method, "http://127.0.0.1:4711"+c.path, nil)
		if c.host != "" {
			r.Host = c.host
		}
		for _, line := range c.headers {
			k, v, _ := strings.Cut(line, ": ")
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.rule, w.Code, c.want)
		}
		for k, want := range map[string]string{
			"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if !strings.Contains(w.Header().Get(k), want) {
				t.Errorf("%s: %s is %q", c.rule, k, w.Header().Get(k))
			}
		}
		for k := range w.Header() {
			if strings.HasPrefix(k, "Access-Control-") {
				t.Errorf("%s: %s", c.rule, k)
			}
		}
	}
	r := httptest.NewRequest("POST", "http://127.0.0.1:4711/api/call", strings.NewReader(strings.Repeat("x", 200<<10)))
	r.Header.Set("Authorization", "Bearer "+token)
	h.ServeHTTP(httptest.NewRecorder(), r)
	if !errors.As(body, new(*http.MaxBytesError)) {
		t.Errorf("a long body: %v", body)
	}
	other, err := webrtc.NewDoor(net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:4711")))
	must(t, err)
	if other.URL() == d.URL() {
		t.Error("the token is always the same")
	}
}
