// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// Two phones call each other by pasted ticket, talk, and hang up.
func TestCall(t *testing.T) {
	t.Parallel()
	rec := filepath.Join(t.TempDir(), "heard.ogg")
	b := start(t, "-answer", "-name", "Bob")
	a := start(t, "-record", rec)
	a.say("call %s", b.ticket())
	out := a.wait("outgoing")
	if out["peer"] != b.id {
		t.Errorf("calls %v, want %v", out["peer"], b.id)
	}
	for _, ev := range []string{"ringing", "answered", "path"} {
		if e := a.wait(ev); e["call"] != out["call"] {
			t.Errorf("%s is of call %v, want %v", ev, e["call"], out["call"])
		}
	}
	in := b.wait("incoming")
	if in["peer"] != a.id {
		t.Errorf("call from %v, want %v", in["peer"], a.id)
	}
	b.wait("answered")
	if p := b.wait("path"); p["kind"] != "lan" && p["kind"] != "direct" || p["via"] != "" || p["reason"] != "" {
		t.Errorf("path %v", p)
	}
	a.wait("media")
	b.wait("media")
	a.wait("stats")
	if s := a.wait("stats"); s["received"].(float64) < 30 || s["sent"].(float64) < 30 || s["mos"].(float64) < 1 ||
		s["kbps_in"].(float64) < 5 || s["kbps_out"].(float64) < 5 {
		t.Errorf("nobody talks: %v", s)
	}
	a.say("mute")
	if e := a.wait("muted"); e["on"] != true {
		t.Error(e)
	}
	a.say("unmute")
	a.wait("muted")
	a.say("status")
	if e := a.wait("status"); e["links"] != 1.0 {
		t.Errorf("status %v", e)
	}
	a.say("peers")
	if e := a.wait("peers"); len(e["peers"].([]any)) != 1 {
		t.Errorf("peers %v", e)
	}
	var words []string
	for _, r := range []*rig{a, b} {
		r.say("words")
		words = append(words, fmt.Sprint(r.wait("words")["words"]))
	}
	if words[0] != words[1] || len(strings.Fields(words[0])) != 4 {
		t.Errorf("safety words %q", words)
	}
	a.say("hold")
	for who, r := range map[string]*rig{"me": a, "peer": b} {
		if e := r.wait("held"); e["by"] != who {
			t.Errorf("held by %v, want %v", e["by"], who)
		}
	}
	a.say("resume")
	a.wait("resumed")
	b.wait("resumed")
	a.say("hangup")
	for _, r := range []*rig{a, b} {
		if e := r.wait("ended"); e["reason"] != "hangup" || e["stage"] != "talk" || e["seconds"].(float64) <= 0 {
			t.Errorf("ended %v", e)
		}
	}
	if n := packets(t, rec); n < 30 {
		t.Errorf("%d packets were recorded", n)
	}

	// The other way by ID alone: a session stands. A second recording is a
	// second file.
	b.say("call %s", a.id)
	a.wait("incoming")
	a.say("answer")
	a.wait("recording")
	a.say("quit")
	if list, code := a.rest(); code != 0 || !has(list, "ended") {
		t.Errorf("quit in a call: exit %d, %v", code, list)
	}
	if e := b.wait("ended"); e["reason"] != "hangup" {
		t.Errorf("quit at the other side: %v", e)
	}
	packets(t, strings.TrimSuffix(rec, ".ogg")+"-2.ogg")
	b.quit()
}

func has(list []object, ev string) bool {
	for _, o := range list {
		if o["ev"] == ev {
			return true
		}
	}
	return false
}

// A second call rings in a call; answering it puts the first on hold, and each
// command may name the call it means.
func TestCallWaiting(t *testing.T) {
	t.Parallel()
	b, a, c := start(t), start(t), start(t)
	ticket := b.ticket()
	a.say("call %s", ticket)
	if e := b.wait("incoming"); e["call"] != "1" || e["waiting"] != false {
		t.Errorf("first %v", e)
	}
	b.say("answer")
	a.wait("media")
	c.say("call %s", ticket)
	if e := b.wait("incoming"); e["call"] != "2" || e["waiting"] != true {
		t.Errorf("second %v", e)
	}
	c.wait("ringing")
	b.say("answer 1")
	if e := b.wait("error"); !strings.Contains(e["message"].(string), "nobody calls") {
		t.Error(e)
	}
	b.say("answer")
	if e := b.wait("held"); e["call"] != "1" || e["by"] != "me" {
		t.Errorf("held %v", e)
	}
	a.wait("held")
	c.wait("media")
	b.say("resume")
	if e := b.wait("held"); e["call"] != "2" {
		t.Errorf("held %v", e)
	}
	if e := b.wait("resumed"); e["call"] != "1" {
		t.Errorf("resumed %v", e)
	}
	a.wait("resumed")
	b.say("hangup 2")
	if e := b.wait("ended"); e["call"] != "2" {
		t.Errorf("ended %v", e)
	}
	c.wait("ended")
	b.say("hangup")
	a.wait("ended")
}

// Of two people who are called at once, one answers.
func TestCallTwo(t *testing.T) {
	t.Parallel()
	a, b, c := start(t), start(t), start(t, "-answer")
	one, two := b.ticket(), c.ticket()
	a.say("call %s", one)
	a.say("call %s", two)
	if e := a.wait("answered"); e["call"] != "2" || e["peer"] != c.id {
		t.Errorf("%v", e)
	}
	b.wait("incoming")
	b.say("reject")
	if e := a.wait("ended"); e["call"] != "1" || e["reason"] != "rejected" {
		t.Errorf("%v", e)
	}
}

// keys returns the next n keys of the other side. They are told as they were
// typed; on a busy machine with pauses in between.
func (r *rig) keys(n int) (digits string) {
	r.t.Helper()
	for len(digits) < n {
		digits += r.wait("dtmf")["digits"].(string)
	}
	return digits
}

// Keys are told as they were typed, a number at once; who records is told to the
// other side, before and after.
func TestKeysAndRecording(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	heard, both, said := filepath.Join(dir, "heard.ogg"), filepath.Join(dir, "both.ogg"), filepath.Join(dir, "said.ogg")
	b := start(t, "-answer")
	a := start(t, "-record", heard)
	a.say("call %s", b.ticket())
	call := a.wait("outgoing")["call"]
	a.wait("media")
	if e := a.wait("recording"); e["file"] != heard || e["by"] != "me" || e["on"] != true || e["call"] != call {
		t.Errorf("recording %v", e)
	}
	if e := b.wait("recording"); e["file"] != "" || e["by"] != "peer" || e["on"] != true {
		t.Errorf("the other side hears of %v", e)
	}
	a.say("dtmf 12x")
	if e := a.wait("error"); e["command"] != "dtmf" || !strings.Contains(e["message"].(string), "not a key") {
		t.Errorf("error %v", e)
	}
	a.say("dtmf 0123456789*#abcD")
	b.say("dtmf 7")
	if got := b.keys(16); got != "0123456789*#ABCD" {
		t.Errorf("keys %q", got)
	}
	if got := a.keys(1); got != "7" {
		t.Errorf("keys %q", got)
	}
	// A phone that is killed leaves all but the last second or two.
	written := func() bool {
		i, err := os.Stat(heard)
		return err == nil && i.Size() > 1500 && packets(t, heard) >= 25
	}
	for late := time.After(patience); !written(); {
		select {
		case <-late:
			t.Fatal("nothing is in the file while the call runs")
		case <-time.After(100 * time.Millisecond):
		}
	}
	a.say("record both %s", both)
	if e := a.wait("recording"); e["file"] != both || e["on"] != true {
		t.Errorf("recording %v", e)
	}
	a.wait("stats")
	a.say("record stop")
	if e := a.wait("recording"); e["file"] != "" || e["by"] != "me" || e["on"] != false {
		t.Errorf("recording %v", e)
	}
	if e := b.wait("recording"); e["by"] != "peer" || e["on"] != false {
		t.Errorf("the other side hears of %v", e)
	}
	if i, err := os.Stat(both); err != nil || i.Size() < 1000 {
		t.Errorf("both sides: %v, %v", i, err)
	}
	b.say("record me %s", said)
	b.wait("recording")
	a.wait("recording")
	a.wait("stats")
	a.wait("stats")
	a.say("dtmf 5") // told before the end
	a.wait("stats")
	a.say("hangup")
	if got := b.keys(1); got != "5" {
		t.Errorf("keys %q", got)
	}
	b.wait("ended")
	if n := packets(t, said); n < 10 {
		t.Errorf("%d packets were said", n)
	}
}

// A transfers B to C, who sees it; when C says no, A and B still talk.
func TestTransfer(t *testing.T) {
	t.Parallel()
	a, b, c := start(t), start(t, "-answer"), start(t)
	ticket := c.ticket()
	a.say("call %s", b.ticket())
	a.wait("media")
	a.say("transfer %s", swap(c.id, 9))
	if e := a.wait("error"); e["command"] != "transfer" {
		t.Error(e)
	}
	a.say("transfer %s", ticket)
	if e := c.wait("incoming"); e["peer"] != b.id || e["by"] != a.id {
		t.Errorf("incoming %v", e)
	}
	c.say("reject")
	for e := a.wait("transfer"); e["state"] != "failed"; e = a.wait("transfer") {
		if e["state"] != "trying" && e["state"] != "rings" {
			t.Errorf("transfer %v", e)
		}
	}
	out := b.wait("outgoing")
	if out["by"] != a.id || out["peer"] != c.id {
		t.Errorf("outgoing %v", out)
	}
	if e := b.wait("ended"); e["call"] != out["call"] || e["reason"] != "rejected" {
		t.Errorf("first try %v", e)
	}
	a.say("transfer %s", ticket)
	c.wait("incoming")
	c.say("answer")
	for _, r := range []*rig{a, b} {
		if e := r.wait("ended"); e["reason"] != "transferred" || e["stage"] != "talk" {
			t.Errorf("ended %v", e)
		}
	}
	c.wait("media")
}

func TestReject(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t)
	ticket := b.ticket()
	a.say("call %s", ticket)
	b.wait("incoming")
	b.say("reject")
	if e := a.wait("ended"); e["reason"] != "rejected" || e["stage"] != "ring" || e["seconds"] != 0.0 {
		t.Errorf("ended %v", e)
	}
	b.wait("ended")

	a.say("call %s", ticket)
	b.wait("incoming")
	a.say("hangup")
	if e := a.wait("ended"); e["reason"] != "cancelled" {
		t.Errorf("ended %v", e)
	}
	if e := b.wait("missed"); e["peer"] != a.id {
		t.Errorf("missed %v", e)
	}
}

// Hanging up and quitting at once still reaches the other side, at once.
func TestHangUpAndQuit(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t, "-answer")
	a.say("call %s", b.ticket())
	a.wait("media")
	a.say("hangup")
	a.quit()
	if e := b.wait("ended"); e["reason"] != "hangup" {
		t.Errorf("ended %v", e)
	}
}

func TestSIGTERM(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t, "-answer")
	a.say("call %s", b.ticket())
	a.wait("media")
	a.signals <- syscall.SIGTERM
	if list, code := a.rest(); code != 0 || !has(list, "ended") {
		t.Errorf("exit %d, %v", code, list)
	}
	if e := b.wait("ended"); e["reason"] != "hangup" {
		t.Errorf("ended %v", e)
	}
}

// The end of stdin is not the phone's.
func TestEndOfInput(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t, "-answer")
	ticket := b.ticket()
	b.in.Close()
	a.say("call %s", ticket)
	a.wait("media")
}

// A reader that closes our stdout ends the phone.
func TestClosedOutput(t *testing.T) {
	t.Parallel()
	a := start(t)
	a.out.Close()
	a.say("status")
	select {
	case code := <-a.exit:
		if code != 1 {
			t.Errorf("exit %d", code)
		}
	case <-time.After(patience):
		t.Error("the phone does not end")
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	b := start(t, "-answer")
	a := start(t, "-join", b.ticket())
	if e := a.wait("joined"); e["links"] != 1.0 {
		t.Error(e)
	}
	b.wait("joined")
	lost := start(t, "-join", "127.0.0.1:9")
	if e := lost.wait("error"); e["command"] != "join" {
		t.Error(e)
	}
}

// What a user may get wrong is one error, and changes nothing.
func TestBadCommands(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t, "-answer")
	good := b.ticket()
	id, err := identity.ParseID(b.id)
	if err != nil {
		t.Fatal(err)
	}
	old, err := identity.Ticket{ID: id, Network: identity.Network{}.Tag(), Expires: time.Now().Add(-time.Hour)}.Text()
	if err != nil {
		t.Fatal(err)
	}
	closed, err := identity.NewNetwork("elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	other, err := identity.Ticket{ID: id, Network: closed.Tag(), Expires: time.Now().Add(time.Hour)}.Text()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 3*maxLine)
	for _, c := range []struct{ line, command, message string }{
		{"call", "call", "whom"},
		{"call me", "call", "not an ID"},
		{"call " + swap(b.id, 7), "call", "character 8 is"},
		{"call " + swap(good, len(good)-3), "call", "mistyped"},
		{"call " + good[:len(good)/2], "call", "mistyped or cut off"},
		{"call " + old, "call", "has expired at"},
		{"call " + other, "call", "another network"},
		{"call " + a.id, "call", "your own"},
		{"answer", "answer", "nobody calls"},
		{"reject", "reject", "nobody calls"},
		{"hangup", "hangup", "no call"},
		{"hangup 7", "hangup", "no call"},
		{"hold", "hold", "no call"},
		{"resume", "resume", "no call"},
		{"mute", "mute", "no call"},
		{"unmute", "unmute", "no call"},
		{"record", "record", "FILE.ogg"},
		{"record both", "record", "FILE.ogg"},
		{"dtmf", "dtmf", "which keys"},
		{"dtmf 1", "dtmf", "no call"},
		{"record stop", "record", "nothing"},
		{"record " + filepath.Join(t.TempDir(), "none", "x.ogg"), "record", "no such file"},
		{"ticket twice", "ticket", "takes no"},
		{"ticket please", "ticket", `takes no "please"`},
		{"words", "words", "no call"},
		{"nat please", "nat", `takes no "please"`},
		{"transfer " + b.id, "transfer", "no call"},
		{"dance", "dance", "unknown command"},
		{"quit now", "quit", "takes no"},
		{long, "", "longer than"},
	} {
		a.say("%s", c.line)
		e := a.next()
		if e["ev"] != "error" {
			t.Fatalf("%.60s: %v, want an error and nothing else", c.line, e)
		}
		if c.command != "" && e["command"] != c.command || !strings.Contains(e["message"].(string), c.message) {
			t.Errorf("%.60s: %v, want %q", c.line, e, c.message)
		}
		if m := e["message"].(string); strings.Contains(m, "p2pos:") || len(m) > 300 {
			t.Errorf("%.60s: not for people: %s", c.line, m)
		}
	}
	a.say("call %s", good) // all is as it was
	a.wait("media")
}

// Nobody is found: an error says why, and the call ends.
func TestNotFound(t *testing.T) {
	t.Parallel()
	a, b := start(t), start(t)
	a.say("call %s", b.id)
	a.wait("outgoing")
	a.wait("error")
	if e := a.wait("ended"); e["reason"] != "not-found" || e["stage"] != "lookup" {
		t.Errorf("ended %v", e)
	}
	ticket := b.ticket()
	b.quit()
	a.say("call %s", ticket)
	a.wait("outgoing")
	if e := a.wait("ended"); e["reason"] != "offline" || e["stage"] != "lookup" {
		t.Errorf("ended %v", e)
	}
	a.say("call %s", ticket)
	a.wait("outgoing")
	a.say("hangup")
	if e := a.wait("ended"); e["reason"] != "cancelled" || e["stage"] != "lookup" {
		t.Errorf("ended %v", e)
	}
}

// swap puts another character of the alphabet at index i.
func swap(s string, i int) string {
	c := "q"
	if s[i] == 'q' {
		c = "p"
	}
	return s[:i] + c + s[i+1:]
}
