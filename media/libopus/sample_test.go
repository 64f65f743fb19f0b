// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package libopus_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// sample returns the Opus packets of an Ogg file in media/testdata.
func sample(tb testing.TB, name string) [][]byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	var packets [][]byte
	var packet []byte
	for len(b) >= 27 && bytes.HasPrefix(b, []byte("OggS")) {
		n := int(b[26])
		table, body := b[27:27+n], b[27+n:]
		for _, lace := range table {
			packet = append(packet, body[:lace]...)
			body = body[lace:]
			if lace < 255 {
				packets = append(packets, packet)
				packet = nil
			}
		}
		b = body
	}
	return packets[2:] // OpusHead, OpusTags
}
