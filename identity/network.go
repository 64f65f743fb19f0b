// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Network secret:
//
//	"p2posnet:" || name || ":" || base32 of: version(1)=1 || secret(16–32) || checksum(4)
//
// The checksum is the first 4 bytes of SHA-256 over "p2pos network v1",
// version, secret and name, so it holds the name as well.
//
//	key = SHA-256("p2pos network key v1" || secret length(1) || secret || name)
//	tag = SHA-256("p2pos network tag v1" || key)[:4]
const (
	networkPrefix  = "p2posnet:"
	networkVersion = 1
	networkSum     = 4

	minNetworkSecret = 16 // 128 bits cannot be guessed offline
	maxNetworkSecret = 32
	maxNetworkName   = 32  // bytes; it stands in a text that people read
	maxNetworkText   = 512 // bounds what ParseNetwork looks at
)

// ErrNetwork reports a text that is no network secret, or a name that no
// network can have.
var ErrNetwork = errors.New("identity: not a network secret")

// Network is the network a node belongs to. The zero value is the public one.
// A closed network has a name and a generated secret without which nobody can
// link to its nodes. Networks are equal (==) when name and secret are; they
// print their name only.
type Network struct {
	Name string

	secret [maxNetworkSecret]byte
	size   uint8 // bytes of secret in use
}

// NewNetwork returns a closed network with a fresh secret of 128 bits. The
// name is 1 to 32 bytes of printable text without a colon; else the error is
// ErrNetwork.
func NewNetwork(name string) (Network, error) {
	if err := checkNetworkName(name); err != nil {
		return Network{}, err
	}
	n := Network{Name: name, size: minNetworkSecret}
	rand.Read(n.secret[:n.size])
	return n, nil
}

// ParseNetwork reads the text that Text gave. Passphrases and texts that were
// mistyped or cut off are refused with ErrNetwork and a word on which it is.
func ParseNetwork(text string) (Network, error) {
	bad := func(format string, a ...any) (Network, error) {
		return Network{}, fmt.Errorf("%w: "+format, append([]any{ErrNetwork}, a...)...)
	}
	text = strings.TrimSpace(text)
	if len(text) > maxNetworkText {
		return bad("%d bytes long", len(text))
	}
	if len(text) < len(networkPrefix) || !strings.EqualFold(text[:len(networkPrefix)], networkPrefix) {
		return bad("it does not start with %q; secrets are generated, a passphrase is not accepted", networkPrefix)
	}
	name, code, ok := strings.Cut(text[len(networkPrefix):], ":")
	if !ok {
		return bad("no colon behind the name; it is cut off")
	}
	if err := checkNetworkName(name); err != nil {
		return Network{}, err
	}
	skip := utf8.RuneCountInString(text) - utf8.RuneCountInString(code)
	syms, _ := scan(code, skip)
	for _, c := range syms {
		if c.val == foreign {
			return bad("mistyped: character %d is %q, which no secret contains", c.rune, c.got)
		}
	}
	b, ok := decode32(syms)
	if !ok || len(b) < 1+networkSum {
		return bad("mistyped or cut off")
	}
	body := b[:len(b)-networkSum]
	if networkChecksum(body, name) != [networkSum]byte(b[len(body):]) {
		return bad("mistyped or cut off")
	}
	if body[0] != networkVersion {
		return bad("version %d, this program knows version %d", body[0], networkVersion)
	}
	secret := body[1:]
	if len(secret) < minNetworkSecret || len(secret) > maxNetworkSecret {
		return bad("secret of %d bytes", len(secret))
	}
	n := Network{Name: name, size: uint8(len(secret))}
	copy(n.secret[:], secret)
	return n, nil
}

// IsPublic tells whether n is the public network, the zero value.
func (n Network) IsPublic() bool { return n == Network{} }

// Check returns ErrNetwork for a network that was given a name but no secret:
// only NewNetwork and ParseNetwork make closed networks.
func (n Network) Check() error {
	if n.size == 0 && n.Name != "" {
		return fmt.Errorf("%w: network %q has a name but no secret", ErrNetwork, n.Name)
	}
	return nil
}

// Text returns the network's secret in the form that ParseNetwork reads: hand
// it to members only. It is empty for a network without a secret.
func (n Network) Text() string {
	if n.size == 0 {
		return ""
	}
	body := append([]byte{networkVersion}, n.secret[:n.size]...)
	sum := networkChecksum(body, n.Name)
	return networkPrefix + n.Name + ":" + encode32(append(body, sum[:]...))
}

// String returns the name, never the secret; "public" for the public network.
func (n Network) String() string {
	if n.IsPublic() {
		return "public"
	}
	return n.Name
}

// Format prints String under every verb, so that the secret is never printed.
func (n Network) Format(f fmt.State, _ rune) { io.WriteString(f, n.String()) }

// LogValue keeps the secret out of logs.
func (n Network) LogValue() slog.Value { return slog.StringValue(n.String()) }

// Key returns the key with which the network's nodes know each other. That of
// the public network is known to everybody.
func (n Network) Key() [32]byte {
	b := append([]byte("p2pos network key v1"), n.size)
	b = append(b, n.secret[:n.size]...)
	return sha256.Sum256(append(b, n.Name...))
}

// Tag returns four bytes that tell networks apart in tickets. They are enough
// to say "from another network", too few to test guesses of a secret on.
func (n Network) Tag() [4]byte {
	key := n.Key()
	h := sha256.Sum256(append([]byte("p2pos network tag v1"), key[:]...))
	return [4]byte(h[:4])
}

func networkChecksum(body []byte, name string) [networkSum]byte {
	b := append([]byte("p2pos network v1"), body...)
	h := sha256.Sum256(append(b, name...))
	return [networkSum]byte(h[:])
}

func checkNetworkName(name string) error {
	if name == "" || len(name) > maxNetworkName || !utf8.ValidString(name) || name != strings.TrimSpace(name) {
		return fmt.Errorf("%w: a network's name has 1 to %d bytes and no space at its ends", ErrNetwork, maxNetworkName)
	}
	for _, r := range name {
		if r == ':' || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return fmt.Errorf("%w: a network's name contains no %q", ErrNetwork, r)
		}
	}
	return nil
}
