// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/p2pos/p2pos/nat"
)

// role says who speaks in a link handshake.
type role uint8

const (
	dialler  role = 1
	listener role = 2
)

// exporterLabel binds the network proof, and later the identities, to one TLS
// connection (RFC 8446 §7.5).
const exporterLabel = "EXPORTER-p2pos-link"

// networkProof shows knowledge of the network key on exactly this TLS
// connection and in exactly this role, so that it can be neither replayed nor
// reflected.
func networkProof(key [32]byte, r role, exporter [32]byte) (proof [32]byte) {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("p2pos link v1"))
	h.Write([]byte{byte(r)})
	h.Write(exporter[:])
	h.Sum(proof[:0])
	return proof
}

// checkHello decodes the other side's HELLO and verifies its proof.
func checkHello(body []byte, key [32]byte, r role, exporter [32]byte) (hello, error) {
	h, err := parseHello(body)
	if err != nil {
		return hello{}, err
	}
	want := networkProof(key, r, exporter)
	if !hmac.Equal(want[:], h.proof[:]) {
		return hello{}, ErrNetwork
	}
	return h, nil
}

func (h *hello) cred() nat.Cred { return nat.Cred{Tag: h.tag, Key: h.key} }

// helloFailure maps a handshake error to the code that tells the other side.
func helloFailure(err error) (code uint64, text string) {
	var ve *VersionError
	switch {
	case errors.Is(err, ErrNetwork):
		return codeNetwork, "another network"
	case errors.Is(err, ErrMember):
		text = strings.TrimPrefix(err.Error(), ErrMember.Error()+": ")
		return codeRoster, text[:min(len(text), maxReason)]
	case errors.Is(err, ErrRefused):
		return codeRefused, "refused"
	case errors.As(err, &ve):
		return codeVersion, fmt.Sprintf("protocol %d wanted", ve.Ours)
	default:
		return codeProtocol, "bad hello"
	}
}
