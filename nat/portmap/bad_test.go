// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// bad is a router that misbehaves in one way, and what must come of it.
type bad struct {
	name    string
	method  Method
	set     func(*router)
	err     error // Failed must wrap it; nil: it is mapped all the same
	mapping func(Mapping) bool
	stats   func(Stats) bool
}

// edit changes a copy of each answer of one protocol.
func edit(proto string, change func([]byte) [][]byte) func(*router) {
	return func(r *router) {
		r.twist = func(p string, b []byte) [][]byte {
			if p != proto {
				return [][]byte{b}
			}
			return change(slices.Clone(b))
		}
	}
}

func instead(b ...byte) func([]byte) [][]byte {
	return func([]byte) [][]byte { return [][]byte{b} }
}

func put32(at int, v uint32) func([]byte) [][]byte {
	return func(b []byte) [][]byte {
		if len(b) >= at+4 {
			binary.BigEndian.PutUint32(b[at:], v)
		}
		return [][]byte{b}
	}
}

func outside(a string) func(*router) {
	return func(r *router) { r.outside = netip.MustParseAddr(a) }
}

func describe(f func(w http.ResponseWriter, usual string)) func(*router) {
	return func(r *router) { r.igd.describe = f }
}

// answer replaces what an action answers.
func answer(action, body string) func(*router) {
	return func(r *router) {
		r.igd.reply = func(w http.ResponseWriter, a string) bool {
			if a == action {
				io.WriteString(w, body)
			}
			return a == action
		}
	}
}

// run opens several clients at once, since many wait in vain.
func run(t *testing.T, list []bad) {
	for some := range slices.Chunk(list, 8) {
		runTogether(t, some)
	}
}

func runTogether(t *testing.T, list []bad) {
	var clients []*Client
	for _, b := range list {
		r := newRouter(t, b.method)
		if b.set != nil {
			b.set(r)
		}
		clients = append(clients, r.start().client(b.method))
	}
	for i, b := range list {
		c := clients[i]
		t.Run(string(b.method)+": "+b.name, func(t *testing.T) {
			for {
				e := next(t, c)
				if f, ok := e.(Failed); ok {
					if !because(f.Err, b.err) {
						t.Errorf("failed: %v; want %v", f.Err, b.err)
					}
					break
				}
				if m, ok := e.(Mapped); ok {
					if b.err != nil || b.mapping != nil && !b.mapping(m.Mapping) {
						t.Errorf("mapped %+v; want failure %v", m, b.err)
					}
					break
				}
			}
			if s := c.Stats(); b.stats != nil && !b.stats(s) {
				t.Errorf("stats %+v", s)
			}
			c.Close()
		})
	}
}

func TestBadPCP(t *testing.T) {
	t.Parallel()
	run(t, []bad{
		{"never answers", PCP, func(r *router) { r.speaks = nil }, ErrNoAnswer, nil, func(s Stats) bool { return s == Stats{} }},
		{"answers from another address", PCP, func(r *router) { r.from = r.addr.Next() }, ErrNoAnswer, nil, nil},
		{"wrong nonce first, the right answer behind", PCP, edit("pcp", func(b []byte) [][]byte {
			forged := slices.Clone(b)
			forged[24] ^= 1
			copy(forged[44:], net.IPv4(198, 51, 100, 66).To16())
			return [][]byte{forged, b}
		}), nil, func(m Mapping) bool { return m.External.Addr() == netip.MustParseAddr("203.0.113.7") }, func(s Stats) bool { return s.Mismatched == 1 }},
		{"wrong nonce only", PCP, edit("pcp", func(b []byte) [][]byte { b[30] ^= 1; return [][]byte{b} }), ErrNoAnswer, nil, func(s Stats) bool { return s.Mismatched >= 1 }},
		{"wrong inside port", PCP, edit("pcp", func(b []byte) [][]byte { b[41] ^= 1; return [][]byte{b} }), ErrNoAnswer, nil, func(s Stats) bool { return s.Mismatched >= 1 }},
		{"mapped TCP", PCP, edit("pcp", func(b []byte) [][]byte { b[36] = 6; return [][]byte{b} }), ErrNoAnswer, nil, func(s Stats) bool { return s.Mismatched >= 1 }},
		{"announces instead", PCP, edit("pcp", func(b []byte) [][]byte { b[1] = 0x80; return [][]byte{b[:24]} }), ErrNoAnswer, nil, func(s Stats) bool { return s.Mismatched >= 1 }},
		{"floods with garbage", PCP, edit("pcp", func([]byte) (list [][]byte) {
			for range 200 {
				list = append(list, []byte("garbage!"))
			}
			return list
		}), ErrUnusable, nil, func(s Stats) bool { return s.Malformed >= maxIgnored/2 && s.Malformed <= maxIgnored }},
		{"answers at length", PCP, edit("pcp", func([]byte) [][]byte { return [][]byte{bytes.Repeat([]byte{2, 0x81, 0, 0}, 400)} }), ErrNoAnswer, nil, func(s Stats) bool { return s.Oversized >= 1 }},
		{"lifetime 0", PCP, edit("pcp", put32(4, 0)), errBadLifetime, nil, func(s Stats) bool { return s.BadLifetime == 1 }},
		{"lifetime 2^32-1", PCP, edit("pcp", put32(4, 1<<32-1)), nil, func(m Mapping) bool { return m.Lifetime == maxLifetime }, nil},
		{"outside address 0.0.0.0", PCP, outside("0.0.0.0"), errBadExternal, nil, func(s Stats) bool { return s.BadExternal == 1 }},
		{"outside address is its inside one", PCP, func(r *router) { r.outside = r.addr }, errBadExternal, nil, nil},
		{"outside address is private", PCP, outside("10.9.8.7"), nil, func(m Mapping) bool { return m.Layer2 }, nil},
		{"outside address is the carrier's", PCP, outside("100.64.8.7"), nil, func(m Mapping) bool { return m.Layer2 }, nil},
		{"outside address is IPv6", PCP, outside("2001:db8::1"), errBadExternal, nil, nil},
		{"outside port 0", PCP, edit("pcp", func(b []byte) [][]byte { b[42], b[43] = 0, 0; return [][]byte{b} }), errBadExternal, nil, nil},
		{"refuses", PCP, edit("pcp", func(b []byte) [][]byte { b[3] = 2; return [][]byte{b} }), refused(PCP, 2), nil, func(s Stats) bool { return s.Refused == 1 }},
		{"refuses with a code of its own", PCP, edit("pcp", func(b []byte) [][]byte { b[3] = 250; return [][]byte{b} }), refused(PCP, 250), nil, nil},
	})
}

func TestBadNATPMP(t *testing.T) {
	t.Parallel()
	run(t, []bad{
		{"never answers", NATPMP, func(r *router) { r.speaks = nil }, ErrNoAnswer, nil, nil},
		{"answers from another address", NATPMP, func(r *router) { r.from = r.addr.Next() }, ErrNoAnswer, nil, nil},
		{"garbage", NATPMP, edit("nat-pmp", instead(9, 9, 9, 9, 9, 9, 9, 9)), ErrUnusable, nil, func(s Stats) bool { return s.Malformed == 1 }},
		{"one byte", NATPMP, edit("nat-pmp", instead(0)), ErrUnusable, nil, func(s Stats) bool { return s.Malformed == 1 }},
		{"refuses", NATPMP, edit("nat-pmp", func(b []byte) [][]byte { b[3] = 2; return [][]byte{b} }), refused(NATPMP, 2), nil, func(s Stats) bool { return s.Refused == 1 }},
		{"lifetime 0", NATPMP, edit("nat-pmp", put32(12, 0)), errBadLifetime, nil, func(s Stats) bool { return s.BadLifetime == 1 }},
		{"lifetime 2^32-1", NATPMP, edit("nat-pmp", put32(12, 1<<32-1)), nil, func(m Mapping) bool { return m.Lifetime == maxLifetime }, nil},
		{"another inside port", NATPMP, edit("nat-pmp", func(b []byte) [][]byte {
			if len(b) == 16 {
				b[9] ^= 1
			}
			return [][]byte{b}
		}), ErrUnusable, nil, func(s Stats) bool { return s.Mismatched == 1 }},
		{"outside address 0.0.0.0", NATPMP, outside("0.0.0.0"), errBadExternal, nil, func(s Stats) bool { return s.BadExternal == 1 }},
		{"outside address is private", NATPMP, outside("192.168.77.2"), nil, func(m Mapping) bool { return m.Layer2 }, nil},
	})
}

func TestBadUPnP(t *testing.T) {
	t.Parallel()
	// A victim on another host: nothing may ever reach it.
	var hits atomic.Int32
	victim, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := hits.Load(); n > 0 {
			t.Errorf("%d requests reached another host", n)
		}
	})
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) })}
	go srv.Serve(victim)
	t.Cleanup(func() { srv.Close() })
	elsewhere := "http://" + victim.Addr().String()
	foreign := func(s Stats) bool { return s.Foreign >= 1 }

	run(t, []bad{
		{"never answers a search", UPnP, func(r *router) { r.speaks = nil }, ErrNoAnswer, nil, nil},
		{"somebody else answers", UPnP, func(r *router) { r.from = r.addr.Next() }, ErrNoAnswer, nil, foreign},
		{"garbage for an answer", UPnP, edit("ssdp", instead([]byte("HTTP/1.1 2")...)), ErrNoAnswer, nil, func(s Stats) bool { return s.Malformed >= 1 }},
		{"long answer", UPnP, edit("ssdp", func(b []byte) [][]byte { return [][]byte{append(b, make([]byte, 3000)...)} }), ErrNoAnswer, nil, func(s Stats) bool { return s.Oversized >= 1 }},
		{"flood of answers", UPnP, edit("ssdp", func([]byte) (list [][]byte) {
			for range 200 {
				list = append(list, []byte("no"))
			}
			return list
		}), ErrUnusable, nil, func(s Stats) bool { return s.Malformed <= maxIgnored }},
		{"location on another host", UPnP, func(r *router) { r.igd.location = func(string) string { return elsewhere + "/x" } }, ErrNoAnswer, nil, foreign},
		{"location by name", UPnP, func(r *router) {
			r.igd.location = func(u string) string { return strings.Replace(u, r.addr.String(), "localhost", 1) }
		}, ErrNoAnswer, nil, foreign},
		{"location on a host of the LAN: the router is asked", UPnP, func(r *router) {
			r.igd.location = func(u string) string { return strings.Replace(u, r.addr.String(), "192.168.44.1", 1) }
		}, nil, nil, nil},
		{"redirects to another host", UPnP, describe(func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", elsewhere)
			w.WriteHeader(http.StatusFound)
		}), ErrUnusable, nil, foreign},
		{"control URL on another host", UPnP, describe(func(w http.ResponseWriter, usual string) {
			io.WriteString(w, strings.Replace(usual, "/ctl", elsewhere+"/ctl", 1))
		}), ErrUnusable, nil, foreign},
		{"base URL on another host", UPnP, describe(func(w http.ResponseWriter, usual string) {
			io.WriteString(w, strings.Replace(usual, "<specVersion>", "<URLBase>"+elsewhere+"</URLBase><specVersion>", 1))
		}), ErrUnusable, nil, foreign},
		{"action redirects to another host", UPnP, func(r *router) {
			r.igd.reply = func(w http.ResponseWriter, _ string) bool {
				w.Header().Set("Location", elsewhere)
				w.WriteHeader(http.StatusFound)
				return true
			}
		}, errAny, nil, foreign},
		{"description without end", UPnP, describe(func(w http.ResponseWriter, usual string) {
			for {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
					return
				}
			}
		}), errOversized, nil, func(s Stats) bool { return s.Oversized == 1 }},
		{"description that never comes", UPnP, describe(func(w http.ResponseWriter, usual string) {
			w.(http.Flusher).Flush()
			<-make(chan struct{})
		}), ErrNoAnswer, nil, nil},
		{"deep description", UPnP, describe(func(w http.ResponseWriter, usual string) { io.WriteString(w, strings.Repeat("<a>", 40000)) }), ErrUnusable, nil, func(s Stats) bool { return s.Malformed == 1 }},
		{"description of a printer", UPnP, describe(func(w http.ResponseWriter, usual string) {
			io.WriteString(w, strings.Replace(usual, "WANIPConnection", "Print", 1))
		}), ErrUnusable, nil, nil},
		{"not found", UPnP, describe(func(w http.ResponseWriter, usual string) { w.WriteHeader(404) }), ErrUnusable, nil, nil},
		{"answers an action with nothing", UPnP, answer("GetExternalIPAddress", ""), errAny, nil, nil},
		{"answers an action with another document", UPnP, answer("GetExternalIPAddress", "<html><body>login</body></html>"), errAny, nil, nil},
		{"answers an action without end", UPnP, answer("GetExternalIPAddress", strings.Repeat("<a></a>", 1<<16)), errAny, nil, nil},
		{"outside address is a word", UPnP, answer("GetExternalIPAddress", `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><u:R xmlns:u="x"><NewExternalIPAddress>'; drop</NewExternalIPAddress></u:R></s:Body></s:Envelope>`), errBadExternal, nil, func(s Stats) bool { return s.BadExternal == 1 }},
		{"outside address 0.0.0.0", UPnP, outside("0.0.0.0"), errBadExternal, nil, func(s Stats) bool { return s.BadExternal == 1 }},
		{"outside address is private", UPnP, outside("10.9.8.7"), nil, func(m Mapping) bool { return m.Layer2 }, nil},
		{"reserves port 0", UPnP, func(r *router) {
			r.igd.version = 2
			answer("AddAnyPortMapping", `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><u:R xmlns:u="x"><NewReservedPort>0</NewReservedPort></u:R></s:Body></s:Envelope>`)(r)
		}, errBadExternal, nil, nil},
		{"refuses", UPnP, func(r *router) { r.igd.fault = func(string, map[string]string) int { return 606 } }, refused(UPnP, 606), nil, func(s Stats) bool { return s.Refused == 1 }},
		{"every port is taken", UPnP, func(r *router) {
			r.igd.fault = func(action string, _ map[string]string) int {
				if action == "AddPortMapping" {
					return upnpConflict
				}
				return 0
			}
		}, refused(UPnP, upnpConflict), nil, nil},
	})
}

func refused(m Method, code int) error { return &RefusedError{Method: m, Code: code} }

// errAny stands for whatever reason.
var errAny = errors.New("any")

// because says whether err is for the wanted reason.
func because(err, want error) bool {
	var is, should *RefusedError
	if errors.As(want, &should) {
		return errors.As(err, &is) && is.Method == should.Method && is.Code == should.Code
	}
	return want == errAny || want != nil && errors.Is(err, want)
}

func TestSilentRouterDoesNotHoldUpClose(t *testing.T) {
	t.Parallel()
	r := newRouter(t, UPnP)
	r.igd.describe = func(http.ResponseWriter, string) { <-make(chan struct{}) }
	c := r.start().client(UPnP)
	for r.count("description") == 0 {
		runtime.Gosched()
	}
	c.Close() // the test's own limit is the assertion
}
