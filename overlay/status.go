// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"net/netip"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay/mesh"
	"github.com/p2pos/p2pos/overlay/relay"
)

// Status is a snapshot of what the overlay holds, does for others and has
// refused.
type Status struct {
	Links        int
	Classes      map[mesh.Class]int             // of these, by what NAT the other end is behind, as it says
	ByNode       map[identity.NodeID]mesh.Class // the same, one by one
	Relayed      int                            // of these, carried by another node
	Siblings     int                            // nodes nearest to this one, of eight
	Carried      int                            // links of neighbours that this node carries
	TURN         []netip.AddrPort               // addresses that this node holds at TURN servers
	Carries      relay.Carried                  // flows of neighbours
	Records      int                            // of reach, held for others
	Forwarded    uint64                         // messages of others that this node passed on, since the start
	Introduced   uint64                         // introductions that it passed on and that were agreed to
	Own          uint64                         // messages of its own
	Lost         uint64                         // of these, without an answer
	BytesIn      uint64                         // UDP payload of every kind, since the start
	BytesOut     uint64
	Dropped      map[string]uint64 // datagrams and frames not taken, by reason
	RelayCounts  map[string]uint64 // flows opened, refused and why
	RelayedBytes uint64            // that this node carried for others
	Missed       uint64            // peers that were not looked at in time: a fault of this program
}

// Status returns a snapshot.
func (o *Overlay) Status(ctx context.Context) (s Status, err error) {
	s.Dropped = o.sock.Dropped()
	s.BytesIn, s.BytesOut = o.sock.Traffic()
	s.Dropped["probe"] = o.badProbes.Load()
	s.Dropped["relay"] += o.strayFrames.Load()
	for _, m := range []map[string]uint64{o.forward.Dropped(), o.carrier.Dropped()} {
		for _, n := range m {
			s.Dropped["relay"] += n
		}
	}
	s.Dropped["frame"] = o.badFrames.Load()
	s.Dropped["link"] = o.refused.Load()
	s.Dropped["roster"] = o.turned.Load()
	s.Classes = make(map[mesh.Class]int)
	err = o.loop.Do(ctx, func(time.Time) {
		c := o.core
		s.Links = c.linked()
		m := c.mesh.m.Status()
		for class, n := range m.ByClass {
			s.Classes[mesh.Class(class)] = n
		}
		s.ByNode = make(map[identity.NodeID]mesh.Class)
		for _, n := range c.mesh.m.Neighbours() {
			s.ByNode[n.ID] = n.Card.Class
		}
		s.Relayed, s.Siblings, s.Carried = m.Relayed, m.Siblings, m.Carried
		s.Forwarded, s.Introduced = m.Routing.Forwarded, m.Introducer.Passed
		s.Own, s.Lost = m.Routing.Sent, m.Routing.Undelivered
		s.Records = c.records.store.Status().Records
		s.TURN = c.turnAddrs()
		s.Carries, s.RelayCounts = c.relays.server.Carried(), c.relays.server.Counters()
		_, s.RelayedBytes = o.forward.Total()
		s.Missed = c.due.missed
	})
	return s, err
}
