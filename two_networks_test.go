// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
)

// tenant is a node that shares its process and its computer with one of
// another network. It keeps all that it tells its program.
type tenant struct {
	*Node
	name string
	dir  string
	ears <-chan *ear
	mail *mailOf

	mu   sync.Mutex // guards what follows
	log  strings.Builder
	told []string // by Policy and Audit
}

// Write is the end of the node's log.
func (r *tenant) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

func (r *tenant) tell(what Action, who identity.ID, node identity.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("%s %s %s", what, who.Short(), node.Short()))
}

// tenant starts a node that answers every call and reads every text.
func (s *sim) tenant(h *simnet.Host, port uint16, network Network, join ...string) *tenant {
	s.t.Helper()
	r := &tenant{name: fmt.Sprintf("%s-%s", h.Name(), network.Name), dir: s.t.TempDir()}
	n, err := New(Config{
		Dir: r.dir, Name: r.name, Network: network, Join: join, PacketConn: s.listen(h, port),
		Logger: slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Policy: func(a Ask) error { r.tell(a.Action, a.Peer, a.Node); return nil },
		Audit:  func(e AuditEvent) { r.tell(e.Action, e.Peer, e.Node) },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.nodes = append(s.nodes, n)
	r.Node = n
	r.ears, r.mail = s.callee(n), s.follow(n)
	return r
}

// Nodes of two networks share a process, their computers, and even the addresses
// they are told to join by. Each network talks as if it were alone; nobody of one
// learns of anybody of the other by links, calls, texts, events, numbers, policy,
// audit, log or disk; and when one ends in mid-call, the other one's call goes on.
func TestTwoNetworks(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		var nets [2]Network
		for i, name := range []string{"acme", "bolt"} {
			var err error
			if nets[i], err = identity.NewNetwork(name); err != nil {
				t.Fatal(err)
			}
		}
		left, right := s.public("left"), s.public("right")
		at := func(port int) string { return fmt.Sprintf("%v:%d", netip.AddrFrom4([4]byte{45, 0, 0, 1}), port) }
		acme := []*tenant{s.tenant(left, 4000, nets[0])}
		bolt := []*tenant{s.tenant(left, 4001, nets[1])}
		acme = append(acme, s.tenant(right, 4000, nets[0], at(4001), at(4000)))
		bolt = append(bolt, s.tenant(right, 4001, nets[1], at(4000), at(4001)))
		for _, r := range []*tenant{acme[1], bolt[1]} {
			if err := r.Join(t.Context()); err != nil {
				t.Fatalf("%s: %v", r.name, err)
			}
		}
		lost := s.tenant(s.public("lost"), 4000, nets[1], at(4000))
		if err := lost.Join(t.Context()); !errors.Is(err, ErrOtherNetwork) {
			t.Errorf("joined by an address of the other network: %v", err)
		}
		if _, err := bolt[1].Call(t.Context(), s.ticket(acme[0].Node), nil); !errors.Is(err, ErrOtherNetwork) {
			t.Errorf("call by a ticket of the other network: %v", err)
		}
		if _, err := bolt[1].Send(t.Context(), s.ticket(acme[0].Node), "psst"); !errors.Is(err, ErrOtherNetwork) {
			t.Errorf("text by a ticket of the other network: %v", err)
		}

		var both sync.WaitGroup
		talk := func(pair []*tenant, d time.Duration, then func()) {
			if _, err := pair[1].Send(t.Context(), s.ticket(pair[0].Node), "hello "+pair[0].name); err != nil {
				t.Error(err)
			}
			call, err := pair[1].Call(t.Context(), s.ticket(pair[0].Node), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if err := call.Answered(t.Context()); err != nil {
				t.Error(err)
			}
			s.converse(call, pair[0].ears, d, then)
		}
		// One network hangs up and closes while the other one talks on.
		both.Go(func() { talk(acme, 4*time.Second, func() {}) })
		both.Go(func() {
			talk(bolt, 12*time.Second, func() {
				for _, r := range acme {
					if r.Health() == nil {
						t.Errorf("%s is well after Close", r.name)
					}
				}
			})
		})
		time.Sleep(6 * time.Second)
		numbers := map[*tenant]string{}
		for _, r := range acme {
			numbers[r] = get(r.MetricsHandler(), "").Body.String()
		}
		s.apartFrom(acme, bolt)
		s.apartFrom(bolt, acme)
		for _, r := range acme {
			if err := r.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			r.Close()
		}
		both.Wait()
		time.Sleep(2 * time.Second)
		for _, r := range bolt {
			numbers[r] = get(r.MetricsHandler(), "").Body.String()
			r.Close()
		}
		lost.Close()
		for r, text := range numbers {
			direction := "outgoing"
			if r == acme[0] || r == bolt[0] {
				direction = "incoming"
			}
			contains(t, r.name, text, fmt.Sprintf("p2pos_calls_ended_total{direction=%q,stage=\"talk\",reason=\"hangup\"} 1.0\n", direction))
			if n := strings.Count(text, "\np2pos_calls_ended_total{"); n != 1 {
				t.Errorf("%s counts calls in %d ways", r.name, n)
			}
		}
		s.silentAbout(acme, bolt)
		s.silentAbout(bolt, acme)
		for _, r := range []*tenant{acme[0], bolt[0]} {
			if len(r.mail.texts) != 1 || r.mail.texts[0].Text != "hello "+r.name {
				t.Errorf("%s has read %v", r.name, r.mail.texts)
			}
		}
	})
}

// apartFrom checks that no node has a link outside of its network.
func (s *sim) apartFrom(these, those []*tenant) {
	s.t.Helper()
	for _, r := range these {
		st := r.Status()
		if st.Links == 0 {
			s.t.Errorf("%s has no link", r.name)
		}
		for _, p := range st.Peers {
			for _, o := range those {
				if p.Node == o.NodeID() {
					s.t.Errorf("%s is linked with %s", r.name, o.name)
				}
			}
		}
	}
}

// silentAbout checks that nothing the nodes said to their programs, or keep on
// disk, is about the other network. They are closed.
func (s *sim) silentAbout(these, those []*tenant) {
	s.t.Helper()
	for _, r := range these {
		said := r.log.String() + strings.Join(r.told, "\n")
		if !strings.Contains(said, "call") || len(r.told) == 0 {
			s.t.Errorf("%s has said nothing:\n%s", r.name, said)
		}
		entries, err := os.ReadDir(r.dir)
		if err != nil || len(entries) == 0 {
			s.t.Errorf("%s keeps nothing: %v", r.name, err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(r.dir + "/" + e.Name())
			if err != nil {
				s.t.Fatal(err)
			}
			said += string(b)
		}
		for _, o := range those {
			id, node := o.ID(), o.NodeID()
			for what, word := range map[string]string{
				"name": o.name, "ID": id.Short(), "node": node.Short(), "ID on disk": string(id[:]), "node on disk": string(node[:]),
			} {
				if strings.Contains(said, word) {
					s.t.Errorf("%s tells the %s of %s", r.name, what, o.name)
				}
			}
		}
	}
}
