// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// chaos runs a family of phones that write to each other while they crash
// before and after their disks have taken a transaction, are switched on and
// off, lose links, are parted into groups, and have full disks and mailboxes
// that can't be reached. In the end everything is mended and time passes.
// Then every text is on every device of both people once, each author's in the
// order in which they were said, and its author has one receipt.
func chaos(t *testing.T, seed uint64, texts int) (w *world, all []*phone) {
	w, a, b := family(t, seed)
	all = append(a, b...)
	sane := false
	for _, p := range all {
		p.store.crash = func() int {
			if sane {
				return 0
			}
			switch w.rng.IntN(400) {
			case 0:
				return 1
			case 1:
				return 2
			}
			return 0
		}
	}
	// What Send has returned nil for must arrive; a crash inside of it may have
	// kept the text or not.
	said := make(map[*phone][]string)
	n, kept := 0, 0
	for kept < texts {
		p := all[w.rng.IntN(len(all))]
		switch k := w.rng.IntN(100); {
		case k < 60:
			for range 1 + w.rng.IntN(8) {
				if p.m == nil {
					break
				}
				to := a[0]
				if p.party.Identity == a[0].party.Identity {
					to = b[0]
				}
				n++
				text := fmt.Sprintf("%d of %s", n, p.name)
				err := p.do(func() error { _, err := p.m.Send(w.now, to.party.Identity, text); return err })
				if err == nil {
					said[p] = append(said[p], text)
					kept++
				}
			}
		case k < 64 && p.m != nil:
			p.off()
		case k < 78 && p.m == nil:
			p.on()
		case k < 81:
			p.group = w.rng.IntN(3) - 1
			for _, q := range all {
				if q.group != p.group {
					p.cut(q)
				}
			}
		case k < 84:
			p.cut(all[w.rng.IntN(len(all))])
		case k < 85:
			p.store.full = !p.store.full
		case k < 86:
			w.offline = !w.offline
		case k < 88 && p.m != nil:
			p.do(func() error { return p.m.MarkAllRead(w.now, a[0].party.Identity) })
			p.do(func() error { return p.m.MarkAllRead(w.now, b[0].party.Identity) })
		}
		w.run(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
	}
	sane, w.offline = true, false
	for _, p := range all {
		p.group, p.store.full = 0, false
		if p.m == nil {
			p.on()
		}
	}
	for i := range all {
		for _, q := range all[:i] {
			all[i].link(q)
		}
	}
	w.run(20 * time.Minute)

	for _, p := range all {
		got := p.texts()
		where := make(map[string]int, len(got))
		for i, s := range got {
			_, text, _ := strings.Cut(s, ": ")
			if _, twice := where[text]; twice {
				t.Fatalf("seed %d: %s has %q twice", seed, p.name, text)
			}
			if strings.Contains(s, "(gap)") {
				t.Fatalf("seed %d: %s has %q", seed, p.name, s)
			}
			where[text] = i
		}
		for _, from := range all {
			last := -1
			for _, text := range said[from] {
				i, ok := where[text]
				if !ok {
					t.Fatalf("seed %d: %s lacks %q, has %d texts", seed, p.name, text, len(got))
				}
				if i < last {
					t.Fatalf("seed %d: at %s %q is out of order", seed, p.name, text)
				}
				last = i
			}
		}
		seen := make(map[ID]bool)
		delivered, _, _ := p.receipts()
		for _, id := range delivered {
			if seen[id] {
				t.Fatalf("seed %d: %s: two receipts for one text", seed, p.name)
			}
			seen[id] = true
		}
		if p.m.person(p.other(all)).waiting != 0 {
			t.Fatalf("seed %d: %s: %d texts wait", seed, p.name, p.m.person(p.other(all)).waiting)
		}
	}
	return w, all
}

func (p *phone) other(all []*phone) (id [32]byte) {
	for _, q := range all {
		if q.party.Identity != p.party.Identity {
			return q.party.Identity
		}
	}
	return id
}

func TestChaos(t *testing.T) {
	seeds, texts := uint64(5), 120
	if os.Getenv("P2POS_LONG") != "" {
		seeds, texts = 300, 400
	}
	for seed := range seeds {
		_, all := chaos(t, seed, texts)
		if testing.Verbose() {
			var c []Counters
			for _, p := range all {
				c = append(c, p.m.Counters())
			}
			t.Log(seed, c)
		}
	}
}

// Ten thousand texts in one run.
func TestTenThousand(t *testing.T) {
	if os.Getenv("P2POS_LONG") == "" {
		t.Skip("P2POS_LONG=1 runs it")
	}
	_, all := chaos(t, 99, 10_000)
	for _, p := range all {
		if n := len(p.texts()); n < 10_000 {
			t.Errorf("%s has %d texts", p.name, n)
		}
	}
}

// The same seed gives the same talk.
func TestChaosRepeats(t *testing.T) {
	w1, x := chaos(t, 5, 60)
	w2, y := chaos(t, 5, 60)
	if !w1.now.Equal(w2.now) || w1.blobs != w2.blobs {
		t.Errorf("%v and %v, %d and %d blobs", w1.now, w2.now, w1.blobs, w2.blobs)
	}
	for i := range x {
		if !slices.Equal(x[i].texts(), y[i].texts()) {
			t.Errorf("%s differs", x[i].name)
		}
	}
}
