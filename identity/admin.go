// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// Texts of an admin's key:
//
//	"p2posadmin:" || base32 of: version(1)=1 || Ed25519 public key (32) || checksum(4)
//	"p2posadminkey:" || base32 of: version(1)=1 || Ed25519 seed (32) || checksum(4)
//
// The checksum is the first 4 bytes of SHA-256 over the prefix and all before.
const (
	adminPrefix    = "p2posadmin:"
	adminKeyPrefix = "p2posadminkey:"
	adminVersion   = 1
	adminSum       = 4
	maxAdminText   = 128
)

// ErrAdmin reports a text that is no admin's key.
var ErrAdmin = errors.New("identity: not an admin's key")

// Admin is the public key of a network's admin: whoever has the other half signs
// the network's roster. Zero = the network has none, everybody who knows its
// secret belongs.
type Admin [32]byte

// AdminKey is the key itself. It belongs on no node but the admin's, and better
// on none. It prints as the Admin.
type AdminKey struct{ seed [32]byte }

// NewAdminKey makes a fresh key.
func NewAdminKey() (k AdminKey) {
	rand.Read(k.seed[:])
	return k
}

// Admin returns the public half.
func (k AdminKey) Admin() (a Admin) {
	copy(a[:], k.key().Public().(ed25519.PublicKey))
	return a
}

func (k AdminKey) key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.seed[:]) }

// Text returns the key in the form that ParseAdminKey reads: keep it secret.
func (k AdminKey) Text() string { return adminText(adminKeyPrefix, k.seed) }

// String, Format and LogValue keep the key out of logs: they show the Admin.
func (k AdminKey) String() string             { return k.Admin().Text() }
func (k AdminKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }
func (k AdminKey) LogValue() slog.Value       { return slog.StringValue(k.String()) }

// IsZero tells whether there is no admin.
func (a Admin) IsZero() bool { return a == Admin{} }

// String and LogValue show Text.
func (a Admin) String() string       { return a.Text() }
func (a Admin) LogValue() slog.Value { return slog.StringValue(a.Text()) }

// ParseAdmin reads what Admin.Text gave. The error is ErrAdmin.
func ParseAdmin(text string) (Admin, error) {
	a, err := parseAdmin(adminPrefix, text)
	return a, err
}

// Text returns the public key in the form that ParseAdmin reads; "" for none.
func (a Admin) Text() string {
	if a.IsZero() {
		return ""
	}
	return adminText(adminPrefix, a)
}

// ParseAdminKey reads what AdminKey.Text gave. The error is ErrAdmin.
func ParseAdminKey(text string) (k AdminKey, err error) {
	k.seed, err = parseAdmin(adminKeyPrefix, text)
	return k, err
}

func adminText(prefix string, v [32]byte) string {
	body := append([]byte{adminVersion}, v[:]...)
	return prefix + encode32(append(body, adminChecksum(prefix, body)...))
}

func adminChecksum(prefix string, body []byte) []byte {
	h := sha256.Sum256(append([]byte(prefix), body...))
	return h[:adminSum]
}

func parseAdmin(prefix, text string) (v [32]byte, err error) {
	text = strings.TrimSpace(text)
	if len(text) > maxAdminText || len(text) < len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
		return v, fmt.Errorf("%w: it does not start with %q", ErrAdmin, prefix)
	}
	syms, foreigners := scan(text[len(prefix):], utf8.RuneCountInString(prefix))
	if foreigners > 0 {
		return v, fmt.Errorf("%w: mistyped", ErrAdmin)
	}
	b, ok := decode32(syms)
	if !ok || len(b) != 1+len(v)+adminSum || b[0] != adminVersion || string(adminChecksum(prefix, b[:len(b)-adminSum])) != string(b[len(b)-adminSum:]) {
		return v, fmt.Errorf("%w: mistyped or cut off", ErrAdmin)
	}
	copy(v[:], b[1:])
	return v, nil
}
