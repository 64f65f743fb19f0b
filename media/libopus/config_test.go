// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package libopus_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/media/libopus"
)

// TestConfig holds in builds with and without the library: what is wrong with
// a config is said either way.
func TestConfig(t *testing.T) {
	bad := []libopus.EncoderConfig{
		{Channels: 3}, {Channels: -1},
		{Bitrate: libopus.MinBitrate - 1}, {Bitrate: libopus.MaxBitrate + 1},
		{Complexity: 11}, {Complexity: -1},
		{LossPercent: 101}, {LossPercent: -1},
		{Frame: 15 * time.Millisecond}, {Frame: -time.Millisecond},
	}
	for _, c := range bad {
		if _, err := libopus.NewEncoder(c); err == nil || errors.Is(err, libopus.ErrUnavailable) {
			t.Errorf("%+v: error %v, want what is wrong with it", c, err)
		}
	}
	if _, err := libopus.NewDecoder(0); err == nil || errors.Is(err, libopus.ErrUnavailable) {
		t.Errorf("decoder of 0 channels: %v", err)
	}
}

// TestAvailable checks that the two builds keep their promises.
func TestAvailable(t *testing.T) {
	e, err := libopus.NewEncoder(libopus.EncoderConfig{})
	d, err2 := libopus.NewDecoder(2)
	if libopus.Available {
		if e == nil || d == nil || err != nil || err2 != nil {
			t.Fatalf("available, but %v, %v", err, err2)
		}
		return
	}
	if !errors.Is(err, libopus.ErrUnavailable) || !errors.Is(err2, libopus.ErrUnavailable) {
		t.Fatalf("errors %v and %v, want ErrUnavailable", err, err2)
	}
	for _, word := range []string{"libopus-dev", "brew install", "CGO_ENABLED=1", "-tags libopus,nolibopusfile"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, err)
		}
	}
}
