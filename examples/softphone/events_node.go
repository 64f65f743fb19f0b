// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"strings"

	"github.com/p2pos/p2pos"
)

type missedEvent struct {
	Peer string `json:"peer"`
	Name string `json:"name"`
	When string `json:"when"` // RFC 3339
}

func (missedEvent) name() string { return "missed" }
func (e missedEvent) text() string {
	return fmt.Sprintf("missed a call from %s%s", e.Peer, saysToBe(e.Name))
}

func (natEvent) name() string { return "nat" }
func (e natEvent) text() string {
	if e.Mapping == "unknown" && len(e.why) == 0 {
		return "NAT: not known yet; it takes a few linked nodes in other networks, and some seconds"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "NAT: mapping %s, filtering %s, ports %s", e.Mapping, e.Filtering, e.Ports)
	if e.Block != nil {
		fmt.Fprintf(&b, " from %d to %d", e.Block[0], e.Block[1])
	}
	fmt.Fprintf(&b, " (%.0f %% sure)", 100*e.Confidence)
	seen := "not known"
	if len(e.Public) > 0 {
		seen = strings.Join(e.Public, ", ")
	}
	fmt.Fprintf(&b, "\n  outside address %s, IPv6 %s", seen, e.IPv6)
	if e.CGN {
		b.WriteString(", a second NAT behind the router's")
	}
	if e.Hairpin != nil {
		b.WriteString(map[bool]string{true: ", hairpin", false: ", no hairpin"}[*e.Hairpin])
	}
	if e.Lifetime != nil {
		fmt.Fprintf(&b, ", mappings last %.0f s", *e.Lifetime)
	}
	for _, why := range e.why {
		b.WriteString("\n  because " + why)
	}
	return b.String()
}

// statusEvent has the fields of the contract.
type statusEvent struct {
	Links        int               `json:"links"`
	LinksByClass map[string]int    `json:"links_by_class"`
	RelayedCalls int               `json:"relayed_calls"`
	RelayedFlows int               `json:"relayed_flows"`
	Records      int               `json:"records"`
	BytesIn      uint64            `json:"bytes_in"`
	BytesOut     uint64            `json:"bytes_out"`
	Dropped      map[string]uint64 `json:"dropped"`
	Goroutines   int               `json:"goroutines"`
	HeapBytes    uint64            `json:"heap_bytes"`

	full string
}

func statusOf(s p2pos.Status) statusEvent {
	e := statusEvent{
		Links: s.Links, LinksByClass: s.LinksByNAT, RelayedCalls: s.Relay.Calls,
		RelayedFlows: s.Relay.Calls + s.Relay.Links + s.Relay.Rings, Records: s.Records, BytesIn: s.BytesIn, BytesOut: s.BytesOut, Dropped: s.Dropped,
		Goroutines: s.Goroutines, HeapBytes: s.Heap, full: s.String(),
	}
	if e.LinksByClass == nil {
		e.LinksByClass = map[string]int{}
	}
	if e.Dropped == nil {
		e.Dropped = map[string]uint64{}
	}
	return e
}

func (statusEvent) name() string   { return "status" }
func (e statusEvent) text() string { return "status\n" + strings.TrimRight(e.full, "\n") }

type peersEvent struct {
	Peers []peer `json:"peers"`
}

type peer struct {
	Node  string  `json:"node"`
	Class string  `json:"class"`
	Kind  string  `json:"kind"`
	Via   string  `json:"via"`
	RTT   float64 `json:"rtt_ms"`
	Age   float64 `json:"age_s"`
}

func peersOf(s p2pos.Status) peersEvent {
	e := peersEvent{Peers: []peer{}}
	for _, p := range s.Peers {
		via := ""
		if len(p.Path.Vias) > 0 {
			via = p.Path.Vias[0].String()
		}
		e.Peers = append(e.Peers, peer{
			Node: p.Node.String(), Class: p.NAT, Via: via, Kind: p.Path.Kind, RTT: millis(p.Path.RTT), Age: seconds(p.Age),
		})
	}
	return e
}

func (peersEvent) name() string { return "peers" }
func (e peersEvent) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d linked nodes", len(e.Peers))
	for _, p := range e.Peers {
		fmt.Fprintf(&b, "\n  %s  %s, %.0f ms away, for %.0f s", p.Node, p.Kind, p.RTT, p.Age)
	}
	return b.String()
}

type helpEvent struct {
	Commands []string `json:"commands"`
}

func (helpEvent) name() string   { return "help" }
func (e helpEvent) text() string { return "commands\n  " + strings.Join(e.Commands, "\n  ") }

type errorEvent struct {
	Command string `json:"command"`
	Message string `json:"message"`
}

func (errorEvent) name() string   { return "error" }
func (e errorEvent) text() string { return fmt.Sprintf("%s: %s", e.Command, e.Message) }

// presenceEvent says that a contact comes or goes.
type presenceEvent struct {
	Peer   string  `json:"peer"`
	Name   string  `json:"name"`
	Online bool    `json:"online"`
	Seen   *string `json:"seen"` // null = not since the start
}

func presenceOf(e p2pos.Presence, name string) presenceEvent {
	p := presenceEvent{Peer: e.Peer.String(), Name: name, Online: e.Online}
	if !e.Seen.IsZero() {
		seen := stamp(e.Seen)
		p.Seen = &seen
	}
	return p
}

func (presenceEvent) name() string { return "presence" }
func (e presenceEvent) text() string {
	if e.Online {
		return e.Name + " is online"
	}
	return e.Name + " is offline"
}
