// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// narrow is a link of a certain rate with a queue in front of it, on which a
// call sends its packets and a lane writes as fast as its Throttle allows.
type narrow struct {
	rng   *rand.Rand
	rate  float64 // bytes a second
	base  time.Duration
	depth float64 // bytes the queue holds
	queue float64
	lost  uint64
	acks  uint64
}

// run goes on for a while and returns the mean rate of the lane, in bytes a
// second, and the delays that the call's packets found.
func (n *narrow) run(t *Throttle, now *time.Time, d time.Duration) (rate float64, delays []time.Duration) {
	const step = time.Millisecond
	var wait time.Time
	sent := 0.0
	for end := now.Add(d); now.Before(end); *now = now.Add(step) {
		n.queue = max(0, n.queue-n.rate*step.Seconds())
		ms := now.UnixMilli()
		if ms%20 == 0 { // the call
			delays = append(delays, time.Duration(n.queue/n.rate*float64(time.Second)))
			n.queue += 120
		}
		if ms%5 == 0 { // acknowledgements, some of them late
			rtt := n.base + time.Duration(n.queue/n.rate*float64(time.Second))
			if n.rng.IntN(2) == 0 {
				rtt += time.Duration(n.rng.IntN(25)) * time.Millisecond
			}
			n.acks++
			t.Observe(*now, Traffic{rtt, n.lost, n.acks})
		}
		for !now.Before(wait) {
			size := t.Step()
			if size == 0 {
				size = 1200
				if n.queue > n.depth-2400 {
					break // stands for QUIC's own congestion control
				}
			}
			if w := t.Wait(*now, size); w > 0 {
				wait = now.Add(w)
				break
			}
			t.Sent(size)
			if n.queue+float64(size) > n.depth {
				n.lost++
			} else {
				n.queue += float64(size)
				sent += float64(size)
			}
		}
	}
	slices.Sort(delays)
	return sent / d.Seconds(), delays
}

// enough is what a call's packets may wait, but for one in twenty; twice that
// where a pair of packets alone takes 38 ms.
const enough = 40 * time.Millisecond

func quantile(list []time.Duration, q float64) time.Duration {
	return list[int(float64(len(list)-1)*q)]
}

// Beside a call a file uses most of what is left, and the call's packets wait
// for little more than the target.
func TestThrottle(t *testing.T) {
	for _, mbit := range []float64{0.5, 2, 10, 100} {
		n := &narrow{rng: rand.New(rand.NewPCG(1, 1)), rate: mbit * 125_000, base: 40 * time.Millisecond, depth: mbit * 125_000 / 10}
		th, now := new(Throttle), time.Unix(1e9, 0)
		before, _ := n.run(th, &now, 5*time.Second)
		if before < 0.9*n.rate {
			t.Errorf("%v Mbit/s: %.0f of %.0f without a call", mbit, before, n.rate)
		}
		th.Quiet(now, true)
		n.run(th, &now, 20*time.Second) // it finds its rate
		rate, delays := n.run(th, &now, 30*time.Second)
		p50, p95 := quantile(delays, 0.5), quantile(delays, 0.95)
		t.Logf("%v Mbit/s: %.0f %% used, the call waits %v, %v at most in 95 of 100", mbit, 100*rate/n.rate, p50, p95)
		if p95 > enough && (mbit > 0.5 || p95 > 2*enough) {
			t.Errorf("%v Mbit/s: packets wait %v", mbit, p95)
		}
		if left := n.rate - 50*120; rate < 0.6*left {
			t.Errorf("%v Mbit/s: %.0f bytes/s of %.0f", mbit, rate, left)
		}
		th.Quiet(now, false)
		if after, _ := n.run(th, &now, 5*time.Second); after < 0.9*n.rate {
			t.Errorf("%v Mbit/s: %.0f of %.0f after the call", mbit, after, n.rate)
		}
	}
}

// A call that begins finds the queue of a file without a limit; it is gone
// within a moment.
func TestThrottleMakesRoom(t *testing.T) {
	n := &narrow{rng: rand.New(rand.NewPCG(1, 1)), rate: 250_000, base: 40 * time.Millisecond, depth: 50_000}
	th, now := new(Throttle), time.Unix(1e9, 0)
	n.run(th, &now, 5*time.Second)
	th.Quiet(now, true)
	n.run(th, &now, 300*time.Millisecond)
	if _, delays := n.run(th, &now, 5*time.Second); quantile(delays, 0.99) > enough {
		t.Errorf("the call's packets wait %v", quantile(delays, 0.99))
	}
}

// Another path has another round trip: neither a longer nor a shorter one is
// taken for a queue, or for none.
func TestThrottleMoves(t *testing.T) {
	n := &narrow{rng: rand.New(rand.NewPCG(1, 1)), rate: 250_000, base: 20 * time.Millisecond, depth: 25_000}
	th, now := new(Throttle), time.Unix(1e9, 0)
	th.Quiet(now, true)
	n.run(th, &now, 20*time.Second)
	n.base = 200 * time.Millisecond
	th.Moved(now)
	if rate, _ := n.run(th, &now, 20*time.Second); rate < 100_000 {
		t.Errorf("%.0f bytes/s on a longer path", rate)
	}
	// Unannounced, the old path's least is forgotten after ten minutes.
	n.base = 400 * time.Millisecond
	n.run(th, &now, 11*time.Minute)
	if rate, _ := n.run(th, &now, 20*time.Second); rate < 100_000 {
		t.Errorf("%.0f bytes/s ten minutes after an unannounced change", rate)
	}
}

func TestThrottleRelayed(t *testing.T) {
	n := &narrow{rng: rand.New(rand.NewPCG(1, 1)), rate: 250_000, base: 20 * time.Millisecond, depth: 25_000}
	th, now := new(Throttle), time.Unix(1e9, 0)
	th.Relayed(now, true)
	for _, quiet := range []bool{false, true} {
		th.Quiet(now, quiet)
		if rate, _ := n.run(th, &now, 30*time.Second); rate > relayRate*1.05 || rate < relayRate*0.8 {
			t.Errorf("%.0f bytes/s over a relay, quiet %v", rate, quiet)
		}
	}
	th.Quiet(now, false)
	th.Relayed(now, false)
	if th.Step() != 0 || th.Wait(now, 1<<20) != 0 {
		t.Error("a limit without a reason")
	}
}
