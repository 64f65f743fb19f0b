// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
)

// softphone is examples/softphone in the namespace of a host, seen through the
// lines that it reads and writes.
type softphone struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	events chan phoneEvent // closed at its end
	id     string
	node   string

	stats, path atomic.Pointer[phoneEvent] // the latest of these
}

type phoneEvent struct {
	Ev, ID, Node, Ticket, Call, Reason, Stage, Kind, Via, Message, Portmap string
	Links, Received                                                        int
}

// buildPhone returns the program.
func buildPhone(t *testing.T) string {
	program := filepath.Join(t.TempDir(), "softphone")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./examples/softphone").CombinedOutput(); err != nil {
		t.Skipf("go build: %v\n%s", err, out)
	}
	return program
}

// startPhone starts a phone that answers every call.
func startPhone(t *testing.T, program string, h *natlab.Host, dir string, flags ...string) *softphone {
	t.Helper()
	p := &softphone{t: t, name: h.Name(), events: make(chan phoneEvent, 1<<14)}
	args := append([]string{"-json", "-answer", "-lan=false", "-dir", dir, "-name", p.name}, flags...)
	if os.Getenv("P2POS_TEST_LOG") != "" {
		args = append(args, "-v")
	}
	p.cmd = h.Command(t.Context(), program, args...)
	p.cmd.Stderr = prefixed{t.Output(), p.name}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.events)
		for s := bufio.NewScanner(out); s.Scan(); {
			var e phoneEvent
			switch err := json.Unmarshal(s.Bytes(), &e); {
			case err != nil:
			case e.Ev == "stats":
				p.stats.Store(&e)
			case e.Ev == "path":
				p.path.Store(&e)
				fallthrough
			default:
				p.events <- e
			}
		}
	}()
	t.Cleanup(p.stop)
	e := p.wait("ready", time.Minute)
	p.id, p.node = e.ID, e.Node
	return p
}

// prefixed puts a name before each line of a log, of which slog writes one at a time.
type prefixed struct {
	w    io.Writer
	name string
}

func (p prefixed) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Fprintf(p.w, "%s %s", p.name, line); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// stop lets the phone quit and waits for it.
func (p *softphone) stop() {
	fmt.Fprintln(p.in, "quit")
	for range p.events {
	}
	p.cmd.Wait()
}

// until returns the first event that is wanted.
func (p *softphone) until(d time.Duration, want func(phoneEvent) bool) (phoneEvent, bool) {
	late := time.After(d)
	for {
		select {
		case e, ok := <-p.events:
			if !ok || want(e) {
				return e, ok
			}
		case <-late:
			return phoneEvent{}, false
		}
	}
}

func (p *softphone) wait(ev string, d time.Duration) phoneEvent {
	e, ok := p.until(d, func(e phoneEvent) bool { return e.Ev == ev })
	if !ok {
		p.t.Errorf("%s: no %q event", p.name, ev)
	}
	return e
}

// ask gives a command and returns the event that answers it.
func (p *softphone) ask(command, ev string) phoneEvent {
	fmt.Fprintln(p.in, command)
	return p.wait(ev, time.Minute)
}

// call calls somebody, hears him and hangs up. It returns "" or what went wrong.
func (p *softphone) call(to string) string {
	fmt.Fprintln(p.in, "call "+to)
	e, ok := p.until(time.Minute, func(e phoneEvent) bool { return e.Ev == "outgoing" || e.Ev == "error" })
	if !ok || e.Ev == "error" {
		return "call refused: " + e.Message
	}
	id := e.Call
	e, ok = p.until(time.Minute, func(e phoneEvent) bool { return e.Call == id && (e.Ev == "media" || e.Ev == "ended") })
	switch {
	case !ok:
		return "nothing heard"
	case e.Ev == "ended":
		return e.Reason + " at " + e.Stage
	}
	fmt.Fprintln(p.in, "hangup")
	if _, ok = p.until(time.Minute, func(e phoneEvent) bool { return e.Call == id && e.Ev == "ended" }); !ok {
		return "no end"
	}
	return ""
}

// everyDirection lets everybody call everybody, six pairs at a time, until all
// calls came through or time is up; to names whom the second is to the first.
func everyDirection(t *testing.T, phones []*softphone, until time.Time, to func(a, b int) string) {
	t.Helper()
	n := len(phones)
	for r := range n - 1 {
		at := func(k int) int { // the circle method
			if k == 0 {
				return 0
			}
			return 1 + (k-1+r)%(n-1)
		}
		for _, back := range []bool{false, true} {
			type end struct {
				a, b int
				why  string
			}
			ends := make(chan end)
			for k := range n / 2 {
				a, b := at(k), at(n-1-k)
				if back {
					a, b = b, a
				}
				go func() {
					why := phones[a].call(to(a, b))
					for why != "" && time.Now().Before(until) {
						t.Logf("%s calls %s: %s; again", phones[a].name, phones[b].name, why)
						<-time.After(500 * time.Millisecond)
						why = phones[a].call(to(a, b))
					}
					ends <- end{a, b, why}
				}()
			}
			for range n / 2 {
				if e := <-ends; e.why != "" {
					t.Errorf("%s calls %s: %s", phones[e.a].name, phones[e.b].name, e.why)
				}
			}
		}
	}
}

// patience is for a machine that is busy with other things: an idle one needs a
// minute for all calls of a round, which the test prints.
const patience = 5 * time.Minute

// Twelve softphones, all behind kernel NATs with no public host, call each other
// in any direction: first by ticket, then as contacts by ID; after all are stopped,
// their NATs have forgotten everything and they are started again with no -join,
// they do so again within two minutes.
func TestKernelPhones(t *testing.T) {
	n := 12
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("long: set P2POS_LONG")
	}
	program := buildPhone(t)
	w := buildTown(t, n)
	phones := make([]*softphone, n)
	tickets := make([]string, n)
	start := func(i int, flags ...string) {
		if i > 0 {
			flags = append(flags, "-portmap=false")
		}
		phones[i] = startPhone(t, program, w.hosts[i], w.dirs[i], flags...)
	}
	start(0)
	mapped := phones[0].ask("nat", "nat")
	for tries := 0; mapped.Portmap == "none" && tries < 300; tries++ {
		<-time.After(100 * time.Millisecond)
		mapped = phones[0].ask("nat", "nat")
	}
	first := phones[0].ask("ticket", "ticket").Ticket
	for i := 1; i < n; i++ {
		start(i, "-join", first)
	}
	for _, p := range phones[1:] {
		p.wait("joined", time.Minute)
	}
	for i, p := range phones {
		tickets[i] = p.ask("ticket", "ticket").Ticket
	}
	began := time.Now()
	everyDirection(t, phones, began.Add(patience), func(_, b int) string { return tickets[b] })
	t.Logf("%d calls by ticket in %v", n*(n-1), time.Since(began).Round(time.Second))
	for a, p := range phones {
		for b := range phones {
			if a != b {
				p.ask(fmt.Sprintf("add %s n%d", tickets[b], b), "contact")
			}
		}
	}
	ids := func(_, b int) string { return phones[b].id }
	began = time.Now()
	everyDirection(t, phones, began.Add(patience), ids)
	t.Logf("%d calls by ID in %v", n*(n-1), time.Since(began).Round(time.Second))
	for _, p := range phones {
		p.stop()
	}
	for _, h := range w.hosts {
		h.Site().Flush() // as if a night had passed
	}
	again := time.Now()
	for i := range phones {
		start(i)
	}
	everyDirection(t, phones, again.Add(patience), ids)
	t.Logf("%d calls by ID within %v of the restart (to be 2 min), nothing to join", n*(n-1), time.Since(again).Round(time.Second))
	var links []string
	for _, p := range phones {
		links = append(links, fmt.Sprint(p.ask("status", "status").Links))
	}
	t.Logf("links %s", strings.Join(links, " "))
}
