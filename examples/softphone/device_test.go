// SPDX-License-Identifier: 0BSD

package main

import (
	"strings"
	"testing"
)

// A second phone becomes a device of the first one's person: by ticket, the same
// digits on both, and a yes. It rings with the first, and can be revoked.
func TestDevices(t *testing.T) {
	a, b := start(t, "-name", "Ann"), start(t)
	for command, what := range map[string]string{
		"link":           "whose?",
		"link " + a.id:   "ticket",
		"confirm 123456": "no phone asks",
		"refuse":         "no phone asks",
		"revoke nothing": "which?",
		"devices now":    "takes no",
	} {
		b.say("%s", command)
		if e := b.wait("error"); !strings.Contains(e["message"].(string), what) {
			t.Errorf("%s: %v", command, e["message"])
		}
	}
	b.say("link %s desk", a.ticket())
	asks := a.wait("asks")
	linking := b.wait("linking")
	if asks["code"] != linking["code"] || asks["name"] != "desk" || asks["from"] != b.id || linking["peer"] != a.id {
		t.Errorf("%v, %v", asks, linking)
	}
	b.say("link %s", a.id)
	if e := b.wait("error"); !strings.Contains(e["message"].(string), "already") {
		t.Errorf("%v", e)
	}
	a.say("confirm 12345")
	if e := a.wait("error"); !strings.Contains(e["message"].(string), "six digits") {
		t.Errorf("%v", e)
	}
	a.say("confirm %s", asks["code"])
	if e := a.wait("asked"); e["linked"] != true {
		t.Errorf("%v", e)
	}
	b.wait("linked")
	if e := b.wait("ready"); e["id"] != a.id {
		t.Errorf("it is %v, not %v", e["id"], a.id)
	}
	b.say("devices")
	list := b.wait("devices")["devices"].([]any)
	if len(list) != 2 {
		t.Fatalf("%v", list)
	}
	a.say("revoke desk")
	for {
		list := a.wait("devices")["devices"].([]any)
		revoked := false
		for _, d := range list {
			d := d.(map[string]any)
			revoked = revoked || d["device"] == asks["device"] && d["revoked"] == true
		}
		if revoked {
			break
		}
	}
}
