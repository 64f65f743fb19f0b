// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"encoding/binary"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session"
)

// What a node keeps of devices, in the room Devices of its database:
//
//	"list"            the person's devices, signed (identity.DeviceList)
//	"revoked"         what contacts should know, signed
//	"certificate"     this device's newest, when it is newer than the key store's
//	"grant" kind(1) secret(16)    grants of this device
//	"theirs" ID(32)   devices that others have revoked, n × id(16)
//	"once" secret(16)   a one-use ticket: expires(8, Unix seconds) || who uses it(32, zeros = nobody yet)
const (
	keyList    = "list"
	keyRevoked = "revoked"
	keyCert    = "certificate"
	keyGrant   = "grant"
	keyTheirs  = "theirs"
	keyOnce    = "once"
)

// kins is the node's part in the person's devices beside the hub.
type kins struct {
	changed chan struct{} // capacity 1: something is to be kept
	news    chan session.KinEvent
	theirs  []session.Revoked // read at the start, as is once
	once    []session.Once

	mu    sync.Mutex        // held while it is written
	saved map[string]string // as last written
}

func newKins() *kins {
	return &kins{changed: make(chan struct{}, 1), news: make(chan session.KinEvent, maxLinkNews), saved: map[string]string{}}
}

// maxLinkNews: a code, and how it ended.
const maxLinkNews = 4

func (k *kins) wake() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// linking hands on what concerns this installation's own question. What nobody
// takes is old.
func (k *kins) linking(e session.KinEvent) {
	for {
		select {
		case k.news <- e:
			return
		default:
		}
		select {
		case <-k.news:
		default:
		}
	}
}

// drain forgets what nobody has taken.
func (k *kins) drain() {
	for {
		select {
		case <-k.news:
		default:
			return
		}
	}
}

// loadDevices reads what the database has. What can't be read is left out: other
// devices have it, or it is asked for again.
func loadDevices(db *store.Store, dev *identity.Device, now time.Time) (st session.KinState, k *kins, err error) {
	k = newKins()
	err = db.View(func(tx *store.Tx) error {
		for name, b := range tx.Map(store.Devices).All() {
			k.saved[string(name)] = string(b)
		}
		return nil
	})
	bad := 0
	note := func(err error) {
		if err != nil {
			bad++
		}
	}
	for name, v := range k.saved { // order doesn't matter: each says who it is
		b := []byte(v)
		var err error
		switch {
		case name == keyList:
			st.List, err = identity.ParseDeviceList(b)
		case name == keyRevoked:
			st.Revoked, err = identity.ParseRevocations(b, dev.ID())
		case name == keyCert:
			var c identity.Certificate
			if c, err = identity.ParseCertificate(b, now); err == nil {
				dev.Adopt(c) // fails when the key store's is the newer one
			}
		case len(name) == len(keyGrant)+1+16 && name[:len(keyGrant)] == keyGrant:
			g := session.GrantState{Secret: identity.Secret([]byte(name[len(keyGrant)+1:]))}
			if g.Grants, err = identity.ParseGrants(b); err == nil {
				st.Grants = append(st.Grants, g)
			}
		case len(name) == len(keyTheirs)+32 && name[:len(keyTheirs)] == keyTheirs:
			r := session.Revoked{ID: identity.ID([]byte(name[len(keyTheirs):]))}
			for c := wire.NewReader(b); c.Len() > 0 && c.Err() == nil; {
				var d identity.DeviceID
				c.Fixed(d[:])
				r.Devices = append(r.Devices, d)
			}
			k.theirs = append(k.theirs, r)
		case len(name) == len(keyOnce)+16 && name[:len(keyOnce)] == keyOnce:
			o := session.Once{Secret: identity.Secret([]byte(name[len(keyOnce):]))}
			c := wire.NewReader(b)
			o.Expires = time.Unix(int64(c.U64()), 0)
			c.Fixed(o.By[:])
			if err = c.Done(); err == nil && now.Before(o.Expires) && len(k.once) < session.MaxOnce {
				k.once = append(k.once, o)
			}
		}
		note(err)
	}
	if err == nil && bad > 0 {
		err = errors.New("p2pos: some of what was known of devices can't be read")
	}
	return st, k, err
}

// deviceState puts what is known into the database's form.
func deviceState(st session.KinState, cert identity.Certificate, theirs []session.Revoked, once []session.Once) map[string]string {
	m := map[string]string{}
	put := func(name string, b []byte) {
		if len(b) > 0 {
			m[name] = string(b)
		}
	}
	put(keyList, st.List.Raw())
	put(keyRevoked, st.Revoked.Raw())
	put(keyCert, cert.Raw())
	for _, g := range st.Grants {
		put(keyGrant+string([]byte{byte(g.Grants.Kind)})+string(g.Secret[:]), g.Grants.Bytes())
	}
	for _, r := range theirs {
		var b []byte
		for _, d := range r.Devices {
			b = append(b, d[:]...)
		}
		put(keyTheirs+string(r.ID[:]), b)
	}
	for _, o := range once {
		put(keyOnce+string(o.Secret[:]), append(binary.BigEndian.AppendUint64(nil, uint64(o.Expires.Unix())), o.By[:]...))
	}
	return m
}

// writeDevices brings the database from one state to another.
func writeDevices(db *store.Store, from, to map[string]string) error {
	return db.Update(func(tx *store.Tx) error {
		room := tx.Map(store.Devices)
		for name, v := range to {
			if from[name] != v {
				if err := room.Put([]byte(name), []byte(v)); err != nil {
					return err
				}
			}
		}
		for name := range from {
			if _, ok := to[name]; !ok {
				if err := room.Delete([]byte(name)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// saveDevices writes what has changed. Without a list there is nothing that a
// restart could not do without, but for one-use tickets.
func (n *Node) saveDevices() error {
	n.kins.mu.Lock()
	defer n.kins.mu.Unlock()
	var st session.KinState
	if err := n.hub.Kin(n.ctx, func(_ time.Time, k *session.Kin) { st = k.State() }); err != nil {
		return err
	}
	theirs, err := n.hub.Revoked(n.ctx)
	if err != nil {
		return err
	}
	once, err := n.hub.Onces(n.ctx)
	if err != nil {
		return err
	}
	var cert identity.Certificate
	if c := n.dev.Certificate(); st.List.Raw() != nil && !n.dev.Holder() {
		cert = c
	}
	next := deviceState(st, cert, theirs, once)
	if maps.Equal(next, n.kins.saved) || n.replaced.Load() {
		return nil
	}
	if err := writeDevices(n.db, n.kins.saved, next); err != nil {
		return err
	}
	n.kins.saved = next
	return nil
}

// publishing says what the overlay publishes of this device.
func (n *Node) publishing(k *session.Kin, once []session.Once) overlay.Publishing {
	if k.Revoked() {
		return overlay.Publishing{Slot: k.Slot()}
	}
	p := overlay.Publishing{
		Slot:  k.Slot(),
		Inbox: n.cfg.Knocks && n.dev.Holder(),
		Reach: []overlay.Reach{{
			Secret:  n.dev.Reach(),
			Grants:  k.Grants(identity.GrantReach, identity.Secret{}),
			Prekeys: k.Grants(identity.GrantPrekeys, identity.Secret{}),
		}},
		Revoked: k.Revocations(),
	}
	if n.dev.Holder() {
		for _, o := range once {
			p.Reach = append(p.Reach, overlay.Reach{Secret: o.Secret})
		}
	}
	return p
}

func (n *Node) publishDevice() {
	var p overlay.Publishing
	once, err := n.hub.Onces(n.ctx)
	if err != nil || n.hub.Kin(n.ctx, func(_ time.Time, k *session.Kin) { p = n.publishing(k, once) }) != nil {
		return
	}
	if err := n.ov.Publish(n.ctx, p); err != nil && n.ctx.Err() == nil {
		n.log.Warn("records not changed", "err", err)
	}
}
