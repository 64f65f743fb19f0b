// SPDX-License-Identifier: 0BSD

package main

import (
	"encoding/binary"
	"fmt"

	"github.com/gen2brain/malgo"

	"github.com/p2pos/p2pos/media/voice"
)

// card is the computer's microphone and loudspeaker, in mono.
type card struct {
	ctx    *malgo.AllocatedContext
	device *malgo.Device
}

// open starts the sound card: what it records goes to mic, what it plays comes
// from speaker, 10 ms at a time on a thread of its own. Neither blocks. nil
// backends means what the system has.
func open(backends []malgo.Backend, mic voice.Sink, speaker voice.Source) (*card, error) {
	ctx, err := malgo.InitContext(backends, malgo.ContextConfig{}, nil)
	if err != nil {
		return nil, fmt.Errorf("no sound system: %w", err)
	}
	c := &card{ctx: ctx}
	conf := malgo.DefaultDeviceConfig(malgo.Duplex)
	conf.SampleRate = voice.SampleRate
	conf.PeriodSizeInMilliseconds = 10
	conf.Capture.Format, conf.Capture.Channels = malgo.FormatS16, 1
	conf.Playback.Format, conf.Playback.Channels = malgo.FormatS16, 1
	var recorded, played []int16
	conf.Alsa.NoMMap = 1 // some cards lie about what they can map
	c.device, err = malgo.InitDevice(ctx.Context, conf, malgo.DeviceCallbacks{
		Data: func(out, in []byte, _ uint32) {
			recorded = recorded[:0]
			for ; len(in) >= 2; in = in[2:] {
				recorded = append(recorded, int16(binary.NativeEndian.Uint16(in)))
			}
			mic.WritePCM(recorded) // ends with the call
			if need := len(out) / 2; len(played) < need {
				played = make([]int16, need)
			}
			n, _ := speaker.ReadPCM(played[:len(out)/2]) // silence after the call
			clear(played[n:])
			for i := range len(out) / 2 {
				binary.NativeEndian.PutUint16(out[2*i:], uint16(played[i]))
			}
		},
	})
	if err == nil {
		err = c.device.Start()
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("no microphone and loudspeaker: %w", err)
	}
	return c, nil
}

// close stops the sound card; no sound moves afterwards.
func (c *card) close() {
	if c.device != nil {
		c.device.Uninit()
	}
	c.ctx.Uninit() // only fails when it was never there
	c.ctx.Free()
}
