// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// A full disk is said once, keeps what was saved before, and hinders nobody; when
// there is room again, all is saved.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m,mode=0700"); err != nil {
		t.Skip("needs root to have a small disk:", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	n, w := complaining(t, dir)
	learn := func(b byte) { n.remember(overlay.Target{ID: identity.ID{b}, Secret: identity.Secret{8}}) }
	state := filepath.Join(dir, stateFile)
	learn(1)
	n.saveNow(t.Context())
	before, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	f.Close()
	for b := range byte(3) {
		learn(2 + b)
		n.saveNow(t.Context())
	}
	if said := w.take(); !slices.Equal(said, []string{"state not saved"}) {
		t.Errorf("said %q", said)
	}
	if now, err := os.ReadFile(state); err != nil || !slices.Equal(now, before) {
		t.Errorf("the old state is gone: %d bytes instead of %d, %v", len(now), len(before), err)
	}
	if _, err := n.Ticket(time.Hour); err != nil {
		t.Errorf("the node suffers: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	n.saveNow(t.Context())
	if now, err := os.ReadFile(state); err != nil || slices.Equal(now, before) {
		t.Errorf("not saved when there is room: %v", err)
	}
	n.Close()
}
