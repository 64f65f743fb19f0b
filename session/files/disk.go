// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Errors of files and of their ends. They wrap what the system says.
var (
	// ErrNotRegular reports a path that is a folder, a device or a pipe.
	ErrNotRegular = errors.New("files: not a regular file")
	// ErrTooLarge reports a file above MaxSize.
	ErrTooLarge = errors.New("files: larger than 1 TiB")
	// ErrWrong reports content that is not what was offered.
	ErrWrong = errors.New("files: what came is not what was offered")
	// ErrChanged reports a file that is not what it was when it was offered.
	ErrChanged = errors.New("files: the file was changed since it was offered")
)

// hashFile reads a file to its end. ctx may stop it.
func hashFile(ctx context.Context, f io.Reader) (*Tree, error) {
	d := NewDigest()
	buf := make([]byte, ChunkSize)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := f.Read(buf)
		d.Write(buf[:n])
		if d.tree.Size > MaxSize {
			return nil, ErrTooLarge
		}
		if err == io.EOF {
			return d.Tree(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("files: %w", err)
		}
	}
}

// openSource opens a file that is to be sent.
func openSource(path string) (*os.File, error) {
	st, err := os.Stat(path) // first: opening a pipe would wait for its writer
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s", ErrNotRegular, path)
	}
	if st.Size() > MaxSize {
		return nil, fmt.Errorf("%w: %s", ErrTooLarge, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return f, nil
}

// shelf is the directory that a file is received into.
type shelf struct {
	root *os.Root
	part *os.File
	name string // of part
}

// partName is where the content is until it is whole.
func partName(id ID) string { return ".p2pos-" + id.String()[:16] + ".part" }

// openShelf opens dir, making it if make is set, and the part file in it. have
// is how much that file holds.
func openShelf(dir string, id ID, make bool) (s *shelf, have int64, err error) {
	if make {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, 0, fmt.Errorf("files: %w", err)
		}
	}
	s = &shelf{name: partName(id)}
	if s.root, err = os.OpenRoot(dir); err != nil {
		return nil, 0, fmt.Errorf("files: %w", err)
	}
	if st, err := s.root.Lstat(s.name); err == nil && !st.Mode().IsRegular() { // a link to another file
		s.root.Close()
		return nil, 0, fmt.Errorf("%w: %s", ErrNotRegular, s.name)
	}
	if s.part, err = s.root.OpenFile(s.name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		s.root.Close()
		return nil, 0, fmt.Errorf("files: %w", err)
	}
	st, err := s.part.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		s.close()
		return nil, 0, fmt.Errorf("files: part file: %w", err)
	}
	return s, st.Size(), nil
}

func (s *shelf) close() {
	if s != nil {
		s.part.Close()
		s.root.Close()
	}
}

// discard removes the part file.
func (s *shelf) discard() {
	if s != nil {
		s.part.Close()
		s.root.Remove(s.name)
		s.root.Close()
	}
}

// check compares a chunk of the part file with its hash. Where it differs the
// file is cut.
func (s *shelf) check(w Work) (good bool, err error) {
	buf := make([]byte, w.Length)
	if _, err := s.part.ReadAt(buf, w.Offset); err == nil && sha256.Sum256(buf) == w.Hash {
		return true, nil
	} else if err != nil && err != io.EOF {
		return false, fmt.Errorf("files: part file: %w", err)
	}
	if err := s.part.Truncate(w.Offset); err != nil {
		return false, fmt.Errorf("files: part file: %w", err)
	}
	return false, nil
}

// verify reads the whole part file back, from the disk as far as the system
// lets us know, and compares it with the offer.
func (s *shelf) verify(ctx context.Context, o Offer) error {
	if err := s.part.Truncate(o.Size); err != nil {
		return fmt.Errorf("files: part file: %w", err)
	}
	if err := s.part.Sync(); err != nil {
		return fmt.Errorf("files: part file: %w", err)
	}
	t, err := hashFile(ctx, io.NewSectionReader(s.part, 0, o.Size))
	if err != nil {
		return err
	}
	if !t.fits(o) {
		return fmt.Errorf("%w: SHA-256 %x, offered was %x", ErrWrong, t.SHA256[:8], o.SHA256[:8])
	}
	return nil
}

// maxNumber bounds the names that are tried.
const maxNumber = 10_000

// place gives the whole file its name. chosen is called with each name before
// it is tried; last is the one that was chosen before a crash, or "".
func (s *shelf) place(name, last string, chosen func(string) error) (string, error) {
	if last != "" && s.placed(last) {
		s.leave()
		return last, nil
	}
	for n := 1; n <= maxNumber; n++ {
		try := numbered(name, n)
		if _, err := s.root.Lstat(try); err == nil {
			continue
		}
		if err := chosen(try); err != nil {
			return "", err
		}
		err := s.link(try)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("files: %w", err)
		}
		s.leave()
		return try, nil
	}
	return "", fmt.Errorf("files: %d files are called %s already", maxNumber, name)
}

// placed tells whether the part file has a name already.
func (s *shelf) placed(name string) bool {
	a, err := s.part.Stat()
	if err != nil {
		return false
	}
	b, err := s.root.Lstat(name)
	return err == nil && os.SameFile(a, b)
}

// link gives the part file a second name, and never another file's.
func (s *shelf) link(name string) error {
	err := s.root.Link(s.name, name)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links: an empty file holds the name, and is
	// replaced.
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	s.part.Close() // some systems rename no open file; what is written is on the disk
	return s.root.Rename(s.name, name)
}

// leave removes the part file's first name and makes the change last. What
// fails is no harm: the file is where it belongs.
func (s *shelf) leave() {
	s.part.Close()
	s.root.Remove(s.name)
	if d, err := s.root.Open("."); err == nil {
		d.Sync() // not every system can
		d.Close()
	}
}

// wasPlaced tells whether a file whose name was chosen before a crash got it:
// then its part file is gone, and what has the name is the whole of it.
func wasPlaced(dir, name string, o Offer) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	if _, err := root.Lstat(partName(o.ID)); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	st, err := root.Lstat(name)
	if err != nil || !st.Mode().IsRegular() || st.Size() != o.Size {
		return false
	}
	f, err := root.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	t, err := hashFile(context.Background(), f)
	return err == nil && t.fits(o)
}

// absolute returns a path that holds wherever the program runs next.
func absolute(path string) (string, error) {
	p, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("files: %w", err)
	}
	return p, nil
}
