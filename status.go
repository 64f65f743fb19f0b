// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/relay"
)

// Status is a snapshot of a node, for display and bug reports. It names no
// one but the node itself and neighbours by their node IDs.
type Status struct {
	ID         identity.ID
	Node       identity.NodeID
	Listen     []netip.AddrPort
	Links      int              // nodes with which a link stands
	LinksByNAT map[string]int   // of these, by what the other end says it is behind: "open", "easy", "hard", "blocked", "unknown"
	Relayed    int              // of these, carried by another node
	Siblings   int              // nodes nearest to this one in the network, of eight
	Carrying   int              // links of neighbours that this node carries
	Relay      Relaying         // what this node carries for others
	AtTURN     []netip.AddrPort // addresses that it holds at the servers of Config.TURN
	TURN       TURNCounts       // what it does for TURN guests, see Config.ServeTURN
	Records    int              // reach records that this node holds for others
	Forwarded  uint64           // messages of others that it passed on, since the start
	Introduced uint64           // nodes that it introduced to each other, since the start
	Peers      []Peer
	Roster     *Roster // in force; nil without one
	Calls      int
	BytesIn    uint64 // UDP payload of every kind, since the start
	BytesOut   uint64
	Dropped    map[string]uint64 // what was refused since the start, by reason
	Goroutines int               // of the whole process
	Heap       uint64            // bytes in use, of the whole process
}

// Relaying is what a node carries for its neighbours.
type Relaying struct {
	Calls, Links, Rings int               // flows of each kind now
	TwoHop              int               // of those, through a second relay
	Promised            int64             // bit/s, both ways
	Load                int               // percent of what Config.Relay gives
	Bytes               uint64            // carried, since the start
	Counts              map[string]uint64 // what was granted, opened, refused and why, since the start
}

// TURNCounts is what a TURN service does.
type TURNCounts = relay.TURNServerStats

// Peer is a neighbour.
type Peer struct {
	Node identity.NodeID
	NAT  string // what it says it is behind, as in Status.LinksByNAT; "" = not said yet
	Path Path
	Age  time.Duration // of the link
}

// Status returns a snapshot. After Close it holds what is still true.
func (n *Node) Status() Status {
	s := Status{ID: n.ID(), Node: n.NodeID(), Listen: n.ov.LocalAddrs(), Goroutines: runtime.NumGoroutine(), Heap: heap()}
	o, err := n.ov.Status(n.ctx)
	s.Links, s.Dropped, s.BytesIn, s.BytesOut = o.Links, o.Dropped, o.BytesIn, o.BytesOut
	s.Relayed, s.Siblings, s.Carrying = o.Relayed, o.Siblings, o.Carried
	s.Relay = Relaying{
		Calls: o.Carries.Calls, Links: o.Carries.Links, Rings: o.Carries.Short, TwoHop: o.Carries.TwoHop,
		Promised: o.Carries.Promised, Load: int(o.Carries.Load), Bytes: o.RelayedBytes, Counts: o.RelayCounts,
	}
	s.AtTURN = o.TURN
	s.Roster = n.ov.Roster()
	if n.turn != nil {
		s.TURN = n.turn.Stats()
	}
	s.Records, s.Forwarded, s.Introduced = o.Records, o.Forwarded, o.Introduced
	s.LinksByNAT = make(map[string]int)
	for class, links := range o.Classes {
		s.LinksByNAT[class.String()] = links
	}
	maps.Copy(s.Dropped, n.hub.Dropped())
	s.Dropped["lan"] = n.near.dropped()
	s.Dropped["file"] = n.desk.Refused()
	s.Dropped["audit"] = n.auditor.lost.Load()
	if err != nil {
		return s
	}
	peers, _ := n.ov.Peers(n.ctx)
	for _, p := range peers {
		peer := Peer{Node: p.Node(), Path: pathOf(p.Path()), Age: p.Age()}
		if class, ok := o.ByNode[p.Node()]; ok {
			peer.NAT = class.String()
		}
		s.Peers = append(s.Peers, peer)
	}
	n.mu.Lock()
	s.Calls = len(n.handles)
	n.mu.Unlock()
	return s
}

// refused is how many flows this node refused to carry.
func (r Relaying) refused() (n uint64) {
	for what, k := range r.Counts {
		if strings.HasPrefix(what, "refused: ") {
			n += k
		}
	}
	return n
}

// heap reads the live heap without stopping the world.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// natClasses are the keys of LinksByNAT, in order.
var natClasses = [...]string{"open", "easy", "hard", "blocked", "unknown"}

// byNAT lists how many links lead to which kind of NAT.
func byNAT(m map[string]int) string {
	var list []string
	for _, class := range natClasses {
		if m[class] > 0 {
			list = append(list, fmt.Sprintf("%d %s", m[class], class))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

// String returns the status as text, one fact a line.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "identity    %v\n", s.ID)
	fmt.Fprintf(&b, "node        %v\n", s.Node.Short())
	fmt.Fprintf(&b, "listen      %v\n", s.Listen)
	fmt.Fprintf(&b, "links       %d%s, %d relayed, %d of 8 siblings\n", s.Links, byNAT(s.LinksByNAT), s.Relayed, s.Siblings)
	for _, p := range s.Peers {
		fmt.Fprintf(&b, "  %s  %-6s %v  rtt %v  age %v\n", p.Node.Short(), p.Path.Kind, p.Path.Remote,
			p.Path.RTT.Round(time.Millisecond), p.Age.Round(time.Second))
	}
	fmt.Fprintf(&b, "for others  %d links carried, %d records held, %d messages passed on, %d introductions\n",
		s.Carrying, s.Records, s.Forwarded, s.Introduced)
	fmt.Fprintf(&b, "relaying    %d calls, %d links, %d rings, load %d %%, %d bytes; %d flows opened, %d refused\n",
		s.Relay.Calls, s.Relay.Links, s.Relay.Rings, s.Relay.Load, s.Relay.Bytes, s.Relay.Counts["flows opened"], s.Relay.refused())
	if r := s.Roster; r != nil {
		fmt.Fprintf(&b, "roster      number %d, %d members, until %s\n", r.Number, len(r.Members), r.Expires.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "calls       %d\n", s.Calls)
	fmt.Fprintf(&b, "traffic     %d bytes in, %d out\n", s.BytesIn, s.BytesOut)
	fmt.Fprintf(&b, "goroutines  %d\n", s.Goroutines)
	fmt.Fprintf(&b, "heap        %.1f MiB\n", float64(s.Heap)/(1<<20))
	fmt.Fprintf(&b, "dropped    ")
	none := true
	for _, k := range slices.Sorted(maps.Keys(s.Dropped)) {
		if s.Dropped[k] > 0 {
			fmt.Fprintf(&b, " %s=%d", k, s.Dropped[k])
			none = false
		}
	}
	if none {
		b.WriteString(" nothing")
	}
	b.WriteByte('\n')
	return b.String()
}
