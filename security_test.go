// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"slices"
	"testing"

	"github.com/p2pos/p2pos/internal/tools/house"
)

// dangerous returns uses of what pion has known holes in (see SECURITY.md):
//   - DTLS application records, whose nonces are random in dtls v2
//     (CVE-2026-26014): no data channels, nothing of our own over DTLS;
//   - the key exchange ECDHE_PSK, whose parser panics (CVE-2026-54908): no
//     pre-shared key anywhere;
//   - both live behind pion/webrtc, which stays in media/webrtc;
//   - srtp v2's sessions make a stream for each forged SSRC before they
//     authenticate it, and block on it: contexts only;
//   - ice v2's universal mux decodes STUN that no filter of ours has seen.
func dangerous(tree *house.Tree) []house.Finding {
	return slices.Concat(
		tree.Uses("PSK", "DataChannel", "SCTPTransport", "SessionSRTP", "SessionSRTCP", "UniversalUDPMux"),
		tree.Importers("github.com/pion/dtls"),
		tree.Importers("github.com/pion/sctp"),
		tree.Importers("github.com/pion/datachannel"),
		tree.Importers("github.com/pion/webrtc", "media/webrtc"),
	)
}

func TestNoDangerousPion(t *testing.T) { report(t, dangerous(own(t))) }

func TestNoDangerousPionFindsPlanted(t *testing.T) {
	for _, c := range []struct{ path, src string }{
		{"session/a.go", "package session\n\nimport _ \"github.com/pion/dtls/v2\"\n"},
		{"session/a.go", "package session\n\nimport _ \"github.com/pion/webrtc/v3\"\n"},
		{"examples/a/main.go", "package main\n\nimport _ \"github.com/pion/webrtc/v4\"\n"},
		{"media/webrtc/a.go", "package webrtc\n\nfunc f(c interface{ CreateDataChannel(string) }) { c.CreateDataChannel(``) }\n"},
		{"media/webrtc/a.go", "package webrtc\n\nfunc f(e interface{ DetachDataChannels() }) { e.DetachDataChannels() }\n"},
		{"media/webrtc/a.go", "package webrtc\n\ntype c struct{ PSK func() }\n\nvar x = c{PSK: nil}\n"},
		{"media/webrtc/a.go", "package webrtc\n\nfunc f(c *struct{ PSKIdentityHint []byte }) { c.PSKIdentityHint = nil }\n"},
		{"media/webrtc/a.go", "package webrtc\n\nvar x = dtls.TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256\n"},
		{"session/a.go", "package session\n\nvar x = srtp.NewSessionSRTP\n"},
	} {
		plant(t, c.path, c.src, dangerous)
	}
}
