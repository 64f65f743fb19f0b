// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

// Record, 1,006 bytes, all records alike:
//
//	0    version(1)=1
//	1    slot(1), 0–4: which of the identity's devices
//	2    epoch(4), hours since 1970
//	6    sequence(8)
//	14   blinded identity key(32)
//	46   subkey(32), the blinded device key
//	78   subkey certificate(64) by the blinded identity key, context "p2pos subkey v1",
//	     over slot || epoch || blinded identity key || subkey
//	142  sealed body(800): nonce(24) || XChaCha20-Poly1305, bytes 0–141 as associated data
//	942  signature(64) by the subkey, context "p2pos record v1", over bytes 0–941
//
//	place in the overlay = SHA-256("p2pos record key v1" || blinded identity key)
//	body key(32) || offset(8) = HKDF(reach secret, info "p2pos record body v1" || identity key || epoch(4) || slot)
//	sequence = (offset mod 2^62) + the device's own sequence, which is below 2^62
//
// A record has no date of its own: it ends with the epoch behind its own, so
// that it tells nothing more. The offset keeps two epochs' sequences apart,
// which count milliseconds and would show that one publisher made them. The
// inbox of a bare ID is such a record with a secret of zeros and other purposes
// in all the strings; holders cannot tell the two kinds apart.
const (
	recordVersion  = 1
	recordContext  = "p2pos record v1"
	subkeyContext  = "p2pos subkey v1"
	recordCertAt   = 78
	recordSealedAt = 142
	recordSigSize  = 64

	// RecordSize is the length of every record but prekeys.
	RecordSize = 1006

	// MaxSlots is how many devices of one identity have records: enough for a
	// person's, and what a holder keeps for one key stays below 8 KiB.
	MaxSlots = 5

	// MaxSequence is the first sequence that a device cannot use.
	MaxSequence = 1 << 62

	// epochSeconds is the length of an epoch.
	epochSeconds = 3600

	// epochSkew is how many epochs a record may be away from the reader's:
	// one because it is made for its neighbours too, one because a clock may
	// be wrong by an hour.
	epochSkew = 2

	// maxEpoch is the last epoch whose end is a time that can be told.
	maxEpoch = maxUnix / epochSeconds
)

// ErrRecord reports a record, grant or knock that is malformed, not signed as
// it should be, of another epoch, or not for the reader.
var ErrRecord = errors.New("identity: bad record")

// RecordKey returns the place of an identity's records in the overlay during
// one epoch (see Hour). Who holds the reach secret can compute it, nobody else.
// An ID that is no key (see ID.IsKey) has a place too, where no record can be.
func RecordKey(s Secret, id ID, epoch uint64) [32]byte {
	return facePlace(faceOf(blindRecord, id, s, epoch))
}

// InboxKey returns the place of the inbox of a bare ID.
func InboxKey(id ID, epoch uint64) [32]byte {
	return facePlace(faceOf(blindInbox, id, Secret{}, epoch))
}

// faceOf returns the identity's blinded key, or bytes that are no key when id
// is none.
func faceOf(purpose string, id ID, s Secret, epoch uint64) [32]byte {
	factor := blindFactor(purpose, id.Key(), s, epoch)
	if face, err := blindPublic(id.Key(), factor); err == nil {
		return face
	}
	return factor
}

func facePlace(face [32]byte) [32]byte {
	return sha256.Sum256(append([]byte("p2pos record key v1"), face[:]...))
}

// RecordInfo is what a holder learns from a record.
type RecordInfo struct {
	Key      [32]byte // its place
	Prekeys  bool     // an object of prekeys, whose epoch is a period of 14 days
	Slot     uint8
	Epoch    uint64
	Sequence uint64            // as holders see it: the newest of a slot counts
	Expires  time.Time         // the end of the epoch behind its own
	Subkey   ed25519.PublicKey // signs the record; aliases it
}

// PeekRecord reads what a record says of itself and verifies nothing, so that
// a holder can refuse it before it costs two signatures. Its error is
// ErrRecord.
func PeekRecord(b []byte) (RecordInfo, error) {
	if len(b) != RecordSize && len(b) != PrekeysSize {
		return RecordInfo{}, fmt.Errorf("%w: %d bytes", ErrRecord, len(b))
	}
	r := wire.NewReader(b)
	if v := r.U8(); v != recordVersion {
		return RecordInfo{}, fmt.Errorf("%w: version %d, this program knows version %d", ErrRecord, v, recordVersion)
	}
	info := RecordInfo{Slot: r.U8(), Epoch: uint64(r.U32()), Sequence: r.U64(), Prekeys: len(b) == PrekeysSize}
	info.Key = facePlace([32]byte(r.Bytes(32)))
	info.Subkey = ed25519.PublicKey(r.Bytes(32))
	info.Expires = EpochEnd((info.Epoch+2)*info.hours() - 1)
	if info.Slot >= MaxSlots || info.Epoch > maxEpoch || info.Sequence >= 2*MaxSequence {
		return RecordInfo{}, fmt.Errorf("%w: slot %d, epoch %d, sequence %d", ErrRecord, info.Slot, info.Epoch, info.Sequence)
	}
	return info, nil
}

// hours returns the length of the record's epoch.
func (i RecordInfo) hours() uint64 {
	if i.Prekeys {
		return periodHours
	}
	return 1
}

// EpochAt returns the number of the epoch that t lies in, for a record of this
// kind.
func (i RecordInfo) EpochAt(t time.Time) uint64 { return Hour(t) / i.hours() }

// CheckRecord verifies a record without any secret: the blinded key certified
// the subkey for slot and epoch, and the subkey signed the rest. Whether the
// epoch is a current one is the caller's to judge. Its error is ErrRecord.
func CheckRecord(b []byte) (RecordInfo, error) {
	info, err := PeekRecord(b)
	if err != nil {
		return RecordInfo{}, err
	}
	if !Verify(b[14:46], subkeyContext, subkeyMessage(info.Slot, info.Epoch, b[14:46], info.Subkey), b[recordCertAt:recordSealedAt]) {
		return RecordInfo{}, fmt.Errorf("%w: subkey certificate", ErrRecord)
	}
	if n := len(b) - recordSigSize; !Verify(info.Subkey, recordContext, b[:n], b[n:]) {
		return RecordInfo{}, fmt.Errorf("%w: signature", ErrRecord)
	}
	return info, nil
}

// EpochEnd returns the time at which an epoch ends.
func EpochEnd(epoch uint64) time.Time {
	return time.Unix(int64(min(epoch, maxEpoch+1)+1)*epochSeconds, 0).UTC()
}

// RecordPlan is what a device puts into a record.
type RecordPlan struct {
	Reach    Secret
	Epoch    uint64
	Slot     uint8
	Sequence uint64   // rises with every record of the slot; Unix milliseconds will do
	Grants   *Grants  // for a device without the identity key; else nil
	At       Location // zero withdraws what the slot said before
	Revoked  Revocations
}

// Record is an opened reach record.
type Record struct {
	Slot     uint8
	Epoch    uint64
	Sequence uint64 // the device's own, comparable between epochs
	Device   Certificate
	At       Location    // At.Gone() when the device withdrew
	Revoked  Revocations // of other devices, zero = none
}

// MakeRecord makes a record of device d. It fails when the plan does not fit:
// no secret, a slot or sequence out of range, an unusable address, or no grant
// for slot and epoch on a device without the identity key.
func MakeRecord(d *Device, p RecordPlan) ([]byte, error) {
	if p.Reach == (Secret{}) {
		return nil, errors.New("identity: record: without a reach secret anybody could read it")
	}
	body, err := p.At.append(wire.AppendField(nil, 1, d.Certificate().raw))
	if err != nil {
		return nil, fmt.Errorf("identity: record: %w", err)
	}
	if p.Revoked.raw != nil {
		body = wire.AppendField(body, 8, p.Revoked.raw)
	}
	return reachKind().make(d, p, body)
}

// OpenRecord verifies and opens a record that was found with a ticket: it is
// id's own, certified for slot and epoch, of an epoch near now's, and of the
// device whose certificate is inside. Errors are ErrRecord, and ErrExpired for
// a device certificate that does not hold now.
func OpenRecord(b []byte, id ID, reach Secret, now time.Time) (Record, error) {
	r, fields, err := reachKind().open(b, id, reach, now)
	if err != nil {
		return Record{}, err
	}
	if r.At, err = parseLocation(fields); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	raw, err := field(fields, 1)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if r.Device, err = ParseCertificate(raw, now); err != nil {
		if errors.Is(err, ErrExpired) {
			return Record{}, err
		}
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if raw, err := field(fields, 8); err == nil {
		if r.Revoked, err = ParseRevocations(raw, id); err != nil {
			return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}
	// The subkey is a face of the device's key, so no device of the identity
	// can speak in another's name.
	subkey, err := blindPublic(r.Device.Device, blindFactor(blindSubkey, r.Device.Device, reach, r.Epoch))
	if err != nil || r.Device.Identity != id || !bytes.Equal(subkey[:], b[46:78]) {
		return Record{}, fmt.Errorf("%w: device certificate of another", ErrRecord)
	}
	return r, nil
}

// recordKind holds what tells reach records, inboxes and prekeys apart.
type recordKind struct {
	face, subkey, body string
	size               int
	grants             GrantKind
}

func reachKind() recordKind {
	return recordKind{blindRecord, blindSubkey, "p2pos record body v1", RecordSize, GrantReach}
}

func inboxKind() recordKind {
	return recordKind{blindInbox, blindInboxSubkey, "p2pos inbox body v1", RecordSize, GrantInbox}
}

// plain is how long a body is before sealing: nonce and tag of SealSecret are 40
// bytes.
func (k recordKind) plain() int { return k.size - recordSealedAt - recordSigSize - 40 }

// make builds a record around a body's fields.
func (k recordKind) make(d *Device, p RecordPlan, fields []byte) ([]byte, error) {
	if p.Slot >= MaxSlots || p.Epoch > maxEpoch || p.Sequence >= MaxSequence {
		return nil, fmt.Errorf("identity: record: slot %d, epoch %d, sequence %d out of range", p.Slot, p.Epoch, p.Sequence)
	}
	face, grant, err := k.grant(d, p)
	if err != nil {
		return nil, err
	}
	plain, err := padBody(fields, k.plain())
	if err != nil {
		return nil, err
	}
	device := d.key.Public().(ed25519.PublicKey)
	subkey := blindPrivate(d.key, blindFactor(k.subkey, device, p.Reach, p.Epoch))
	key, offset := k.bodyKey(d.id, p.Reach, p.Epoch, p.Slot)

	b := make([]byte, 0, k.size)
	b = append(b, recordVersion, p.Slot)
	b = binary.BigEndian.AppendUint32(b, uint32(p.Epoch))
	b = binary.BigEndian.AppendUint64(b, p.Sequence+offset)
	b = append(append(append(b, face[:]...), subkey.pub[:]...), grant...)
	b = append(b, SealSecret(key, b, plain)...)
	return append(b, subkey.sign(recordContext, b)...), nil
}

// grant returns the blinded identity key and its certificate for the subkey:
// made here when d holds the identity key, else from the grants.
func (k recordKind) grant(d *Device, p RecordPlan) (face [32]byte, sig []byte, err error) {
	device := d.key.Public().(ed25519.PublicKey)
	if d.identity != nil {
		id := blindPrivate(d.identity, blindFactor(k.face, d.id.Key(), p.Reach, p.Epoch))
		subkey := blindPrivate(d.key, blindFactor(k.subkey, device, p.Reach, p.Epoch)).pub
		return id.pub, id.sign(subkeyContext, subkeyMessage(p.Slot, p.Epoch, id.pub[:], subkey[:])), nil
	}
	sig = p.Grants.find(k.grants, device, p.Slot, p.Epoch)
	if sig == nil {
		return face, nil, fmt.Errorf("identity: record: no grant for slot %d in epoch %d", p.Slot, p.Epoch)
	}
	return faceOf(k.face, d.id, p.Reach, p.Epoch), sig, nil
}

// open verifies a record and returns the fields of its body.
func (k recordKind) open(b []byte, id ID, reach Secret, now time.Time) (Record, []byte, error) {
	info, err := CheckRecord(b)
	if err != nil {
		return Record{}, nil, err
	}
	if e := info.EpochAt(now); info.Epoch > e+epochSkew || info.Epoch+epochSkew < e || len(b) != k.size {
		return Record{}, nil, fmt.Errorf("%w: epoch %d, it is %d", ErrRecord, info.Epoch, e)
	}
	face, err := blindPublic(id.Key(), blindFactor(k.face, id.Key(), reach, info.Epoch))
	if err != nil || !bytes.Equal(face[:], b[14:46]) {
		return Record{}, nil, fmt.Errorf("%w: of another identity or secret", ErrRecord)
	}
	key, offset := k.bodyKey(id, reach, info.Epoch, info.Slot)
	if info.Sequence < offset || info.Sequence-offset >= MaxSequence {
		return Record{}, nil, fmt.Errorf("%w: sequence", ErrRecord)
	}
	plain, err := OpenSecret(key, b[:recordSealedAt], b[recordSealedAt:k.size-recordSigSize])
	if err != nil {
		return Record{}, nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	fields, err := unpadBody(plain)
	if err != nil {
		return Record{}, nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return Record{Slot: info.Slot, Epoch: info.Epoch, Sequence: info.Sequence - offset}, fields, nil
}

// bodyKey returns the key of a slot's bodies in one epoch and the offset of its
// sequences.
func (k recordKind) bodyKey(id ID, s Secret, epoch uint64, slot uint8) (key [32]byte, offset uint64) {
	info := append([]byte(k.body), id[:]...)
	info = append(binary.BigEndian.AppendUint32(info, uint32(epoch)), slot)
	b, err := hkdf.Key(sha256.New, s[:], nil, string(info), len(key)+8)
	if err != nil {
		panic(err) // only for lengths above 255 hashes
	}
	return [32]byte(b), binary.BigEndian.Uint64(b[len(key):]) % MaxSequence
}

// subkeyMessage is what a subkey certificate signs.
func subkeyMessage(slot uint8, epoch uint64, face, subkey []byte) []byte {
	b := make([]byte, 0, 1+4+32+32)
	b = binary.BigEndian.AppendUint32(append(b, slot), uint32(epoch))
	return append(append(b, face...), subkey...)
}
