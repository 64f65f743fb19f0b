// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/nat"
)

const (
	// maxServers bounds the STUN servers that are tried in turn.
	maxServers = 8
	// serverEvery keeps a lone node's mapping alive, and the address in its
	// tickets true: as often as paths are kept (RFC 8445 §11).
	serverEvery = 15 * time.Second
	// serverAgain is the pause after all have been silent.
	serverAgain = time.Minute
)

// servers asks STUN servers (RFC 8489, with RFC 5780 what they know of it) where
// this node is seen from, one after the other until one answers: all tests
// once, and the plain question again for as long as no neighbour can tell. It
// is part of the core and owned by the loop.
type servers struct {
	list  []netip.AddrPort
	next  int // the one to ask
	tried int // in a row without an answer
	full  bool
	run   *nat.ServerCheck
	local [2]int // the run's sockets; the second is 0 until it is needed
	again time.Time
	at    netip.AddrPort // who answered last,
	seen  outside        // and what it saw
}

// SetServers names STUN servers as one more voice about this node's outside
// addresses. It replaces those named before.
func (o *Overlay) SetServers(list []netip.AddrPort) {
	o.loop.Do(o.ctx, func(now time.Time) {
		list = list[:min(len(list), maxServers)]
		if s := &o.core.servers; !slices.Equal(list, s.list) {
			o.core.endServer()
			*s = servers{list: slices.Clone(list), full: true, again: now}
		}
	})
}

// askServer begins to ask the next server.
func (c *core) askServer(now time.Time) {
	s := &c.servers
	s.again = time.Time{}
	if !s.full && c.sees(s.list[s.next].Addr().Unmap().Is4()) {
		s.again = now.Add(serverEvery) // neighbours keep the mapping, and tell
		return
	}
	paths := c.o.pathsTo(s.list[s.next])
	if len(paths) == 0 {
		c.served(now, false)
		return
	}
	s.local = [2]int{paths[0].Local, 0}
	s.run = nat.NewServerCheck(now, s.list[s.next])
	c.o.asking.Store(true)
}

// sees reports whether neighbours see this node from outside.
func (c *core) sees(ipv4 bool) bool {
	for _, p := range c.order {
		for _, o := range p.state.outside {
			if p.state.linked && o.addr.IsValid() && o.addr.Addr().Is4() == ipv4 {
				return true
			}
		}
	}
	return false
}

func (c *core) endServer() {
	s := &c.servers
	if s.local[1] != 0 {
		c.o.sock.Remove(s.local[1])
	}
	s.run, s.local = nil, [2]int{}
	c.o.asking.Store(false)
}

// served goes on after a run.
func (c *core) served(now time.Time, ok bool) {
	s := &c.servers
	c.endServer()
	if ok {
		s.tried, s.again = 0, now.Add(serverEvery)
		return
	}
	s.next = (s.next + 1) % len(s.list)
	if s.tried++; s.tried < len(s.list) {
		s.again = now
		return
	}
	s.tried, s.full = 0, true
	s.again, s.seen = now.Add(serverAgain), outside{}
}

func (c *core) advanceServer(now time.Time) {
	s := &c.servers
	if s.run != nil {
		s.run.Advance(now)
	}
	if len(s.list) > 0 && s.run == nil && !s.again.IsZero() && !now.Before(s.again) {
		c.askServer(now)
	}
}

func (s *servers) deadline() time.Time {
	if s.run != nil {
		return s.run.Deadline()
	}
	return s.again
}

// fromServer takes a STUN message that no key of ours proves.
func (c *core) fromServer(now time.Time, path sock.Path, b []byte) {
	s := &c.servers
	i := slices.Index(s.local[:], path.Local)
	if s.run == nil || i < 0 || i == 1 && s.local[1] == 0 {
		c.o.badProbes.Add(1)
		return
	}
	local := path.Local
	path.Local = i
	if !s.run.Receive(now, path, b) {
		c.o.badProbes.Add(1)
		return
	}
	if r, _ := s.run.Result(); r.Seen.IsValid() {
		s.at = s.list[s.next]
		if i == 0 {
			s.seen = outside{local, r.Seen}
		}
	}
}

// drainServer sends what the run wants sent, and ends it.
func (c *core) drainServer(now time.Time) {
	s := &c.servers
	for s.run != nil {
		r, done := s.run.Result()
		if done || !s.full && r.Seen.IsValid() {
			if s.full && r.Seen.IsValid() {
				s.full = false
				c.obs.class.SetServer(now, r)
			}
			c.served(now, r.Seen.IsValid())
			return
		}
		d, ok := s.run.Poll()
		if !ok {
			return
		}
		if d.Path.Local == 1 && s.local[1] == 0 {
			// What the first socket wrote has opened filters (RFC 5780 §4.4).
			i, err := c.fresh(d.Path.Remote.Addr(), 0)
			if err != nil {
				continue // its tests stay open
			}
			s.local[1] = i
		}
		d.Path.Local = s.local[d.Path.Local]
		if err := c.o.sock.WriteTo(d.Path, d.B); err != nil {
			c.o.log.Debug("server not asked", "remote", d.Path.Remote, "err", err)
		}
	}
}
