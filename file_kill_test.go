// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fileChildEnv makes TestFileChild one side of a transfer: its value is role,
// directory of the node, where to join, and what the role needs, a line each.
const fileChildEnv = "P2POS_FILE_CHILD"

// TestFileChild is a process of TestFileKilled.
func TestFileChild(t *testing.T) {
	env := strings.Split(os.Getenv(fileChildEnv), "\n")
	if len(env) != 5 {
		t.Skip("is a process of TestFileKilled")
	}
	role, dir, join := env[0], env[1], env[2]
	cfg := Config{Dir: dir, Listen: "127.0.0.1:0", Join: []string{join}}
	if os.Getenv("P2POS_DEBUG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("role", role)
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := n.Events(t.Context())
	if role == "receiver" {
		ticket, err := n.Ticket(time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("ticket", ticket)
	}
	list := n.Transfers()
	var x *Transfer
	switch {
	case len(list) > 0:
		x = list[0]
	case role == "sender":
		// It may have been complete when it was killed, and not have said so.
		for r, err := range n.History(t.Context()) {
			if err == nil && r.File != nil {
				fmt.Println("ended", r.File.State)
				return
			}
		}
		if x, err = n.SendFile(t.Context(), env[3], env[4]); err != nil {
			t.Fatal(err)
		}
	default:
		for r, err := range n.History(t.Context()) {
			if err == nil && r.File != nil {
				fmt.Println("ended", r.File.State)
				<-t.Context().Done() // the sender may have to hear of it
			}
		}
		for e := range events {
			if f, ok := e.(FileEvent); ok && f.State == FileOffered {
				x = f.Transfer
				break
			}
		}
	}
	if x.State() == FileOffered && x.Incoming() {
		if err := x.Accept(env[3]); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(2 * time.Millisecond)
	last := int64(-1)
	for {
		if done := x.Progress().Done; done != last && done > 0 {
			last = done
			fmt.Println("at", done)
		}
		select {
		case <-x.Done():
			fmt.Println("ended", x.State())
			if role == "receiver" {
				<-t.Context().Done()
			}
			return
		case <-tick.C:
		}
	}
}

// process is a child that is started again after each kill, and what its lines
// have told in all its lives.
type process struct {
	t   *testing.T
	env string
	cmd *exec.Cmd
	end chan struct{} // closed when its output has ended

	mu     sync.Mutex // guards what follows
	ticket string
	at     int64  // how far it is
	most   int64  // how far it ever was
	moved  int64  // all that it has gone forward, what was done twice included
	lives  int    // in how many it has gone forward
	fresh  bool   // it hasn't in this one
	ended  string // the state at the end
	news   chan struct{}
}

func (p *process) start() {
	p.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		p.t.Skip("no way to start this program again: ", err)
	}
	p.cmd = exec.Command(exe, "-test.run=^TestFileChild$", "-test.timeout=20m")
	p.cmd.Env = append(os.Environ(), fileChildEnv+"="+p.env)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.end, p.fresh = make(chan struct{}), true
	go func(end chan<- struct{}) {
		defer close(end)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.line(in.Text())
		}
	}(p.end)
}

func (p *process) line(l string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch word, rest, _ := strings.Cut(l, " "); word {
	case "ticket":
		p.ticket = rest
	case "ended":
		p.ended = rest
	case "at":
		n, _ := strconv.ParseInt(rest, 10, 64)
		if p.fresh {
			p.fresh = false
			p.lives++
		} else if n > p.at {
			p.moved += n - p.at
		}
		p.at, p.most = n, max(p.most, n)
	}
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.end
	p.cmd.Wait()
}

// wait waits until f holds; f is called under the process's lock.
func (p *process) wait(what string, f func() bool) {
	p.t.Helper()
	late := time.After(3 * time.Minute)
	for {
		p.mu.Lock()
		ok := f()
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-p.news:
		case <-late:
			p.t.Fatalf("waited for three minutes: %s", what)
		}
	}
}

// Either side is killed at random moments, again and again. The transfer goes
// on where it was, and the file is there once, whole.
func TestFileKilled(t *testing.T) {
	kills, size := 2, 8<<20
	if os.Getenv("P2POS_LONG") != "" {
		kills, size = 100, 800<<20
	}
	hub := newNodeHere(t, t.TempDir())
	join := hub.Status().Listen[0].String()
	target := t.TempDir()
	path, content := randomFile(t, "film.bin", size)
	receiver := &process{t: t, news: make(chan struct{}, 1), env: strings.Join([]string{"receiver", t.TempDir(), join, target, ""}, "\n")}
	receiver.start()
	receiver.wait("ticket", func() bool { return receiver.ticket != "" })
	sender := &process{t: t, news: make(chan struct{}, 1), env: strings.Join([]string{"sender", t.TempDir(), join, receiver.ticket, path}, "\n")}
	sender.start()
	defer func() {
		sender.kill()
		receiver.kill()
	}()
	rng := rand.New(rand.NewPCG(3, 3))
	done := 0
	for ; done < kills; done++ {
		goal := int64(done)*int64(size)/int64(kills+1) + rng.Int64N(int64(size)/int64(kills+1))
		receiver.wait("progress", func() bool { return receiver.at >= goal && !receiver.fresh || receiver.ended != "" })
		if receiver.ended != "" {
			break
		}
		for i, p := range []*process{sender, receiver} {
			if rng.IntN(2) == 0 || i == 1 && rng.IntN(2) == 0 {
				p.kill()
				p.start()
			}
		}
	}
	receiver.wait("the end", func() bool { return receiver.ended != "" })
	sender.wait("its end", func() bool { return sender.ended != "" })
	if receiver.ended != "complete" || sender.ended != "complete" {
		t.Errorf("receiver: %s, sender: %s", receiver.ended, sender.ended)
	}
	same(t, filepath.Join(target, "film.bin"), content)
	if list, err := os.ReadDir(target); err != nil || len(list) != 1 {
		t.Errorf("in the directory: %v, %v", list, err)
	}
	// What was under way at a kill goes again: 4 MiB and a chunk at most.
	t.Logf("%d kills; %d MB for %d MB went from the sender", done, sender.moved/1_000_000, size/1_000_000)
	if limit := int64(size) + int64(done)*(5<<20); sender.moved > limit {
		t.Errorf("%d bytes were sent for %d", sender.moved, size)
	}
}
