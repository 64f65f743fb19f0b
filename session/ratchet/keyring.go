// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const (
	// bundleEvery is how often a bundle is made anew though nobody used it.
	bundleEvery = 7 * 24 * time.Hour
	// mailLife is how long a start may wait in a mailbox, and an hour.
	mailLife = 14*24*time.Hour + time.Hour
	// sharedLife is how long the private half of a published hybrid key lives on
	// from its first use: somebody else may have taken the same one, and his
	// message be under way.
	sharedLife = 48 * time.Hour
	// handedLife is how long a bundle that was handed to one peer waits for him.
	handedLife = time.Hour
	// maxPublished bundles are held: one a week for the 42 days that they may be
	// asked for, and those that use replaced.
	maxPublished = 24
	// maxHanded is one for each device that is met within an hour.
	maxHanded = 64
	// maxStarts that were accepted with one key are remembered, so that none is
	// accepted twice. More people don't take one key before it is replaced.
	maxStarts = 64
)

// A Keyring holds the private halves of a device's prekeys. It must be stored
// (Append) before a bundle that it has made leaves, and with each session that
// it has accepted.
type Keyring struct {
	published []*generation // newest last
	handed    []*generation // likewise
}

// generation is one bundle's private half.
type generation struct {
	id      BundleID
	created time.Time
	expires time.Time
	base    *ecdh.PrivateKey
	keys    []prekey
	raw     []byte // the bundle, of the newest published one alone
}

// prekey is one hybrid key.
type prekey struct {
	key    hpke.PrivateKey // nil = deleted
	used   time.Time       // first; zero = never
	starts [][8]byte       // sessions accepted with it
}

// entropy fills b with randomness. It is a parameter so that the vectors can
// be made; everybody else gives draw.
type entropy func(b []byte)

func draw(b []byte) { rand.Read(b) }

func newX25519(random entropy) *ecdh.PrivateKey {
	var b [32]byte
	random(b[:])
	k, err := ecdh.X25519().NewPrivateKey(b[:])
	if err != nil {
		panic("ratchet: X25519 key: " + err.Error()) // only for another length
	}
	clear(b[:])
	return k
}

func newGeneration(random entropy, self *identity.Device, now, expires time.Time, n int) *generation {
	g := &generation{created: now, expires: expires, base: newX25519(random)}
	var public []hpke.PublicKey
	for range n {
		var seed [32]byte
		random(seed[:])
		k, err := hpke.MLKEM768X25519().NewPrivateKey(seed[:])
		if err != nil {
			panic("ratchet: hybrid key: " + err.Error()) // only for another length
		}
		g.keys = append(g.keys, prekey{key: k})
		public = append(public, k.PublicKey())
	}
	g.raw = sealBundle(self, now, expires, g.base.PublicKey(), public)
	g.id = bundleID(g.raw)
	return g
}

// Bundle returns the bundle to publish, and whether it is a new one: a week has
// passed, one of its keys was used, or the device's certificate is another one.
func (k *Keyring) Bundle(now time.Time, self *identity.Device) (raw []byte, fresh bool) {
	if n := len(k.published); n > 0 {
		g := k.published[n-1]
		used := slices.ContainsFunc(g.keys, func(p prekey) bool { return !p.used.IsZero() })
		age := now.Sub(g.created)
		if !used && g.raw != nil && age < bundleEvery && age > -skew && g.of(self, now) {
			return slices.Clone(g.raw), false
		}
		g.raw = nil
	}
	g := newGeneration(draw, self, now, now.Add(BundleLife), maxKeys)
	k.published = append(k.published, g)
	if n := len(k.published); n > maxPublished {
		k.published = slices.Delete(k.published, 0, n-maxPublished)
	}
	return slices.Clone(g.raw), true
}

// Present reports whether the bundle that Bundle would return is there already
// and is the one that is meant.
func (k *Keyring) Present(now time.Time, meant func(raw []byte) bool) bool {
	n := len(k.published)
	return n > 0 && k.published[n-1].raw != nil && now.Sub(k.published[n-1].created) < bundleEvery && meant(k.published[n-1].raw)
}

// of reports whether the bundle shows self's present certificate.
func (g *generation) of(self *identity.Device, now time.Time) bool {
	b, err := ParseBundle(g.raw, now)
	return err == nil && string(b.Cert.Raw()) == string(self.Certificate().Raw())
}

// Hand makes a bundle with one key for a peer that is online. Its key dies with
// its first use.
func (k *Keyring) Hand(now time.Time, self *identity.Device) (raw []byte) {
	g := newGeneration(draw, self, now, now.Add(handedLife), 1)
	raw, g.raw = g.raw, nil
	k.handed = append(k.handed, g)
	if n := len(k.handed); n > maxHanded {
		k.handed = slices.Delete(k.handed, 0, n-maxHanded)
	}
	return raw
}

// Expire deletes keys whose time is over, and reports whether there were any.
// Call it about once an hour.
func (k *Keyring) Expire(now time.Time) (changed bool) {
	dead := func(grace time.Duration) func(*generation) bool {
		return func(g *generation) bool {
			// A clock that was ahead must not keep keys for ever.
			over := now.After(g.expires.Add(grace)) || g.created.After(now.Add(BundleLife))
			changed = changed || over
			return over
		}
	}
	k.published = slices.DeleteFunc(k.published, dead(mailLife))
	k.handed = slices.DeleteFunc(k.handed, dead(skew))
	for _, g := range k.published {
		for i := range g.keys {
			p := &g.keys[i]
			if p.key != nil && !p.used.IsZero() && now.Sub(p.used) > sharedLife {
				p.key, changed = nil, true
			}
		}
	}
	return changed
}

// find returns a generation and whether it was handed to one peer alone.
func (k *Keyring) find(id BundleID) (g *generation, handed bool) {
	same := func(g *generation) bool { return g.id == id }
	if i := slices.IndexFunc(k.published, same); i >= 0 {
		return k.published[i], false
	}
	if i := slices.IndexFunc(k.handed, same); i >= 0 {
		return k.handed[i], true
	}
	return nil, false
}

// usable reports whether a key may make one more session.
func (k *Keyring) usable(g *generation, number int, session [8]byte) error {
	p := &g.keys[number]
	if slices.Contains(p.starts, session) {
		return fmt.Errorf("%w: start accepted before", ErrRepeated)
	}
	if len(p.starts) == maxStarts {
		return fmt.Errorf("%w: %d sessions made with it", ErrKey, maxStarts)
	}
	return nil
}

// use notes that a key has made a session.
func (k *Keyring) use(now time.Time, g *generation, handed bool, number int, session [8]byte) {
	if handed {
		k.handed = slices.DeleteFunc(k.handed, func(o *generation) bool { return o == g })
		return
	}
	p := &g.keys[number]
	p.starts = append(p.starts, session)
	if p.used.IsZero() {
		p.used = now
	}
}
