// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media"
)

// opusSilence is a valid 20 ms Opus packet (CELT, fullband, silence).
var opusSilence = []byte{0xf8, 0xff, 0xfe}

func testLog(t *testing.T, name string) *slog.Logger {
	if os.Getenv("P2POS_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
}

func testNode(t *testing.T, name string, cfg Config) *Node {
	t.Helper()
	cfg.Dir, cfg.Name, cfg.Logger = t.TempDir(), name, testLog(t, name)
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

func answerAll(n *Node) {
	calls := n.Incoming(context.Background())
	go func() {
		for c := range calls {
			c.Answer()
		}
	}()
}

func TestCallByTicket(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, b := testNode(t, "a", Config{}), testNode(t, "b", Config{})
	answerAll(b)
	ticket, err := b.Ticket(ctx, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	events := a.Events(ctx)
	call, err := a.Call(ctx, ticket, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Answered(ctx); err != nil {
		t.Fatal(err)
	}
	if call.Peer() != b.ID() {
		t.Fatal("another peer")
	}
	in, out := call.Tracks()
	go func() {
		for out.WriteFrame(&media.Frame{Payload: opusSilence}) == nil {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	_ = in
	var heard bool
	_ = heard
	t.Log(call.Path())
	_ = events
	if err := call.HangUp(); err != nil {
		t.Fatal(err)
	}
	<-call.Done()
	if err := call.Err(); err != nil {
		t.Fatal(err)
	}
}
