// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build cgo && libopus

package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// long says whether there is time for minutes of arithmetic.
func long() bool { return os.Getenv("P2POS_LONG") != "" }

// TestPromises holds everything that is promised of the sound, the hour with
// clocks that drift included, with the real codec.
func TestPromises(t *testing.T) {
	if !long() {
		t.Skip("some minutes of arithmetic: set P2POS_LONG=1")
	}
	b, err := newBench("../../../media/testdata", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.losses(io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, f := range []func(io.Writer) error{b.delays, b.thin, b.beside, b.freeze, b.drift} {
		if err := f(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	var s strings.Builder
	b.account(&s)
	t.Log("\n" + s.String())
	for _, p := range b.missed() {
		t.Errorf("%s: %s, want %s", p.what, p.got, p.want)
	}
}

// TestFreeze: half a second without a network is made up for.
func TestFreeze(t *testing.T) {
	b := small(t)
	if err := b.freeze(io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, p := range b.missed() {
		t.Errorf("%s: %s, want %s", p.what, p.got, p.want)
	}
}

// TestUpload: the TCP of the laboratory fills a link when it is alone.
func TestUpload(t *testing.T) {
	u, got := alone(256000, 20*time.Second)
	if got < 0.9*256000 || got > 256000 {
		t.Errorf("%.0f bit/s of 256000, window %.1f", got, u.window)
	}
}
