// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A full disk pauses the transfer and says why; when there is room again it
// goes on behind what is there.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	mount := func(flags uintptr, size int) error {
		return syscall.Mount("none", dir, "tmpfs", flags, fmt.Sprintf("size=%d,mode=700", size))
	}
	if err := mount(0, 5*ChunkSize); err != nil {
		t.Skip("no right to mount a small disk: ", err)
	}
	defer syscall.Unmount(dir, 0)
	bubble(t, func(t *testing.T, a, b *party) {
		defer b.desk.Close() // before the disk goes
		defer connect(a, b)()
		want := content(9*ChunkSize + 7)
		out := a.send(b, a.file("x", want))
		in := b.offered()
		if err := in.Accept(filepath.Join(dir, "in")); err != nil {
			t.Fatal(err)
		}
		for in.Stuck() == nil {
			if s, _ := in.State(); s == Ended {
				t.Fatalf("ended: %s", in.Why())
			}
			time.Sleep(10 * time.Millisecond)
		}
		if s, _ := in.State(); s != Paused || !errors.Is(in.Stuck(), syscall.ENOSPC) {
			t.Errorf("%v, %v", s, in.Stuck())
		}
		time.Sleep(time.Second)
		if s, _ := out.State(); s != Paused {
			t.Errorf("the sender: %v", s)
		}
		if p, _ := in.Progress(); p.Done == 0 || p.Done > 5*ChunkSize {
			t.Errorf("%+v", p)
		}
		if err := mount(syscall.MS_REMOUNT, 20*ChunkSize); err != nil {
			t.Fatal(err)
		}
		if err := in.Continue(); err != nil {
			t.Fatal(err)
		}
		ends(t, in, Complete)
		ends(t, out, Complete)
		arrived(t, in, "x", want)
	})
}
