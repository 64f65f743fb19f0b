// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Voicebench measures how a voice comes through bad networks: speech is encoded,
// carried over a simulated Internet and decoded at both ends, by this library
// and, in the same run over the same network, by Opus with in-band FEC behind
// pion's jitter buffer. It prints tables, and with -out writes curves and sound.
//
// The world is simulated, so a run gives the same numbers on every machine.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

func main() {
	speech := flag.String("speech", "media/testdata", "folder of speech-a.ogg and speech-b.ogg")
	out := flag.String("out", "", "folder to write curves and sound to; empty writes none")
	seconds := flag.Int("seconds", 60, "how long is talked in each cell")
	quick := flag.Bool("quick", false, "neither the whole matrix nor the long calls")
	only := flag.Bool("matrix", false, "only the whole matrix, to the screen alone")
	flag.Parse()
	if err := measure(*speech, *out, time.Duration(*seconds)*time.Second, *quick, *only); err != nil {
		fmt.Fprintln(os.Stderr, "voicebench:", err)
		os.Exit(1)
	}
}

// measure runs the bench on the speech in a folder.
func measure(speech, out string, length time.Duration, quick, only bool) error {
	b, err := newBench(speech, length)
	if err != nil {
		return err
	}
	if only {
		return b.matrix(os.Stdout)
	}
	if out == "" {
		return b.run(os.Stdout, "", quick)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(out, "table.txt"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := b.run(io.MultiWriter(os.Stdout, f), out, quick); err != nil {
		return err
	}
	return f.Close()
}

// run measures everything and writes it down.
func (b *bench) run(w io.Writer, out string, quick bool) error {
	rows, err := b.losses(w)
	if err != nil {
		return err
	}
	if err := b.delays(w); err != nil {
		return err
	}
	if err := b.thin(w); err != nil {
		return err
	}
	if err := b.beside(w); err != nil {
		return err
	}
	if err := b.freeze(w); err != nil {
		return err
	}
	if out != "" {
		if err := draw(out, rows); err != nil {
			return err
		}
		if err := b.samples(out); err != nil {
			return err
		}
	}
	if !quick {
		if err := b.drift(w); err != nil {
			return err
		}
		if err := b.matrix(w); err != nil {
			return err
		}
	}
	b.account(w)
	return nil
}
