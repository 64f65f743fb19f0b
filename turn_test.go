// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/overlay/relay"
)

// walled is a socket whose computer a firewall keeps from some others.
type walled struct {
	net.PacketConn
	wall *wall
}

// wall knows who is kept apart.
type wall struct{ ports [2]uint16 }

func (w walled) passes(other net.Addr) bool {
	own, far := w.LocalAddr().(*net.UDPAddr).AddrPort().Port(), other.(*net.UDPAddr).AddrPort().Port()
	return w.wall.ports != [2]uint16{own, far} && w.wall.ports != [2]uint16{far, own}
}

func (w walled) WriteTo(b []byte, to net.Addr) (int, error) {
	if !w.passes(to) {
		return len(b), nil
	}
	return w.PacketConn.WriteTo(b, to)
}

func (w walled) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := w.PacketConn.ReadFrom(b)
		if err != nil || w.passes(from) {
			return n, from, err
		}
	}
}

// freeTURN starts a turnserver on loopback and returns it as this node's.
func freeTURN(t *testing.T) TURNServer {
	bin, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("no turnserver here (Debian package coturn)")
	}
	dir, port := t.TempDir(), 20000+mrand.IntN(20000)
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-n", "-L", "127.0.0.1", "-a", "-u", "alice:wonderland", "-r", "test.example",
		"--listening-port", fmt.Sprint(port), "--alt-listening-port", fmt.Sprint(port+2), "--no-tls", "--no-dtls",
		"--allow-loopback-peers", "--cli-password", "unused", "--no-cli", "--log-file", "stdout",
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"))
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s", out.Bytes()[max(0, out.Len()-3000):])
		}
	})
	return TURNServer{URL: fmt.Sprintf("turn:127.0.0.1:%d", port), Username: "alice", Password: "wonderland"}
}

// servedTURN starts a node that serves TURN, and returns credentials there.
func servedTURN(t *testing.T) TURNServer {
	s := testNode(t, "server", Config{Listen: "127.0.0.1:0", ServeTURN: &TURNService{
		Listen: "127.0.0.1:0", Relay: netip.MustParseAddr("127.0.0.1"), Bind: netip.MustParseAddr("127.0.0.1"),
		AllowPeer: func(netip.Addr) bool { return true },
	}})
	c, err := s.TURNCredentials("alice")
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(c.Expires); left <= 0 || left > 10*time.Minute {
		t.Errorf("credentials for %v", left)
	}
	t.Cleanup(func() {
		if st := s.Status(); st.TURN.Relayed == 0 {
			t.Errorf("the service carried nothing: %+v", st.TURN)
		}
	})
	return TURNServer{URL: strings.TrimSuffix(c.URL, "?transport=udp"), Username: c.Username, Password: c.Password}
}

// Two people whose firewalls let nothing through between them talk over a TURN
// server that one of them knows, when no neighbour relays.
func TestTURN(t *testing.T) {
	for name, server := range map[string]func(*testing.T) TURNServer{"coturn": freeTURN, "another node": servedTURN} {
		t.Run(name, func(t *testing.T) {
			cfg := server(t)
			w := new(wall)
			listen := func(i int) Config {
				c, err := net.ListenPacket("udp4", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				if i >= 0 {
					w.ports[i] = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
				}
				return Config{PacketConn: walled{c, w}, Relay: RelayLimits{Rate: -1}}
			}
			ca, cb := listen(0), listen(1) // first: nobody reads the wall yet
			middle := testNode(t, "middle", listen(-1))
			join := []string{middle.Status().Listen[0].String()}
			ca.Join, cb.Join, ca.TURN = join, join, []TURNServer{cfg}
			a, b := testNode(t, "a", ca), testNode(t, "b", cb)
			for _, n := range []*Node{a, b} {
				if err := n.Join(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for i := 0; len(a.Status().AtTURN) == 0; i++ {
				if i == 3000 {
					t.Fatal("no address at the server")
				}
				<-time.After(10 * time.Millisecond)
			}
			calls := b.Incoming(t.Context())
			heard := make(chan error, 2)
			go func() {
				for c := range calls {
					if err := c.Answer(); err != nil {
						heard <- err
						return
					}
					chatter(c)
					heard <- hearSome(t.Context(), c)
					return
				}
			}()
			ticket, err := b.Ticket(time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			call, err := a.Call(t.Context(), ticket, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := call.Answered(t.Context()); err != nil {
				t.Fatal(err)
			}
			chatter(call)
			go func() { heard <- hearSome(t.Context(), call) }()
			for range 2 {
				select {
				case err := <-heard:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("nothing is heard: %+v", call.Path())
				}
			}
			if p := call.Path(); p.Kind != "relay" || p.Server == "" || len(p.Vias) > 0 {
				t.Errorf("path is %+v", p)
			}
			call.HangUp()
		})
	}
}

// chatter talks until the call ends.
func chatter(c *Call) {
	_, out := c.Tracks()
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for out.WriteFrame(&media.Frame{Payload: opusSpeech}) == nil {
			<-tick.C
		}
	}()
}

// hearSome waits for half a second of sound.
func hearSome(ctx context.Context, c *Call) error {
	in, _ := c.Tracks()
	for frames := 0; frames < 25; {
		var f media.Frame
		if err := in.ReadFrame(ctx, &f); err != nil {
			return err
		}
		if len(f.Payload) > 0 && !f.Lost {
			frames++
		}
	}
	return nil
}

// Wrong settings are refused by New; who serves no TURN gives no credentials; a guest
// without credentials gets nothing.
func TestTURNConfig(t *testing.T) {
	for _, cfg := range []Config{
		{TURN: []TURNServer{{URL: "http://example.com"}}},
		{TURN: make([]TURNServer, 3)},
		{Listen: "127.0.0.1:0", ServeTURN: &TURNService{Listen: "127.0.0.1:0"}},
	} {
		cfg.Dir = t.TempDir()
		if n, err := New(cfg); err == nil {
			n.Close()
			t.Errorf("taken: %+v", cfg)
		}
	}
	if _, err := testNode(t, "plain", Config{Listen: "127.0.0.1:0"}).TURNCredentials("guest"); err == nil {
		t.Error("credentials of a node that serves no TURN")
	}
	s := testNode(t, "server", Config{Listen: "127.0.0.1:0", ServeTURN: &TURNService{Listen: "127.0.0.1:0", Relay: netip.MustParseAddr("127.0.0.1")}})
	c, err := s.TURNCredentials("guest")
	if err != nil {
		t.Fatal(err)
	}
	var refused *relay.TURNError
	if _, err := relay.DialTURN(t.Context(), relay.TURN{URL: c.URL, Username: c.Username, Password: "guessed"}); !errors.As(err, &refused) {
		t.Errorf("guest without credentials: %v", err)
	}
}
