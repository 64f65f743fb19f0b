// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/p2pos/p2pos/internal/wire"
)

// Device certificate, at most 256 bytes:
//
//	version(1)=1 || fields || signature(64) by the identity key, context "p2pos cert v1"
//	1 identity key (32)
//	2 device key (32)
//	3 not before (8), not after (8), Unix seconds
//	4 sealing key, X25519 (32)
//	5 device name (≤ 32 bytes of UTF-8, optional)
//
// The signature covers version and fields.
const (
	certVersion = 1
	certContext = "p2pos cert v1"
	maxCert     = 256 // budget of the layout; checked before anything else

	// maxName keeps a certificate inside its budget.
	maxName = 32

	// certLife is how long a certificate holds at most: a lost device stops
	// counting by itself after it.
	certLife = 90 * 24 * time.Hour

	// certSkew is how wrong a clock may be, ours or the issuer's.
	certSkew = time.Hour

	// maxUnix bounds times on the wire (year 36812), far inside time.Time.
	maxUnix = 1 << 40
)

// ErrCertificate reports a device certificate that is malformed or not signed
// by the identity that it names.
var ErrCertificate = errors.New("identity: bad device certificate")

// ErrExpired reports a genuine certificate outside its time. Either it is too
// old or not valid yet, or one of the two clocks is off by over an hour.
var ErrExpired = errors.New("identity: device certificate is not valid now")

// Certificate is an identity's statement that a device speaks for it.
type Certificate struct {
	Identity  ID
	Device    ed25519.PublicKey
	NotBefore time.Time // UTC, whole seconds
	NotAfter  time.Time
	Sealing   [32]byte // X25519 key to which messages for the device are sealed
	Name      string   // of the device, at most 32 bytes, may be empty; says what its owner likes

	raw []byte
}

// ParseCertificate reads a certificate, verifies its signature and checks that
// it holds at now, give or take an hour. The error is ErrCertificate or
// ErrExpired. The result does not alias b.
func ParseCertificate(b []byte, now time.Time) (Certificate, error) {
	c, err := parseCertificate(b)
	if err != nil {
		return Certificate{}, err
	}
	if err := c.Check(now); err != nil {
		return Certificate{}, err
	}
	return c, nil
}

// parseCertificate does all but look at the clock.
func parseCertificate(b []byte) (Certificate, error) {
	bad := func(why string) (Certificate, error) {
		return Certificate{}, fmt.Errorf("%w: %s", ErrCertificate, why)
	}
	if len(b) < 1+ed25519.SignatureSize || len(b) > maxCert {
		return bad(fmt.Sprintf("%d bytes", len(b)))
	}
	if b[0] != certVersion {
		return bad(fmt.Sprintf("version %d, this program knows version %d", b[0], certVersion))
	}
	c := Certificate{raw: bytes.Clone(b)}
	body, sig := c.raw[:len(b)-ed25519.SignatureSize], c.raw[len(b)-ed25519.SignatureSize:]

	var from, to uint64
	seen := 0 // the mandatory fields, each once because tags rise
	err := wire.Fields(body[1:], func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			r.Fixed(c.Identity[:])
		case 2:
			c.Device = ed25519.PublicKey(r.Bytes(ed25519.PublicKeySize))
		case 3:
			from, to = r.U64(), r.U64()
		case 4:
			r.Fixed(c.Sealing[:])
		case 5:
			c.Name = string(r.Rest())
			return nil
		default:
			return nil
		}
		seen++
		return r.Done()
	})
	switch {
	case err != nil:
		return bad(err.Error())
	case seen != 4:
		return bad("a field is missing")
	case c.Identity.IsZero():
		// The all-zero key is a point of small order: anybody can sign for it.
		return bad("identity key is zero")
	case c.Name != cleanName(c.Name):
		return bad("device name")
	case !Verify(c.Identity.Key(), certContext, body, sig):
		return bad("signature")
	case from > maxUnix || to > maxUnix || to <= from || to-from > uint64(certLife/time.Second):
		return bad("validity is not within 90 days")
	}
	c.NotBefore = time.Unix(int64(from), 0).UTC()
	c.NotAfter = time.Unix(int64(to), 0).UTC()
	return c, nil
}

// Check returns ErrExpired when c does not hold at now.
func (c Certificate) Check(now time.Time) error {
	const form = "2006-01-02 15:04 MST"
	if now.Before(c.NotBefore.Add(-certSkew)) {
		return fmt.Errorf("%w: not before %s", ErrExpired, c.NotBefore.Format(form))
	}
	if now.After(c.NotAfter.Add(certSkew)) {
		return fmt.Errorf("%w: expired %s", ErrExpired, c.NotAfter.Format(form))
	}
	return nil
}

// Raw returns a copy of the certificate's bytes as they were signed; empty for
// the zero Certificate.
func (c Certificate) Raw() []byte { return bytes.Clone(c.raw) }

// DeviceID names the device among those of its identity: the first 16 bytes of
// SHA-256 of the device key.
func (c Certificate) DeviceID() [16]byte {
	h := sha256.Sum256(c.Device)
	return [16]byte(h[:16])
}

// DeviceText returns the text form of a device ID: 32 hexadecimal digits.
func DeviceText(id [16]byte) string { return hex.EncodeToString(id[:]) }

// newCertificate signs a certificate that holds from now for certLife.
func newCertificate(identity ed25519.PrivateKey, device ed25519.PublicKey, sealing []byte, now time.Time, name string) (Certificate, error) {
	from := now.Unix()
	if from < 0 || from > maxUnix-int64(certLife/time.Second) {
		return Certificate{}, fmt.Errorf("identity: certificate: impossible time %s; set the clock", now.UTC().Format(time.RFC3339))
	}
	span := binary.BigEndian.AppendUint64(nil, uint64(from))
	span = binary.BigEndian.AppendUint64(span, uint64(from)+uint64(certLife/time.Second))

	b := make([]byte, 0, maxCert)
	b = append(b, certVersion)
	b = wire.AppendField(b, 1, identity.Public().(ed25519.PublicKey))
	b = wire.AppendField(b, 2, device)
	b = wire.AppendField(b, 3, span)
	b = wire.AppendField(b, 4, sealing)
	if name = cleanName(name); name != "" {
		b = wire.AppendField(b, 5, []byte(name))
	}
	return parseCertificate(append(b, Sign(identity, certContext, b)...))
}

// cleanName makes a name fit a certificate and a screen: valid UTF-8 without
// control characters and without those that reverse the text around them, at
// most maxName bytes. Neither set grows with Unicode's versions, so old and new
// programs agree on what is clean.
func cleanName(s string) string {
	var b []byte
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			continue
		}
		if len(b)+utf8.RuneLen(r) > maxName {
			break
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}
