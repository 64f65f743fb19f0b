// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package wav reads and writes sound as WAV files: RIFF with 16-bit PCM, mono
// or stereo, the form every program and every sound card understands.
//
// [NewReader] and [Reader.ReadPCM] give the samples of a file, [NewWriter] and
// [Writer.WritePCM] make one. Both count values, not samples per channel:
// stereo is interleaved, left first.
//
// A Reader or Writer belongs to one goroutine. Neither waits for the clock.
//
// Limits: 16 bits a sample, rates from 8 to 192 kHz. There is no conversion:
// who needs 48 kHz looks at [Reader.Format] and says no. A file ends at 4 GiB,
// six hours of 48 kHz stereo.
package wav
