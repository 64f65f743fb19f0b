// SPDX-License-Identifier: 0BSD

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for an event that has to come. Nothing is
// asserted about how long it takes.
const patience = 30 * time.Second

// object is an event as a program reads it.
type object map[string]any

// rig is a whole softphone in this process, with pipes for its terminal.
type rig struct {
	t       *testing.T
	in      *io.PipeWriter
	out     *io.PipeReader
	signals chan os.Signal
	errs    syncBuffer
	events  chan object
	exit    chan int
	id      string
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start starts a phone on loopback and waits until it is ready.
func start(t *testing.T, flags ...string) *rig {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	r := &rig{t: t, in: inW, out: outR, signals: make(chan os.Signal, 1), events: make(chan object, 4096), exit: make(chan int, 1)}
	args := append([]string{"-json", "-dir", t.TempDir(), "-listen", "127.0.0.1:0"}, flags...)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		code := run(args, inR, outW, &r.errs, r.signals)
		outW.Close()
		inR.Close()
		r.exit <- code
	}()
	go func() {
		defer close(r.events)
		lines := bufio.NewScanner(outR)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var o object
			if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
				t.Errorf("not JSON: %q", lines.Text())
			}
			r.events <- o
		}
	}()
	t.Cleanup(func() {
		select {
		case r.signals <- syscall.SIGTERM:
		default:
		}
		outR.Close()
		inW.Close()
		<-ended // it writes its state at the end
	})
	r.id = r.wait("ready")["id"].(string)
	return r
}

func (r *rig) say(format string, a ...any) {
	r.t.Helper()
	if _, err := fmt.Fprintf(r.in, format+"\n", a...); err != nil {
		r.t.Fatal(err)
	}
}

// wait returns the next event of a kind, and holds all on the way to the
// contract.
func (r *rig) wait(ev string) object {
	r.t.Helper()
	late := time.After(patience)
	for {
		select {
		case o, ok := <-r.events:
			if !ok {
				r.t.Fatalf("the phone ended, no %q came; stderr: %s", ev, r.errs.String())
			}
			checkEvent(r.t, o)
			if o["ev"] == ev {
				return o
			}
		case <-late:
			r.t.Fatalf("no %q came; stderr: %s", ev, r.errs.String())
		}
	}
}

// next returns the event that comes now.
func (r *rig) next() object {
	r.t.Helper()
	select {
	case o := <-r.events:
		checkEvent(r.t, o)
		return o
	case <-time.After(patience):
		r.t.Fatal("no event came")
		return nil
	}
}

// rest returns all events until the phone ends, and how it ended.
func (r *rig) rest() (list []object, code int) {
	r.t.Helper()
	late := time.After(patience)
	for {
		select {
		case o, ok := <-r.events:
			if !ok {
				return list, <-r.exit
			}
			checkEvent(r.t, o)
			list = append(list, o)
		case <-late:
			r.t.Fatal("the phone does not end")
		}
	}
}

func (r *rig) quit() {
	r.t.Helper()
	r.say("quit")
	if _, code := r.rest(); code != 0 {
		r.t.Errorf("exit status %d after quit; stderr: %s", code, r.errs.String())
	}
}

func (r *rig) ticket() string {
	r.t.Helper()
	r.say("ticket")
	return r.wait("ticket")["ticket"].(string)
}
