// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/ratchet"
)

// handEvery bounds how often a node gets keys of ours: each is a transaction.
const handEvery = time.Second

// hand gives a node keys for its device alone.
func (m *Machine) hand(now time.Time, l nodeLink) {
	i := slices.Index(m.links, l)
	if now.Before(l.handAt) {
		return
	}
	m.links[i].handAt = now.Add(handEvery)
	b := m.ring.Hand(now, m.cfg.Self)
	m.ringed = false
	m.do(Transmit{l.node, append([]byte{envBundle}, b...)})
}

// handed takes the keys of the device that a node runs.
func (m *Machine) handed(now time.Time, l nodeLink, raw []byte) error {
	b, err := ratchet.ParseBundle(raw, now)
	if err != nil {
		return err
	}
	if ratchet.PartyOf(b.Cert) != l.party {
		return fmt.Errorf("%w: another device's keys", ErrMessage)
	}
	p := m.person(l.party.Identity)
	if p == nil {
		i := slices.Index(m.links, l)
		m.links[i].bundle, m.links[i].handed = b, now
		return nil
	}
	if d := p.device(l.party.Device); d != nil && d.with() == nil {
		d.bundle, d.handed = b, now
		d.asked = resend{}
	}
	return nil
}

// Prekeys is the answer to a Fetch: the bundles that were found, one for each
// device, or why none were.
func (m *Machine) Prekeys(now time.Time, peer identity.ID, bundles [][]byte, failed error) error {
	return m.count(m.input(now, func() error {
		p := m.person(peer)
		if p == nil {
			return nil
		}
		p.fetching = false
		p.fetchAt = now.Add(fetchRetry)
		var first error
		for _, raw := range bundles {
			b, err := ratchet.ParseBundle(raw, now)
			if err == nil && b.Cert.Identity != peer {
				err = fmt.Errorf("%w: somebody else's keys", ErrMessage)
			}
			if err != nil {
				if first == nil {
					first = err
				}
				continue
			}
			party := ratchet.PartyOf(b.Cert)
			if party.Device == m.party.Device {
				continue
			}
			d, err := m.deviceOf(party)
			if err != nil {
				return err
			}
			p.fetchAt = now.Add(fetchEvery)
			if d.with() == nil {
				d.bundle, d.handed = b, time.Time{}
			}
		}
		m.due(p.fetchAt)
		return first
	}))
}

// housekeep publishes keys, and deletes those whose time is over.
func (m *Machine) housekeep(now time.Time) {
	if now.Before(m.keepAt) {
		m.due(m.keepAt)
		return
	}
	m.keepAt = now.Add(keepEvery)
	m.due(m.keepAt)
	if m.ring.Expire(now) {
		m.ringed = false
	}
	for _, p := range m.people {
		for _, d := range p.devices {
			for _, s := range d.session {
				if s.Expire(now) {
					m.saveSession(d, s)
				}
			}
		}
	}
	if m.joined && m.public != nil && m.publishAt.IsZero() {
		if b, fresh := m.ring.Bundle(now, m.cfg.Self); fresh || !bytes.Equal(b, m.public) {
			m.ringed = m.ringed && !fresh
			m.publishAt = now
		}
	}
}

// publish makes the present bundle known when its time has come.
func (m *Machine) publish(now time.Time) {
	if !m.joined || m.publishAt.IsZero() {
		return
	}
	if now.Before(m.publishAt) {
		m.due(m.publishAt)
		return
	}
	m.publishAt = time.Time{}
	b, fresh := m.ring.Bundle(now, m.cfg.Self)
	if fresh {
		m.ringed = false
	}
	m.public = b
	m.do(Publish{b})
	if name := nameOf('b'); !bytes.Equal(m.tx.get(name), sumOf(b)) {
		m.tx.put(name, sumOf(b))
	}
}

// plan says when to publish after joining. A network that is just forming hands
// everything around again and again; so what it has, or nobody has asked for
// yet, waits.
func (m *Machine) plan(now time.Time) {
	jitter := func(d time.Duration) time.Duration { return time.Duration(m.rng.Int64N(int64(d))) }
	m.publishAt = now.Add(publishNew + jitter(publishNew))
	if last := m.tx.get(nameOf('b')); last != nil && m.ring.Present(now, func(raw []byte) bool { return bytes.Equal(sumOf(raw), last) }) {
		m.publishAt = now.Add(publishOld + jitter(publishOld))
	}
}

func sumOf(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:8]
}
