// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Two versions of P2P OS in one program, "cur" and "prev": each among its own,
// each with the other, and in two networks at once. It prints a line for each
// thing that went well and ends with 1 at the first that did not. Nothing else
// may come out of it: no version writes to a program's output.
package main

import (
	"context"
	"crypto/sha256"
	"expvar"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"time"

	"example.org/versions/cur"
	"example.org/versions/prev"
)

// node is what both versions' sides have in common.
type node interface {
	ID() string
	At() string
	Join(context.Context) error
	Ticket() (string, error)
	Got() <-chan string
	Links() int
	Send(ctx context.Context, to, text string) error
	SendFile(ctx context.Context, to, path string) error
	Call(ctx context.Context, to string) (again func(context.Context) error, hangUp func() error, err error)
	Close() error
}

type start func(network string, join ...string) node

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	before, goroutines := globals(), runtime.NumGoroutine()
	name := 0
	dir := func() string { return must(os.MkdirTemp("", "side")) }
	starts := map[string]start{
		"cur": func(network string, join ...string) node {
			name++
			return must(cur.Start(dir(), fmt.Sprint("cur", name), network, join...))
		},
		"prev": func(network string, join ...string) node {
			name++
			return must(prev.Start(dir(), fmt.Sprint("prev", name), network, join...))
		},
	}

	// Each with each, in networks of two nodes of which one joins by the other's address.
	for _, network := range []string{must(cur.NewNetwork("alpha")), must(prev.NewNetwork("beta"))} {
		for _, c := range [][2]string{{"cur", "cur"}, {"prev", "prev"}, {"cur", "prev"}, {"prev", "cur"}} {
			b := starts[c[1]](network)
			a := starts[c[0]](network, b.At())
			check("join", a.Join(ctx))
			exchange(ctx, a, b)
			exchange(ctx, b, a)
			check("close", a.Close())
			check("close", b.Close())
			fmt.Println("ok", c[0], "with", c[1])
		}
	}

	// Two networks, one of each version: they talk at once, and one ends.
	one, two := must(cur.NewNetwork("one")), must(cur.NewNetwork("two"))
	c1, p1 := starts["cur"](one), starts["prev"](two)
	c2, p2 := starts["cur"](one, c1.At(), p1.At()), starts["prev"](two, p1.At(), c1.At())
	check("join", c2.Join(ctx))
	check("join", p2.Join(ctx))
	if _, _, err := p2.Call(ctx, must(c1.Ticket())); err == nil {
		fail("a call into another network")
	}
	_, end := call(ctx, p2, p1)
	again, stop := call(ctx, c2, c1)
	check("hang up", end())
	check("close", p1.Close())
	check("close", p2.Close())
	for range 20 { // two seconds of it
		check("a call beside one that has ended", again(ctx))
	}
	check("hang up", stop())
	quiet(c1, c2)
	p1 = starts["prev"](one, c1.At()) // and now in that network
	check("join", p1.Join(ctx))
	exchange(ctx, p1, c1)
	check("close", c1.Close())
	check("close", c2.Close())
	check("close", p1.Close())
	fmt.Println("ok two networks")

	if after := globals(); after != before {
		fail(fmt.Sprintf("the process had\n%s\nand has\n%s", before, after))
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			fail(fmt.Sprintf("goroutines left:\n%s", buf[:runtime.Stack(buf, true)]))
		}
	}
	fmt.Println("ok nothing left")
}

// exchange has a call b, which hears and is heard, write to it, and send it a
// file.
func exchange(ctx context.Context, a, b node) {
	_, hangUp := call(ctx, a, b)
	check("hang up", hangUp())
	to := must(b.Ticket())
	check("text", a.Send(ctx, to, "hello"))
	expect(ctx, b, "text of "+a.ID()+": hello")
	path := must(cur.File(must(os.MkdirTemp("", "file")), "a.bin", 300_000))
	check("file", a.SendFile(ctx, to, path))
	expect(ctx, b, fmt.Sprintf("file of %s: %x", a.ID(), sha256.Sum256(must(os.ReadFile(path)))))
	quiet(a, b)
}

func call(ctx context.Context, a, b node) (again func(context.Context) error, hangUp func() error) {
	again, hangUp, err := a.Call(ctx, must(b.Ticket()))
	check("call", err)
	expect(ctx, b, "voice of "+a.ID())
	return again, hangUp
}

func expect(ctx context.Context, n node, what string) {
	select {
	case got := <-n.Got():
		if got != what {
			fail("got " + got + ", want " + what)
		}
	case <-ctx.Done():
		fail("never " + what)
	}
}

// quiet checks that nothing came which nobody has sent.
func quiet(list ...node) {
	for _, n := range list {
		select {
		case got := <-n.Got():
			fail("unasked: " + got)
		default:
		}
	}
}

// globals shows what a library could do to the process it is in.
func globals() (s string) {
	flag.VisitAll(func(f *flag.Flag) { s += "flag " + f.Name + "\n" })
	expvar.Do(func(v expvar.KeyValue) { s += "expvar " + v.Key + "\n" })
	for _, path := range []string{"/", "/metrics", "/debug/pprof/", "/debug/vars"} {
		_, pattern := http.DefaultServeMux.Handler(must(http.NewRequest("GET", "http://localhost"+path, nil)))
		s += "http " + path + " " + pattern + "\n"
	}
	s += fmt.Sprintf("log %T %q %d, slog %p\n", log.Writer(), log.Prefix(), log.Flags(), slog.Default().Handler())
	s += fmt.Sprintf("http transport %p, resolver %p\n", http.DefaultTransport, http.DefaultClient.Transport)
	status, _ := os.ReadFile("/proc/self/status") // signals that are caught and ignored
	for _, line := range regexp.MustCompile(`(?m)^Sig(Ign|Cgt):.*$`).FindAllString(string(status), -1) {
		s += line + "\n"
	}
	return s + fmt.Sprintf("in %s, %d variables, GOMAXPROCS %d\n", must(os.Getwd()), len(os.Environ()), runtime.GOMAXPROCS(0))
}

func must[T any](v T, err error) T {
	check("error", err)
	return v
}

func check(what string, err error) {
	if err != nil {
		fail(what + ": " + err.Error())
	}
}

func fail(text string) {
	_, file, line, _ := runtime.Caller(2)
	fmt.Printf("%s:%d: %s\n", file, line, text)
	os.Exit(1)
}
