// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"errors"
	"strings"
	"testing"
)

func TestNetwork(t *testing.T) {
	for _, name := range []string{"acme", "Müller & Söhne GmbH", "a", strings.Repeat("x", 32)} {
		n, err := NewNetwork(name)
		if err != nil {
			t.Fatal(err)
		}
		if n.IsPublic() || n.Check() != nil || n.String() != name || n.Name != name {
			t.Errorf("%q: %v", name, n)
		}
		text := n.Text()
		if got, err := ParseNetwork(text); err != nil || got != n {
			t.Errorf("ParseNetwork(%q) = %v, %v", text, got, err)
		}
		i := strings.LastIndex(text, ":") + 1
		for _, s := range []string{" " + text + "\n", text[:i] + strings.ToUpper(text[i:]), text[:i] + text[i:i+9] + "-" + text[i+9:], "P2POSNET" + text[8:]} {
			if got, err := ParseNetwork(s); err != nil || got != n {
				t.Errorf("ParseNetwork(%q) = %v, %v", s, got, err)
			}
		}
		other, err := NewNetwork(name)
		if err != nil || other == n || other.Key() == n.Key() {
			t.Errorf("two secrets for %q are equal (%v)", name, err)
		}
	}
}

func TestNetworkNames(t *testing.T) {
	for _, name := range []string{"", " ", "a ", "a:b", "a\nb", "a\u202eb", "\xff", strings.Repeat("x", 33)} {
		if n, err := NewNetwork(name); !errors.Is(err, ErrNetwork) || !n.IsPublic() {
			t.Errorf("NewNetwork(%q): %v", name, err)
		}
	}
}

// The public network has a key of its own; a name alone makes no closed one.
func TestNetworkPublic(t *testing.T) {
	var public Network
	named := Network{Name: "acme"}
	if !public.IsPublic() || public.String() != "public" || public.Text() != "" || public.Check() != nil {
		t.Errorf("public network: %v, %q, %v", public, public.Text(), public.Check())
	}
	if named.IsPublic() || named.Text() != "" || !errors.Is(named.Check(), ErrNetwork) {
		t.Errorf("named network without a secret: %q, %v", named.Text(), named.Check())
	}
	if public.Key() == named.Key() || public.Tag() == named.Tag() {
		t.Error("a named network links with the public one")
	}
}

func TestParseNetworkRefuses(t *testing.T) {
	good := Network{Name: "acme", secret: [32]byte{1, 2, 3}, size: 16}.Text()
	for _, c := range []struct{ s, says string }{
		{"", "passphrase"},
		{"correct horse battery staple", "passphrase"},
		{goldenTicket, "passphrase"},
		{"p2posnet:acme", "cut off"},
		{"p2posnet::" + good[14:], "name"},
		{"p2posnet:acme:", "cut off"},
		{"p2posnet:acme:hunter2", "character 16 is 'u'"},
		{strings.Replace(good, "acme", "acne", 1), "mistyped"},
		{strings.Repeat(good, 20), "bytes long"},
	} {
		n, err := ParseNetwork(c.s)
		if !errors.Is(err, ErrNetwork) || !strings.Contains(err.Error(), c.says) || n != (Network{}) {
			t.Errorf("ParseNetwork(%.40q): %v, want one that says %q", c.s, err, c.says)
		}
	}
	i := strings.LastIndex(good, ":") + 1
	for ; i < len(good); i++ {
		for _, c := range alphabet {
			if byte(c) == good[i] {
				continue
			}
			s := good[:i] + string(c) + good[i+1:]
			if _, err := ParseNetwork(s); !errors.Is(err, ErrNetwork) {
				t.Fatalf("%q at %d: %v", c, i, err)
			}
		}
		if _, err := ParseNetwork(good[:i]); !errors.Is(err, ErrNetwork) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	// A good checksum over a secret that is too short or of a later version.
	for _, body := range [][]byte{append([]byte{1}, make([]byte, 15)...), append([]byte{1}, make([]byte, 33)...), append([]byte{2}, make([]byte, 16)...)} {
		sum := networkChecksum(body, "acme")
		if _, err := ParseNetwork("p2posnet:acme:" + encode32(append(body, sum[:]...))); !errors.Is(err, ErrNetwork) {
			t.Errorf("body %x: %v", body, err)
		}
	}
}

// Longer secrets than those we generate are accepted.
func TestNetworkLongSecret(t *testing.T) {
	n := Network{Name: "acme", secret: [32]byte(seed(1, 32)), size: 32}
	if got, err := ParseNetwork(n.Text()); err != nil || got != n {
		t.Errorf("%v, %v", got, err)
	}
}
