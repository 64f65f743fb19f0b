// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media"
)

// The tests here run whole nodes over a simulated Internet in fake time.

// oneWay is the delay of each host's access link; two of them lie between any
// two hosts, so a round trip is four.
const oneWay = 12500 * time.Microsecond

// access is what every host in these tests has.
var access = simnet.Profile{Delay: oneWay}

// simTest runs f in a bubble with a world of its own.
func simTest(t *testing.T, f func(t *testing.T, s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := simnet.NewWorld(1, time.Now())
		s := &sim{t: t, world: w, net: simnet.Start(w)}
		defer func() {
			for i := len(s.nodes) - 1; i >= 0; i-- {
				if o, err := s.nodes[i].ov.Status(context.Background()); err == nil && o.Missed > 0 {
					t.Errorf("%s: %d peers were not looked at in time", s.nodes[i].cfg.Name, o.Missed)
				}
				s.nodes[i].Close()
			}
			s.net.Close()
			s.wg.Wait()
		}()
		f(t, s)
	})
}

type sim struct {
	t     *testing.T
	world *simnet.World
	net   *simnet.Net
	nodes []*Node
	hosts int
	slack int // frames that converse lets go
	wg    sync.WaitGroup
}

// public returns a host with an address of its own.
func (s *sim) public(name string) (h *simnet.Host) {
	s.hosts++
	s.net.Do(func(w *simnet.World) { h = w.Host(name, access, netip.AddrFrom4([4]byte{45, 0, 0, byte(s.hosts)})) })
	return h
}

// behind returns a host behind a NAT of its own. The NAT's delay is nil: the
// host's is the access link's.
func (s *sim) behind(name string, c simnet.NATConfig) (h *simnet.Host) {
	s.hosts++
	c.Pool = []netip.Addr{netip.AddrFrom4([4]byte{46, 0, 0, byte(s.hosts)})}
	s.net.Do(func(w *simnet.World) {
		h = w.NAT(name+"-nat", simnet.Profile{}, c).Host(name, access, netip.MustParseAddr("192.168.1.2"))
	})
	return h
}

func (s *sim) listen(h *simnet.Host, port uint16) net.PacketConn {
	s.t.Helper()
	c, err := s.net.Listen(h, port)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *sim) node(h *simnet.Host, cfg Config) *Node {
	s.t.Helper()
	return s.start(h.Name(), cfg, nil, s.listen(h, 4000))
}

func (s *sim) nodeOn(name string, cfg Config, conns ...net.PacketConn) *Node {
	s.t.Helper()
	return s.start(name, cfg, nil, conns...)
}

// opener opens further sockets of a host.
func (s *sim) opener(h *simnet.Host) opener {
	return func(_ bool, port uint16) (net.PacketConn, error) { return s.net.Listen(h, port) }
}

func (s *sim) start(name string, cfg Config, open opener, conns ...net.PacketConn) *Node {
	s.t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = s.t.TempDir()
	}
	cfg.Name, cfg.Logger = name, testLog(s.t, name)
	if only := os.Getenv("P2POS_TEST_ONLY"); only != "" && !strings.Contains(","+only+",", ","+name+",") {
		cfg.Logger = nil
	}
	n, err := newNode(cfg, conns, open)
	if err != nil {
		s.t.Fatal(err)
	}
	s.nodes = append(s.nodes, n)
	return n
}

func (s *sim) ticket(n *Node) string {
	s.t.Helper()
	text, err := n.Ticket(time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// talk writes a frame each 20 ms until the call ends.
func (s *sim) talk(c *Call) {
	_, out := c.Tracks()
	s.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for out.WriteFrame(&media.Frame{Payload: opusSpeech}) == nil {
			<-tick.C
		}
	})
}

// opusSpeech is 20 ms of something that is not silence to the media package.
var opusSpeech = []byte{0x78, 1, 2, 3, 4, 5, 6, 7, 8, 9}

// ear reads a call's frames until it ends.
type ear struct {
	frames, lost int          // once done
	from, to     time.Time    // when frames were lost
	sofar        atomic.Int64 // frames, at any time
	done         chan struct{}
}

// heard returns the frames so far, of a call that goes on.
func (e *ear) heard() int {
	synctest.Wait()
	return int(e.sofar.Load())
}

func (s *sim) hear(c *Call) *ear {
	in, _ := c.Tracks()
	e := &ear{done: make(chan struct{})}
	s.wg.Go(func() {
		defer close(e.done)
		var f media.Frame
		for {
			err := in.ReadFrame(context.Background(), &f)
			switch {
			case err == nil && f.Lost:
				if e.lost++; e.lost == 1 {
					e.from = time.Now()
				}
				e.to = time.Now()
			case err == nil && len(f.Payload) > 0:
				e.frames++
				e.sofar.Add(1)
			case errors.Is(err, io.EOF):
				// What only lengthens the delay, since packets took a longer way at the
				// beginning, looks the same frame by frame and is no loss.
				e.lost -= int(c.Stats().InsertedSamples / 960)
				return
			}
		}
	})
	return e
}

// callee answers every call, talks, and hands its ears out.
func (s *sim) callee(n *Node) <-chan *ear {
	ears := make(chan *ear, 8)
	calls := n.Incoming(context.Background())
	s.wg.Go(func() {
		for c := range calls {
			if c.Answer() == nil {
				s.talk(c)
				ears <- s.hear(c)
			}
		}
	})
	return ears
}

// converse lets a call run for d and checks that nothing was lost on either
// side. Before it hangs up it calls what is given.
func (s *sim) converse(call *Call, theirs <-chan *ear, d time.Duration, then ...func()) {
	s.t.Helper()
	s.talk(call)
	mine := s.hear(call)
	time.Sleep(d)
	for _, f := range then {
		f()
	}
	if err := call.HangUp(); err != nil {
		s.t.Fatal(err)
	}
	other := <-theirs
	<-mine.done
	<-other.done
	want := int((d - 500*time.Millisecond) / (20 * time.Millisecond))
	for who, e := range map[string]*ear{"caller": mine, "callee": other} {
		if e.frames < want || e.lost > s.slack {
			s.t.Errorf("%s heard %d frames, want %d; %d lost", who, e.frames, want, e.lost)
		}
	}
}

// Two nodes behind NATs with endpoint-independent mapping and the strictest
// filter find each other through an ordinary third one and punch.
func TestIntroductionThroughNATs(t *testing.T) {
	for _, filter := range []simnet.Behaviour{simnet.EndpointIndependent, simnet.AddressDependent, simnet.AddressAndPortDependent} {
		t.Run(filter.String(), func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				c := s.public("c")
				s.node(c, Config{})
				join := []string{fmt.Sprintf("%v:4000", c.Addrs()[0])}
				nat := simnet.NATConfig{Filtering: filter, Ports: simnet.Random}
				a, b := s.node(s.behind("a", nat), Config{Join: join}), s.node(s.behind("b", nat), Config{Join: join})
				for _, n := range []*Node{a, b} {
					if err := n.Join(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				ears := s.callee(b)
				call, err := a.Call(t.Context(), s.ticket(b), nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := call.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				if p := call.Path(); p.Kind != "direct" {
					t.Errorf("path is %+v", p)
				}
				s.converse(call, ears, 3*time.Second)
			})
		})
	}
}

// rtt is a round trip between two hosts of these tests.
const rtt = 4 * oneWay

// The first media packet is back within two round trips of the INVITE (one,
// plus what the loops take), and a link stands within two of the first packet.
func TestRoundTrips(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		b := s.node(s.public("b"), Config{})
		bAddr := b.Status().Listen[0]
		a := s.node(s.public("a"), Config{Join: []string{bAddr.String()}})
		start := time.Now()
		if err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*rtt+5*time.Millisecond {
			t.Errorf("link up after %v, want 2 round trips of %v", took, rtt)
		}
		ears := s.callee(b)
		ticket := s.ticket(b)
		for range 2 { // the second call finds link and session in place
			events := a.Events(t.Context())
			start = time.Now()
			call, err := a.Call(t.Context(), ticket, nil)
			if err != nil {
				t.Fatal(err)
			}
			var ringing, media time.Duration
			for e := range events {
				switch e := e.(type) {
				case CallRinging:
					ringing = e.RTT
				case CallMedia:
					media = time.Since(call.Started())
				}
				if media > 0 {
					break
				}
			}
			t.Logf("ringing %v, first media %v after the INVITE, %v after Call", ringing, media, time.Since(start))
			if media > rtt+5*time.Millisecond {
				t.Errorf("first media after %v, want one round trip of %v", media, rtt)
			}
			call.HangUp()
			<-(<-ears).done
		}
	})
}

// A socket that dies in mid-call is hardly heard: what was on its way is sent
// again, and of that at most one frame comes too late for a playout buffer as
// short as a clean network's.
func TestPulledSocket(t *testing.T) {
	for _, who := range []string{"caller", "callee"} {
		t.Run(who, func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				ha, hb := s.public("a"), s.public("b")
				conns := []net.PacketConn{s.listen(ha, 4000), s.listen(ha, 4001)}
				b := s.node(hb, Config{})
				a := s.nodeOn("a", Config{}, conns...)
				caller, callee := a, b
				if who == "callee" {
					caller, callee = b, a
				}
				ears := s.callee(callee)
				call, err := caller.Call(t.Context(), s.ticket(callee), nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := call.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				go func() {
					time.Sleep(3 * time.Second)
					pull := 0
					if a.calls0().Path().Local == a.Status().Listen[1] {
						pull = 1
					}
					conns[pull].Close()
				}()
				s.slack = 1
				s.converse(call, ears, 6*time.Second)
			})
		})
	}
}

// calls0 returns the node's only call.
func (n *Node) calls0() *Call {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.handles {
		return c
	}
	return nil
}

// A link that breaks under a call is not heard, and the call can still be hung
// up from both sides: the nodes link and prove themselves again.
func TestLinkBreaksInCall(t *testing.T) {
	for _, ender := range []string{"caller", "callee"} {
		t.Run(ender, func(t *testing.T) {
			simTest(t, func(t *testing.T, s *sim) {
				b, a := s.node(s.public("b"), Config{}), s.node(s.public("a"), Config{})
				ears := s.callee(b)
				call, err := a.Call(t.Context(), s.ticket(b), nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := call.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.talk(call)
				mine, theirs := s.hear(call), <-ears
				time.Sleep(2 * time.Second)
				peers, err := a.ov.Peers(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				peers[0].Link().Abort()
				time.Sleep(5 * time.Second)
				if st := a.Status(); st.Links != 1 {
					t.Errorf("%d links", st.Links)
				}
				end := call
				if ender == "callee" {
					end = b.calls0()
				}
				start := time.Now()
				end.HangUp()
				<-mine.done
				<-theirs.done
				if took := time.Since(start); took > rtt {
					t.Errorf("the other side noticed after %v", took)
				}
				if mine.lost+theirs.lost > 0 {
					t.Errorf("lost %d and %d frames", mine.lost, theirs.lost)
				}
			})
		})
	}
}
