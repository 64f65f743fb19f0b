// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package voice stands between an app's sound and a call: 16-bit PCM at 48 kHz
// in, encoded frames out, and back.
//
// A [Microphone] takes PCM in pieces of any size, encodes it and writes frames
// to the outgoing track, with the bitrate, frame duration and redundancy that
// the track advises. A [Speaker] gives the PCM of the incoming track to whoever
// pulls, at the puller's pace; a [Mixer] that of several. Codecs are handed in: media/libopus encodes and
// decodes, media/opus only decodes.
//
//	enc, err := libopus.NewEncoder(libopus.EncoderConfig{DTX: true})
//	dec, err := libopus.NewDecoder(1)
//	in, out := call.Tracks()
//	microphone := voice.NewMicrophone(out, enc)
//	speaker := voice.NewSpeaker(in, dec, 1)
//	// then, where the sound card asks:
//	microphone.WritePCM(recorded)
//	speaker.ReadPCM(played)
//
// [Source] and [Sink] are all an app has to give where there is no sound card:
// media/wav has files, this package [Tone], [Chirp] and [Silence], and [Copy]
// moves sound from one to the other in real time.
//
// A Microphone belongs to one goroutine. Speakers and Mixers may be used from any. None
// starts one; only they and Copy read the clock. Once warm, nothing of ours
// is allocated.
//
// Not done: echo cancelling, noise suppression and gain control, which sound
// cards, systems and browsers offer; other rates than 48 kHz.
package voice
