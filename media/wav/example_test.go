// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package wav_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/p2pos/p2pos/media/wav"
)

func Example() {
	var file bytes.Buffer
	w, err := wav.NewWriter(&file, wav.Format{Rate: 48000, Channels: 1})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.WritePCM(make([]int16, 960)); err != nil { // 20 ms of silence
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	r, err := wav.NewReader(&file)
	if err != nil {
		log.Fatal(err)
	}
	pcm := make([]int16, 4800)
	n, err := r.ReadPCM(pcm)
	fmt.Println(r.Format().Rate, n, err)
	// Output: 48000 960 <nil>
}
