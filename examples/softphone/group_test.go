// SPDX-License-Identifier: 0BSD

package main

import (
	"strings"
	"testing"
)

// await returns the next event of a group in a state.
func (r *rig) await(state string) object {
	r.t.Helper()
	for {
		if e := r.wait("group"); e["state"] == state {
			return e
		}
	}
}

// full waits until so many others are in the call. On a busy machine a ring may
// be given up and made again.
func (r *rig) full(others int) {
	r.t.Helper()
	for {
		switch e := r.wait("group"); {
		case e["state"] == "rings":
			r.say("group answer")
		case e["state"] == "joined" && len(e["present"].([]any)) == others:
			return
		}
	}
}

// Three phones in one call: one makes the group and calls, one answers by itself,
// one by hand. One leaves and joins again.
func TestGroup(t *testing.T) {
	a, b, c := start(t, "-name", "Ann"), start(t, "-answer"), start(t)
	for command, what := range map[string]string{
		"group new":              "how is it called?",
		"group call choir":       "no group",
		"group add choir":        "whom?",
		"group call choir x":     "takes no",
		"group sing":             "group new",
		"group answer":           "no group calls",
		"group leave":            "there is no group call",
		"group mute":             "there is no group call",
		"group call":             "which group?",
		"group remove choir zzz": "no group",
	} {
		a.say("%s", command)
		if e := a.wait("error"); !strings.Contains(e["message"].(string), what) {
			t.Errorf("%s: %v", command, e["message"])
		}
	}
	a.say("group new choir")
	id := a.await("known")["group"].(string)
	for _, r := range []*rig{b, c} {
		a.say("group add choir %s", r.ticket())
		a.await("known")
	}
	a.say("group call %s", id)
	a.await("in")
	if e := c.await("rings"); e["group"] != id || e["name"] != "choir" || e["peer"] != a.id || len(e["members"].([]any)) != 3 {
		t.Errorf("%v", e)
	}
	c.say("group answer")
	for _, r := range []*rig{a, b, c} {
		r.full(2)
	}
	a.say("group")
	if e := a.await("known"); len(e["present"].([]any)) != 2 {
		t.Errorf("%v", e)
	}
	for _, state := range []string{"mute", "unmute"} {
		c.say("group %s", state)
		if e := c.await(state + "d"); len(e["present"].([]any)) != 2 {
			t.Errorf("%v", e)
		}
	}
	c.say("group leave")
	if e := c.await("over"); e["reason"] != "hangup" {
		t.Errorf("%v", e)
	}
	if e := a.await("left"); e["peer"] != c.id || e["reason"] != "hangup" {
		t.Errorf("%v", e)
	}
	c.say("group join choir")
	for _, r := range []*rig{a, b, c} {
		r.full(2)
	}
	a.say("group leave choir")
	a.await("over")
	if e := c.await("left"); e["peer"] != a.id || len(e["present"].([]any)) != 1 {
		t.Errorf("%v", e)
	}
	c.say("group leave")
	b.await("over")
	c.say("group forget choir")
	c.say("group call choir")
	if e := c.wait("error"); !strings.Contains(e["message"].(string), "no group") {
		t.Errorf("%v", e)
	}
}
