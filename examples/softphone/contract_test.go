// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// contract is the table of events: their fields and types. s is a string, n a
// number, b a bool, l a list, o an object; ? says that it may be null.
var contract = map[string]string{
	"ready":     "id:s node:s listen:l",
	"ticket":    "ticket:s",
	"joined":    "links:n",
	"nat":       "mapping:s filtering:s ports:s block:l? public:l cgn:b hairpin:b? lifetime_s:n? ipv6:s portmap:s confidence:n",
	"outgoing":  "call:s peer:s name:s by:s",
	"transfer":  "call:s state:s reason:s",
	"search":    "call:s peer:s state:s t_call:n",
	"incoming":  "call:s peer:s name:s waiting:b contact:s by:s",
	"ringing":   "call:s peer:s t_call:n ring_rtt_ms:n",
	"answered":  "call:s peer:s t_call:n",
	"media":     "call:s t_call:n",
	"path":      "call:s kind:s via:s vias:l remote:s local:s rtt_ms:n t_call:n reason:s",
	"stats":     "call:s rtt_ms:n jitter_ms:n sent:n received:n lost:n concealed:n gap_ms:n buffer_ms:n mos:n kbps_in:n kbps_out:n",
	"ended":     "call:s reason:s stage:s seconds:n",
	"held":      "call:s by:s",
	"resumed":   "call:s by:s",
	"words":     "call:s words:l verified:b",
	"missed":    "peer:s when:s name:s",
	"status":    "links:n links_by_class:o relayed_calls:n relayed_flows:n records:n bytes_in:n bytes_out:n dropped:o goroutines:n heap_bytes:n",
	"peers":     "peers:l",
	"error":     "command:s message:s",
	"message":   "from:s to:s id:s text:s sent_at:s gap:b",
	"sent":      "id:s to:s sent_at:s",
	"stored":    "id:s to:s",
	"delivered": "id:s to:s",
	"read":      "id:s to:s",
	"contact":   "peer:s name:s verified:b blocked:b removed:b",
	"contacts":  "contacts:l",
	"file":      "transfer:s peer:s name:s bytes:n done:n state:s incoming:b bytes_s:n left_s:n relayed:b path:s",
	"history":   "records:l",
	"devices":   "devices:l",
	"knock":     "peer:s name:s text:s callable:b rings:b",
	"knocked":   "to:s",
	"presence":  "peer:s name:s online:b seen:s?",
	"linking":   "peer:s code:s",
	"linked":    "peer:s",
	"asks":      "device:s name:s code:s from:s",
	"asked":     "device:s name:s linked:b",
	"qr":        "ticket:s rows:l",
	"muted":     "call:s on:b",
	"recording": "call:s file:s by:s on:b",
	"dtmf":      "call:s digits:s",
	"quality":   "call:s warnings:l",
	"group":     "group:s name:s state:s peer:s reason:s members:l present:l",
	"help":      "commands:l",
}

var reasons = "hangup cancelled elsewhere busy rejected no-answer offline not-found expired denied transferred failed"

// checkEvent holds an event to the contract: all fields, with their types, and
// no others.
func checkEvent(t *testing.T, o object) {
	t.Helper()
	fields, ok := contract[fmt.Sprint(o["ev"])]
	if !ok {
		t.Errorf("unknown event %v", o)
		return
	}
	want := strings.Fields("ev:s t:n " + fields)
	for _, f := range want {
		name, kind, _ := strings.Cut(f, ":")
		kind, null := strings.CutSuffix(kind, "?")
		if v, ok := o[name]; ok && v == nil && null {
			continue
		}
		var ok bool
		switch v := o[name].(type) {
		case string:
			ok = kind == "s"
		case float64:
			ok = kind == "n"
		case bool:
			ok = kind == "b"
		case []any:
			ok = kind == "l"
		case map[string]any:
			ok = kind == "o"
		default:
			t.Errorf("%s: field %s is %v", o["ev"], name, v)
			continue
		}
		if !ok {
			t.Errorf("%s: field %s is %v", o["ev"], name, o[name])
		}
	}
	if _, ok := o["sha256"]; ok && o["ev"] == "file" {
		want = append(want, "sha256:s")
	}
	if len(o) != len(want) {
		t.Errorf("%d fields, want %d: %v", len(o), len(want), o)
	}
	switch o["ev"] {
	case "ended":
		if !strings.Contains(" "+reasons+" ", " "+o["reason"].(string)+" ") {
			t.Errorf("ended with reason %q", o["reason"])
		}
		if !strings.Contains(" lookup ring answer talk ", " "+o["stage"].(string)+" ") {
			t.Errorf("ended at stage %q", o["stage"])
		}
	case "nat":
		checkNAT(t, o)
	case "held", "resumed":
		if o["by"] != "me" && o["by"] != "peer" {
			t.Errorf("%s by %v", o["ev"], o["by"])
		}
	case "missed":
		if _, err := time.Parse(time.RFC3339, o["when"].(string)); err != nil {
			t.Error(err)
		}
	case "peers":
		for _, p := range o["peers"].([]any) {
			p := p.(map[string]any)
			for _, f := range []string{"node", "class", "kind", "via", "rtt_ms", "age_s"} {
				if _, ok := p[f]; !ok {
					t.Errorf("peer without %s: %v", f, p)
				}
			}
		}
	}
}

// natWords are the values that the contract knows, and "unknown" for what
// nobody could tell yet.
var natWords = map[string]string{
	"mapping":   "endpoint-independent address-dependent address-and-port-dependent none udp-blocked unknown",
	"filtering": "endpoint-independent address-dependent address-and-port-dependent none udp-blocked unknown",
	"ports":     "preserved sequential random block unknown",
	"ipv6":      "none open firewalled unknown",
	"portmap":   "none pcp nat-pmp upnp",
}

func checkNAT(t *testing.T, o object) {
	t.Helper()
	for field, words := range natWords {
		if !strings.Contains(" "+words+" ", fmt.Sprintf(" %v ", o[field])) {
			t.Errorf("%s is %q", field, o[field])
		}
	}
	if b, ok := o["block"].([]any); ok && len(b) != 2 {
		t.Errorf("block %v", b)
	}
	if c := o["confidence"].(float64); c < 0 || c > 1 {
		t.Errorf("confidence %v", c)
	}
}
