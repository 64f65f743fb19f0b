// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// TestFenceLeadsToTheRouterAlone asks for URLs of other hosts, which the router
// would answer as well.
func TestFenceLeadsToTheRouterAlone(t *testing.T) {
	web, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "router "+r.Host+r.RequestURI) })}
	go srv.Serve(web)
	t.Cleanup(func() { srv.Close() })
	_, port, err := net.SplitHostPort(web.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	count := new(counters)
	n := network{gateway: netip.MustParseAddr("127.0.0.1"), internal: netip.MustParseAddrPort("127.0.0.1:4321")}
	client := newHTTP(n, count)
	if client.Transport.(fence).next.(*http.Transport).Proxy != nil {
		t.Error("a proxy would be asked")
	}
	get := func(url string) string {
		resp, err := client.Get(url)
		if err != nil {
			return "refused"
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	for _, c := range []struct {
		url, want string
		foreign   uint64
	}{
		{"http://127.0.0.1:" + port + "/", "router 127.0.0.1:" + port + "/", 0},
		{"http://192.168.200.201:" + port + "/", "router 192.168.200.201:" + port + "/", 0}, // the router was asked
		{"http://203.0.113.9:" + port + "/", "refused", 1},
		{"http://localhost:" + port + "/", "refused", 1},
		{"http://me:secret@127.0.0.1:" + port + "/", "refused", 1},
		{"https://127.0.0.1:" + port + "/", "refused", 1},
	} {
		before := count.stats().Foreign
		if got := get(c.url); got != c.want {
			t.Errorf("%s: %s, want %s", c.url, got, c.want)
		}
		if got := count.stats().Foreign - before; got != c.foreign {
			t.Errorf("%s: %d counted as foreign", c.url, got)
		}
	}
}

func TestBodyAtItsLimitIsWholeAndBeyondIsAnError(t *testing.T) {
	for _, c := range []struct {
		size int
		ok   bool
	}{{0, true}, {maxBody, true}, {maxBody + 1, false}, {10 * maxBody, false}} {
		count := new(counters)
		b, err := io.ReadAll(&limited{io.NopCloser(strings.NewReader(strings.Repeat("x", c.size))), maxBody, count})
		if (err == nil) != c.ok || c.ok && len(b) != c.size || !c.ok && count.stats().Oversized != 1 {
			t.Errorf("%d bytes: %d, %v, %+v", c.size, len(b), err, count.stats())
		}
	}
}
