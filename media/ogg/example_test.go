// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ogg_test

import (
	"bytes"
	"fmt"
	"io"
	"log"

	"github.com/p2pos/p2pos/media/ogg"
)

// A recording of three frames, of which the second was lost.
func Example() {
	var file bytes.Buffer
	w, err := ogg.NewWriter(&file, ogg.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, packet := range [][]byte{{0x08, 1, 2, 3}, nil, {0x08, 4, 5}} {
		if err := w.WritePacket(packet, 960); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	r, err := ogg.NewReader(&file)
	if err != nil {
		log.Fatal(err)
	}
	for {
		packet, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err) // a *CorruptError could be skipped
		}
		fmt.Printf("% x\n", packet)
	}
	fmt.Println(r.Granule(), "samples")
	// Output:
	// 08 01 02 03
	// 08
	// 08 04 05
	// 2880 samples
}
