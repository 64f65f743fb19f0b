// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
)

// NodeID names a running node to its neighbours: a hash of its node key, which
// is fresh at each start. It says nothing about who runs the node.
type NodeID [32]byte

// NodeIDOf returns the node ID of a node's public key.
func NodeIDOf(pub ed25519.PublicKey) NodeID {
	return sha256.Sum256(append([]byte("p2pos node id v1"), pub...))
}

// String returns all 64 hexadecimal digits.
func (n NodeID) String() string { return hex.EncodeToString(n[:]) }

// Short returns the first 8 hexadecimal digits, for logs and screens.
func (n NodeID) Short() string { return hex.EncodeToString(n[:4]) }

// IsZero tells whether n is the zero node ID, which names no node.
func (n NodeID) IsZero() bool { return n == NodeID{} }

// LogValue makes logs show the short form.
func (n NodeID) LogValue() slog.Value { return slog.StringValue(n.Short()) }

// Compare orders node IDs as big-endian numbers: -1, 0 or +1.
func (n NodeID) Compare(o NodeID) int { return bytes.Compare(n[:], o[:]) }

// Less tells whether n comes before o.
func (n NodeID) Less(o NodeID) bool { return n.Compare(o) < 0 }
