// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package simnet

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// cast sends n datagrams of size bytes over a lane, one each gap, and returns
// when each arrived (−1 = lost) and how many copies there were.
func cast(p Profile, n, size int, gap time.Duration) (at []time.Duration, copies int) {
	l := newLane(p)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		t, again, why := l.pass(time.Duration(i)*gap, size, headerV4, rng)
		if why != 0 {
			t = -1
		} else if again >= 0 {
			copies++
			if again < t {
				panic("copy before the first")
			}
		}
		at = append(at, t)
	}
	return at, copies
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within {
		t.Errorf("%s is %.4f, want %.4f ± %.4f", what, got, want, within)
	}
}

func TestLossAndBursts(t *testing.T) {
	const n = 200_000
	for _, p := range []Profile{
		{Loss: 0.01}, {Loss: 0.2}, {Loss: 1},
		{Loss: 0.05, Burst: 3}, {Loss: 0.2, Burst: 8}, {Loss: 0.3, Burst: 1},
		{Loss: 0.9, Burst: 2}, // no shorter bursts than 9 are possible
	} {
		at, _ := cast(p, n, 100, time.Millisecond)
		lost, bursts := 0, 0
		for i, a := range at {
			if a < 0 {
				lost++
				if i == 0 || at[i-1] >= 0 {
					bursts++
				}
			}
		}
		share := float64(lost) / n
		near(t, "loss", share, p.Loss, 0.01)
		if p.Loss == 1 {
			continue
		}
		want := 1 / (1 - p.Loss) // runs of independent losses
		if p.Burst > 1 {
			want = max(p.Burst, p.Loss/(1-p.Loss))
		}
		near(t, "mean burst", float64(lost)/float64(bursts), want, 0.05*want)
	}
}

func TestJitterKeepsOrder(t *testing.T) {
	at, _ := cast(Profile{Delay: ms(20), Jitter: ms(30)}, 10_000, 100, ms(5))
	var sum time.Duration
	for i, a := range at {
		d := a - time.Duration(i)*ms(5)
		if d < ms(20) || d >= ms(50) {
			t.Fatalf("datagram %d took %v", i, d)
		}
		if i > 0 && a < at[i-1] {
			t.Fatalf("datagram %d came before its predecessor", i)
		}
		sum += d
	}
	// Spread over [20, 50) alone the mean were 35 ms; waiting for those in
	// front can only add.
	if mean := sum / 10_000; mean < ms(35) || mean > ms(45) {
		t.Errorf("mean delay %v", mean)
	}
	first, _ := cast(Profile{Jitter: ms(30)}, 10_000, 100, time.Second) // nobody in front
	sum = 0
	for i, a := range first {
		sum += a - time.Duration(i)*time.Second
	}
	near(t, "mean jitter in ms", float64(sum/10_000)/1e6, 15, 0.3)
}

func TestReorderOvertakesVoiceFrames(t *testing.T) {
	at, _ := cast(Profile{Delay: ms(20), Reorder: 0.1}, 10_000, 100, ms(20))
	late, overtaken := 0, 0
	for i, a := range at {
		switch d := a - time.Duration(i)*ms(20); {
		case d == ms(20):
		case d >= ms(45) && d < ms(70):
			late++
		default:
			t.Fatalf("datagram %d took %v", i, d)
		}
		if i+1 < len(at) && at[i+1] < a {
			overtaken++
		}
	}
	near(t, "share held back", float64(late)/10_000, 0.1, 0.01)
	near(t, "share overtaken", float64(overtaken)/10_000, 0.09, 0.01)
}

func TestDuplicates(t *testing.T) {
	_, copies := cast(Profile{Duplicate: 0.25}, 10_000, 100, ms(1))
	near(t, "share doubled", float64(copies)/10_000, 0.25, 0.02)

	w, a, b, _ := pair(1, Profile{Duplicate: 1, Delay: ms(1)})
	a.say(w, 0, at("45.0.0.2:2000"), "twice")
	w.forward(100)
	wantTexts(t, b, "twice", "twice")
}

func TestRateAndQueue(t *testing.T) {
	// 1000 bytes with headers at 1 Mbit/s take 8 ms each.
	p := Profile{Delay: ms(10), Rate: 1_000_000, Queue: ms(20)}
	at, _ := cast(p, 6, 1000-headerV4, 0)
	want := []time.Duration{ms(18), ms(26), ms(34), -1, -1, -1} // the fourth would wait 24 ms
	for i := range want {
		if at[i] != want[i] {
			t.Fatalf("arrivals %v, want %v", at, want)
		}
	}
	at, _ = cast(p, 100, 1000-headerV4, ms(8)) // exactly the rate
	for i, a := range at {
		if a != time.Duration(i)*ms(8)+ms(18) {
			t.Fatalf("datagram %d at %v", i, a)
		}
	}
	at, _ = cast(p, 1000, 1000-headerV4, ms(4)) // twice the rate
	lost := 0
	for _, a := range at {
		if a < 0 {
			lost++
		}
	}
	near(t, "loss at twice the rate", float64(lost)/1000, 0.5, 0.01)
}

func TestMTU(t *testing.T) {
	for _, c := range []struct {
		mtu, size int
		why       Reason
	}{{0, 1472, 0}, {0, 1473, TooBig}, {1232, 1232, 0}, {1232, 1233, TooBig}} {
		l := newLane(Profile{MTU: c.mtu})
		if _, _, why := l.pass(0, c.size, headerV4, nil); why != c.why {
			t.Errorf("%d bytes at MTU %d: %q, want %q", c.size, c.mtu, why, c.why)
		}
	}
}

// A link without chance draws nothing: scenarios stay the same when a perfect
// host is added.
func TestPerfectLinkDrawsNothing(t *testing.T) {
	l := newLane(Profile{Delay: ms(1), Rate: 1e6})
	if _, _, why := l.pass(0, 100, headerV4, nil); why != 0 { // a nil generator would panic
		t.Fatal(why)
	}
}

func TestProfileChangesAtRunTime(t *testing.T) {
	w, a, b, hb := pair(1, Profile{Delay: ms(50)})
	to := at("45.0.0.2:2000")
	a.say(w, 0, to, "slow")
	w.forward(10)
	w.machines[a].sockets[0].host.SetProfile(Profile{Delay: ms(5)})
	a.say(w, 0, to, "fast")
	w.forward(10)
	wantTexts(t, b, "fast")
	w.forward(50)
	wantTexts(t, b, "fast", "slow")
	hb.SetProfiles(Profile{}, Profile{Loss: 1}) // deaf, not dumb
	a.say(w, 0, to, "ping")
	b.say(w, 0, at("45.0.0.1:1000"), "hello")
	w.forward(50)
	wantTexts(t, b, "fast", "slow")
	wantTexts(t, a, "hello")
}

func TestQueueOrder(t *testing.T) {
	type item struct{ n int }
	var q queue[item]
	rng := rand.New(rand.NewPCG(3, 4))
	live := 0
	lastAt, lastN, n := time.Duration(-1), -1, 0
	for range 20_000 {
		if rng.IntN(3) > 0 || live == 0 {
			// never before what was taken out, as in a world
			q.push(max(lastAt, 0)+time.Duration(rng.IntN(20)), item{n})
			n++
			live++
			continue
		}
		at, it := q.pop()
		live--
		if at < lastAt || at == lastAt && it.n < lastN {
			t.Fatalf("%d at %v after %d at %v", it.n, at, lastN, lastAt)
		}
		lastAt, lastN = at, it.n
	}
	if q.len() != live {
		t.Fatalf("%d items, want %d", q.len(), live)
	}
}
