// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package libopus_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/p2pos/p2pos/media/ogg"
)

// sample returns the Opus packets of an Ogg file in media/testdata.
func sample(tb testing.TB, name string) [][]byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	r, err := ogg.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	var packets [][]byte
	for {
		p, err := r.Next()
		if err == io.EOF {
			return packets
		}
		if err != nil {
			tb.Fatal(err)
		}
		packets = append(packets, bytes.Clone(p))
	}
}
