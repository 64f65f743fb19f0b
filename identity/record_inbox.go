// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

// The inbox of a bare ID is a record without a secret: whoever knows the ID
// finds it and reads the one thing it says, a key to seal a knock to. Proof of
// its owner, 72 bytes:
//
//	time(8), Unix seconds || signature(64) by the record's subkey, context "p2pos inbox owner v1",
//	over place(32) || slot || epoch(4) || time
const (
	ownerContext  = "p2pos inbox owner v1"
	inboxKeyLabel = "p2pos inbox key v1"

	// OwnerProofSize is the length of an owner's proof.
	OwnerProofSize = 8 + ed25519.SignatureSize
)

// Inbox is an opened inbox record: what a caller needs to knock.
type Inbox struct {
	ID       ID
	Slot     uint8
	Epoch    uint64
	Sequence uint64
	Key      [32]byte // X25519

	subkey ed25519.PublicKey
}

// MakeInbox makes the inbox record of device d for one epoch. Anybody who
// knows the ID can read it: that the identity is there, in this slot, and
// since when; not where. The errors are those of MakeRecord.
func MakeInbox(d *Device, slot uint8, epoch, sequence uint64, grants *Grants) ([]byte, error) {
	pub := inboxSecret(d, epoch).PublicKey().Bytes()
	p := RecordPlan{Epoch: epoch, Slot: slot, Sequence: sequence, Grants: grants}
	return inboxKind().make(d, p, wire.AppendField(nil, 7, pub))
}

// OpenInbox verifies and opens an inbox record found under a bare ID. Its
// error is ErrRecord.
func OpenInbox(b []byte, id ID, now time.Time) (Inbox, error) {
	r, fields, err := inboxKind().open(b, id, Secret{}, now)
	if err != nil {
		return Inbox{}, err
	}
	key, err := field(fields, 7)
	if err != nil || len(key) != 32 {
		return Inbox{}, fmt.Errorf("%w: no inbox key", ErrRecord)
	}
	return Inbox{
		ID: id, Slot: r.Slot, Epoch: r.Epoch, Sequence: r.Sequence,
		Key: [32]byte(key), subkey: bytes.Clone(b[46:78]),
	}, nil
}

// inboxSecret derives the device's inbox key of one epoch, so that it is still
// there after a restart.
func inboxSecret(d *Device, epoch uint64) *ecdh.PrivateKey {
	info := binary.BigEndian.AppendUint64([]byte(inboxKeyLabel), epoch)
	b, err := hkdf.Key(sha256.New, d.key.Seed(), nil, string(info), 32)
	if err != nil {
		panic(err) // only for lengths above 255 hashes
	}
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		panic(err) // every 32 bytes are an X25519 key
	}
	return k
}

// ProveInbox proves to holders that d owns the inbox of its slot, for them to
// hand out its knocks.
func ProveInbox(d *Device, slot uint8, epoch uint64, now time.Time) []byte {
	device := d.key.Public().(ed25519.PublicKey)
	subkey := blindPrivate(d.key, blindFactor(blindInboxSubkey, device, Secret{}, epoch))
	at := binary.BigEndian.AppendUint64(nil, uint64(max(now.Unix(), 0)))
	return append(at, subkey.sign(ownerContext, ownerMessage(InboxKey(d.id, epoch), slot, epoch, at))...)
}

// CheckInboxOwner tells whether proof shows the owner of the record that info
// came from, made within an hour of now. Who overhears a proof can repeat it
// that long, and gets sealed knocks.
func CheckInboxOwner(info RecordInfo, proof []byte, now time.Time) bool {
	if len(proof) != OwnerProofSize {
		return false
	}
	at := binary.BigEndian.Uint64(proof)
	if at > maxUnix || now.Sub(time.Unix(int64(at), 0)).Abs() > certSkew {
		return false
	}
	return Verify(info.Subkey, ownerContext, ownerMessage(info.Key, info.Slot, info.Epoch, proof[:8]), proof[8:])
}

func ownerMessage(place [32]byte, slot uint8, epoch uint64, at []byte) []byte {
	b := append(bytes.Clone(place[:]), slot)
	return append(binary.BigEndian.AppendUint32(b, uint32(epoch)), at...)
}
