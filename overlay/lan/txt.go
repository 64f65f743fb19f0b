// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"encoding/hex"
	"strings"
)

// version is that of what is announced, and the only one understood.
const version = "1"

// facts is what a TXT record tells.
type facts struct {
	version string
	network [4]byte
}

// txt returns the strings of a TXT record, version first (RFC 6763 §6.7).
func (f facts) txt() []string {
	return []string{"v=" + f.version, "net=" + hex.EncodeToString(f.network[:])}
}

// readTXT reads the strings of a TXT record: key=value each, keys without
// regard to case, the first of a kind counts, others are for later versions
// (RFC 6763 §6.4). It returns false where version or network are missing.
func readTXT(list []string) (f facts, ok bool) {
	var v, n bool
	for _, s := range list {
		key, value, has := strings.Cut(s, "=")
		switch {
		case !has:
		case !v && strings.EqualFold(key, "v"):
			f.version, v = value, true
		case !n && strings.EqualFold(key, "net"):
			if len(value) != hex.EncodedLen(len(f.network)) {
				return facts{}, false
			}
			if _, err := hex.Decode(f.network[:], []byte(value)); err != nil {
				return facts{}, false
			}
			n = true
		}
	}
	if !v || !n {
		return facts{}, false
	}
	return f, true
}
