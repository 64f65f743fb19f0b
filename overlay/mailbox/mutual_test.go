// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// Why texts for somebody who is away wait in the mailbox alone and not with
// contacts that both people have (design/011): under the same churn, sessions with
// a median of an hour, what a sender left when it went is compared at the moment
// when the reader comes back.
func TestMutualContacts(t *testing.T) {
	away := []time.Duration{time.Hour, 8 * time.Hour}
	if os.Getenv("P2POS_LONG") != "" {
		away = append(away, 24*time.Hour, 13*24*time.Hour)
	}
	box := shareInMailbox(t, away)
	for i, d := range away {
		t.Logf("away for %v: mailbox %.1f %%", d, 100*box[i])
		if box[i] < 0.999 {
			t.Errorf("%.1f %% in the mailbox after %v", 100*box[i], d)
		}
		for _, online := range []float64{0.25, 0.5} {
			for _, contacts := range []int{1, 3, 8} {
				rng := newRand(uint64(i)<<8 | uint64(contacts))
				at, within := withContacts(rng, d, contacts, online)
				t.Logf("    %d mutual contacts, each online %.0f %% of the time: %.1f %% at once, %.1f %% within the reader's session", contacts, 100*online, 100*at, 100*within)
				if at > box[i] {
					t.Errorf("%d contacts do better than the mailbox", contacts)
				}
			}
		}
	}
}

// shareInMailbox writes mail into queues and reads it after each time away, while
// of 60 nodes 11 % leave in ten minutes and as many come. Readers only look.
func shareInMailbox(t *testing.T, away []time.Duration) (share []float64) {
	const queues = 24
	w := newTown(t, 7, 60)
	for i := range byte(queues) {
		if err := w.write(queueOf(1+i, now), blobOf(Small, i)); err != nil {
			t.Fatal(err)
		}
	}
	begin := w.now
	for _, d := range away {
		for w.now.Before(begin.Add(d)) {
			for _, h := range w.nodes {
				if h.alive && w.rng.Float64() < 0.11 {
					h.alive = false
					w.add()
				}
			}
			w.prune()
			w.meet()
			w.run(10*time.Minute, nil)
		}
		found := 0
		for i := range byte(queues) {
			found += len(w.read(queueOf(1+i, now)).found)
		}
		share = append(share, float64(found)/queues)
	}
	return share
}

// prune forgets nodes that are gone for good.
func (w *town) prune() {
	alive := w.nodes[:0]
	for _, h := range w.nodes {
		if h.alive {
			alive = append(alive, h)
		}
	}
	w.nodes = alive
}

// withContacts returns how many texts a mutual contact has and is online with when
// the reader comes, and during its session. Contacts keep what they took over
// restarts and hand it on to each other whenever two are online together: more
// than a protocol would reach. Their sessions have a median of an hour.
func withContacts(rng *rand.Rand, away time.Duration, contacts int, online float64) (at, within float64) {
	const runs = 4000
	leave := 1 - math.Exp(-math.Ln2/60) // in a minute
	come := leave * online / (1 - online)
	atOnce, inTime := 0, 0
	for range runs {
		on, has := make([]bool, contacts), make([]bool, contacts)
		for i := range on {
			on[i] = rng.Float64() < online
			has[i] = on[i] // the sender gives it to all who are there as it goes
		}
		step := func() (there bool) {
			any := false
			for i := range on {
				if on[i] {
					on[i] = rng.Float64() >= leave
				} else {
					on[i] = rng.Float64() < come
				}
				any = any || on[i] && has[i]
			}
			for i := range on {
				has[i] = has[i] || any && on[i]
			}
			return any
		}
		there := false
		for range int(away / time.Minute) {
			there = step()
		}
		if there {
			atOnce++
			inTime++
			continue
		}
		for rng.Float64() >= leave { // the reader's own session
			if step() {
				inTime++
				break
			}
		}
	}
	return float64(atOnce) / runs, float64(inTime) / runs
}
