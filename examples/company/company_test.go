// SPDX-License-Identifier: 0BSD

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// terminal is one program with its output, line by line.
type terminal struct {
	t     *testing.T
	in    *io.PipeWriter
	lines chan string
}

func (w *terminal) wait(want string) string {
	w.t.Helper()
	late := time.After(time.Minute)
	var seen []string
	for {
		select {
		case l := <-w.lines:
			if strings.Contains(l, want) {
				return l
			}
			seen = append(seen, l)
		case <-late:
			w.t.Fatalf("no %q came, but\n%s", want, strings.Join(seen, "\n"))
		}
	}
}

func (w *terminal) say(format string, a ...any) { fmt.Fprintf(w.in, format+"\n", a...) }

// Ann is admitted and linked, an outsider is refused, Ann is revoked and refused;
// both sides say so each time.
func TestCompany(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	start := func(args ...string) *terminal {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		w := &terminal{t, inW, make(chan string, 1000)}
		wg.Go(func() {
			if err := run(ctx, inR, outW, t.TempDir(), "127.0.0.1:0", args); err != nil {
				t.Error(err)
			}
			outW.Close()
		})
		wg.Go(func() {
			for s := bufio.NewScanner(outR); s.Scan(); {
				w.lines <- s.Text()
			}
		})
		return w
	}
	boss := start("found", "acme")
	defer func() {
		cancel() // as Ctrl-C does; nobody has closed what is typed into
		wg.Wait()
		boss.in.Close()
	}()
	invitation := boss.wait("p2posnet:acme:")
	ann := start("join", invitation)
	id := strings.TrimPrefix(ann.wait("I am"), "I am ")
	ann.wait("not on the network's roster")
	boss.wait("refused " + id[:5])
	boss.say("admit %s", id)
	boss.wait("2 members")
	ann.wait("2 members")
	ann.wait("linked")
	mallory := start("join", invitation)
	mallory.wait("not on the network's roster")
	boss.wait("not on the network's roster")
	boss.say("nonsense")
	boss.wait("admit ID")
	boss.say("revoke %s", id)
	boss.wait("1 members")
	ann.wait("not on the network's roster")
}

// A list that can't be read is not replaced by a new network.
func TestCompanyKept(t *testing.T) {
	for what, make := range map[string]func(path string) error{
		"unreadable": func(path string) error { return os.Mkdir(path, 0o700) },
		"damaged":    func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "company.json")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), strings.NewReader(""), io.Discard, dir, "127.0.0.1:0", []string{"found", "acme"}); err == nil {
			t.Errorf("%s: a new network", what)
		}
		if i, err := os.Stat(path); err != nil || what == "damaged" && i.Size() != 1 {
			t.Errorf("%s: %v", what, err)
		}
	}
}
