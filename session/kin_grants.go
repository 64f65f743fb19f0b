// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// grantNeed is one series of grants that this device needs and has.
type grantNeed struct {
	kind   identity.GrantKind
	secret identity.Secret // zero = the reach secret, or an inbox
	hours  int             // how many epochs from now on
	have   *identity.Grants
}

// need finds a series of grants.
func (k *Kin) need(kind identity.GrantKind, s identity.Secret) *grantNeed {
	for _, n := range k.grants {
		if n.kind == kind && n.secret == s {
			return n
		}
	}
	return nil
}

func (k *Kin) secretOf(n *grantNeed) identity.Secret {
	switch {
	case n.kind == identity.GrantInbox:
		return identity.Secret{}
	case n.secret == (identity.Secret{}):
		return k.self.Reach()
	}
	return n.secret
}

// Need has a series of grants fetched for n epochs from now on, and kept.
func (k *Kin) Need(now time.Time, kind identity.GrantKind, s identity.Secret, n int) {
	if k.self.Holder() {
		return
	}
	g := k.need(kind, s)
	if g == nil {
		if len(k.grants) == maxSeries {
			return
		}
		g = &grantNeed{kind: kind, secret: s}
		k.grants = append(k.grants, g)
	}
	g.hours = max(g.hours, n)
	k.lack(now)
}

// maxSeries bounds the series of grants: the person's own three and those of
// tickets.
const maxSeries = 3 + 16

// lack asks holders for what this device lacks.
func (k *Kin) lack(now time.Time) {
	if k.self.Holder() || k.Revoked() || k.asking != nil && now.Sub(k.askedAt) < kinAgain {
		return
	}
	old := k.self.Certificate().NotAfter.Sub(now) < renewBefore
	n, first, count := k.lacking(now)
	if !old && n == nil {
		return
	}
	holders := slices.DeleteFunc(slices.Clone(k.peers), func(o *kinsman) bool {
		e, _ := k.list.Find(o.peer.Device)
		return !e.Holder
	})
	if len(holders) == 0 {
		return
	}
	// The next one, should the last not have answered.
	o := holders[(slices.Index(holders, k.asking)+1)%len(holders)]
	k.asking, k.askedAt = o, now
	if old {
		k.send(o.peer, appendDevice(kinRenew))
	} else {
		var secret []byte
		if n.secret != (identity.Secret{}) {
			secret = n.secret[:]
		}
		k.send(o.peer, appendDevice(kinWant, []byte{byte(n.kind)}, u32(uint32(first)), []byte{byte(count)}, secret))
	}
	if soon := now.Add(kinAgain); k.next.IsZero() || k.next.After(soon) {
		k.next = soon
	}
}

// lacking returns the first series of grants that is not complete, and what
// should come next.
func (k *Kin) lacking(now time.Time) (n *grantNeed, first uint64, count int) {
	for _, n := range k.grants {
		e := epochOf(n.kind, now)
		if n.kind != identity.GrantPrekeys {
			e = max(e, 1) - 1
		}
		end := epochOf(n.kind, now) + uint64(n.hours)
		first := e
		if n.have.Covers(e) {
			first = n.have.First + uint64(n.have.Len())
		} else {
			n.have = nil
		}
		if first < end && (first == e || end-first >= uint64(min(grantStep, n.hours/2))) {
			return n, first, int(min(end-first, grantStep))
		}
	}
	return nil, 0, 0
}

func epochOf(kind identity.GrantKind, t time.Time) uint64 {
	if kind == identity.GrantPrekeys {
		return identity.PrekeyPeriod(t)
	}
	return identity.Hour(t)
}

// wanted answers another device's question for grants.
func (k *Kin) wanted(now time.Time, o *kinsman, m deviceMessage) error {
	e, ok := k.list.Find(o.peer.Device)
	kind, first, n := identity.GrantKind(m.f[1][0]), uint64(binary.BigEndian.Uint32(m.f[2])), int(m.f[3][0])
	secret, err := m.secret(4)
	if err != nil {
		return err
	}
	at := epochOf(kind, now)
	limit := uint64(grantLimit)
	if kind == identity.GrantPrekeys {
		limit = grantPeriods + 1
	}
	switch {
	case !k.self.Holder() || !ok || e.Revoked:
		return nil
	case kind > identity.GrantPrekeys || n == 0 || n > grantStep || first+2 < at || first+uint64(n) > at+limit:
		return fmt.Errorf("%w: %d grants of kind %d from %d", ErrMessage, n, kind, first)
	case !o.wants.takeOf(now, wantBurst, wantRefill):
		return fmt.Errorf("%w: grants", ErrFlood)
	}
	need := grantNeed{kind: kind, secret: secret}
	g, err := k.self.Grant(kind, k.secretOf(&need), o.cert.Device, e.Slot, first, n)
	if err != nil {
		return fmt.Errorf("%w: grants: %w", ErrMessage, err)
	}
	k.send(o.peer, appendDevice(kinGrants, g.Bytes(), m.f[4]))
	return nil
}

// granted takes grants that this device asked for.
func (k *Kin) granted(now time.Time, o *kinsman, m deviceMessage) error {
	secret, err := m.secret(2)
	if err != nil {
		return err
	}
	g, err := identity.ParseGrants(m.f[1])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	n := k.need(g.Kind, secret)
	if n == nil || g.Slot != k.Slot() || !g.Device.Equal(k.self.Certificate().Device) || !g.Fits(k.self.ID(), k.secretOf(n)) {
		return fmt.Errorf("%w: grants for something else", ErrForged)
	}
	if n.have.Len() == 0 {
		n.have = g
	} else {
		all := *n.have
		if err := all.Append(g); err != nil {
			return fmt.Errorf("%w: %w", ErrReplay, err)
		}
		n.have = &all
	}
	k.asking = nil
	e := epochOf(n.kind, now)
	n.have = n.have.From(k.self.ID(), k.secretOf(n), max(e, 1)-1)
	k.emit(KinGranted{})
	k.lack(now)
	return nil
}

// renewOther certifies another device anew.
func (k *Kin) renewOther(now time.Time, o *kinsman) error {
	e, ok := k.list.Find(o.peer.Device)
	switch {
	case !k.self.Holder() || !ok || e.Revoked:
		return nil
	case !o.wants.takeOf(now, wantBurst, wantRefill):
		return fmt.Errorf("%w: certificates", ErrFlood)
	}
	c, err := k.self.Certify(now, o.cert.Device, o.cert.Sealing, o.cert.Name)
	if err != nil {
		return err
	}
	k.send(o.peer, appendDevice(kinRenewed, c.Raw()))
	list := slices.Clone(k.list.Devices)
	i := slices.IndexFunc(list, func(x identity.Listed) bool { return x.Device == o.peer.Device })
	list[i].Until = c.NotAfter.Add(time.Hour).Truncate(time.Hour)
	k.change(now, list)
	return nil
}

// renewed takes a certificate that this device asked for.
func (k *Kin) renewed(now time.Time, m deviceMessage) error {
	c, err := identity.ParseCertificate(m.f[1], now)
	if err == nil {
		err = k.self.Adopt(c)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForged, err)
	}
	k.asking = nil
	k.emit(KinRenewed{c})
	k.lack(now)
	return nil
}

// renewSelf lets a holder that runs for months certify itself anew.
func (k *Kin) renewSelf(now time.Time) {
	c := k.self.Certificate()
	if !k.self.Holder() || k.Revoked() || c.NotAfter.Sub(now) >= renewOwn {
		return
	}
	n, err := k.self.Certify(now, ed25519.PublicKey(c.Device), c.Sealing, c.Name)
	if err != nil || k.self.Adopt(n) != nil {
		return
	}
	k.emit(KinRenewed{n})
}
