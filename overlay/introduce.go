// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// introducer carries sealed offers between nodes that both have a link to
// this one, so that they can punch. It is a pure machine: the loop hands it
// frames and time, and sends what it returns.
//
// A node registers the reach tags it answers to; an asker names a tag. The
// introducer learns neither identity nor content. Until reach records exist
// this is also how a ticket finds its issuer.
type introducer struct {
	seq     uint32
	byTag   map[tag][]identity.NodeID
	peers   map[identity.NodeID]*registrant
	pending []carried // in order of expiry
}

type registrant struct {
	tags    []tag
	carried int     // questions of this peer on their way
	tokens  float64 // introductions this peer may still ask for
	filled  time.Time
}

// carried is an introduction on its way: the answer goes back to asker.
type carried struct {
	request uint32 // ours, towards the target
	target  identity.NodeID
	asker   identity.NodeID
	theirs  uint32 // the asker's own number
	group   uint32 // shared by all targets of one question
	expires time.Time
}

const (
	// maxPerTag: an identity has at most five devices (design §6).
	maxPerTag = 5
	// maxCarried bounds introductions on their way at one time: a second of
	// askAll at full rate on 100 links.
	maxCarried = 1024
	// maxPerAsker of them may be one node's: a burst to a person of five
	// devices is 100, and the others still find room.
	maxPerAsker = 100
	// introductionLife is how long a target may take: a sleeping phone's
	// radio needs two seconds, the asker has given up after ten.
	introductionLife = 10 * time.Second
	// Each peer may ask for askRate introductions a second, askBurst at once:
	// a ring needs one, a start about twenty.
	askRate, askBurst = 2, 20
)

// toSend is a frame for a linked node.
type toSend struct {
	to   identity.NodeID
	typ  byte
	body []byte
}

func newIntroducer(seq uint32) *introducer {
	return &introducer{
		seq:   seq,
		byTag: make(map[tag][]identity.NodeID),
		peers: make(map[identity.NodeID]*registrant),
	}
}

func (m *introducer) peer(now time.Time, id identity.NodeID) *registrant {
	p := m.peers[id]
	if p == nil {
		p = &registrant{tokens: askBurst, filled: now}
		m.peers[id] = p
	}
	return p
}

// register replaces the tags under which a linked node wants to be found.
func (m *introducer) register(now time.Time, from identity.NodeID, tags []tag) {
	p := m.peer(now, from)
	m.unregister(from, p)
	for _, t := range tags {
		if len(p.tags) == maxTags {
			break
		}
		ids := m.byTag[t]
		if slices.Contains(ids, from) {
			continue
		}
		if len(ids) == maxPerTag {
			// The newest stay: who squats on a tag can be outlived, and a
			// device that is there registers again and again.
			old := m.peers[ids[0]]
			old.tags = slices.DeleteFunc(old.tags, func(o tag) bool { return o == t })
			ids = ids[1:]
		}
		m.byTag[t] = append(ids, from)
		p.tags = append(p.tags, t)
	}
}

func (m *introducer) unregister(id identity.NodeID, p *registrant) {
	for _, t := range p.tags {
		ids := slices.DeleteFunc(m.byTag[t], func(o identity.NodeID) bool { return o == id })
		if len(ids) == 0 {
			delete(m.byTag, t)
		} else {
			m.byTag[t] = ids
		}
	}
	p.tags = p.tags[:0]
}

// forget drops a node whose link is gone.
func (m *introducer) forget(id identity.NodeID) {
	if p := m.peers[id]; p != nil {
		m.unregister(id, p)
		delete(m.peers, id)
	}
	m.pending = slices.DeleteFunc(m.pending, func(c carried) bool {
		if c.asker != id && c.target != id {
			return false
		}
		m.settled(c)
		return true
	})
}

// introduce carries a question to everybody registered under its tag. When
// there is nobody the asker hears so at once. seen is the asker's address on
// its link here, zero when that is not known for certain.
func (m *introducer) introduce(now time.Time, from identity.NodeID, seen netip.AddrPort, in introduction) []toSend {
	p := m.peer(now, from)
	p.tokens = min(askBurst, p.tokens+askRate*now.Sub(p.filled).Seconds())
	p.filled = now
	if p.tokens < 1 {
		return nil
	}
	p.tokens--
	var out []toSend
	group := m.seq + 1
	var targets int
	for _, id := range m.byTag[in.tag] {
		if id == from || len(m.pending) == maxCarried || p.carried == maxPerAsker {
			continue
		}
		p.carried++
		m.seq++
		targets++
		m.pending = append(m.pending, carried{
			request: m.seq, target: id, asker: from, theirs: in.request,
			group: group, expires: now.Add(introductionLife),
		})
		fwd := introduction{request: m.seq, tag: in.tag, offer: in.offer, seen: seen}
		out = append(out, toSend{id, frameIntroduction, fwd.append(nil, true)})
	}
	if targets == 0 {
		no := introduction{request: in.request}
		return []toSend{{from, frameReply, no.append(nil, false)}}
	}
	return out
}

// reply carries a target's answer back. Only the node that was asked may
// answer, once; an empty answer reaches the asker when all targets gave one.
func (m *introducer) reply(from identity.NodeID, seen netip.AddrPort, in introduction) (toSend, bool) {
	i := slices.IndexFunc(m.pending, func(c carried) bool { return c.request == in.request && c.target == from })
	if i < 0 {
		return toSend{}, false
	}
	c := m.pending[i]
	m.settled(c)
	m.pending = slices.Delete(m.pending, i, i+1)
	if len(in.offer) == 0 && slices.ContainsFunc(m.pending, func(o carried) bool { return o.group == c.group }) {
		return toSend{}, false
	}
	back := introduction{request: c.theirs, offer: bytes.Clone(in.offer), seen: seen}
	return toSend{c.asker, frameReply, back.append(nil, false)}, true
}

// settled takes an introduction off its asker's account.
func (m *introducer) settled(c carried) {
	if p := m.peers[c.asker]; p != nil {
		p.carried--
	}
}

func (m *introducer) advance(now time.Time) {
	i := slices.IndexFunc(m.pending, func(c carried) bool { return now.Before(c.expires) })
	if i < 0 {
		i = len(m.pending)
	}
	for _, c := range m.pending[:i] {
		m.settled(c)
	}
	m.pending = slices.Delete(m.pending, 0, i)
}

func (m *introducer) deadline() time.Time {
	if len(m.pending) == 0 {
		return time.Time{}
	}
	return m.pending[0].expires
}
