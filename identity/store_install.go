// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// maxKept bounds the key stores that Install keeps aside in one directory.
const maxKept = 100

// Install puts a device's key store in place of the one in dir, which is kept as
// identity.key.1, .2 and so on; kept is its name, "" when there was none. A crash
// leaves the old one or the new one in place, and the old one in any case.
// passphrase is as in Open. It is for a newcomer that has become a device of
// somebody; whoever uses the old device has to stop. Errors are ErrPassphrase,
// that of passphrase, and those of the file system.
func Install(dir string, d *Device, passphrase func() ([]byte, error)) (kept string, err error) {
	return newDisk(dir).install(d, passphrase)
}

func (k disk) install(d *Device, passphrase func() ([]byte, error)) (kept string, err error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("identity: install: %w", err) }
	l, err := k.newLock(passphrase)
	if err != nil {
		return "", err
	}
	old, _, err := k.read()
	if errors.Is(err, fs.ErrNotExist) {
		return "", k.writeNew(sealStore(l, d.encode()))
	}
	if err != nil {
		return "", err
	}
	path, err := filepath.EvalSymlinks(k.path()) // keep a link that the user made
	if err != nil {
		return fail(err)
	}
	if kept, err = k.keep(old); err != nil {
		return fail(err)
	}
	tmp, err := writeTemp(filepath.Dir(path), sealStore(l, d.encode()))
	if err != nil {
		return fail(err)
	}
	defer os.Remove(tmp)
	if err := os.Rename(tmp, path); err != nil {
		return fail(err)
	}
	return kept, syncDir(filepath.Dir(path))
}

// keep writes a copy of the old key store, down to the disk.
func (k disk) keep(old []byte) (string, error) {
	for n := 1; n <= maxKept; n++ {
		name := k.path() + "." + strconv.Itoa(n)
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.Write(old)
		if err == nil {
			err = f.Sync()
		}
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			os.Remove(name)
			return "", err
		}
		return filepath.Base(name), syncDir(k.dir)
	}
	return "", fmt.Errorf("%d old key stores are kept in %s already", maxKept, k.dir)
}
