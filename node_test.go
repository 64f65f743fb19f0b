// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
)

// The tests here run nodes on real sockets of the loopback interface.

func testLog(t testing.TB, name string) *slog.Logger {
	if os.Getenv("P2POS_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
}

func testNode(t testing.TB, name string, cfg Config) *Node {
	t.Helper()
	cfg.Name, cfg.Logger = name, testLog(t, name)
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.PacketConn == nil && cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func mustTicket(t testing.TB, n *Node) string {
	t.Helper()
	text, err := n.Ticket(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Speech from a file reaches the other ear.
func TestCallByTicket(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, b := testNode(t, "a", Config{}), testNode(t, "b", Config{})
	go func() {
		for c := range b.Incoming(ctx) {
			c.Answer()
			_, out := c.Tracks()
			ogg.Play(ctx, func() (io.ReadCloser, error) { return os.Open("media/testdata/speech-b.ogg") }, true, out)
		}
	}()
	over := b.Events(ctx)
	call, err := a.Call(ctx, mustTicket(t, b), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Answered(ctx); err != nil {
		t.Fatal(err)
	}
	if call.Peer() != b.ID() || call.Incoming() {
		t.Error("wrong peer or direction")
	}
	in, _ := call.Tracks()
	var f media.Frame
	for spoken := 0; spoken < 25; {
		if err := in.ReadFrame(ctx, &f); err != nil {
			t.Fatal(err)
		}
		if len(f.Payload) > 20 {
			spoken++
		}
	}
	if p := call.Path(); p.Kind != "lan" || p.Reason != "" {
		t.Errorf("path %+v", p)
	}
	if err := call.HangUp(); err != nil {
		t.Fatal(err)
	}
	<-call.Done()
	if stage, reason, talked := call.End(); stage != "talk" || reason != "hangup" || talked <= 0 || call.Err() != nil {
		t.Errorf("%s %s %v %v", stage, reason, talked, call.Err())
	}
	if err := call.HangUp(); err != nil {
		t.Errorf("hanging up twice: %v", err)
	}
	var ce *CallError
	if err := call.Answer(); !errors.As(err, &ce) && err == nil {
		t.Error("an ended call was answered")
	}
	for e := range over {
		if _, ok := e.(CallEnded); ok {
			break
		}
	}
	// The session stands: the ID is enough now, also from the other side.
	back, err := b.Call(ctx, a.ID().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.HangUp(); err != nil {
		t.Fatal(err)
	}
	<-back.Done()
	if stage, reason, _ := back.End(); stage != "ring" || reason != "cancelled" || back.Err() != nil {
		t.Errorf("%s %s %v", stage, reason, back.Err())
	}
}

// What a user may give to Call, and what it says to that.
func TestCallErrors(t *testing.T) {
	t.Parallel()
	closed, err := identity.NewNetwork("company")
	if err != nil {
		t.Fatal(err)
	}
	a, b := testNode(t, "a", Config{}), testNode(t, "b", Config{Network: closed})
	stranger, err := identity.NewDevice(time.Now(), "")
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := identity.NewDevice(time.Now(), "")
	if err != nil {
		t.Fatal(err)
	}
	id := nobody.ID().String()
	mistyped := []byte(id)
	mistyped[16] = "01"[btoi(id[16] == '0')]
	expired, err := identity.Ticket{ID: stranger.ID(), Reach: stranger.Reach(), Network: Network{}.Tag(), Expires: time.Now().Add(-2 * time.Minute)}.Text()
	if err != nil {
		t.Fatal(err)
	}
	offline, err := identity.Ticket{ID: stranger.ID(), Reach: stranger.Reach(), Network: Network{}.Tag(), Expires: time.Now().Add(time.Hour)}.Text()
	if err != nil {
		t.Fatal(err)
	}
	own := mustTicket(t, a)
	for name, c := range map[string]struct {
		to   string
		want error
	}{
		"empty":           {"", identity.ErrNotID},
		"words":           {"call my mother", identity.ErrNotID},
		"unknown ID":      {id, ErrNotFound},
		"own ID":          {a.ID().String(), ErrSelf},
		"own ticket":      {own, ErrSelf},
		"cut ticket":      {own[:len(own)-3], identity.ErrTicketChecksum},
		"not a ticket":    {"p2pos:hello", identity.ErrTicketChecksum},
		"expired ticket":  {expired, identity.ErrTicketExpired},
		"offline":         {offline, ErrOffline},
		"another network": {mustTicket(t, b), ErrOtherNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			call, err := a.Call(t.Context(), c.to, nil)
			if call != nil || !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if strings.Count(err.Error(), "p2pos: ") > 2 {
				t.Errorf("text repeats itself: %v", err)
			}
			t.Log(err)
		})
	}
	var typo *identity.TypoError
	if _, err := a.Call(t.Context(), string(mistyped), nil); !errors.As(err, &typo) || typo.Pos != 17 {
		t.Errorf("mistyped: %v", err)
	}
	var ce *CallError
	if _, err := a.Call(t.Context(), id, nil); !errors.As(err, &ce) || ce.Stage != "lookup" || ce.Reason != "not-found" || ce.Peer != nobody.ID() {
		t.Errorf("unknown ID: %v", err)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	testNode(t, "", Config{Dir: dir}).Close()
	store := filepath.Join(dir, "identity.key")
	whole, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir, Listen: "127.0.0.1:0"}); !errors.Is(err, identity.ErrStoreDamaged) {
		t.Errorf("half a key store: %v", err)
	}
	if again, _ := os.ReadFile(store); len(again) != len(whole)/2 {
		t.Error("the damaged store was overwritten")
	}
	for name, cfg := range map[string]Config{
		"long name":            {Name: strings.Repeat("x", 65)},
		"network without key":  {Network: Network{Name: "x"}},
		"bad listen address":   {Listen: "nowhere:at all"},
		"address of others":    {Listen: "192.0.2.1:1"},
		"directory is no such": {Dir: store},
	} {
		if cfg.Dir == "" {
			cfg.Dir = t.TempDir()
		}
		if n, err := New(cfg); err == nil {
			n.Close()
			t.Errorf("%s: accepted", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

// After Close nothing runs, and everything says so.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	a, b := testNode(t, "a", Config{}), testNode(t, "b", Config{})
	waiting := make(chan struct{})
	incoming := b.Incoming(context.Background())
	go func() {
		defer close(waiting)
		for c := range incoming {
			c.Answer()
		}
	}()
	call, err := a.Call(t.Context(), mustTicket(t, b), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Answered(t.Context()); err != nil {
		t.Fatal(err)
	}
	ticket := mustTicket(t, b)
	b.Close()
	b.Close()
	<-waiting
	<-call.Done() // b is gone, and a need not wait for silence
	a.Close()
	if _, err := a.Call(t.Context(), ticket, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Call: %v", err)
	}
	if _, err := a.Ticket(time.Hour); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Ticket: %v", err)
	}
	if err := a.Join(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Join: %v", err)
	}
	if err := a.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	for range a.Incoming(t.Context()) {
		t.Error("a call after Close")
	}
	for range a.Events(t.Context()) {
		t.Error("an event after Close")
	}
	call.HangUp()
	call.Stats()
	call.Path()
	_ = call.ID()
	_ = a.Status().String()
	// Goroutines that have returned may still be counted for a moment.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; runtime.NumGoroutine() > before; i++ {
		if i == 2000 {
			buf := make([]byte, 1<<16)
			t.Fatalf("goroutines left:\n%s", buf[:runtime.Stack(buf, true)])
		}
		<-tick.C
	}
}
