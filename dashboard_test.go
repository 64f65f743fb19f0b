// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media"
)

// dashboard is what this test reads of docs/grafana.json.
type dashboard struct {
	Panels []struct {
		Title, Type string
		GridPos     struct{ X, Y, W, H int }
		FieldConfig struct{ Defaults struct{ Unit string } }
		Targets     []struct{ Expr, LegendFormat string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	b, err := os.ReadFile("docs/grafana.json")
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A real Prometheus scrapes two nodes that call each other, and each query of
// the dashboard gives numbers. With P2POS_DRAW=docs/dashboard.svg they are drawn.
func TestDashboardInPrometheus(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("runs a minute of calls beside Prometheus: P2POS_LONG=1 runs it")
	}
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("no Prometheus here (Debian: apt install prometheus)")
	}
	mux := http.NewServeMux()
	a, b := metered(t, mux, "a"), metered(t, mux, "b")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	base := startPrometheus(t, program, l.Addr().String())

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go answer(ctx, b)
	ticket, err := b.Ticket(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i := 0; time.Since(start) < 75*time.Second; i++ {
		call, err := a.Call(ctx, ticket, nil)
		if err != nil {
			t.Fatal(err)
		}
		if i%3 == 2 { // nobody answers; the ringing is cut short, so that it counts as missed
			<-time.After(2 * time.Second)
			call.HangUp()
			<-call.Done()
			continue
		}
		if err := call.Answered(ctx); err != nil {
			t.Fatal(err)
		}
		go speak(call)
		select {
		case <-time.After(6 * time.Second):
		case <-call.Done():
			t.Fatal(call.Err())
		}
		call.HangUp()
		<-call.Done()
		if _, err := a.Send(ctx, ticket, "how was that?"); err != nil {
			t.Error(err)
		}
		<-time.After(time.Second)
	}

	d := readDashboard(t)
	var drawn []chart
	queries := 0
	for _, p := range d.Panels {
		c := chart{title: p.Title, unit: p.FieldConfig.Defaults.Unit, stat: p.Type == "stat", x: p.GridPos.X, y: p.GridPos.Y, w: p.GridPos.W, h: p.GridPos.H}
		for _, q := range p.Targets {
			queries++
			found := query(t, base, q.Expr, start)
			if len(found) == 0 {
				t.Errorf("%s: %s gives nothing", p.Title, q.Expr)
			}
			for _, s := range found {
				s.name = legend(q.LegendFormat, s.labels)
				c.lines = append(c.lines, s)
			}
		}
		drawn = append(drawn, c)
	}
	t.Logf("%d panels, %d queries", len(d.Panels), queries)
	if file := os.Getenv("P2POS_DRAW"); file != "" && !t.Failed() {
		if err := os.WriteFile(file, draw(drawn), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func metered(t *testing.T, mux *http.ServeMux, name string) *p2pos.Node {
	t.Helper()
	n, err := p2pos.New(p2pos.Config{Dir: t.TempDir(), Name: name, Listen: "127.0.0.1:0", NoLAN: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	mux.Handle("/"+name, n.MetricsHandler())
	return n
}

// answer takes two calls of three.
func answer(ctx context.Context, n *p2pos.Node) {
	i := 0
	for c := range n.Incoming(ctx) {
		if i%3 != 2 && c.Answer() == nil {
			go speak(c)
		}
		i++
	}
}

func speak(c *p2pos.Call) {
	in, out := c.Tracks()
	go func() {
		var f media.Frame
		for in.ReadFrame(context.Background(), &f) == nil {
		}
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for out.WriteFrame(&media.Frame{Payload: []byte{0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9}}) == nil {
		<-tick.C
	}
}

// startPrometheus scrapes both nodes each second and returns the address of its
// API.
func startPrometheus(t *testing.T, program, target string) string {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- {job_name: a, metrics_path: /a, static_configs: [{targets: [%q]}]}
- {job_name: b, metrics_path: /b, static_configs: [{targets: [%q]}]}
`, target, target)
	if err := os.WriteFile(filepath.Join(dir, "c.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // Prometheus doesn't tell which port it got, so one is looked for first
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "c.yml"), "--storage.tsdb.path="+filepath.Join(dir, "db"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	base := "http://" + address
	for range 600 {
		if resp, err := http.Get(base + "/-/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return base
			}
		}
		<-time.After(100 * time.Millisecond)
	}
	t.Fatal("Prometheus never became ready")
	return ""
}

// series is what a query gave: values by second since the start.
type series struct {
	name   string
	labels map[string]string
	at     []float64 // seconds since the start
	value  []float64
}

// query evaluates an expression for each second since start.
func query(t *testing.T, base, expr string, start time.Time) (list []series) {
	t.Helper()
	expr = strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", "20s").Replace(expr)
	v := url.Values{"query": {expr}, "step": {"1"}, "start": {fmt.Sprint(start.Unix())}, "end": {fmt.Sprint(time.Now().Unix())}}
	resp, err := http.Get(base + "/api/v1/query_range?" + v.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var r struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || r.Status != "success" {
		t.Errorf("%s: %v %s", expr, err, r.Error)
		return nil
	}
	for _, m := range r.Data.Result {
		s := series{labels: m.Metric}
		for _, v := range m.Values {
			x, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			if err == nil && x == x {
				s.at = append(s.at, v[0].(float64)-float64(start.Unix()))
				s.value = append(s.value, x)
			}
		}
		if len(s.at) > 0 {
			list = append(list, s)
		}
	}
	return list
}

func legend(format string, labels map[string]string) string {
	for k, v := range labels {
		format = strings.ReplaceAll(format, "{{"+k+"}}", v)
	}
	return format
}
