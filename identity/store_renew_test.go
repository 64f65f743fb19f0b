// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRenew(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		what  string
		after time.Duration
		name  string
		renew bool
	}{
		{"30 days left", 60 * day, "desk", false},
		{"less than 30 days left", 60*day + time.Second, "desk", true},
		{"expired", 200 * day, "desk", true},
		{"no name given", day, "", false},
		{"no name given, expired", 200 * day, "", true},
		{"another name", day, "laptop", true},
		{"a name that is cut to the same", day, "desk\x00", false},
		{"clock half an hour back", -30 * time.Minute, "", false},
		{"clock a day back", -day, "", true},
	} {
		for _, p := range []func() ([]byte, error){nil, pass("x")} {
			k := testDisk(t.TempDir())
			old, err := k.open(now, "desk", p)
			if err != nil {
				t.Fatal(err)
			}
			at := now.Add(c.after)
			d, err := k.open(at, c.name, p)
			if err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			if renewed := !same(old, d); renewed != c.renew {
				t.Errorf("%s: renewed %v", c.what, renewed)
			}
			cert, err := ParseCertificate(d.Certificate().Raw(), at)
			want := "desk"
			if c.name == "laptop" {
				want = "laptop"
			}
			if err != nil || cert.Name != want || d.ID() != old.ID() || cert.DeviceID() != old.Certificate().DeviceID() {
				t.Errorf("%s: %+v, %v", c.what, cert, err)
			}
			if w := d.Warnings(); len(w) != 0 {
				t.Errorf("%s: %v", c.what, w)
			}
			if again, err := k.open(at, c.name, p); err != nil || !same(d, again) {
				t.Errorf("%s: the new certificate was not stored (%v)", c.what, err)
			}
			if got := files(t, k.dir); got != storeName {
				t.Errorf("%s: files left: %s", c.what, got)
			}
		}
	}
}

// A renewal doesn't undo what another process did meanwhile.
func TestRenewAfterChange(t *testing.T) {
	k := testDisk(t.TempDir())
	if _, err := k.open(now, "", nil); err != nil {
		t.Fatal(err)
	}
	seen, _, err := k.read()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.changePassphrase(nil, []byte("fresh")); err != nil {
		t.Fatal(err)
	}
	d, err := k.load(seen, false, now.Add(certLife), "", nil)
	if err != nil || len(d.Warnings()) != 1 || d.Certificate().Check(now.Add(certLife)) != nil {
		t.Errorf("%v, %v", d.Warnings(), err)
	}
	if _, err := k.open(now, "", nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("the encryption was undone: %v", err)
	}
}

// A device without the identity key cannot renew, and says so when it matters.
func TestOpenLinkedDevice(t *testing.T) {
	k := testDisk(t.TempDir())
	d := testDevice(t, now, "desk")
	d.identity = nil
	if err := k.writeNew(sealStore(nil, d.encode())); err != nil {
		t.Fatal(err)
	}
	got, err := k.open(now.Add(80*24*time.Hour), "laptop", nil)
	if err != nil || !same(d, got) || len(got.Warnings()) != 0 {
		t.Errorf("in time: %v, %v", got.Warnings(), err)
	}
	got, err = k.open(now.Add(100*24*time.Hour), "", nil)
	if err != nil || len(got.Warnings()) != 1 || !errors.Is(got.Warnings()[0], ErrExpired) {
		t.Errorf("too late: %v, %v", got.Warnings(), err)
	}
}

// A store that the user keeps elsewhere and links to stays there.
func TestRenewThroughLink(t *testing.T) {
	home, k := testDisk(t.TempDir()), testDisk(t.TempDir())
	if _, err := home.open(now, "", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(home.path(), k.path()); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	d, err := k.open(now.Add(certLife), "", nil)
	if err != nil || len(d.Warnings()) != 0 {
		t.Fatalf("%v, %v", d.Warnings(), err)
	}
	if again, err := home.open(now.Add(certLife), "", nil); err != nil || !same(d, again) {
		t.Errorf("the linked store was not renewed (%v)", err)
	}
	if got, err := os.Readlink(k.path()); err != nil || got != home.path() {
		t.Errorf("the link is now %q (%v)", got, err)
	}
}

func TestChangePassphrase(t *testing.T) {
	k := testDisk(t.TempDir())
	if err := k.changePassphrase(nil, []byte("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a store: %v", err)
	}
	d, err := k.open(now, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		old, next string
		want      error
	}{
		{"", "first", nil},
		{"wrong", "second", ErrPassphrase},
		{"", "second", ErrPassphrase},
		{"first", "second", nil},
		{"first", "third", ErrPassphrase},
		{"second", "", nil}, // open again
		{"ignored", "", nil},
	} {
		old, next := []byte(c.old), []byte(c.next)
		if err := k.changePassphrase(old, next); !errors.Is(err, c.want) {
			t.Errorf("%q to %q: %v, want %v", c.old, c.next, err, c.want)
		}
		if !bytes.Equal(old, make([]byte, len(old))) || !bytes.Equal(next, make([]byte, len(next))) {
			t.Errorf("%q and %q were not wiped", c.old, c.next)
		}
		if c.want == nil && c.next != "" {
			if got, err := k.open(now, "", pass(c.next)); err != nil || !same(d, got) {
				t.Errorf("with %q: %v", c.next, err)
			}
			if _, err := k.open(now, "", nil); !errors.Is(err, ErrPassphrase) {
				t.Errorf("without a passphrase after %q: %v", c.next, err)
			}
		}
	}
	if got, err := k.open(now, "", nil); err != nil || !same(d, got) {
		t.Errorf("after removing it: %v", err)
	}
	if err := os.WriteFile(k.path(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.changePassphrase(nil, []byte("x")); !errors.Is(err, ErrStoreDamaged) {
		t.Errorf("damaged: %v", err)
	}
}

// Stores written by the first version open in every later one, and through the
// public functions with the real cost of a passphrase.
func TestOpenGoldenStores(t *testing.T) {
	want := testDevice(t, now, "desk")
	for file, p := range map[string]string{"plain.key": "", "encrypted.key": "correct horse"} {
		b, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, storeName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		var ask func() ([]byte, error)
		if p != "" {
			ask = pass(p)
		}
		d, err := Open(dir, now, "", ask)
		if err != nil || !same(d, want) {
			t.Errorf("%s: %v, %v", file, d, err)
		}
		if p == "" {
			continue
		}
		if err := ChangePassphrase(dir, []byte(p), nil); err != nil {
			t.Error(err)
		}
		if d, err := Open(dir, now, "", nil); err != nil || !same(d, want) {
			t.Errorf("%s, opened for good: %v, %v", file, d, err)
		}
	}
}
