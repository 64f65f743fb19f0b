// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"

	"github.com/p2pos/p2pos/internal/wire"
)

// Grants, 48 + 64·n bytes:
//
//	version(1)=1 || kind(1): 0 reach record, 1 inbox, 2 prekeys || slot(1) || reserved(1)=0 || first epoch(4)
//	|| device key(32) || first 8 bytes of the place in the first epoch || n × subkey certificate(64)
//
// The place tells which reach secret the grants are for without telling it.
const (
	grantVersion = 1
	grantHead    = 1 + 1 + 1 + 1 + 4 + 32 + 8

	// MaxGrants is how many epochs one list covers: the life of a device
	// certificate, behind which the device cannot publish anyway, and the
	// neighbours of the last. It makes 135 KiB.
	MaxGrants = 90*24 + 2
)

// GrantKind says what grants are for.
type GrantKind uint8

// The kinds. Epochs of the first two are hours, of prekeys periods.
const (
	GrantReach GrantKind = iota
	GrantInbox
	GrantPrekeys
)

func (g GrantKind) kind() recordKind {
	return [...]recordKind{reachKind(), inboxKind(), prekeysKind()}[g]
}

// Grants are subkey certificates that a device with the identity key made
// ahead for one without: with them it publishes records for one reach secret
// (or the inbox) in its slot, for as many epochs as they cover. They are 64
// bytes an epoch, 46 KB for a month. A device that was removed keeps what it
// was granted, so a person who fears that grants a few days at a time, or takes
// a new reach secret.
type Grants struct {
	Kind   GrantKind
	Slot   uint8
	First  uint64 // the first epoch
	Device ed25519.PublicKey

	place [8]byte
	sigs  []byte
}

// Len returns how many epochs the grants cover.
func (g *Grants) Len() int {
	if g == nil {
		return 0
	}
	return len(g.sigs) / ed25519.SignatureSize
}

// Grant certifies another device's subkeys for n epochs from first on, at most
// MaxGrants. The inbox has no secret, which is zero then. The subkeys are
// computed from the device's public key, so nothing has to be asked of the
// device. It costs 100 µs an epoch and fails on a device without the identity
// key.
func (d *Device) Grant(kind GrantKind, reach Secret, device ed25519.PublicKey, slot uint8, first uint64, n int) (*Grants, error) {
	if d.identity == nil {
		return nil, fmt.Errorf("identity: grant: this device does not hold the identity key")
	}
	if kind > GrantPrekeys || (kind == GrantInbox) != (reach == Secret{}) {
		return nil, fmt.Errorf("identity: grant: kind %d with or without a secret", kind)
	}
	if n < 1 || n > MaxGrants || slot >= MaxSlots || first > maxEpoch-MaxGrants {
		return nil, fmt.Errorf("identity: grant: %d epochs from %d, slot %d, out of range", n, first, slot)
	}
	k := kind.kind()
	g := &Grants{Kind: kind, Slot: slot, First: first, Device: bytes.Clone(device)}
	for epoch := first; epoch < first+uint64(n); epoch++ {
		subkey, err := blindPublic(device, blindFactor(k.subkey, device, reach, epoch))
		if err != nil {
			return nil, fmt.Errorf("identity: grant: device key: %w", err)
		}
		id := blindPrivate(d.identity, blindFactor(k.face, d.id.Key(), reach, epoch))
		if epoch == first {
			g.place = placeTag(id.pub)
		}
		g.sigs = append(g.sigs, id.sign(subkeyContext, subkeyMessage(slot, epoch, id.pub[:], subkey[:]))...)
	}
	return g, nil
}

// Fits tells whether the grants are for this identity and reach secret (zero
// for the inbox) and the first of them is genuine. The rest is not checked: a
// record made with a false one is refused by everybody.
func (g *Grants) Fits(id ID, reach Secret) bool {
	if g.Len() == 0 || (g.Kind == GrantInbox) != (reach == Secret{}) {
		return false
	}
	k := g.Kind.kind()
	face := faceOf(k.face, id, reach, g.First)
	subkey, err := blindPublic(g.Device, blindFactor(k.subkey, g.Device, reach, g.First))
	return err == nil && g.place == placeTag(face) &&
		Verify(face[:], subkeyContext, subkeyMessage(g.Slot, g.First, face[:], subkey[:]), g.sigs[:ed25519.SignatureSize])
}

// Covers tells whether the grants hold for an epoch.
func (g *Grants) Covers(epoch uint64) bool {
	return g.Len() > 0 && epoch >= g.First && epoch-g.First < uint64(g.Len())
}

// Append adds grants that follow directly. It fails when they are of another
// kind, slot or device, or do not follow; whether they are of the same identity
// and secret is for Fits to say of both.
func (g *Grants) Append(next *Grants) error {
	if g.Kind != next.Kind || g.Slot != next.Slot || !g.Device.Equal(next.Device) || next.First != g.First+uint64(g.Len()) || g.Len()+next.Len() > MaxGrants {
		return fmt.Errorf("%w: grants that do not follow", ErrRecord)
	}
	g.sigs = append(g.sigs, next.sigs...)
	return nil
}

// From returns the grants from an epoch on, which are of id and its secret, or
// nil when none are left.
func (g *Grants) From(id ID, reach Secret, first uint64) *Grants {
	if g == nil || first <= g.First {
		return g
	}
	if !g.Covers(first) {
		return nil
	}
	n := *g
	n.sigs = bytes.Clone(g.sigs[(first-g.First)*ed25519.SignatureSize:])
	n.First = first
	n.place = placeTag(faceOf(g.Kind.kind().face, id, reach, first))
	return &n
}

// find returns the certificate for device, slot and epoch, nil when there is
// none.
func (g *Grants) find(kind GrantKind, device ed25519.PublicKey, slot uint8, epoch uint64) []byte {
	if !g.Covers(epoch) || g.Kind != kind || g.Slot != slot || !g.Device.Equal(device) {
		return nil
	}
	i := int(epoch-g.First) * ed25519.SignatureSize
	return g.sigs[i : i+ed25519.SignatureSize]
}

// Bytes returns the grants in the form that ParseGrants reads. They are no
// secret, but they tell which records the identity makes.
func (g *Grants) Bytes() []byte {
	b := make([]byte, 0, grantHead+len(g.sigs))
	b = append(b, grantVersion, byte(g.Kind), g.Slot, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(g.First))
	b = append(append(b, g.Device...), g.place[:]...)
	return append(b, g.sigs...)
}

// ParseGrants reads what Bytes wrote. Ask Fits whether they are genuine. The
// error is ErrRecord.
func ParseGrants(b []byte) (*Grants, error) {
	n := len(b) - grantHead
	if n < ed25519.SignatureSize || n%ed25519.SignatureSize != 0 || n/ed25519.SignatureSize > MaxGrants {
		return nil, fmt.Errorf("%w: grants of %d bytes", ErrRecord, len(b))
	}
	r := wire.NewReader(b)
	version, kind, slot, reserved := r.U8(), r.U8(), r.U8(), r.U8()
	g := &Grants{Kind: GrantKind(kind), Slot: slot, First: uint64(r.U32())}
	if version != grantVersion || g.Kind > GrantPrekeys || slot >= MaxSlots || reserved != 0 || g.First > maxEpoch-MaxGrants {
		return nil, fmt.Errorf("%w: grants", ErrRecord)
	}
	g.Device = bytes.Clone(r.Bytes(ed25519.PublicKeySize))
	r.Fixed(g.place[:])
	g.sigs = bytes.Clone(r.Rest())
	return g, nil
}

func placeTag(face [32]byte) [8]byte {
	p := facePlace(face)
	return [8]byte(p[:])
}
