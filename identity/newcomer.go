// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

const (
	grantedInfo = "p2pos device granted v1"
	askContext  = "p2pos device ask v1"

	// MaxGranted bounds a sealed grant: certificate, device list, revocations.
	MaxGranted = 2048
)

// Newcomer is an installation that wants to be a device of somebody: fresh keys
// that nobody has certified yet.
type Newcomer struct {
	key     ed25519.PrivateKey
	sealing *ecdh.PrivateKey
	Name    string // of the device
	Nonce   [32]byte
}

// NewNewcomer makes fresh keys. The name is cut to what a certificate holds.
func NewNewcomer(name string) (*Newcomer, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("identity: new device key: %w", err)
	}
	sealing, err := ecdh.X25519().GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("identity: new sealing key: %w", err)
	}
	n := &Newcomer{key: key, sealing: sealing, Name: cleanName(name)}
	rand.Read(n.Nonce[:])
	return n, nil
}

// Key returns the public device key.
func (n *Newcomer) Key() ed25519.PublicKey { return n.key.Public().(ed25519.PublicKey) }

// Sealing returns the public sealing key.
func (n *Newcomer) Sealing() [32]byte { return [32]byte(n.sealing.PublicKey().Bytes()) }

// Sign shows that the newcomer has the keys that it wants to be certified, for
// this identity and these two nonces.
func (n *Newcomer) Sign(id ID, holder [32]byte) []byte {
	return Sign(n.key, askContext, askMessage(id, n.Key(), n.Sealing(), n.Nonce, holder))
}

// CheckNewcomer verifies what Newcomer.Sign made.
func CheckNewcomer(id ID, key ed25519.PublicKey, sealing, newcomer, holder [32]byte, sig []byte) bool {
	return Verify(key, askContext, askMessage(id, key, sealing, newcomer, holder), sig)
}

func askMessage(id ID, key ed25519.PublicKey, sealing, newcomer, holder [32]byte) []byte {
	b := append(append(id.Key(), key...), sealing[:]...)
	return append(append(b, newcomer[:]...), holder[:]...)
}

// DeviceCode returns the six digits that both screens show: who compares them
// knows that the two mean the same keys.
func DeviceCode(id ID, key ed25519.PublicKey, sealing, newcomer, holder [32]byte) string {
	h := sha256.Sum256(append([]byte("p2pos device code v1"), askMessage(id, key, sealing, newcomer, holder)...))
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(h[:])%1_000_000)
}

// Granted is what a holder gives to a new device.
type Granted struct {
	Certificate Certificate
	Reach       Secret
	Slot        uint8
	List        DeviceList
	Revoked     Revocations
	holder      []byte // identity seed, or nil
}

// SealGranted seals what a newcomer of these keys gets: a fresh certificate, and
// with holder the identity key as well. It fails on a device without the
// identity key.
func (d *Device) SealGranted(now time.Time, key ed25519.PublicKey, sealing [32]byte, name string, slot uint8, list DeviceList, revoked Revocations, holder bool) ([]byte, error) {
	c, err := d.Certify(now, key, sealing, name)
	if err != nil {
		return nil, err
	}
	b := wire.AppendVec16(nil, c.raw)
	b = append(append(b, d.reach[:]...), slot)
	b = wire.AppendVec16(b, list.raw)
	b = wire.AppendVec16(b, revoked.raw)
	var seed []byte
	if holder {
		seed = d.identity.Seed()
	}
	b = wire.AppendVec8(b, seed)
	clear(seed)
	defer clear(b)
	return Seal(sealing, []byte(grantedInfo), b)
}

// Open opens what a holder of id has sealed for the newcomer, and verifies it.
// The errors are ErrUnseal, ErrCertificate, ErrExpired and ErrDevices.
func (n *Newcomer) Open(id ID, sealed []byte, now time.Time) (Granted, error) {
	bad := func(why string) (Granted, error) { return Granted{}, fmt.Errorf("%w: %s", ErrDevices, why) }
	if len(sealed) > MaxGranted {
		return bad("grant too long")
	}
	b, err := Unseal(n.sealing, []byte(grantedInfo), sealed)
	if err != nil {
		return Granted{}, err
	}
	defer clear(b)
	r := wire.NewReader(b)
	var g Granted
	raw := r.Vec16()
	r.Fixed(g.Reach[:])
	g.Slot = r.U8()
	list, revoked, seed := r.Vec16(), r.Vec16(), r.Vec8()
	if r.Done() != nil || g.Slot >= MaxSlots || g.Reach == (Secret{}) || len(seed) != 0 && len(seed) != ed25519.SeedSize {
		return bad("grant")
	}
	if g.Certificate, err = ParseCertificate(raw, now); err != nil {
		return Granted{}, err
	}
	if g.Certificate.Identity != id || !g.Certificate.Device.Equal(n.Key()) || g.Certificate.Sealing != n.Sealing() {
		return bad("certificate for another")
	}
	if g.List, err = ParseDeviceList(list); err != nil {
		return Granted{}, err
	}
	if g.List.ID != id {
		return bad("another's list")
	}
	if len(revoked) > 0 {
		if g.Revoked, err = ParseRevocations(revoked, id); err != nil {
			return Granted{}, err
		}
	}
	if len(seed) > 0 {
		k := ed25519.NewKeyFromSeed(seed)
		if !k.Public().(ed25519.PublicKey).Equal(ed25519.PublicKey(id.Key())) {
			return bad("identity key of another")
		}
		g.holder = append([]byte(nil), seed...)
	}
	return g, nil
}

// Device returns the device that the newcomer has become.
func (n *Newcomer) Device(g Granted) (*Device, error) {
	if g.Certificate.raw == nil || !g.Certificate.Device.Equal(n.Key()) {
		return nil, errors.New("identity: newcomer: nothing was granted")
	}
	d := &Device{id: g.Certificate.Identity, key: n.key, sealing: n.sealing, reach: g.Reach, cert: g.Certificate}
	if g.holder != nil {
		d.identity = ed25519.NewKeyFromSeed(g.holder)
	}
	rand.Read(d.reset[:])
	return d, nil
}
