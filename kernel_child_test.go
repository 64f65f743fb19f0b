// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/natlab"
	"github.com/p2pos/p2pos/media"
)

// What a node asks of its own system (routes, routers, news of interfaces) it
// has to ask in the namespace of its host. So some nodes of the laboratory are
// processes there: this test binary again, with childEnv set to its flags.
const childEnv = "P2POS_KERNEL_CHILD"

// child is such a node, seen from the test.
type child struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at its end
	heard []string    // and not asked for yet
}

// startChild starts a node on a host. Flags: portmap, lan, or name=value of join,
// stun, listen, tcp, dir, network, beside (see childBeside), and env, whose value is a variable of its environment.
func startChild(t *testing.T, h *natlab.Host, flags ...string) *child {
	t.Helper()
	c := &child{t: t, name: h.Name(), lines: make(chan string, 1024)}
	c.cmd = h.Command(context.Background(), os.Args[0], "-test.run", "^TestKernelChild$", "-test.timeout", "20m")
	if !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "dir=") }) {
		flags = append(slices.Clip(flags), "dir="+t.TempDir()) // several children share the front of a list
	}
	flags = append(flags, "name="+c.name)
	c.cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(flags, " "))
	for _, f := range flags {
		if env, ok := strings.CutPrefix(f, "env="); ok {
			c.cmd.Env = append(c.cmd.Env, env)
		}
	}
	c.cmd.Stderr = t.Output()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		c.in.Close() // it quits
		for range c.lines {
		}
		c.cmd.Wait()
	})
	return c
}

func (c *child) say(format string, a ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", a...); err != nil {
		c.t.Fatalf("%s: %v", c.name, err)
	}
}

// wait returns the rest of the first line, of those not asked for yet, that
// begins so.
func (c *child) wait(prefix string) string {
	c.t.Helper()
	rest, ok := c.find(prefix, time.Minute)
	if !ok {
		c.t.Fatalf("%s never said %q but\n%s", c.name, prefix, strings.Join(c.heard, "\n"))
	}
	return rest
}

func (c *child) find(prefix string, patience time.Duration) (string, bool) {
	for i, l := range c.heard {
		if rest, ok := strings.CutPrefix(l, prefix); ok {
			c.heard = append(c.heard[:i:i], c.heard[i+1:]...)
			return rest, true
		}
	}
	late := time.After(patience)
	for {
		select {
		case l, ok := <-c.lines:
			if !ok {
				return "", false
			}
			if rest, found := strings.CutPrefix(l, prefix); found {
				return rest, true
			}
			c.heard = append(c.heard, l)
		case <-late:
			return "", false
		}
	}
}

// ticket asks for a ticket.
func (c *child) ticket() string {
	c.t.Helper()
	c.say("ticket")
	return c.wait("ticket ")
}

// TestKernelChild is the node.
func TestKernelChild(t *testing.T) {
	flags, ok := os.LookupEnv(childEnv)
	if !ok {
		t.Skip("runs in the namespaces of other tests")
	}
	cfg, second := Config{NoPortMap: true, NoLAN: true, Listen: ":4000"}, ""
	for _, f := range strings.Fields(flags) {
		switch name, value, _ := strings.Cut(f, "="); name {
		case "portmap":
			cfg.NoPortMap = false
		case "lan":
			cfg.NoLAN = false
		case "dir":
			cfg.Dir = value
		case "join":
			cfg.Join = append(cfg.Join, value)
		case "stun":
			cfg.STUN = append(cfg.STUN, value)
		case "name":
			cfg.Name = value
		case "listen":
			cfg.Listen = value
		case "tcp":
			cfg.ListenTCP = value
		case "network":
			var err error
			if cfg.Network, err = identity.ParseNetwork(value); err != nil {
				t.Fatal(err)
			}
		case "beside":
			second = value
		}
	}
	if os.Getenv("P2POS_TEST_LOG") != "" { // the parent shows it
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", cfg.Name)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go childEvents(ctx, n)
	go childAnswers(ctx, n)
	go n.Join(ctx)
	beside := childBeside(t, cfg, second)
	placed := make(chan *Call, 1) // calls of "call" for "hangup"
	fmt.Println("id", n.ID())
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch verb, arg, _ := strings.Cut(in.Text(), " "); verb {
		case "beside":
			beside(arg)
		case "ticket":
			text, err := n.Ticket(time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println("ticket", text)
		case "nat":
			v := n.NAT()
			fmt.Println("nat", v.Behaviour.Mapping, v.PortMap)
		case "ring":
			childRings(ctx, n, arg)
		case "links": // waits for so many
			want, _ := strconv.Atoi(arg)
			go func() {
				for n.Status().Links < want {
					select {
					case <-time.After(50 * time.Millisecond):
					case <-ctx.Done():
						return
					}
				}
				fmt.Println("linked", n.Status().Links)
			}()
		case "status":
			fmt.Println("status", childStatus(n))
		case "hangup":
			select {
			case c := <-placed:
				c.HangUp()
			case <-ctx.Done():
			}
		case "call":
			go func() {
				start := time.Now()
				c, err := n.Call(ctx, arg, nil)
				if err == nil {
					err = c.Answered(ctx)
				}
				if err != nil {
					fmt.Println("failed", err)
					return
				}
				select {
				case placed <- c:
				default: // nobody hangs up here
				}
				fmt.Printf("answered %s %v after %v\n", c.Path().Kind, c.Path().Remote, time.Since(start).Round(time.Millisecond))
				go func() {
					for c.Path().Kind != "direct" {
						select {
						case <-time.After(20 * time.Millisecond):
						case <-c.Done():
							return
						}
					}
					fmt.Printf("direct %v after %v\n", c.Path().Remote, time.Since(start).Round(time.Millisecond))
				}()
				childTalks(ctx, c)
			}()
		}
	}
	start := time.Now()
	n.Shutdown(ctx)
	fmt.Println("closed", time.Since(start).Round(time.Millisecond))
}

func childEvents(ctx context.Context, n *Node) {
	for e := range n.Events(ctx) {
		switch e := e.(type) {
		case Joined:
			fmt.Println("joined", e.Links)
		case NAT:
			fmt.Println("verdict", e.Behaviour.Mapping, e.PortMap)
		case CallPath:
			fmt.Printf("path %s %v %v %s\n", e.Path.Kind, e.Path.Local, e.Path.Remote, e.Path.Reason)
		case CallRinging:
			fmt.Println("ringing", e.RTT)
		case CallAnswered:
			if !e.Call.Incoming() { // it may overtake the ringing
				fmt.Println("ringing", time.Since(e.Call.Started()))
			}
		case CallMedia:
			fmt.Println("media", time.Since(e.Call.Started()))
		case CallEnded:
			fmt.Println("ended", e.Call.Err())
		}
	}
}

func childAnswers(ctx context.Context, n *Node) {
	for c := range n.Incoming(ctx) {
		if c.Answer() == nil {
			childTalks(ctx, c)
		}
	}
}

// childTalks talks, and tells every 50 frames how many of them were not heard.
func childTalks(ctx context.Context, c *Call) {
	in, out := c.Tracks()
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for out.WriteFrame(&media.Frame{Payload: opusSpeech}) == nil {
			<-tick.C
		}
	}()
	go func() {
		var f media.Frame
		heard, lost := 0, 0
		for in.ReadFrame(ctx, &f) == nil {
			switch {
			case f.Lost:
				lost++
			case len(f.Payload) > 0:
				heard++
			}
			if (heard+lost)%50 == 0 && heard+lost > 0 {
				fmt.Println("heard", heard, "lost", lost)
				heard, lost = 0, 0
			}
		}
	}()
}
