// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"strings"
	"testing"
)

// Texts, receipts and what can't be sent.
func TestTexts(t *testing.T) {
	a, b := start(t, "-name", "Ann"), start(t, "-name", "Bob")
	b.say("ticket")
	a.say("add %s Bob the builder", b.wait("ticket")["ticket"])
	a.wait("contact")
	a.say("msg bob the builder can we fix it?")
	sent := a.wait("sent")
	if sent["to"] != b.id {
		t.Errorf("%v", sent)
	}
	m := b.wait("message")
	if m["id"] != sent["id"] || m["text"] != "can we fix it?" || m["from"] != a.id || m["to"] != b.id || m["sent_at"] != sent["sent_at"] || m["gap"] != false {
		t.Errorf("%v", m)
	}
	if d := a.wait("delivered"); d["id"] != sent["id"] || d["to"] != b.id {
		t.Errorf("%v", d)
	}
	b.say("read %s", m["id"])
	if r := a.wait("read"); r["id"] != sent["id"] {
		t.Errorf("%v", r)
	}
	b.say("msg %s yes\twe can\x1b[2J", a.id)
	if m := a.wait("message"); m["text"] != "yes\twe can\x1b[2J" {
		t.Errorf("%v", m)
	}
	a.say("read bob the builder")
	b.wait("read")
	a.say("history")
	if list := a.wait("history")["records"].([]any); len(list) != 2 || list[1].(map[string]any)["text"] != "can we fix it?" {
		t.Errorf("%v", list)
	}
	for command, what := range map[string]string{
		"msg":                                "to whom",
		"msg " + b.id:                        "to whom",
		"msg nobody hello":                   "ID",
		"msg " + a.id + " hello":             "your own",
		"msg " + other().String() + " hello": "ticket",
		"msg " + b.id + " " + strings.Repeat("x", 9000):    "8192",
		"msg " + b.id + " " + strings.Repeat("x", 100_000): "longer than",
		"read":                           "which?",
		"read nonsense":                  "no such message",
		"read " + fmt.Sprint(sent["id"]): "no such message", // one's own
	} {
		a.say("%s", command)
		if e := a.wait("error"); !strings.Contains(e["message"].(string), what) {
			t.Errorf("%.60s: %v", command, e["message"])
		}
	}
}

// What people see can't be mistaken for the phone's own words.
func TestTextQuoted(t *testing.T) {
	e := messageEvent{textOf{"0123456789"}, "x", "y", "a\r\nyou are hacked\x1b[2J\u202e", "", true, "Bob"}
	if s := e.text(); strings.ContainsAny(s, "\r\x1b\u202e") || !strings.Contains(s, "missing") {
		t.Errorf("%q", s)
	}
}
