// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestMissingAsks(t *testing.T) {
	const rtt = 80 * time.Millisecond
	var m Missing
	at := func(ms int) time.Time { return numbersStart.Add(time.Duration(ms) * time.Millisecond) }
	receive := func(ms int, list ...uint16) {
		for _, s := range list {
			m.Receive(at(ms), s)
		}
	}
	take := func(rule string, ms int, want ...uint16) {
		t.Helper()
		if got := m.Take(at(ms), rtt, nil); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", rule, got, want)
		}
	}
	deadline := func(rule string, ms int) {
		t.Helper()
		if d := m.Deadline(); !d.Equal(at(ms)) {
			t.Errorf("%s: at %v, want %d ms", rule, d.Sub(numbersStart), ms)
		}
	}
	if !m.Deadline().IsZero() {
		t.Error("something is due before anything came")
	}
	receive(0, 65534, 65535, 1)
	take("it may be reordering", 5)
	deadline("until it is old", 10)
	take("it is old", 10, 0)
	take("asked once", 50)
	deadline("again after a round trip and some more", 120)
	take("not answered", 120, 0)
	receive(130, 0)
	take("answered", 400)
	if !m.Deadline().IsZero() {
		t.Error("due with nothing missing")
	}
	receive(500, 4)
	take("two holes, young", 501)
	receive(502, 5, 6)
	deadline("overtaken twice", 500)
	take("overtaken twice", 502, 2, 3)
	take("again", 612, 2, 3)
	take("again", 722, 2, 3)
	take("the last time", 832, 2, 3)
	take("no more", 942)
	receive(900, 1000)
	take("too many to repair", 2000)
	receive(2000, 1002)
	take("too old when looked at", 2700)
}

func TestMissingIsBounded(t *testing.T) {
	var m Missing
	rng := rand.New(rand.NewPCG(1, 2))
	seq := uint16(0)
	for i := range 100000 {
		now := numbersStart.Add(time.Duration(i) * time.Millisecond)
		seq += uint16(rng.IntN(100))
		if rng.IntN(50) == 0 {
			seq = uint16(rng.Uint32())
		}
		m.Receive(now, seq)
		if len(m.holes) > missingMost {
			t.Fatalf("%d holes", len(m.holes))
		}
		if rng.IntN(10) == 0 {
			if n := len(m.Take(now, 0, nil)); n > missingBatch {
				t.Fatalf("%d asked for at once", n)
			}
		}
	}
}
