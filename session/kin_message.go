// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// DEVICE carries what devices of one person, and those that want to become one,
// have to say to each other:
//
//	type(1)=32 || kind(1) || fields
//
//	 1 ASK        1 device key(32)  2 sealing key(32)  3 name(≤ 32)  4 SHA-256(nonce)(32)
//	 2 CHALLENGE  1 nonce(32)
//	 3 REVEAL     1 nonce(32)  2 signature(64)
//	 4 GRANTED    1 sealed grant (identity.SealGranted)
//	 5 DENIED     1 reason(1)
//	 6 TAKEN
//	 7 LIST       1 device list  2 revocations
//	 8 RENEW
//	 9 RENEWED    1 certificate
//	10 WANT       1 kind(1)  2 first epoch(4)  3 how many(1), ≤ 50  4 secret(16), absent = the reach secret
//	11 GRANTS     1 grants  2 secret(16), as in WANT
//	12 REVOKED    1 revocations
//
// A sender is a proved peer; 7 to 11 count from devices of the same identity
// alone.

import (
	"encoding/binary"
	"fmt"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

const typeDevice messageType = 32

// maxDevice is the longest message: GRANTS of 50 epochs.
const maxDevice = 3500

type deviceKind uint8

const (
	kinAsk       deviceKind = 1
	kinChallenge deviceKind = 2
	kinReveal    deviceKind = 3
	kinGranted   deviceKind = 4
	kinDenied    deviceKind = 5
	kinTaken     deviceKind = 6
	kinList      deviceKind = 7
	kinRenew     deviceKind = 8
	kinRenewed   deviceKind = 9
	kinWant      deviceKind = 10
	kinGrants    deviceKind = 11
	kinRevoked   deviceKind = 12
)

// isDevice tells whether session message b is a DEVICE.
func isDevice(b []byte) bool { return typeOf(b) == typeDevice }

// deviceMessage is a decoded DEVICE: of its kind's fields, the first two by
// themselves. Values alias the input.
type deviceMessage struct {
	kind deviceKind
	f    [5][]byte // by tag; nil = absent
}

// appendDevice makes a message of fields 1, 2, …; nil ones are left out.
func appendDevice(kind deviceKind, fields ...[]byte) []byte {
	b := []byte{byte(typeDevice), byte(kind)}
	for i, v := range fields {
		if v != nil {
			b = wire.AppendField(b, uint8(i+1), v)
		}
	}
	return b
}

// sizes of mandatory fields: 0 = any length, −1 = may be absent.
func deviceFields(k deviceKind) []int {
	switch k {
	case kinAsk:
		return []int{32, 32, 0, 32}
	case kinChallenge:
		return []int{32}
	case kinReveal:
		return []int{32, 64}
	case kinGranted, kinRenewed:
		return []int{0}
	case kinDenied:
		return []int{1}
	case kinList:
		return []int{0, -1}
	case kinWant:
		return []int{1, 4, 1, -1}
	case kinGrants:
		return []int{0, -1}
	case kinRevoked:
		return []int{0}
	}
	return nil
}

// parseDevice reads a DEVICE. Unknown kinds come back as they are, without
// fields. The error is ErrMessage.
func parseDevice(b []byte) (deviceMessage, error) {
	fail := func(why any) (deviceMessage, error) {
		return deviceMessage{}, fmt.Errorf("%w: device: %v", ErrMessage, why)
	}
	if len(b) < 2 || len(b) > maxDevice || messageType(b[0]) != typeDevice {
		return fail(fmt.Sprintf("%d bytes", len(b)))
	}
	m := deviceMessage{kind: deviceKind(b[1])}
	want := deviceFields(m.kind)
	err := wire.Fields(b[2:], func(tag uint8, v []byte) error {
		if tag == 0 || int(tag) > len(want) {
			return nil
		}
		if n := want[tag-1]; n > 0 && len(v) != n {
			return wire.ErrField
		}
		m.f[tag] = v
		return nil
	})
	if err != nil {
		return fail(err)
	}
	for i, n := range want {
		if n >= 0 && m.f[i+1] == nil {
			return fail("a field is missing")
		}
	}
	return m, nil
}

// secretField returns field tag as a secret; zero when it is absent.
func (m *deviceMessage) secret(tag int) (s identity.Secret, err error) {
	if v := m.f[tag]; v != nil {
		if len(v) != len(s) {
			return s, fmt.Errorf("%w: device: secret", ErrMessage)
		}
		copy(s[:], v)
	}
	return s, nil
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
