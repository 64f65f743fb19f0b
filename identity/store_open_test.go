// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// testDisk is a store in dir whose passphrases are cheap.
func testDisk(dir string) disk {
	k := newDisk(dir)
	k.kdf = cheap()
	return k
}

func pass(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func same(a, b *Device) bool { return bytes.Equal(a.encode(), b.encode()) }

// files returns the names in dir.
func files(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestOpenNewAndAgain(t *testing.T) {
	for what, p := range map[string]func() ([]byte, error){"open": nil, "encrypted": pass("correct horse")} {
		dir := filepath.Join(t.TempDir(), "a", "b")
		d, err := testDisk(dir).open(now, "desk", p)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		again, err := testDisk(dir).open(now.Add(24*time.Hour), "", p)
		if err != nil || !same(d, again) {
			t.Errorf("%s: not the same device again (%v)", what, err)
		}
		if w := again.Warnings(); len(w) > 0 {
			t.Errorf("%s: warnings %v", what, w)
		}
		if got := files(t, dir); got != storeName {
			t.Errorf("%s: files left: %s", what, got)
		}
		if runtime.GOOS == "windows" {
			continue
		}
		for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, storeName): 0o600} {
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
				t.Errorf("%s: mode of %s is %v (%v)", what, path, st.Mode(), err)
			}
		}
	}
	if _, err := Open("", now, "", nil); err == nil {
		t.Error("a store without a directory")
	}
	if _, err := testDisk(t.TempDir()).open(time.Unix(-5, 0), "", nil); err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("before 1970: %v", err)
	}
}

func TestOpenPassphrase(t *testing.T) {
	k := testDisk(t.TempDir())
	given := []byte("correct horse")
	d, err := k.open(now, "", func() ([]byte, error) { return given, nil })
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(given, make([]byte, len(given))) {
		t.Errorf("passphrase %q was not wiped", given)
	}
	before, _, err := k.read()
	if err != nil {
		t.Fatal(err)
	}
	asked := errors.New("nobody there")
	for _, c := range []struct {
		what string
		p    func() ([]byte, error)
		want error
	}{
		{"wrong", pass("wrong horse"), ErrPassphrase},
		{"empty", pass(""), ErrPassphrase},
		{"none", nil, ErrPassphrase},
		{"failing", func() ([]byte, error) { return nil, asked }, asked},
	} {
		_, err := k.open(now, "", c.p)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), k.path()) {
			t.Errorf("%s passphrase: %v", c.what, err)
		}
	}
	after, _, err := k.read()
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("a wrong passphrase changed the store (%v)", err)
	}
	if again, err := k.open(now, "", pass("correct horse")); err != nil || !same(d, again) {
		t.Errorf("right passphrase: %v", err)
	}

	// A new store is not made with a passphrase that failed, nor left open
	// when an empty one was given.
	for what, p := range map[string]func() ([]byte, error){"empty": pass(""), "failing": func() ([]byte, error) { return nil, asked }} {
		dir := t.TempDir()
		if _, err := testDisk(dir).open(now, "", p); err == nil || files(t, dir) != "" {
			t.Errorf("new store, %s passphrase: %v, files %q", what, err, files(t, dir))
		}
	}
}

// A passphrase for a store that is not encrypted is worth a word.
func TestOpenNotEncrypted(t *testing.T) {
	k := testDisk(t.TempDir())
	if _, err := k.open(now, "", nil); err != nil {
		t.Fatal(err)
	}
	d, err := k.open(now, "", pass("x"))
	if err != nil || len(d.Warnings()) != 1 {
		t.Errorf("%v, %v", d.Warnings(), err)
	}
}

// What is there and cannot be read is never replaced by a new person.
func TestOpenNeverOverwrites(t *testing.T) {
	good := sealStore(nil, testDevice(t, now, "").encode())
	newer := withSum(good, func(b []byte) { b[8] = 2 })
	for _, c := range []struct {
		what string
		b    []byte
		want error
	}{
		{"empty", nil, ErrStoreDamaged},
		{"cut", good[:len(good)-1], ErrStoreDamaged},
		{"zeros", make([]byte, len(good)), ErrStoreDamaged},
		{"text", []byte("not a key store, but somebody's notes on keys and stores\n"), ErrStoreDamaged},
		{"huge", make([]byte, maxStore+100), ErrStoreDamaged},
		{"newer", newer, ErrStoreNewer},
		{"good frame, bad body", sealStore(nil, []byte{1, 2, 3}), ErrStoreDamaged},
	} {
		k := testDisk(t.TempDir())
		if err := os.WriteFile(k.path(), c.b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := k.open(now, "new", nil)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), k.path()) {
			t.Errorf("%s: %v, want %v with the path", c.what, err, c.want)
		}
		if got, err := os.ReadFile(k.path()); err != nil || !bytes.Equal(got, c.b) {
			t.Errorf("%s: the file was changed (%v)", c.what, err)
		}
		if got := files(t, k.dir); got != storeName {
			t.Errorf("%s: files left: %s", c.what, got)
		}
	}
}

// Neither are things that are not files, or may not be looked at.
func TestOpenUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, storeName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := testDisk(dir).open(now, "", nil); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("a directory: %v", err)
	}
	for what, target := range map[string]string{"dangling": "nowhere", "looping": storeName} {
		dir := t.TempDir()
		if err := os.Symlink(target, filepath.Join(dir, storeName)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
		if _, err := testDisk(dir).open(now, "", nil); err == nil {
			t.Errorf("%s link: a new person was made", what)
		}
		if got, err := os.Readlink(filepath.Join(dir, storeName)); err != nil || got != target {
			t.Errorf("%s link is now %q (%v)", what, got, err)
		}
		if got := files(t, dir); got != storeName {
			t.Errorf("%s link: files left: %s", what, got)
		}
	}
}

func TestOpenPermission(t *testing.T) {
	if os.Geteuid() <= 0 {
		t.Skip("needs a user whom file modes bind: not root, not Windows")
	}
	k := testDisk(t.TempDir())
	if _, err := k.open(now, "", nil); err != nil {
		t.Fatal(err)
	}
	before, _, err := k.read()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(k.path(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := k.open(now, "", nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("mode 000: %v", err)
	}
	if err := os.Chmod(k.path(), 0o600); err != nil {
		t.Fatal(err)
	}
	if after, _, err := k.read(); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the store was changed (%v)", err)
	}
	// A certificate that can't be stored is used all the same.
	if err := os.Chmod(k.dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(k.dir, 0o700)
	d, err := k.open(now.Add(certLife), "", nil)
	if err != nil || len(d.Warnings()) != 1 || d.Certificate().Check(now.Add(certLife)) != nil {
		t.Errorf("directory that can't be written: %v, %v", d, err)
	}
}

func TestOpenExposed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has access lists instead of modes")
	}
	k := testDisk(t.TempDir())
	if _, err := k.open(now, "", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(k.path(), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := k.open(now, "", nil)
	if err != nil || len(d.Warnings()) != 1 || !errors.Is(d.Warnings()[0], ErrExposed) {
		t.Errorf("%v, %v", d.Warnings(), err)
	}
	if st, err := os.Stat(k.path()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v (%v)", st.Mode(), err)
	}
	if d, err := k.open(now, "", nil); err != nil || len(d.Warnings()) != 0 {
		t.Errorf("warned again: %v, %v", d.Warnings(), err)
	}
}

// However many open a new directory at once, one identity comes out; with hard
// links everybody gets it.
func TestOpenRace(t *testing.T) {
	noLink := func(string, string) error { return errors.ErrUnsupported }
	for what, link := range map[string]func(string, string) error{"links": os.Link, "no links": noLink} {
		for range 10 {
			k := testDisk(filepath.Join(t.TempDir(), "new"))
			k.link = link
			var (
				wg      sync.WaitGroup
				devices [8]*Device
				errs    [8]error
			)
			for i := range devices {
				wg.Go(func() { devices[i], errs[i] = k.open(now, "", nil) })
			}
			wg.Wait()
			final, err := k.open(now, "", nil)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			made := 0
			for i, d := range devices {
				switch {
				case errs[i] == nil && same(d, final):
					made++
				case errs[i] == nil:
					t.Errorf("%s: an identity was lost", what)
				case what == "links" || !strings.Contains(errs[i].Error(), claimName):
					t.Errorf("%s: %v", what, errs[i])
				}
			}
			if made == 0 {
				t.Errorf("%s: nobody got the identity: %v", what, errs)
			}
			if got := files(t, k.dir); got != storeName {
				t.Errorf("%s: files left: %s", what, got)
			}
		}
	}
}

// A claim left by a crash is named, and harmless once the store is there.
func TestOpenStaleClaim(t *testing.T) {
	k := testDisk(t.TempDir())
	k.link = func(string, string) error { return errors.ErrUnsupported }
	claim := filepath.Join(k.dir, claimName)
	if err := os.WriteFile(claim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.open(now, "", nil); err == nil || !strings.Contains(err.Error(), claim) {
		t.Errorf("stale claim: %v", err)
	}
	if got := files(t, k.dir); got != claimName {
		t.Errorf("files left: %s", got)
	}
}
