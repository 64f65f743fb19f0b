// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/nat"
)

// try runs the whole program.
func try(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out bytes.Buffer
	var errs locked
	// Tests ask nothing of this machine's own router.
	code = run(ctx, append([]string{"-portmap=false"}, args...), &out, &errs)
	return code, out.String(), errs.b.String()
}

// locked is a buffer for the node's log, which many goroutines write to, and
// for the program's own words.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-nonsense"}, {"-join"}, {"-join", "justahost"}, {"-join", "p2pos:oops"}, {"-join", "127.0.0.1:9", "more"},
		{"-wait", "0"}, {"-wait", "-3"}, {"-wait", "3601"}, {"-wait", "1m"}, {"-network", "swordfish"}, {"-network", ""},
	} {
		code, out, errs := try(t.Context(), args...)
		if code != 2 || out != "" || strings.Count(errs, "\n") != 1 || strings.Contains(errs, "swordfish") {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, code, out, errs)
		}
	}
	code, out, errs := try(t.Context(), "-help")
	if code != 0 || errs != "" || !strings.Contains(out, "-wait SECONDS") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	narrow(t, out)
}

func narrow(t *testing.T, page string) {
	t.Helper()
	for line := range strings.Lines(page) {
		if len([]rune(line)) > width+1 {
			t.Errorf("too wide for a terminal: %s", line)
		}
	}
}

// has looks for words, wherever the lines are broken.
func has(t *testing.T, page string, words ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(page), " ")
	for _, w := range words {
		if !strings.Contains(flat, w) {
			t.Errorf("no %q in:\n%s", w, page)
		}
	}
}

// A program that reads -json gets the nat event and nothing else.
func event(t *testing.T, out string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(out), &o); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatalf("not one object on one line: %q, %v", out, err)
	}
	fields := strings.Fields("ev t mapping filtering ports block public cgn hairpin lifetime_s ipv6 portmap confidence")
	for _, f := range fields {
		if _, ok := o[f]; !ok {
			t.Errorf("no %s in %s", f, out)
		}
	}
	if o["ev"] != "nat" || len(o) != len(fields) {
		t.Errorf("event %s", out)
	}
	return o
}

// Without anybody outside it says what is missing.
func TestMissing(t *testing.T) {
	code, out, errs := try(t.Context())
	if code != 1 || errs != "" {
		t.Errorf("exit %d: %s", code, errs)
	}
	has(t, out, "Not enough peers", "Nobody was named", "3 nodes in different networks", "join with -join HOST:PORT or -join TICKET")
	code, out, errs = try(t.Context(), "-json")
	if e := event(t, out); code != 1 || e["mapping"] != "unknown" || e["public"] == nil {
		t.Errorf("exit %d, %v", code, e)
	}
	has(t, errs, "Nobody was named")

	var o options
	o.Listen = "127.0.0.1:0"
	node, done, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	ticket, err := node.Ticket(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	code, out, errs = try(t.Context(), "-join", ticket, "-wait", "1", "-dir", dir, "-v")
	if code != 1 {
		t.Errorf("exit %d", code)
	}
	has(t, out, "The only neighbours (1) are on this computer", "3 nodes in different networks")
	has(t, errs, "looking for 1s", "level=")
	if files, err := os.ReadDir(dir); err != nil || len(files) == 0 {
		t.Error("no identity in -dir", err)
	}

	node.Close()
	code, out, _ = try(t.Context(), "-join", ticket, "-wait", "1")
	if code != 1 {
		t.Errorf("exit %d", code)
	}
	has(t, out, "None that -join names could be reached")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if code, out, _ = try(over, "-join", ticket); code != 1 || strings.Contains(out, "context") {
		t.Errorf("stopped at once: exit %d, %s", code, out)
	}
}

func TestCannotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := try(t.Context(), "-dir", file); code != 1 || out != "" || strings.Count(errs, "\n") != 1 {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, errs)
	}
}

// Behind a symmetric NAT three ordinary neighbours are enough to say so.
func TestVerdict(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			world := simnet.NewWorld(1, time.Now())
			net := simnet.Start(world)
			defer net.Close()
			access := simnet.Profile{Delay: 10 * time.Millisecond}
			o := options{wait: 15 * time.Second, json: asJSON}
			for i := range 3 {
				var h *simnet.Host
				net.Do(func(w *simnet.World) { h = w.Host("public", access, netip.AddrFrom4([4]byte{45, byte(i), 0, 1})) })
				conn, err := net.Listen(h, 4000)
				if err != nil {
					t.Fatal(err)
				}
				var public options
				public.PacketConn = conn
				_, done, err := open(public)
				if err != nil {
					t.Fatal(err)
				}
				defer done()
				o.Join = append(o.Join, fmt.Sprintf("45.%d.0.1:4000", i))
			}
			var h *simnet.Host
			net.Do(func(w *simnet.World) {
				box := w.NAT("box", simnet.Profile{}, simnet.NATConfig{
					Pool: []netip.Addr{netip.MustParseAddr("46.0.0.1")}, Ports: simnet.Random,
					Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent,
				})
				h = box.Host("home", access, netip.MustParseAddr("192.168.1.2"))
			})
			conn, err := net.Listen(h, 4000)
			if err != nil {
				t.Fatal(err)
			}
			o.PacketConn = conn
			var out, errs bytes.Buffer
			known, err := check(t.Context(), o, &out, &errs)
			t.Log(out.String(), errs.String())
			if err != nil || !known {
				t.Errorf("known: %v, %v", known, err)
			}
			if !asJSON {
				has(t, out.String(), "another outside port for each", "seen at 46.0.0.1.", "from 3 neighbours in 3 networks")
				narrow(t, out.String())
				return
			}
			e := event(t, out.String())
			if e["mapping"] != "address-and-port-dependent" && e["mapping"] != "address-dependent" || fmt.Sprint(e["public"]) != "[46.0.0.1]" || e["t"] != 15.0 {
				t.Error(e)
			}
		})
	}
}

func TestNeighbours(t *testing.T) {
	s := arg(look)
	addrs := []string{
		"127.0.0.1:1", "192.168.1.9:1", "100.99.1.1:1", "[fe80::1]:1", "[fd00::1]:1",
		"45.1.2.3:1", "45.1.9.9:1", "[::ffff:45.1.2.3]:2", "45.2.2.3:1", "[2001:db8::1]:1", "[2001:db8:9::1]:1", "[2001:db8:8::1]:1",
	}
	s.Peers = slices.Grow(s.Peers, 13)[:13] // the last has no path
	for i, a := range addrs {
		s.Peers[i].Path.Remote = netip.MustParseAddrPort(a)
	}
	if a := look(s); a != (around{links: 13, inside: 6, networks: 2}) {
		t.Errorf("%+v", a)
	}
}

// The page holds everything that is known, and an address of somebody's choice
// doesn't get at the terminal.
func TestPage(t *testing.T) {
	found := arg(natOf)
	found.Behaviour = nat.Behaviour{
		Mapping: nat.EndpointIndependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Preserved, Carrier: nat.Yes,
		Public: []netip.Addr{netip.MustParseAddr("46.1.2.3"), netip.MustParseAddr("46.1.2.4")}, Confidence: 0.93,
	}
	found.Evidence = []string{"five peers said so"}
	var b bytes.Buffer
	if err := page(&b, found, around{named: 3, links: 2, networks: 1}); err != nil {
		t.Fatal(err)
	}
	has(t, b.String(), strings.Join(found.Behaviour.Explain(), " - "), "seen at 46.1.2.3 46.1.2.4.",
		"How sure that is: 93 %, from 2 neighbours in 1 network - five peers said so",
		"Only 2 neighbours in 1 network could", "Linked are 2 of the 3")
	narrow(t, b.String())

	b.Reset()
	page(&b, found, around{named: 3, links: 3, networks: 3})
	if strings.Contains(b.String(), "missing") {
		t.Errorf("three are enough:\n%s", b.String())
	}
	b.Reset()
	page(&b, arg(natOf), around{named: 1, failed: fmt.Errorf("p2pos: join %q: \x1b[2Jno\np2pos: other", "x:1")})
	has(t, b.String(), `- join "x:1": [2Jno.`, "- other.")
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q", b.String())
	}
}

// arg returns a zero argument of f: a value of the library's without its name,
// since tests inside a package don't import the library's top.
func arg[T, R any](func(T) R) (zero T) { return zero }

// Both programs write the same event.
func TestSameEvent(t *testing.T) {
	ours, err := os.ReadFile("natevent.go")
	theirs, err2 := os.ReadFile(filepath.Join("..", "softphone", "natevent.go"))
	if err != nil || err2 != nil || !bytes.Equal(ours, theirs) {
		t.Errorf("natevent.go differs from the softphone's: %v, %v", err, err2)
	}
}
