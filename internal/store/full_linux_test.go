// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk mounts a disk of so many bytes.
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		t.Skip("no right to mount a small disk: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	return dir
}

// A full disk refuses clearly; what was there before stays, and when there is
// room again it goes on.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, 1<<20)
	s := New(testOptions(dir))
	defer func() { s.Close() }()
	written := 0
	write := func() error {
		err := s.Update(func(tx *Tx) error {
			_, err := tx.List(Outbox).Append(nil, append(fmt.Append(nil, written, " "), make([]byte, 10_000)...))
			return err
		})
		if err == nil {
			written++
		}
		return err
	}
	var err error
	for range 200 {
		if err = write(); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrDisk) || written < 20 {
		t.Fatalf("after %d: %v", written, err)
	}
	for range 3 {
		if err := write(); !errors.Is(err, ErrDisk) {
			t.Errorf("again: %v", err)
		}
	}
	check := func() {
		t.Helper()
		if n := len(list(t, s, Outbox, "")); n != written {
			t.Errorf("%d there, %d written", n, written)
		}
	}
	check()
	s.Close()
	s = New(testOptions(dir)) // and after a restart
	check()
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=2m"); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	check()
}

// A database that can't be made for want of room leaves nothing behind, and one
// that is damaged is not given up for a new one that doesn't fit.
func TestFullDiskFromTheStart(t *testing.T) {
	dir := smallDisk(t, 512<<10)
	ballast := filepath.Join(dir, "ballast")
	fill := func() {
		f, err := os.Create(ballast)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		f.Close()
	}
	fill()
	s := New(testOptions(dir))
	if err := s.Update(func(tx *Tx) error { return nil }); !errors.Is(err, ErrDisk) {
		t.Errorf("%v", err)
	}
	s.Close()
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%v", files)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	path := filled(t, dir)
	change(t, path, int64(pageOf(t, path, Contacts)*os.Getpagesize()), make([]byte, os.Getpagesize()))
	fill()
	s = New(testOptions(dir))
	defer s.Close()
	err := s.View(func(tx *Tx) error { return nil })
	if !errors.Is(err, ErrDisk) {
		t.Errorf("%v", err)
	}
	os.Remove(ballast)
	s.again = s.again.Add(-retryAfter)
	if c, h := count(t, s); c < 200 || h != 500 {
		t.Errorf("%d, %d", c, h)
	}
}
