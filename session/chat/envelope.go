// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/session/ratchet"
)

// Envelope: kind(1) || body
//
//	1 message   a message of a session
//	2 start     start (vec16) || a message of the session that it begins
//	3 ask       empty: give me keys to begin a session with
//	4 bundle    the answer
//
// Kinds 3 and 4 go between nodes that know each other's device alone.
const (
	envMessage = 1
	envStart   = 2
	envAsk     = 3
	envBundle  = 4

	// MaxEnvelope bounds an envelope: a plain text with what stands around it.
	MaxEnvelope = maxPlain + ratchet.Overhead + ratchet.MaxStart + 8
)

// seal makes an envelope for where context says, and saves the session.
func (m *Machine) seal(d *device, s *ratchet.Session, context, plain []byte) []byte {
	start := s.Start()
	message := s.Encrypt(context, pad(plain))
	m.saveSession(d, s)
	if start == nil {
		return append([]byte{envMessage}, message...)
	}
	return append(wire.AppendVec16([]byte{envStart}, start), message...)
}

// parse takes an envelope apart.
func parse(b []byte) (kind byte, start, message []byte, err error) {
	if len(b) > MaxEnvelope {
		return 0, nil, nil, fmt.Errorf("%w: envelope of %d bytes", ErrMessage, len(b))
	}
	r := wire.NewReader(b)
	kind = r.U8()
	if kind == envStart {
		start = r.Vec16()
	}
	message = r.Rest()
	switch {
	case r.Err() != nil:
		return 0, nil, nil, fmt.Errorf("%w: envelope: %w", ErrMessage, r.Err())
	case kind == 0 || kind > envBundle:
		return 0, nil, nil, fmt.Errorf("%w: envelope of kind %d", ErrMessage, kind)
	}
	return kind, start, message, nil
}

// between says that a message goes from one node to another.
func between(from, to identity.NodeID) []byte {
	return append(append(make([]byte, 0, 64), from[:]...), to[:]...)
}

// byMail says that it goes through a mailbox.
const byMail = "mail"

// A queue is one direction's mailbox between two devices, or a device's door.
//
//	secret || key = HKDF-SHA256(X25519(sealing keys), "p2pos chat queue v1" || from's device(16) || to's device(16)), 32 bytes each
//	door:           HKDF-SHA256(reach secret, "p2pos chat door v1" || identity(32) || device(16))
type queue struct {
	secret [32]byte // of the mailbox
	key    [32]byte // seals what is in it
}

const (
	labelQueue = "p2pos chat queue v1"
	labelDoor  = "p2pos chat door v1"
)

func deriveQueue(secret []byte, info []byte) (q queue) {
	b, err := hkdf.Key(sha256.New, secret, nil, string(info), 64)
	if err != nil {
		panic("chat: hkdf: " + err.Error()) // only for lengths above 255 hashes
	}
	copy(q.secret[:], b)
	copy(q.key[:], b[32:])
	return q
}

// pairQueue returns the mailbox from one device of a pair to the other; one of
// them is ours.
func (m *Machine) pairQueue(d *device, toUs bool) (queue, error) {
	i := boolean(toUs)
	if d.queues[i] != nil {
		return *d.queues[i], nil
	}
	ss, err := m.cfg.Self.Agree(d.party.Sealing)
	if err != nil {
		return queue{}, err
	}
	from, to := m.party.Device, d.party.Device
	if toUs {
		from, to = to, from
	}
	info := append([]byte(labelQueue), from[:]...)
	q := deriveQueue(ss, append(info, to[:]...))
	d.queues[i] = &q
	return q, nil
}

func doorQueue(secret identity.Secret, p ratchet.Party) queue {
	info := append([]byte(labelDoor), p.Identity[:]...)
	return deriveQueue(secret[:], append(info, p.Device[:]...))
}

// Blob: XChaCha20-Poly1305( envelope (vec16) || zeros ), of one of three sizes.
const blobOverhead = 24 + 16 + 2

// blobSizes are those of design/008.
func blobSizes() [3]int { return [3]int{1 << 10, 4 << 10, 16 << 10} }

// sealBlob makes the smallest blob that holds an envelope; false when none does.
func (q queue) sealBlob(envelope []byte) ([]byte, bool) {
	for _, size := range blobSizes() {
		if len(envelope)+blobOverhead <= size {
			plain := make([]byte, size-blobOverhead+2)
			binary.BigEndian.PutUint16(plain, uint16(len(envelope)))
			copy(plain[2:], envelope)
			return identity.SealSecret(q.key, q.secret[:], plain), true
		}
	}
	return nil, false
}

func (q queue) openBlob(blob []byte) ([]byte, error) {
	plain, err := identity.OpenSecret(q.key, q.secret[:], blob)
	if err != nil {
		return nil, fmt.Errorf("%w: blob: %w", ErrMessage, err)
	}
	r := wire.NewReader(plain)
	b := r.Vec16()
	if r.Err() != nil {
		return nil, fmt.Errorf("%w: blob: %w", ErrMessage, r.Err())
	}
	return b, nil
}
