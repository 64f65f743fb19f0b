// SPDX-License-Identifier: 0BSD

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file goes from the example's sender to its receiver.
func TestSendFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(t.TempDir(), "letter.txt")
	want := bytes.Repeat([]byte("all is well. "), 50_000)
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, out, dir, "", "127.0.0.1:0", []string{"receive"})
		out.Close()
		ended <- err
	}()
	lines := bufio.NewScanner(in)
	for range 2 {
		if !lines.Scan() {
			t.Fatal("no ticket: ", <-ended)
		}
	}
	ticket := lines.Text()
	go io.Copy(io.Discard, in)
	if err := run(ctx, io.Discard, t.TempDir(), "", "127.0.0.1:0", []string{ticket, path}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "received", "letter.txt"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	for _, args := range [][]string{nil, {"recieve"}, {ticket, path, "more"}} {
		if err := run(ctx, io.Discard, t.TempDir(), "", "127.0.0.1:0", args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	cancel()
	<-ended
}
