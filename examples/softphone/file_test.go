// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// state waits until a file is in a state.
func (r *rig) state(want string) object {
	r.t.Helper()
	for range 1000 { // one a second while it moves
		if e := r.wait("file"); e["state"] == want {
			return e
		}
	}
	r.t.Fatalf("never %s", want)
	return nil
}

// One phone sends two files; the other takes one and declines one.
func TestFile(t *testing.T) {
	content := bytes.Repeat([]byte("p2pos "), 100_000)
	sum := sha256.Sum256(content)
	path := filepath.Join(t.TempDir(), "long letter.txt")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	a, dir := start(t), t.TempDir()
	b := start(t, "-dir", dir)
	ticket := b.ticket()
	a.say("send %s %s", ticket, path)
	sent := a.wait("file")
	if sent["state"] != "offered" || sent["name"] != "long letter.txt" || sent["peer"] != b.id || sent["bytes"] != 600_000.0 || sent["incoming"] != false {
		t.Errorf("%v", sent)
	}
	offer := b.wait("file")
	if offer["transfer"] != sent["transfer"] || offer["peer"] != a.id || offer["incoming"] != true {
		t.Errorf("%v", offer)
	}
	a.say("pause %s", sent["transfer"])
	a.say("status")
	a.wait("status") // it has paused
	b.say("accept %s", offer["transfer"])
	b.state("paused")
	a.say("continue %s", sent["transfer"])
	for _, e := range []object{a.state("complete"), b.state("complete")} {
		if e["sha256"] != hex.EncodeToString(sum[:]) || e["done"] != 600_000.0 {
			t.Errorf("%v", e)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "received", "long letter.txt")); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	a.say("send %s %s", b.id, path)
	b.say("decline %s", b.state("offered")["transfer"])
	a.state("failed")
	if e := a.wait("error"); !strings.Contains(e["message"].(string), "declined") {
		t.Errorf("%v", e)
	}
	a.say("add %s Ben Lee", ticket)
	a.wait("contact")
	for command, what := range map[string]string{
		"send ben lee":                    "send WHOM PATH",
		"send ben lee /nowhere":           "no such file",
		"send":                            "send WHOM PATH",
		"send " + ticket:                  "send WHOM PATH",
		"send nobody " + path:             "ID",
		"send " + ticket + " /nowhere":    "no such file",
		"send " + ticket + " " + dir:      "not a regular file",
		"accept 00":                       "no such transfer",
		"accept":                          "there is none to accept",
		"cancel":                          "there is none to cancel",
		"pause " + strings.Repeat("f", 9): "no such transfer",
	} {
		a.say("%s", command)
		if e := a.wait("error"); !strings.Contains(e["message"].(string), what) {
			t.Errorf("%s: %v", command, e["message"])
		}
	}
}
