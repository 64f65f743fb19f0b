// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	crand "crypto/rand"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/media/ogg"
)

// tone is what the microphone says when it has nothing to say: 440 Hz, a
// packet each 20 ms, whose last packet leads into the first without a click.
//
//go:embed tone.ogg
var tone []byte

// microphone returns what the phone says, looped: a file, which is read to its
// end once so that damage is found before somebody has to listen to it, or a
// tone.
func microphone(path string) (open func() (io.ReadCloser, error), err error) {
	if path == "" {
		return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tone)), nil }, nil
	}
	open = func() (io.ReadCloser, error) { return os.Open(path) }
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkSound(f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return open, nil
}

func checkSound(f io.Reader) error {
	r, err := ogg.NewReader(f)
	if err != nil {
		return err
	}
	for packets := 0; ; packets++ {
		b, err := r.Next()
		switch {
		case err == io.EOF && packets == 0:
			return errors.New("no sound in it")
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case len(b) > media.MaxPayload:
			return fmt.Errorf("packet %d has %d bytes, at most %d can be sent", packets, len(b), media.MaxPayload)
		}
		if _, err := media.OpusSamples(b); err != nil {
			return fmt.Errorf("packet %d: %w", packets, err)
		}
	}
}

// shelf names the recordings: FILE.ogg, FILE-2.ogg, FILE-3.ogg …, one a call.
type shelf struct {
	file string // "" = don't record
	used int
}

func (s *shelf) next() string {
	s.used++
	if s.used == 1 {
		return s.file
	}
	ext := filepath.Ext(s.file)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(s.file, ext), s.used, ext)
}

// checkShelf finds out early that nothing can be recorded there.
func checkShelf(file string) error {
	if i, err := os.Stat(file); err == nil && !i.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", file)
	}
	i, err := os.Stat(filepath.Dir(file))
	if err == nil && !i.IsDir() {
		err = fmt.Errorf("%s is not a directory", filepath.Dir(file))
	}
	return err
}

// tape records what one call's ear hears. Each second of sound goes to the
// file as one write, so a phone that is killed leaves a playable file.
type tape struct {
	mu   sync.Mutex // guards what follows: commands and the ear meet here
	file *os.File   // nil = not recording
	ogg  *ogg.Writer
}

// start records to path from now on; a recording that runs ends. When that
// fails, nothing has changed.
func (t *tape) start(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	var seed [16]byte
	crand.Read(seed[:])
	rng := rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:])))
	w, err := ogg.NewWriter(f, ogg.Options{Rand: rng})
	if err != nil {
		f.Close()
		return err
	}
	old := t.swap(f, w)
	return old.stop()
}

// swap puts another file in, and returns the tape with the old one.
func (t *tape) swap(f *os.File, w *ogg.Writer) *tape {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := &tape{file: t.file, ogg: t.ogg}
	t.file, t.ogg = f, w
	return old
}

// write records a frame, if a recording runs. After an error none does.
func (t *tape) write(f *media.Frame) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ogg == nil {
		return nil
	}
	samples := f.Samples
	if len(f.Payload) > 0 {
		samples = 0 // what the packet says
	}
	err := t.ogg.WritePacket(f.Payload, samples)
	if err != nil {
		t.file.Close()
		t.file, t.ogg = nil, nil
	}
	return err
}

// running says whether a recording runs.
func (t *tape) running() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ogg != nil
}

// stop completes the recording, if one runs.
func (t *tape) stop() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ogg == nil {
		return nil
	}
	err := errors.Join(t.ogg.Close(), t.file.Close())
	t.file, t.ogg = nil, nil
	return err
}
