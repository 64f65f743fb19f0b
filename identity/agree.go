// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"crypto/ecdh"
	"fmt"
)

// Agree returns the secret that this device's sealing key has in common with
// another one (X25519, RFC 7748 §6.1): its owner computes the same from the
// key in this device's certificate. It is raw key material, for a key
// derivation with a label of its own. It fails only when other is no usable
// key.
func (d *Device) Agree(other [32]byte) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(other[:])
	if err != nil {
		return nil, fmt.Errorf("identity: agree: %w", err)
	}
	secret, err := d.sealing.ECDH(pub)
	if err != nil {
		return nil, fmt.Errorf("identity: agree: %w", err)
	}
	return secret, nil
}
