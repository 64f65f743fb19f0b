// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/metric"
)

// get asks a handler; accept is the header.
func get(h http.Handler, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A call leaves its numbers, and nothing that names anybody.
func TestMetricsOfACall(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		b, a := s.node(s.public("b"), Config{}), s.node(s.public("a"), Config{})
		if err := a.Health(); !errors.Is(err, ErrAlone) {
			t.Errorf("health of a node alone: %v", err)
		}
		mine, theirs := s.answered(a, b, HoldOthers)
		s.talk(mine)
		s.talk(theirs)
		s.hear(mine)
		s.hear(theirs)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		h := a.MetricsHandler()
		contains(t, "in the call", get(h, "").Body.String(),
			"p2pos_healthy 1.0\n", `p2pos_calls{state="talking",path="direct"} 1.0`+"\n", "p2pos_call_ring_seconds_count 1.0\n",
			"p2pos_call_first_media_seconds_count 1.0\n", `p2pos_build_info{version="`)
		if err := a.Health(); err != nil {
			t.Errorf("health in a call: %v", err)
		}
		mine.HangUp()
		<-mine.Done()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		text := get(h, "").Body.String()
		contains(t, "after it", text,
			`p2pos_calls_ended_total{direction="outgoing",stage="talk",reason="hangup"} 1.0`+"\n",
			`p2pos_call_duration_seconds_bucket{le="10.0"} 0.0`, `p2pos_call_duration_seconds_bucket{le="60.0"} 1.0`,
			"p2pos_calls_missed_total 0.0\n", `p2pos_call_mos_bucket{le="4.0"} 0.0`, "# EOF\n")
		if strings.Contains(text, `state="talking"`) {
			t.Error("the call goes on in the metrics")
		}
		for what, secret := range map[string]string{
			"own ID": a.ID().String(), "peer's ID": b.ID().String(), "node ID": b.NodeID().String(), "address": "45.0.0.", "name": `"b"`,
		} {
			if strings.Contains(text, secret) {
				t.Errorf("the metrics hold the %s %s", what, secret)
			}
		}
		if _, err := a.Send(t.Context(), s.ticket(b), "hello"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		contains(t, "after a text, at its author's", get(h, "").Body.String(), `p2pos_texts_total{event="delivered"} 1.0`+"\n")
		contains(t, "after a text, at its reader's", get(b.MetricsHandler(), "").Body.String(), `p2pos_texts_total{event="received"} 1.0`+"\n")
		old := get(h, "text/plain;q=0.5")
		contains(t, "older text", old.Body.String(), "# TYPE p2pos_build_info gauge\n", "# TYPE p2pos_calls_missed_total counter\n")
		if got := old.Header().Get("Content-Type"); got != metric.TextType || strings.Contains(old.Body.String(), "EOF") {
			t.Errorf("the older text comes as %q", got)
		}
		a.Close()
		if err := a.Health(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("health after Close: %v", err)
		}
		time.Sleep(2 * time.Second)
		contains(t, "after Close", get(h, "").Body.String(), "p2pos_healthy 0.0\n", `reason="hangup"} 1.0`)
	})
}

func contains(t *testing.T, when, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s: no %q in\n%s", when, w, text)
		}
	}
}

// slow is a client that doesn't read.
type slow struct {
	*httptest.ResponseRecorder
	until chan struct{}
}

func (s *slow) Write(b []byte) (int, error) { <-s.until; return len(b), nil }

// A storm of scrapes costs one measurement a second, clients that don't read
// hold no more than their share, and the node goes on.
func TestScrapeStorm(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		n := s.node(s.public("n"), Config{})
		h := n.MetricsHandler()
		first := get(h, "").Body.String()
		for range 1000 {
			if get(h, "").Body.String() != first {
				t.Fatal("measured again within the second")
			}
		}
		s.node(s.public("m"), Config{Join: []string{"45.0.0.1:4000"}}).Join(t.Context())
		time.Sleep(2 * time.Second)
		if get(h, "").Body.String() == first {
			t.Error("never measured again")
		}

		stuck, until := sync.WaitGroup{}, make(chan struct{})
		for range maxScrapes {
			stuck.Go(func() {
				h.ServeHTTP(&slow{httptest.NewRecorder(), until}, httptest.NewRequest("GET", "/", nil))
			})
		}
		synctest.Wait()
		w := get(h, "")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("one more than %d: %d", maxScrapes, w.Code)
		}
		if err := n.Health(); err != nil {
			t.Errorf("health in the storm: %v", err)
		}
		close(until)
		stuck.Wait()
		if w := get(h, ""); w.Code != http.StatusOK {
			t.Errorf("after the storm: %d", w.Code)
		}
		post := httptest.NewRecorder()
		h.ServeHTTP(post, httptest.NewRequest("POST", "/", nil))
		if post.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", post.Code)
		}
	})
}

// docs/metrics.md lists each family with its kind, and no other.
func TestMetricsAreListed(t *testing.T) {
	page, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)[^`]*` \\| ([a-z]+) ").FindAllStringSubmatch(string(page), -1) {
		listed[m[1]] = m[2]
	}
	simTest(t, func(t *testing.T, s *sim) {
		for _, f := range s.node(s.public("n"), Config{}).Metrics() {
			name := f.Name
			switch f.Kind {
			case metric.Counter:
				name += "_total"
			case metric.Info:
				name += "_info"
			}
			if listed[name] != string(f.Kind) {
				t.Errorf("docs/metrics.md lists %s as %q, it is a %s", name, listed[name], f.Kind)
			}
			delete(listed, name)
			if unit := f.Unit; unit != "" && !strings.HasSuffix(f.Name, "_"+unit) {
				t.Errorf("%s does not end in its unit %s", f.Name, unit)
			}
		}
	})
	for name := range listed {
		t.Errorf("docs/metrics.md lists %s, which is not there", name)
	}
}

func ExampleNode_MetricsHandler() {
	dir, err := os.MkdirTemp("", "p2pos")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	node, err := New(Config{Dir: dir, Listen: "127.0.0.1:0", NoLAN: true})
	if err != nil {
		panic(err)
	}
	defer node.Close()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", node.MetricsHandler())
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := node.Health(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	server := httptest.NewServer(mux) // an http.Server on an internal address, in earnest
	defer server.Close()
	for _, path := range []string{"/metrics", "/ready"} {
		resp, err := server.Client().Get(server.URL + path)
		if err != nil {
			panic(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		line, _, _ := strings.Cut(string(text), "\n")
		fmt.Println(resp.StatusCode, line)
	}
	node.Shutdown(context.Background())
	// Output:
	// 200 # TYPE p2pos_build info
	// 503 p2pos: no link to any other node
}
