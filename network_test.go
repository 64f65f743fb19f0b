// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/overlay"
)

// The tests here run networks of whole nodes, with real QUIC links, over a
// simulated Internet in fake time.

// networkMix is what nodes are behind, in turn: the standard mix of NATs, one
// in ten with an address of its own, 45 % with endpoint-independent mapping and
// a strict filter, 30 % symmetric, and 15 % behind a carrier's blocks of ports.
func networkMix(i int) (nat simnet.NATConfig, public bool) {
	switch i % 20 {
	case 0, 10:
		return nat, true
	case 2, 4, 6, 8, 12, 14, 16, 18, 19:
		return simnet.NATConfig{Filtering: simnet.AddressAndPortDependent, Ports: simnet.Preserve}, false
	case 1, 5, 9, 11, 13, 17:
		return simnet.NATConfig{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random}, false
	}
	return simnet.NATConfig{
		Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, Ports: simnet.Random,
		Block: [2]uint16{20000, 20511},
	}, false
}

// crowd is a network of whole nodes.
type crowd struct {
	*sim
	nodes []*Node
}

// crowd starts n nodes in the standard mix within d. Each has a network (/16) of
// its own, and joins by one of those that have an address of their own.
func (s *sim) crowd(n int, d time.Duration) *crowd {
	c := &crowd{sim: s}
	var join []string
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		at := netip.AddrFrom4([4]byte{46, byte(i), 0, 1})
		box, public := networkMix(i)
		var h *simnet.Host
		s.net.Do(func(w *simnet.World) {
			if public {
				h = w.Host(name, access, at)
				return
			}
			box.Pool = []netip.Addr{at}
			h = w.NAT(name+"-nat", simnet.Profile{}, box).Host(name, access, netip.MustParseAddr("192.168.1.2"))
		})
		cfg := Config{}
		if len(join) > 0 {
			cfg.Join = []string{join[i%len(join)]}
		}
		node := s.start(name, cfg, s.opener(h), s.listen(h, 4000))
		if public {
			join = append(join, fmt.Sprintf("%v:4000", at))
		}
		c.nodes = append(c.nodes, node)
		s.wg.Go(func() { node.Join(context.Background()) })
		s.wg.Go(func() {
			for call := range node.Incoming(context.Background()) {
				call.Answer()
			}
		})
		<-time.After(d / time.Duration(n))
	}
	return c
}

// links returns how many links the nodes have, sorted.
func (c *crowd) links() (n []int) {
	for _, node := range c.nodes {
		n = append(n, node.Status().Links)
	}
	slices.Sort(n)
	return n
}

// census prints what the nodes look like by what they are behind. Each has to
// know so many of the nodes nearest to it.
func (c *crowd) census(least int) {
	type sum struct{ n, links, least, relayed, siblings, carrying, forwarded, introduced, records int }
	kinds := map[string]*sum{}
	for i, node := range c.nodes {
		kind := "easy"
		switch nat, public := networkMix(i); {
		case public:
			kind = "public"
		case nat.Block != [2]uint16{}:
			kind = "block"
		case nat.Mapping != 0:
			kind = "symmetric"
		}
		k := kinds[kind]
		if k == nil {
			k = &sum{least: 1 << 30}
			kinds[kind] = k
		}
		s := node.Status()
		if s.Siblings < least {
			c.t.Errorf("n%d, %s, knows %d of the nodes nearest to it:\n%v", i, kind, s.Siblings, s)
		}
		k.n++
		k.links += s.Links
		k.least = min(k.least, s.Links)
		k.relayed += s.Relayed
		k.siblings += s.Siblings
		k.carrying += s.Carrying
		k.forwarded += int(s.Forwarded)
		k.introduced += int(s.Introduced)
		k.records += s.Records
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[kind]
		mean := func(sum int) float64 { return float64(sum) / float64(k.n) }
		c.t.Logf("%3d %-9s links %5.1f (least %d), %4.1f relayed, %3.1f siblings; %4.1f carried, %4.1f records, %6.1f passed on, %5.1f introduced",
			k.n, kind, mean(k.links), k.least, mean(k.relayed), mean(k.siblings), mean(k.carrying), mean(k.records), mean(k.forwarded), mean(k.introduced))
	}
}

// ring has a node call another one by what its record says, and hang up once
// it was answered. It returns how long that took.
func (c *crowd) ring(from, to int) (time.Duration, error) {
	n, m := c.nodes[from], c.nodes[to]
	n.remember(overlay.Target{ID: m.ID(), Secret: m.dev.Reach()}) // as from a ticket without addresses
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	start := time.Now()
	call, err := n.Call(ctx, m.ID().String(), nil)
	if err != nil {
		return 0, err
	}
	err = call.Answered(ctx)
	took := time.Since(start)
	call.HangUp()
	return took, err
}

// pairs rings by n random pairs, half of the nodes at once, and reports which
// failed twice, as people call again when nobody is reached. Node keys are drawn
// anew in each run, so that few can tell what one try in a young network comes to.
func (c *crowd) pairs(rng *rand.Rand, n int) (took []time.Duration) {
	c.t.Helper()
	var mu sync.Mutex
	for n > 0 {
		order := rng.Perm(len(c.nodes))
		var wg sync.WaitGroup
		for ; len(order) > 1 && n > 0; n-- {
			from, to := order[0], order[1]
			order = order[2:]
			wg.Go(func() {
				d, err := c.ring(from, to)
				if err != nil {
					c.t.Logf("n%d calls n%d: %v; again", from, to, err)
					d, err = c.ring(from, to)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					c.t.Errorf("n%d calls n%d: %v", from, to, err)
					return
				}
				took = append(took, d)
			})
		}
		wg.Wait()
		<-time.After(time.Second) // all have hung up
	}
	slices.Sort(took)
	return took
}

// Whole nodes in the standard mix of NATs form a network within a minute:
// everybody finds everybody by the reach record alone.
func TestNetwork(t *testing.T) {
	n, least := 20, 2 // with two public nodes there are few that can carry links
	if os.Getenv("P2POS_LONG") != "" {
		n, least = 200, 8
	}
	if k, err := strconv.Atoi(os.Getenv("P2POS_NODES")); err == nil {
		n = k
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	simTest(t, func(t *testing.T, s *sim) {
		start := time.Now()
		c := s.crowd(n, 20*time.Second)
		var links []int
		for at := 20 * time.Second; at <= time.Minute; at += 10 * time.Second {
			time.Sleep(time.Until(start.Add(at)))
			links = c.links()
			t.Logf("after %v: links %d–%d, median %d; %d nodes without", at, links[0], links[n-1], links[n/2], sort.SearchInts(links, 1))
		}
		took := c.pairs(rand.New(rand.NewPCG(1, 2)), n)
		runtime.GC()
		runtime.ReadMemStats(&after)
		per := func(a, b uint64) uint64 { return (max(b, a) - a) / uint64(n) >> 10 }
		c.census(least)
		t.Logf("%d nodes: links %d–%d, median %d; heap %d kB and stacks %d kB a node; process %d MB",
			n, links[0], links[n-1], links[n/2], per(before.HeapAlloc, after.HeapAlloc), per(before.StackInuse, after.StackInuse), resident()>>20)
		if len(took) > 0 {
			t.Logf("%d of %d rings answered: median %v, p95 %v, most %v", len(took), n, took[len(took)/2], took[len(took)*95/100], took[len(took)-1])
		}
	})
}

// warnings counts what a node complains about.
type warnings struct {
	slog.Handler
	mu   sync.Mutex
	said []string
}

func (w *warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, r.Message)
	return nil
}

func (w *warnings) take() (said []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said, w.said = w.said, nil
	return said
}

// complaining starts a node on loopback whose complaints are kept.
func complaining(t *testing.T, dir string) (*Node, *warnings) {
	t.Helper()
	w := &warnings{}
	n, err := New(Config{Dir: dir, Listen: "127.0.0.1:0", NoLAN: true, Logger: slog.New(w)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n, w
}

// A state that can't be written is said once, tried again, and nothing else
// suffers.
func TestStateNotSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	n, w := complaining(t, dir)
	aside := dir + "-aside"
	for range 2 {
		if err := os.Rename(dir, aside); err != nil {
			t.Skip(err) // open files can't be moved everywhere
		}
		for range 3 {
			n.saveNow(t.Context())
		}
		if said := w.take(); !slices.Equal(said, []string{"state not saved"}) {
			t.Errorf("said %q", said)
		}
		if _, err := n.Ticket(time.Hour); err != nil {
			t.Errorf("the node suffers: %v", err)
		}
		if err := os.Rename(aside, dir); err != nil {
			t.Fatal(err)
		}
		n.saveNow(t.Context())
		if said := w.take(); len(said) > 0 {
			t.Errorf("said %q when it could be saved", said)
		}
		if _, err := os.Stat(filepath.Join(dir, stateFile)); err != nil {
			t.Error(err)
		}
		n.remember(overlay.Target{ID: identity.ID{7}, Secret: identity.Secret{8}}) // something new to be saved
	}
}

// A node starts with a state file that is damaged, and with one that holds
// damaged memories; it says so once.
func TestNodeWithDamagedState(t *testing.T) {
	dir := t.TempDir()
	n, _ := complaining(t, dir)
	key := n.dev.Derive(stateLabel)
	n.Close()
	path := filepath.Join(dir, stateFile)
	for name, write := range map[string]func() error{
		"state":                     func() error { return os.WriteFile(path, []byte("p2pos state\nrubbish"), 0o600) },
		"remembered nodes not read": func() error { return saveState(dir, key, state{memories: []byte{99, 1, 2}}) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		for _, want := range [][]string{{name}, nil} {
			n, w := complaining(t, dir)
			if said := w.take(); !slices.Equal(said, want) {
				t.Errorf("%s: said %q, want %q", name, said, want)
			}
			if err := n.Join(t.Context()); err != nil {
				t.Errorf("%s: with nothing to join: %v", name, err)
			}
			n.Close()
		}
	}
}

// resident is this process's resident set in bytes, 0 where that is not known.
func resident() int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return rss(string(b))
}

// rss reads it from a /proc/…/status.
func rss(status string) int {
	_, rest, ok := strings.Cut(status, "VmRSS:")
	if f := strings.Fields(rest); ok && len(f) > 0 {
		kb, _ := strconv.Atoi(f[0])
		return kb << 10
	}
	return 0
}
