// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package voice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// turn is how much Copy moves at once, the usual frame.
	turn = 20 * time.Millisecond
	// maxBehind is how late Copy may be and still make up for it by moving the
	// next pieces sooner. After more, the machine was asleep, and time goes on
	// from now instead of a burst.
	maxBehind = 200 * time.Millisecond
)

// Copy moves sound of 1 or 2 channels from src to dst in real time, 20 ms at a
// time, each at the moment the sound before it has ended, so that lateness does
// not add up. It is for sources that don't wait: files, a Speaker. It blocks
// until src ends, which is success, an error of either, or of ctx.
func Copy(ctx context.Context, dst Sink, src Source, channels int) error {
	if channels != 1 && channels != 2 {
		return fmt.Errorf("voice: %d channels, want 1 or 2", channels)
	}
	pcm := make([]int16, channels*int(turn*SampleRate/time.Second))
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		n, err := src.ReadPCM(pcm)
		if n > 0 {
			if err := dst.WritePCM(pcm[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		lasts := time.Duration(n/channels) * time.Second / SampleRate
		due = due.Add(lasts)
		now := time.Now()
		if now.Sub(due) > maxBehind {
			due = now.Add(lasts)
		}
		timer.Reset(due.Sub(now))
	}
}
