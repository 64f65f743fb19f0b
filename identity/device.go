// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// renewBefore is how much life a certificate has left when it is renewed: an
// app started once a month never runs out.
const renewBefore = 30 * 24 * time.Hour

// Device is one installation of a person: the keys that it holds and the
// certificate that shows them to others. Once made, only its certificate
// changes (Adopt); it may be used from any goroutine. It prints without its
// secrets.
type Device struct {
	id       ID
	identity ed25519.PrivateKey // nil on a device that was linked without it
	key      ed25519.PrivateKey
	sealing  *ecdh.PrivateKey
	reach    Secret
	reset    [32]byte
	cert     Certificate                 // as stored
	newer    atomic.Pointer[Certificate] // nil = none

	extra    []byte  // stored fields of newer programs, kept when we write
	warnings []error // see Warnings
}

// NewDevice makes a new person with one device, in memory only. name is the
// device's name as others see it: cut to 32 bytes, control characters removed,
// may be empty. It fails only when now lies before 1970.
func NewDevice(now time.Time, name string) (*Device, error) {
	pub, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("identity: new identity key: %w", err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("identity: new device key: %w", err)
	}
	sealing, err := ecdh.X25519().GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("identity: new sealing key: %w", err)
	}
	d := &Device{id: ID(pub), identity: identity, key: key, sealing: sealing}
	rand.Read(d.reach[:])
	rand.Read(d.reset[:])
	if err := d.certify(now, name); err != nil {
		return nil, err
	}
	return d, nil
}

// certify signs a fresh certificate. It is only for a device that nobody else
// has seen yet.
func (d *Device) certify(now time.Time, name string) error {
	pub := d.key.Public().(ed25519.PublicKey)
	c, err := newCertificate(d.identity, pub, d.sealing.PublicKey().Bytes(), now, name)
	if err != nil {
		return err
	}
	d.cert = c
	return nil
}

// stale tells whether the certificate should be renewed: little or nothing
// left of it, not valid yet (a clock was wrong), or another device name. An
// empty name keeps the one that it has.
func (d *Device) stale(now time.Time, name string) bool {
	return d.identity != nil &&
		(d.cert.NotAfter.Sub(now) < renewBefore || d.cert.Check(now) != nil ||
			name != "" && cleanName(name) != d.cert.Name)
}

// ID returns the person's ID.
func (d *Device) ID() ID { return d.id }

// Certificate returns the device certificate.
func (d *Device) Certificate() Certificate {
	if c := d.newer.Load(); c != nil {
		return *c
	}
	return d.cert
}

// Holder tells whether the device holds the identity key: it can certify
// others.
func (d *Device) Holder() bool { return d.identity != nil }

// Adopt takes a newer certificate of this device's own keys into use. It is not
// stored. The error is ErrCertificate for another's, and for one that ends no
// later than the one in use.
func (d *Device) Adopt(c Certificate) error {
	old := d.Certificate()
	if c.Identity != d.id || !c.Device.Equal(old.Device) || c.Sealing != old.Sealing || !c.NotAfter.After(old.NotAfter) {
		return fmt.Errorf("%w: not this device's, or not newer", ErrCertificate)
	}
	d.newer.Store(&c)
	return nil
}

// Certify makes a certificate, valid for 90 days from now, for keys of another
// device of the same person. It fails on a device without the identity key.
func (d *Device) Certify(now time.Time, device ed25519.PublicKey, sealing [32]byte, name string) (Certificate, error) {
	if d.identity == nil {
		return Certificate{}, fmt.Errorf("identity: certify: this device does not hold the identity key")
	}
	return newCertificate(d.identity, device, sealing[:], now, name)
}

// Key returns the device's private key, to sign with Sign.
func (d *Device) Key() ed25519.PrivateKey { return d.key }

// Reach returns the reach secret, for tickets and reach tags.
func (d *Device) Reach() Secret { return d.reach }

// Reset returns the installation's secret from which QUIC derives stateless
// reset tokens (RFC 9000 §10.3.2), so that peers notice a restart at once.
func (d *Device) Reset() [32]byte { return d.reset }

// Unseal opens a message that was sealed to this device's certificate. Its
// error is ErrUnseal.
func (d *Device) Unseal(info, sealed []byte) ([]byte, error) {
	return Unseal(d.sealing, info, sealed)
}

// Warnings returns what Open met that did not stop it but that the user should
// know: ErrExposed, a renewed certificate that could not be stored, a key
// store that is not encrypted though a passphrase is at hand.
func (d *Device) Warnings() []error { return append([]error(nil), d.warnings...) }

// String names the device by the short ID of its owner.
func (d *Device) String() string { return "device of " + d.id.Short() }

// Format prints String under every verb, so that no key is ever printed.
func (d *Device) Format(f fmt.State, _ rune) { io.WriteString(f, d.String()) }

// LogValue keeps the keys out of logs.
func (d *Device) LogValue() slog.Value { return slog.StringValue(d.String()) }

// Derive returns a key for one purpose on this installation: the same at each
// start, and as secret as the key store.
func (d *Device) Derive(purpose string) (key [32]byte) {
	b, err := hkdf.Key(sha256.New, d.reset[:], d.key.Seed(), purpose, len(key))
	if err != nil {
		panic(err) // only for lengths above 255 hashes
	}
	copy(key[:], b)
	return key
}
