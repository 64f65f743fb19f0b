// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import "crypto/ed25519"

// Sign signs context || 0x00 || msg with Ed25519. Each purpose has a context
// of its own ("p2pos invite v1"), without a zero byte, so that no signature
// can be passed off as another. Sign panics when key has the wrong length.
func Sign(key ed25519.PrivateKey, context string, msg []byte) []byte {
	return ed25519.Sign(key, signed(context, msg))
}

// Verify tells whether sig is pub's signature over msg in this context. A key
// or signature of the wrong length is simply not valid.
func Verify(pub ed25519.PublicKey, context string, msg, sig []byte) bool {
	return len(pub) == ed25519.PublicKeySize && len(sig) == ed25519.SignatureSize &&
		ed25519.Verify(pub, signed(context, msg), sig)
}

func signed(context string, msg []byte) []byte {
	b := make([]byte, 0, len(context)+1+len(msg))
	b = append(append(b, context...), 0)
	return append(b, msg...)
}
