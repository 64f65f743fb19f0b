// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/p2pos/p2pos"
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
	file  string // "" = don't record
	sides []p2pos.Side
	used  int
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

// recordSides reads what a call is recorded to: "record FILE" what the ear hears,
// "record me FILE" what is said, "record both FILE" the two on one ear each.
func recordSides(arg string) (file string, sides []p2pos.Side) {
	switch word, rest, _ := strings.Cut(arg, " "); word {
	case "me":
		return strings.TrimSpace(rest), []p2pos.Side{p2pos.Ours}
	case "both":
		return strings.TrimSpace(rest), nil
	}
	return arg, []p2pos.Side{p2pos.Theirs}
}

// tape is a recording of one call.
type tape struct {
	path string
	file *os.File
	end  func() error
}

// newTape begins to record to a file.
func newTape(call *p2pos.Call, path string, sides []p2pos.Side) (*tape, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	end, err := call.Record(f, sides...)
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return &tape{path, f, end}, nil
}

// stop completes the recording, if there is one. One that never began leaves no
// file.
func (t *tape) stop() error {
	if t == nil {
		return nil
	}
	err := t.end()
	if errors.Is(err, p2pos.ErrNotTold) {
		t.file.Close()
		os.Remove(t.path)
		return err
	}
	return errors.Join(err, t.file.Close())
}
