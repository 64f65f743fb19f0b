// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// childEnv makes the test program one that writes to the store in that
// directory until it is killed.
const childEnv = "P2POS_STORE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Println(child(dir)) // only when something went wrong
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// window is how many messages the child leaves in its outbox.
const window = 5

// crashSize lets some of the child's history be dropped.
const crashSize = 64 << 10

func child(dir string) error {
	s := New(Options{Dir: dir, Key: [32]byte{7}, Size: crashSize})
	for {
		var n uint64
		err := s.Update(func(tx *Tx) error {
			v, err := tx.Map(Chat).Get([]byte("n"))
			if err != nil {
				return err
			}
			if v != nil {
				n = binary.BigEndian.Uint64(v)
			}
			n++
			if err := tx.Map(Chat).Put([]byte("n"), binary.BigEndian.AppendUint64(nil, n)); err != nil {
				return err
			}
			seq, err := tx.List(Outbox).Append([]byte("peer"), fmt.Append(nil, n))
			if err != nil {
				return err
			}
			if seq > window {
				if err := tx.List(Outbox).Delete([]byte("peer"), seq-window); err != nil {
					return err
				}
			}
			// Values of different lengths move pages about.
			_, err = tx.List(History).Append(nil, append(fmt.Append(nil, n, " "), make([]byte, n%900)...))
			return err
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// A process that is killed at any moment leaves all that was told to be
// written, whole, and at most the one transaction more that it was about to
// tell of. Killing a process shows the order of writes, not what a loss of
// power does to a disk that lies about them.
func TestKill(t *testing.T) {
	kills := 12
	if os.Getenv("P2POS_LONG") != "" {
		kills = 500
	}
	exe, err := os.Executable()
	if err != nil {
		t.Skip("no way to start this program again: ", err)
	}
	dir, last := t.TempDir(), uint64(0)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range kills {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		told := last
		read := func() bool {
			if !lines.Scan() {
				return false
			}
			n, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil || n != told+1 {
				t.Errorf("kill %d: the child says %q after %d", i, lines.Text(), told)
			}
			told = n
			return true
		}
		for range rng.IntN(8) { // 0: while it opens the file
			read()
		}
		<-time.After(time.Duration(rng.IntN(20_000)) * time.Microsecond)
		cmd.Process.Kill()
		for read() {
		}
		cmd.Wait()
		if last = inspectCrash(t, dir, told); t.Failed() {
			t.Fatalf("kill %d of %d, after %d were told", i+1, kills, told)
		}
	}
	t.Logf("%d kills, %d transactions", kills, last)
	if last < uint64(kills) {
		t.Error("hardly anything was written")
	}
}

// inspectCrash returns how many transactions the file holds.
func inspectCrash(t *testing.T, dir string, told uint64) (n uint64) {
	t.Helper()
	s := New(Options{Dir: dir, Key: [32]byte{7}, Size: crashSize})
	defer s.Close()
	err := s.View(func(tx *Tx) error {
		if v, err := tx.Map(Chat).Get([]byte("n")); err != nil {
			return err
		} else if v != nil {
			n = binary.BigEndian.Uint64(v)
		}
		if n != told && n != told+1 {
			t.Errorf("%d transactions, %d were told", n, told)
		}
		next := max(1, int64(n)-window+1)
		for seq, v := range tx.List(Outbox).From([]byte("peer"), 0) {
			if string(v) != fmt.Sprint(next) || seq != uint64(next) {
				t.Errorf("outbox %d: %s, want %d", seq, v, next)
			}
			next++
		}
		if next != int64(n)+1 {
			t.Errorf("outbox ends at %d of %d", next-1, n)
		}
		first, count := uint64(0), uint64(0)
		for seq := range tx.List(History).From(nil, 0) {
			if first == 0 {
				first = seq
			}
			if seq != first+count {
				t.Errorf("history has a hole at %d", first+count)
			}
			count++
		}
		if n > 0 && first+count != n+1 {
			t.Errorf("history is %d to %d of %d", first, first+count-1, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	bad, _ := filepath.Glob(filepath.Join(dir, "*.bad*"))
	if len(bad) > 0 {
		t.Errorf("kept as damaged: %v", bad)
	}
	return n
}
