// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// ErrExposed is the warning that other users of the computer could read the
// key store. Open takes the permission away, but cannot know who used it.
var ErrExposed = errors.New("identity: key store was readable by other users")

// openTries is 2 because a store that is missing, then there when we want to
// make it, was made by another process in between: read it once more.
const openTries = 2

// Open loads the device from dir/identity.key, or makes a new person when that
// file does not exist (dir too, with mode 0700). name is the device's name as
// in NewDevice; an empty one keeps what is stored. The certificate is renewed
// and stored when less than 30 days of it are left or the name changed.
//
// passphrase is called when the store is encrypted, and before a new one is
// made; its result is overwritten after use. Nil leaves a new store
// unencrypted (mode 0600).
//
// Open never puts a new identity over a file that it cannot read. Its errors:
// ErrStoreDamaged, ErrStoreNewer, ErrPassphrase, that of passphrase, and those
// of the file system (fs.ErrPermission). What does not stop it is in
// Device.Warnings. Several processes may open one new directory at once; all
// get the same identity.
func Open(dir string, now time.Time, name string, passphrase func() ([]byte, error)) (*Device, error) {
	return newDisk(dir).open(now, name, passphrase)
}

func (k disk) open(now time.Time, name string, passphrase func() ([]byte, error)) (*Device, error) {
	for range openTries {
		b, exposed, err := k.read()
		if err == nil {
			return k.load(b, exposed, now, name, passphrase)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		d, err := k.create(now, name, passphrase)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return d, err
		}
	}
	return nil, fmt.Errorf("identity: %s: a file of this name is there but cannot be read", k.path())
}

// create makes a new person and stores it. The error is fs.ErrExist when the
// file has appeared meanwhile.
func (k disk) create(now time.Time, name string, passphrase func() ([]byte, error)) (*Device, error) {
	d, err := NewDevice(now, name)
	if err != nil {
		return nil, err
	}
	l, err := k.newLock(passphrase)
	if err != nil {
		return nil, err
	}
	if err := k.writeNew(sealStore(l, d.encode())); err != nil {
		return nil, err
	}
	return d, nil
}

// newLock asks for the passphrase of a new key store; nil for an open one.
func (k disk) newLock(passphrase func() ([]byte, error)) (*lock, error) {
	if passphrase == nil {
		return nil, nil
	}
	pass, err := passphrase()
	if err != nil {
		return nil, fmt.Errorf("identity: passphrase for the new key store: %w", err)
	}
	if len(pass) == 0 {
		return nil, fmt.Errorf("%w: the passphrase for the new key store is empty", ErrPassphrase)
	}
	defer clear(pass)
	return newLock(k.kdf, pass), nil
}

// load opens the store whose bytes are b.
func (k disk) load(b []byte, exposed bool, now time.Time, name string, passphrase func() ([]byte, error)) (*Device, error) {
	f, err := parseStore(b)
	if err != nil {
		return nil, k.explain(err)
	}
	var pass []byte
	if f.lock != nil {
		if passphrase == nil {
			return nil, fmt.Errorf("%w: %s is encrypted, a passphrase is needed", ErrPassphrase, k.path())
		}
		if pass, err = passphrase(); err != nil {
			return nil, fmt.Errorf("identity: passphrase for %s: %w", k.path(), err)
		}
	}
	list, err := f.open(pass)
	if err != nil {
		return nil, k.explain(err)
	}
	defer clear(list)
	d, err := decodeDevice(list)
	if err != nil {
		return nil, k.explain(err)
	}
	if exposed {
		d.warnings = append(d.warnings, fmt.Errorf("%w: %s", ErrExposed, k.path()))
	}
	if f.lock == nil && passphrase != nil {
		d.warnings = append(d.warnings, fmt.Errorf("identity: %s is not encrypted although a passphrase is given; ChangePassphrase encrypts it", k.path()))
	}
	if d.stale(now, name) {
		if name == "" {
			name = d.cert.Name
		}
		if err := d.certify(now, name); err != nil {
			return nil, err
		}
		// A renewal that cannot be stored is made again at the next start.
		if err := k.replace(b, sealStore(f.lock, d.encode())); err != nil {
			d.warnings = append(d.warnings, fmt.Errorf("identity: renewed certificate not stored: %w", err))
		}
	} else if d.identity == nil {
		// Only a device that holds the identity can renew it.
		if err := d.cert.Check(now); err != nil {
			d.warnings = append(d.warnings, err)
		}
	}
	return d, nil
}

// explain adds the path and what the user can do.
func (k disk) explain(err error) error {
	switch {
	case errors.Is(err, ErrStoreDamaged):
		return fmt.Errorf("%w; restore %s from a backup, or move it away to start as a new person", err, k.path())
	case errors.Is(err, ErrStoreNewer):
		return fmt.Errorf("%w; update the program to use %s", err, k.path())
	}
	return fmt.Errorf("%w (%s)", err, k.path())
}

// ChangePassphrase encrypts the key store in dir under next instead of old. A
// store that is not encrypted ignores old; an empty next removes the
// encryption. Both slices are overwritten. The errors are those of Open, and
// fs.ErrNotExist without a store.
func ChangePassphrase(dir string, old, next []byte) error {
	return newDisk(dir).changePassphrase(old, next)
}

func (k disk) changePassphrase(old, next []byte) error {
	defer clear(old)
	defer clear(next)
	b, _, err := k.read()
	if err != nil {
		return err
	}
	f, err := parseStore(b)
	if err != nil {
		return k.explain(err)
	}
	list, err := f.open(old)
	if err != nil {
		return k.explain(err)
	}
	defer clear(list)
	d, err := decodeDevice(list)
	if err != nil {
		return k.explain(err)
	}
	var l *lock
	if len(next) > 0 {
		l = newLock(k.kdf, next)
	}
	return k.replace(b, sealStore(l, d.encode()))
}
