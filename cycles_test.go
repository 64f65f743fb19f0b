// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// left is what a process holds, of what nodes may leave behind.
type left struct {
	goroutines int
	files      int // descriptors, sockets included; 0 where the system doesn't tell
	heap       uint64
	inDirs     []string
}

func leftNow(t *testing.T, dirs ...string) (l left) {
	t.Helper()
	for range 3 { // finalizers, and what those let go of
		runtime.GC()
	}
	debug.FreeOSMemory()
	l.goroutines, l.heap = runtime.NumGoroutine(), heap()
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		l.files = len(list)
	}
	for _, dir := range dirs {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			l.inDirs = append(l.inDirs, e.Name())
		}
	}
	return l
}

// poolSlack is what buffers of packages may hold at one moment and not at another:
// half a kilobyte for each of a thousand starts.
const poolSlack = 512 << 10

// cycle starts two nodes, links them, and stops them.
func cycle(t *testing.T, dirA, dirB string) {
	t.Helper()
	a, err := New(Config{Dir: dirA, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := New(Config{Dir: dirB, Listen: "127.0.0.1:0", Join: []string{a.Status().Listen[0].String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Join(ctx); err != nil {
		t.Fatal(err)
	}
}

// Nodes that are started and stopped again and again leave nothing behind: no
// goroutine, no socket, no file, no memory.
func TestStartStop(t *testing.T) {
	cycles := 50 // of two nodes each
	if os.Getenv("P2POS_LONG") != "" {
		cycles = 500
	}
	dirA, dirB := t.TempDir(), t.TempDir()
	for range 10 {
		cycle(t, dirA, dirB)
	}
	before := leftNow(t, dirA, dirB)
	most := before.heap + before.heap/20 + poolSlack
	for range cycles {
		cycle(t, dirA, dirB)
	}
	var after left
	for range 100 { // what quic-go has closed may need a moment
		after = leftNow(t, dirA, dirB)
		if after.goroutines <= before.goroutines && after.files <= before.files && after.heap <= most {
			break
		}
		awhile(t)
	}
	t.Logf("%d starts and stops: goroutines %d → %d, files %d → %d, heap %.2f → %.2f MB", 2*cycles,
		before.goroutines, after.goroutines, before.files, after.files, float64(before.heap)/1e6, float64(after.heap)/1e6)
	if after.goroutines > before.goroutines {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines more:\n%s", after.goroutines-before.goroutines, buf[:runtime.Stack(buf, true)])
	}
	if after.files > before.files {
		t.Errorf("%d files or sockets more", after.files-before.files)
	}
	if !slices.Equal(before.inDirs, after.inDirs) {
		t.Errorf("in the directories: %v, before %v", after.inDirs, before.inDirs)
	}
	if after.heap > most {
		t.Errorf("heap %d, before %d", after.heap, before.heap)
	}
}

// awhile lets other goroutines run.
func awhile(t *testing.T) {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-t.Context().Done():
	}
}
