// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media_test

import (
	"fmt"
	"time"

	"github.com/pion/rtp"

	"github.com/p2pos/p2pos/media"
)

// A playout buffer puts packets back in order and says what to conceal.
func ExamplePlayout() {
	now := time.Now()
	p := media.NewPlayout(media.PlayoutConfig{})
	for _, seq := range []uint16{0, 2, 1, 4} { // 1 and 2 were swapped, 3 is lost
		h := rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: uint32(seq) * media.FrameSamples, SSRC: 1}
		p.Push(now.Add(time.Duration(seq)*20*time.Millisecond), &h, []byte{0x78, byte(seq)})
	}
	at, _ := p.Ready(now)
	var f media.Frame
	var buf [media.MaxPayload]byte
	for range 5 {
		p.Pop(at, &f, buf[:0])
		at = at.Add(20 * time.Millisecond)
		if f.Lost {
			fmt.Println("conceal", f.Samples, "samples")
		} else {
			fmt.Println("play", f.Payload[1])
		}
	}
	// Output:
	// play 0
	// play 1
	// play 2
	// conceal 960 samples
	// play 4
}
