// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// redacted stands in place of a secret wherever one is printed.
const redacted = "(secret)"

// Secret is a reach secret: who holds it can find and ring the identity. It
// travels in tickets and prints as a placeholder under every verb.
type Secret [16]byte

// String returns a placeholder, never the secret.
func (s Secret) String() string { return redacted }

// Format prints the placeholder under every verb, %x and %#v included.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue keeps the secret out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// ReachTag returns the name under which an identity is registered with its
// introducers during one hour. Who holds the secret can compute it; nobody
// else can link two hours or learn the identity.
func ReachTag(s Secret, id ID, hour uint64) [16]byte {
	m := hmac.New(sha256.New, s[:])
	m.Write([]byte("p2pos reach tag v1"))
	m.Write(id[:])
	m.Write(binary.BigEndian.AppendUint64(nil, hour))
	return [16]byte(m.Sum(nil))
}

// Hour returns the number of whole hours from the Unix epoch to t; 0 before.
func Hour(t time.Time) uint64 { return uint64(max(t.Unix(), 0) / 3600) }
