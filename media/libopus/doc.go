// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package libopus encodes and decodes Opus with the reference library, through
// github.com/hraban/opus. It has what media/opus lacks: an encoder, in-band
// FEC, real loss concealment and DTX.
//
// It needs cgo, the library and two build tags:
//
//	apt install libopus-dev pkg-config      (Debian, Ubuntu)
//	brew install opus pkg-config            (macOS)
//	go build -tags libopus,nolibopusfile ./...
//
// In any other build the package has the same API, [Available] is false and
// the constructors return [ErrUnavailable], so a program compiles everywhere
// and can fall back to media/opus for listening.
//
// [NewEncoder] takes an [EncoderConfig] whose zero value is right for voice;
// [Encoder.Encode] makes one packet of one frame of PCM. [NewDecoder] gives a
// [Decoder]: [Decoder.Decode] each packet in order; for a lost one call
// [Decoder.DecodeFEC] with the packet that follows it, or [Decoder.Conceal]
// when that isn't there either.
//
// Encoders and Decoders hold one stream's state, start no goroutines and read
// no clock. One goroutine at a time may use each. Encode and Decode don't
// allocate.
//
// PCM is 16 bit, 48 kHz, channels interleaved. Frames of 2.5 and 5 ms,
// multistream and Opus 1.5's neural tools are not offered.
package libopus
