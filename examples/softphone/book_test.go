// SPDX-License-Identifier: 0BSD

package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
)

// A ticket and a name are enough to call somebody by that name from then on.
func TestBook(t *testing.T) {
	a, b := start(t), start(t, "-answer", "-name", "Robert")
	b.say("ticket")
	ticket := b.wait("ticket")["ticket"].(string)
	a.say("add %s Bob", strings.ToUpper(ticket))
	if e := a.wait("contact"); e["peer"] != b.id || e["name"] != "Bob" || e["verified"] != false || e["blocked"] != false {
		t.Errorf("%v", e)
	}
	a.say("call bob")
	a.wait("media")
	a.say("hangup")
	a.wait("ended")
	a.say("verify Bob")
	if e := a.wait("contact"); e["verified"] != true {
		t.Errorf("%v", e)
	}
	a.say("history")
	list := a.wait("history")["records"].([]any)
	if r := list[0].(map[string]any); len(list) != 1 || r["kind"] != "call" || r["name"] != "Bob" || r["incoming"] != false || r["stage"] != "talk" {
		t.Errorf("%v", list)
	}
	b.say("block %s", a.id)
	if e := b.wait("contact"); e["peer"] != a.id || e["blocked"] != true {
		t.Errorf("%v", e)
	}
	a.say("contacts")
	if list := a.wait("contacts")["contacts"].([]any); len(list) != 1 {
		t.Errorf("%v", list)
	}
	for command, what := range map[string]string{
		"add":                         "whom?",
		"add nonsense":                "ID",
		"add " + a.id + " Ann":        "your own",
		"add " + b.id + " An\u202en":  "can't be seen",
		"block nobody":                "ID",
		"unblock " + other().String(): "not among the contacts",
		"verify":                      "whom?",
		"call nobody":                 "ID",
	} {
		a.say("%s", command)
		if e := a.wait("error"); !strings.Contains(e["message"].(string), what) {
			t.Errorf("%s: %v", command, e["message"])
		}
	}
	a.say("remove bob")
	if e := a.wait("contact"); e["removed"] != true {
		t.Errorf("%v", e)
	}
}

func other() (id identity.ID) {
	id[0] = 7
	return id
}

// The picture is square, has its margin, and fits a terminal.
func TestQR(t *testing.T) {
	a := start(t)
	a.say("qr")
	rows := a.wait("qr")["rows"].([]any)
	width := utf8.RuneCountInString(rows[0].(string))
	if n := 2 * len(rows); n != width && n != width+1 || width > 80 {
		t.Errorf("%d by %d", width, n)
	}
	for i, r := range rows {
		if s := r.(string); utf8.RuneCountInString(s) != width || !strings.HasPrefix(s, "████") || i < 2 && strings.Trim(s, "█") != "" {
			t.Errorf("row %d: %q", i, s)
		}
	}
}
