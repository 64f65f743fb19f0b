// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package opus_test

import (
	"fmt"
	"io"
	"log"
	"os"

	"github.com/p2pos/p2pos/media/ogg"
	"github.com/p2pos/p2pos/media/opus"
)

// Decode a recording, as if every hundredth packet had been lost.
func ExampleDecoder() {
	file, err := os.Open("../testdata/speech-a.ogg")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	in, err := ogg.NewReader(file)
	if err != nil {
		log.Fatal(err)
	}
	dec, err := opus.NewDecoder(1)
	if err != nil {
		log.Fatal(err)
	}
	var sound []int16
	pcm := make([]int16, opus.MaxSamples)
	for i := 1; ; i++ {
		packet, err := in.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		n := 0
		if i%100 == 0 {
			n = dec.Conceal(pcm, 960)
		} else if n, err = dec.Decode(packet, pcm); err != nil {
			log.Fatal(err)
		}
		sound = append(sound, pcm[:n]...)
	}
	fmt.Printf("%.1f s of speech\n", float64(len(sound))/opus.SampleRate)
	// Output: 11.7 s of speech
}
