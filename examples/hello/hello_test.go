// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The sound is the project's own.
func TestSound(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("..", "..", "media", "testdata", "speech-a.ogg"))
	if err != nil || !bytes.Equal(hello, want) {
		t.Errorf("hello.ogg differs from media/testdata/speech-a.ogg: %v", err)
	}
}
