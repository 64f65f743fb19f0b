// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

const (
	storeName = "identity.key"
	claimName = "identity.claim" // see claim
	tempName  = ".identity-*.tmp"
)

// disk is a key store's place, and what tests vary.
type disk struct {
	dir  string
	kdf  kdf                                 // for new passphrases
	link func(oldname, newname string) error // os.Link; fails where a file system has no hard links
}

func newDisk(dir string) disk { return disk{dir: dir, kdf: defaultKDF(), link: os.Link} }

func (k disk) path() string { return filepath.Join(k.dir, storeName) }

// read returns the store's bytes, and whether other users could read them. It
// takes that permission away.
func (k disk) read() (b []byte, exposed bool, err error) {
	if k.dir == "" {
		return nil, false, errors.New("identity: no directory given for the key store")
	}
	st, err := os.Stat(k.path())
	if err != nil {
		return nil, false, fmt.Errorf("identity: key store: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, false, fmt.Errorf("identity: key store %s is not a file", k.path())
	}
	// Windows keeps access lists instead; its modes say nothing.
	if runtime.GOOS != "windows" && st.Mode()&0o077 != 0 {
		exposed = true
		os.Chmod(k.path(), 0o600) // the warning stands whether this works or not
	}
	f, err := os.Open(k.path())
	if err != nil {
		return nil, false, fmt.Errorf("identity: key store: %w", err)
	}
	defer f.Close()
	b, err = io.ReadAll(io.LimitReader(f, maxStore+1))
	if err != nil {
		return nil, false, fmt.Errorf("identity: key store: %w", err)
	}
	return b, exposed, nil
}

// writeNew puts b in place if and only if no store is there: whole or not at
// all, and never over another. Else the error is fs.ErrExist.
func (k disk) writeNew(b []byte) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("identity: new key store: %w", err)
	}
	tmp, err := writeTemp(k.dir, b)
	if err != nil {
		return fmt.Errorf("identity: new key store: %w", err)
	}
	defer os.Remove(tmp)
	// A hard link appears with its whole content and fails when the name is
	// taken; a rename would replace the other process's identity.
	err = k.link(tmp, k.path())
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = k.claim(tmp)
	}
	if err != nil {
		return fmt.Errorf("identity: new key store: %w", err)
	}
	// The directory may be new as well; its parent need not be ours to open.
	_ = syncDir(filepath.Dir(k.dir))
	return syncDir(k.dir)
}

// claim renames tmp into place on file systems without hard links (FAT, some
// phones). A file that only one process can make guards the moment between
// looking and renaming.
func (k disk) claim(tmp string) error {
	name := filepath.Join(k.dir, claimName)
	c, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if _, err := os.Lstat(k.path()); err == nil {
			return fs.ErrExist // the other process has finished
		}
		return fmt.Errorf("another process is making the identity; if none is, delete %s", name)
	}
	if err != nil {
		return err
	}
	defer os.Remove(name)
	defer c.Close()
	if _, err := os.Lstat(k.path()); !errors.Is(err, fs.ErrNotExist) {
		return fs.ErrExist
	}
	return os.Rename(tmp, k.path())
}

// replace puts b in place of a store that still holds old. If it does not, it
// leaves the file alone: another process renewed the certificate or changed the
// passphrase, and undoing that would be worse than being late.
func (k disk) replace(old, b []byte) error {
	path, err := filepath.EvalSymlinks(k.path()) // keep a link that the user made
	if err != nil {
		return fmt.Errorf("identity: key store: %w", err)
	}
	tmp, err := writeTemp(filepath.Dir(path), b)
	if err != nil {
		return fmt.Errorf("identity: key store: %w", err)
	}
	defer os.Remove(tmp)
	cur, _, err := k.read()
	if err != nil {
		return err
	}
	if !bytes.Equal(cur, old) {
		return fmt.Errorf("identity: key store %s was changed by another process", k.path())
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("identity: key store: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes b to a new file in dir, down to the disk, and returns its
// name.
func writeTemp(dir string, b []byte) (name string, err error) {
	f, err := os.CreateTemp(dir, tempName) // makes files of mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// syncDir makes a change of names in dir last. File systems that cannot sync a
// directory are trusted: the file itself has been synced.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("identity: key store: %w", err)
	}
	defer f.Close()
	err = f.Sync()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("identity: key store: %w", err)
	}
	return nil
}
