// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/natlab"
	"github.com/p2pos/p2pos/media"
)

// A town is a network of processes, each behind a NAT of its own. Nobody in it
// can be written to by strangers but the first, whose router opens a port when
// it is asked to (UPnP).
type town struct {
	t     *testing.T
	lab   *natlab.Lab
	hosts []*natlab.Host
	dirs  []string
	nodes []*child // nil = stopped
	ids   []string
}

// townKinds are what the others are behind, in turn.
var townKinds = [...]natlab.Kind{
	natlab.EIMAPDF, natlab.EIMEIF, natlab.APDM, natlab.EIMAPDF, natlab.CGN,
	natlab.EIMADF, natlab.EIMAPDF, natlab.APDM, natlab.EIMEIF, natlab.APDMBlock, natlab.EIMAPDF,
}

func buildTown(t *testing.T, n int) *town {
	natlab.NeedPortMap(t)
	w := &town{t: t, lab: natlab.New(t)}
	w.hosts = append(w.hosts, w.lab.Build("n0", natlab.Spec{Kernel: &natlab.Kernel{}, PortMap: natlab.UPnP}))
	for i := 1; i < n; i++ {
		w.hosts = append(w.hosts, w.lab.Site("n"+strconv.Itoa(i), townKinds[(i-1)%len(townKinds)]))
	}
	for range n {
		w.dirs = append(w.dirs, t.TempDir())
	}
	w.nodes, w.ids = make([]*child, n), make([]string, n)
	return w
}

// start starts a node. An empty join is none.
func (w *town) start(i int, join string) *child {
	w.t.Helper()
	flags := []string{"listen=", "dir=" + w.dirs[i]}
	if i == 0 {
		flags = append(flags, "portmap")
	}
	if join != "" {
		flags = append(flags, "join="+join)
	}
	w.nodes[i] = startChild(w.t, w.hosts[i], flags...)
	return w.nodes[i]
}

// stop ends a node in order, and waits for its process.
func (w *town) stop(i int) {
	c := w.nodes[i]
	c.in.Close()
	for range c.lines {
	}
	c.cmd.Wait()
}

// each does something for all nodes at once.
func (w *town) each(f func(i int)) {
	var wg sync.WaitGroup
	for i := range w.nodes {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// links returns how many links each node has.
func (w *town) links() (n []int) {
	for _, c := range w.nodes {
		c.say("status")
		k, _ := strconv.Atoi(strings.Fields(c.wait("status "))[0])
		n = append(n, k)
	}
	return n
}

// settle waits until everybody has so many links, for at most d.
func (w *town) settle(links int, d time.Duration) {
	w.t.Helper()
	late := time.After(d)
	for {
		n := w.links()
		if slices.Min(n) >= links {
			w.t.Logf("links %v", n)
			return
		}
		select {
		case <-time.After(time.Second):
		case <-late:
			w.t.Fatalf("links %v after %v", n, d)
		}
	}
}

// ring has a node call somebody, hear him and hang up. It returns "" or what
// went wrong.
func (w *town) ring(from int, to string) string {
	w.nodes[from].say("ring %s", to)
	got, ok := w.nodes[from].find("rang ", time.Minute)
	switch rest, good := strings.CutPrefix(got, "well "); {
	case !ok:
		return "no end"
	case good:
		w.t.Logf("n%d: %s", from, rest)
		return ""
	}
	return got
}

// round has half of the nodes call the other half at once, as the circle method
// pairs them: in n-1 rounds everybody has met everybody. It returns the pairs
// that failed.
func (w *town) round(r int, back bool, name func(i int) string) (failed []string) {
	n := len(w.nodes) &^ 1
	at := func(k int) int {
		if k == 0 {
			return 0
		}
		return 1 + (k-1+r)%(n-1)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for k := range n / 2 {
		turns <- struct{}{}
		a, b := at(k), at(n-1-k)
		if back {
			a, b = b, a
		}
		wg.Go(func() {
			defer func() { <-turns }()
			if why := w.ring(a, name(b)); why != "" {
				mu.Lock()
				failed = append(failed, fmt.Sprintf("n%d (%s) calls n%d (%s): %s", a, w.kind(a), b, w.kind(b), why))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// atOnce calls are made at a time: what two cores carry, with both ends, their
// NATs and the Internet between them on one machine.
const atOnce = 6

func (w *town) kind(i int) natlab.Kind {
	if i == 0 {
		return "upnp"
	}
	return townKinds[(i-1)%len(townKinds)]
}

// insist repeats a round's failed calls until the deadline: nodes that have
// only just found each other publish where they are.
//
// It returns how many failed at first.
func (w *town) insist(until time.Time, r int, back bool, name func(i int) string) (again int) {
	w.t.Helper()
	for try := 0; ; try++ {
		failed := w.round(r, back, name)
		if len(failed) == 0 {
			return again
		}
		if try == 0 {
			again = len(failed)
		}
		w.t.Logf("round %d: %d calls failed: %s", r, len(failed), strings.Join(failed, "; "))
		if time.Now().After(until) {
			w.t.Fatalf("round %d: %d calls still fail", r, len(failed))
		}
	}
}

// memory returns the resident set of each process in bytes.
func (w *town) memory() (n []int) {
	for _, c := range w.nodes {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
		if err != nil {
			w.t.Fatal(err)
		}
		n = append(n, rss(string(b)))
	}
	return n
}

// found starts the network: the first node alone, the others by its ticket.
func (w *town) found() {
	w.t.Helper()
	first := w.start(0, "")
	w.ids[0] = first.wait("id ")
	for tries := 0; ; tries++ {
		first.say("nat")
		got := first.wait("nat ")
		if strings.HasSuffix(got, "upnp") {
			break
		}
		if tries == 600 { // a minute
			w.t.Fatalf("no port was opened: %s", got)
		}
		<-time.After(100 * time.Millisecond)
	}
	ticket := first.ticket()
	for i := range w.nodes {
		if i > 0 {
			w.ids[i] = w.start(i, ticket).wait("id ")
		}
	}
}

// Processes behind kernel NATs, none of them public, form a network by tickets
// and call each other; all are stopped, their NATs forget everything, and they
// are started again, with nothing but their directories: they call each other by
// ID.
func TestKernelTown(t *testing.T) {
	t.Parallel()
	n, rounds := 5, 2
	if os.Getenv("P2POS_LONG") != "" {
		n, rounds = 12, 11
	}
	w := buildTown(t, n)
	w.found()
	w.settle(2, time.Minute)
	tickets := make([]string, n)
	for i := range w.nodes {
		tickets[i] = w.nodes[i].ticket()
	}
	start := time.Now()
	for r := range rounds {
		for _, back := range []bool{false, true} {
			if failed := w.round(r, back, func(i int) string { return tickets[i] }); len(failed) > 0 {
				t.Errorf("round %d by ticket: %s", r, strings.Join(failed, "; "))
			}
			if failed := w.round(r, back, func(i int) string { return w.ids[i] }); len(failed) > 0 {
				t.Errorf("round %d by ID: %s", r, strings.Join(failed, "; "))
			}
		}
	}
	t.Logf("%d rounds in %v", rounds, time.Since(start).Round(time.Second))
	if d := memorableTime - time.Since(start); d > 0 {
		<-time.After(d)
	}
	w.each(w.stop)
	for _, h := range w.hosts {
		h.Site().Flush() // as if a night had passed: no NAT has any mapping left
	}
	t.Log("all stopped")
	for i := range w.nodes {
		w.start(i, "")
	}
	again := time.Now()
	until := again.Add(2 * time.Minute)
	for r := range rounds {
		for _, back := range []bool{false, true} {
			w.insist(until, r, back, func(i int) string { return w.ids[i] })
		}
		t.Logf("round %d by ID done %v after the restart", r, time.Since(again).Round(100*time.Millisecond))
	}
	t.Logf("links %v", w.links())
}

// memorableTime is how long links have to stand to be remembered, 20 s, and a
// second for the slower end of each.
const memorableTime = 21 * time.Second

// Fifty processes behind kernel NATs find each other, each each other one, and
// keep below 40 MB.
func TestKernelCity(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("long: set P2POS_LONG")
	}
	w := buildTown(t, 50)
	w.found()
	w.settle(1, 3*time.Minute)
	start := time.Now()
	again := 0
	for r := range len(w.nodes) - 1 {
		again += w.insist(time.Now().Add(2*time.Minute), r, r%2 == 1, func(i int) string { return w.nodes[i].ticket() })
	}
	t.Logf("%d pairs in %v, %d of them at the second try or later", len(w.nodes)*(len(w.nodes)-1)/2, time.Since(start).Round(time.Second), again)
	links, rss := w.links(), w.memory()
	for i := range links {
		t.Logf("n%d %s: %d links, RSS %.1f MB", i, w.kind(i), links[i], float64(rss[i])/1e6)
	}
	if m := slices.Max(rss); m > 40e6 && !raceDetector() {
		t.Errorf("a process takes %.1f MB", float64(m)/1e6)
	}
}

// raceDetector reports whether this binary runs under it.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// childRings calls somebody, hears half a second of him, and hangs up.
func childRings(ctx context.Context, n *Node, to string) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var c *Call
	err := ErrBusy // until both have heard that an earlier call is over
	for errors.Is(err, ErrBusy) && time.Since(start) < 10*time.Second {
		if c, err = n.Call(ctx, to, nil); err == nil {
			err = c.Answered(ctx)
		}
		if err != nil {
			<-time.After(50 * time.Millisecond)
		}
	}
	if err != nil {
		fmt.Println("rang badly:", oneLine(err))
		return
	}
	took := time.Since(start)
	in, out := c.Tracks()
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for out.WriteFrame(&media.Frame{Payload: opusSpeech}) == nil {
			<-tick.C
		}
	}()
	var f media.Frame
	for heard := 0; heard < 25; {
		if err := in.ReadFrame(ctx, &f); err != nil {
			if errors.Is(err, io.EOF) {
				err = c.Err()
			}
			fmt.Println("rang badly: answered, but", oneLine(err))
			c.HangUp()
			return
		}
		if len(f.Payload) > 0 {
			heard++
		}
	}
	path := c.Path()
	c.HangUp()
	<-c.Done()
	fmt.Printf("rang well %s after %v\n", path.Kind, took.Round(time.Millisecond))
}

func oneLine(err error) string { return strings.ReplaceAll(fmt.Sprint(err), "\n", "; ") }

// childStatus is the node's links, and what the Go heap holds.
func childStatus(n *Node) string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("%d links, heap %d kB", n.Status().Links, m.HeapInuse>>10)
}

// Two lonely nodes, each behind a NAT and with a STUN server to ask, meet by two
// tickets pasted both ways.
func TestKernelTwoTickets(t *testing.T) {
	t.Parallel()
	natlab.Need(t)
	l := natlab.New(t)
	var srv stunServer
	for i := range srv.conns {
		h := l.Public("stun" + strconv.Itoa(i))
		for j := range srv.conns[i] {
			conn, err := h.Listen("udp4", netip.AddrPortFrom(h.Addr(), uint16(3478+j)).String())
			if err != nil {
				t.Fatal(err)
			}
			srv.conns[i][j] = conn
		}
	}
	var wg sync.WaitGroup
	for i := range srv.conns {
		for j := range srv.conns[i] {
			wg.Go(func() { srv.serve(i, j) })
		}
	}
	defer wg.Wait()
	defer func() {
		for _, c := range slices.Concat(srv.conns[0][:], srv.conns[1][:]) {
			c.Close()
		}
	}()
	stun := "stun=" + srv.conns[0][0].LocalAddr().String()
	a := startChild(t, l.Site("a", natlab.EIMAPDF), stun)
	a.wait("verdict endpoint-independent")
	b := startChild(t, l.Site("b", natlab.EIMRandom), stun, "join="+a.ticket())
	b.wait("verdict endpoint-independent")
	a.say("ring %s", b.ticket())
	if got := a.wait("rang "); !strings.HasPrefix(got, "well") {
		t.Fatal(got)
	}
}
