// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestRateThinLink: on 32 kbit/s with a queue of 300 ms the queue stays short,
// and on 24 kbit/s in all the call lives.
func TestRateThinLink(t *testing.T) {
	for _, bits := range []float64{32000, 24000} {
		for _, fixedLoss := range []float64{0, 0.03} {
			v := newVoice(pipe{bits: bits, queue: 300 * ms, delay: 30 * ms, loss: fixedLoss}, 1)
			v.run(3 * time.Second) // finding out
			v.run(2 * time.Minute)
			if got := v.delay(95); got > 200 {
				t.Errorf("%v kb/s: 95 of 100 packets wait up to %.0f ms", bits/1000, got)
			}
			if got := v.lost(); got > fixedLoss+0.02 {
				t.Errorf("%v kb/s: %.3f lost", bits/1000, got)
			}
			if got := v.kbits(2 * time.Minute); got > bits/1000 || got < bits/1000*0.6 {
				t.Errorf("%v kb/s: %.1f kb/s used", bits/1000, got)
			}
			t.Logf("%v kb/s, loss %v: %.1f kb/s, wait p50 %.0f p95 %.0f ms, lost %.3f", bits/1000, fixedLoss, v.kbits(2*time.Minute), v.delay(50), v.delay(95), v.lost())
		}
	}
}

// TestRateRandomLoss: radio loses packets without a queue; the rate does not
// fall, and copies come within seconds.
func TestRateRandomLoss(t *testing.T) {
	for _, tt := range []struct{ loss, most float64 }{{0.1, 0.01}, {0.2, 0.03}, {0.3, 0.05}} {
		v := newVoice(pipe{bits: 1e6, queue: 300 * ms, delay: 30 * ms, loss: tt.loss, noise: 20 * ms}, 2)
		v.run(5 * time.Second)
		if v.rate.Advice().RED.Len() == 0 {
			t.Errorf("loss %v: no copies after 5 s: %+v", tt.loss, v.rate.Advice())
		}
		v.run(time.Minute)
		a := v.rate.Advice()
		share, burst := v.rate.Loss()
		if left := missing(tt.loss, 1/(1-tt.loss), a.RED, false); left > tt.most {
			t.Errorf("loss %v: %.3f missing with %+v (measured %.2f in bursts of %.1f)", tt.loss, left, a, share, burst)
		}
		if v.rate.Target() < rateStart {
			t.Errorf("loss %v: target fell to %d", tt.loss, v.rate.Target())
		}
		if got := v.kbits(time.Minute); got > 100 {
			t.Errorf("loss %v: %.0f kb/s", tt.loss, got)
		}
		if a.FECLoss < int(tt.loss*70) || a.FECLoss > 30 {
			t.Errorf("loss %v: FEC for %d %%", tt.loss, a.FECLoss)
		}
		// In-band FEC in what is sent spares a copy.
		v.fec = true
		v.run(20 * time.Second)
		if b := v.rate.Advice(); b.RED[0] == 1 {
			t.Errorf("loss %v: a copy where FEC is: %+v", tt.loss, b)
		}
	}
}

// TestRateJitter: delays that jump about without growing are no queue.
func TestRateJitter(t *testing.T) {
	v := newVoice(pipe{bits: 1e6, queue: 300 * ms, delay: 30 * ms, noise: 100 * ms}, 11)
	v.run(time.Minute)
	for range 10 {
		v.run(6 * time.Second)
		if got := v.rate.Target(); got < rateStart {
			t.Fatalf("target %d in jitter alone", got)
		}
	}
}

// TestRateBesideTCP: a download fills the queue. It keeps nearly all of the
// link, and the voice keeps its own rate, for giving way would win nothing.
func TestRateBesideTCP(t *testing.T) {
	v := newVoice(pipe{bits: 1e6, queue: 200 * ms, delay: 20 * ms}, 3)
	v.tcp = &tcp{window: 2}
	v.run(20 * time.Second)
	before := v.tcp.done
	v.run(40 * time.Second)
	if got := float64(v.tcp.done-before) * tcpSize * 8 / 40; got < 0.85e6 {
		t.Errorf("TCP got %.0f kb/s of 1000", got/1000)
	}
	if got := v.kbits(40 * time.Second); got < 30 || got > 100 {
		t.Errorf("voice got %.1f kb/s", got)
	}
}

// TestRateComesBack: when the link is wide again the rate goes up, step by step.
func TestRateComesBack(t *testing.T) {
	v := newVoice(pipe{bits: 32000, queue: 300 * ms, delay: 30 * ms}, 4)
	v.run(20 * time.Second)
	if a := v.rate.Advice(); a.Bitrate > 12000 {
		t.Errorf("%+v on 32 kb/s", a)
	}
	v.pipe.bits = 1e6
	v.run(40 * time.Second)
	if a := v.rate.Advice(); a.Bitrate < 24000 || a.FrameDuration != 20*ms {
		t.Errorf("%+v 40 s after the link got wide", a)
	}
	v.pipe.bits = 32000
	v.run(3 * time.Second)
	v.run(10 * time.Second)
	if got := v.delay(95); got > 150 {
		t.Errorf("the queue is %.0f ms when it got narrow again", got)
	}
}

// TestRateSilence: an app that sends nothing for long tries nothing out, and a
// report in between costs nothing.
func TestRateSilence(t *testing.T) {
	v := newVoice(pipe{bits: 1e6, queue: 300 * ms, delay: 30 * ms}, 5)
	v.run(2 * time.Second)
	at := v.rate.Target()
	quiet := v.at
	v.talk = func(at time.Duration) bool { return at < quiet || at%(400*ms) == 0 }
	v.run(30 * time.Second)
	if got := v.rate.Target(); got < at || got > at+at/5 {
		t.Errorf("target %d after half a minute of silence, %d before", got, at)
	}
}

// TestRatePolicer: what drops packets above a rate without a queue is not fed
// with ever more copies.
func TestRatePolicer(t *testing.T) {
	v := newVoice(pipe{bits: 20000, queue: ms, delay: 30 * ms}, 6)
	v.run(20 * time.Second)
	v.run(time.Minute)
	if got := v.kbits(time.Minute); got > 35 {
		t.Errorf("%.0f kb/s into a link of 20", got)
	}
}

// TestRateLearns: a step that failed is tried again less and less often.
func TestRateLearns(t *testing.T) {
	v := newVoice(pipe{bits: 32000, queue: 300 * ms, delay: 30 * ms}, 9)
	v.run(4 * time.Minute)
	v.run(2 * time.Minute)
	tried := 0
	for a, n := range v.sum {
		if a.FrameDuration == 20*ms {
			tried += n
		}
	}
	if tried == 0 || tried > v.sent/25 {
		t.Errorf("%d of %d packets tried out a step that fails", tried, v.sent)
	}
}

// TestRateLossIsNoQueue: one rise of the delay on a lossy path costs no more
// than on a clean one.
func TestRateLossIsNoQueue(t *testing.T) {
	v := newVoice(pipe{bits: 1e6, queue: 300 * ms, delay: 30 * ms, loss: 0.3}, 10)
	v.run(40 * time.Second)
	before, turn := v.rate.Target(), v.at
	v.change = func(at time.Duration, p *pipe) { p.delay = 30*ms + min(at-turn, time.Second)/12 }
	least := before
	for range 30 {
		v.run(100 * ms)
		least = min(least, v.rate.Target())
	}
	if least == before || float64(least) < float64(before)*rateYield*0.9 {
		t.Errorf("target %d, %d before", least, before)
	}
}

// TestRateNewPath: a longer path is no queue.
func TestRateNewPath(t *testing.T) {
	v := newVoice(pipe{bits: 1e6, queue: 300 * ms, delay: 30 * ms}, 7)
	v.run(10 * time.Second)
	before := v.rate.Target()
	v.pipe.delay = 230 * ms
	v.rate.NewPath()
	v.run(10 * time.Second)
	if got := v.rate.Target(); got < before*8/10 {
		t.Errorf("target %d on the longer path, %d before", got, before)
	}
	if v.rate.Queue() > 50*ms {
		t.Errorf("queue %v", v.rate.Queue())
	}
}

// TestRateIgnoresNonsense: reports of packets never sent, in any order, change
// nothing and break nothing.
func TestRateIgnoresNonsense(t *testing.T) {
	r := NewRate()
	var a Arrivals
	now := start
	for i := range 50 {
		a.Receive(now.Add(even(i)), uint16(i), uint32(i)*960)
	}
	b := a.Append(now.Add(even(50)), nil, 1, 2)
	rec, err := ParseReceipts(b, 2)
	if err != nil {
		t.Fatal(err)
	}
	r.Receipts(now, &rec) // before anything was sent
	for i := range 20 {
		r.Sent(now.Add(even(i)), uint16(5000+i), 60, false)
	}
	r.Sent(now, 4000, 60, false) // backwards
	r.Receipts(now.Add(time.Second), &rec)
	if share, _ := r.Loss(); share != 0 || r.Target() != rateStart || r.Advice() != DefaultAdvice() {
		t.Errorf("%v lost, target %d", share, r.Target())
	}
}

func TestRateAllocates(t *testing.T) {
	v := newVoice(pipe{bits: 1e6, queue: 300 * ms, loss: 0.2}, 8)
	v.run(10 * time.Second)
	r, buf := v.rate, make([]byte, 0, MaxReceiptsSize)
	seq, at := v.seq, v.at
	if n := testing.AllocsPerRun(100, func() {
		for range 20 {
			now := start.Add(at)
			r.Sent(now, seq, 60, true)
			if seq%5 != 0 {
				v.arrivals.Receive(now, seq, uint32(seq)*960)
			}
			seq++
			at += 20 * ms
		}
		rec, err := ParseReceipts(v.arrivals.Append(start.Add(at), buf[:0], 1, 2), 2)
		if err != nil {
			t.Fatal(err)
		}
		r.Receipts(start.Add(at), &rec)
	}); n != 0 {
		t.Errorf("%v allocations in 20 packets and a report", n)
	}
}

// TestPattern measures Gilbert's loss.
func TestPattern(t *testing.T) {
	for _, tt := range []struct{ share, burst float64 }{{0.05, 1.05}, {0.2, 1.25}, {0.2, 3}, {0.3, 5}} {
		rng := rand.New(rand.NewPCG(1, 1))
		var p Pattern
		var share, burst float64
		bad := false
		const count = 50000
		for range count {
			if bad {
				bad = rng.Float64() > 1/tt.burst
			} else {
				bad = rng.Float64() < tt.share/(1-tt.share)/tt.burst
			}
			p.Add(bad)
			share += p.Share() / count
			burst += p.Burst() / count
		}
		if share < tt.share*0.9 || share > tt.share*1.1 || burst < tt.burst*0.85 || burst > tt.burst*1.15 {
			t.Errorf("loss %v in bursts of %v measured as %.3f, %.2f", tt.share, tt.burst, share, burst)
		}
	}
	var p Pattern
	p.Add(true)
	if p.Share() != 0 || p.Burst() < 1 {
		t.Errorf("after one packet: %v, %v", p.Share(), p.Burst())
	}
}

// TestMissing checks the model against the arithmetic and a simulation.
func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		share, burst float64
		d            Distances
		fec          bool
		want         float64
	}{
		{0.2, 1.25, Distances{}, false, 0.2},
		{0.2, 1.25, Distances{1}, false, 0.04},
		{0.2, 1.25, Distances{2, 5}, false, 0.008},
		{0.2, 1.25, Distances{2}, true, 0.008},
		{0.2, 3, Distances{1}, false, 0.133},
		{0.2, 3, Distances{1, 2}, false, 0.089},
		{0.2, 3, Distances{2, 5}, false, 0.034},
		{0.3, 5, Distances{2, 5}, false, 0.109},
		{0, 1, Distances{}, false, 0},
	} {
		if got := missing(tt.share, tt.burst, tt.d, tt.fec); got < tt.want-0.003 || got > tt.want+0.003 {
			t.Errorf("%v in bursts of %v with %v, FEC %v: %.4f, want %v", tt.share, tt.burst, tt.d, tt.fec, got, tt.want)
		}
	}
}

// TestPlan: never above what may be sent, whatever is lost; better with more.
func TestPlan(t *testing.T) {
	for _, share := range []float64{0, 0.01, 0.05, 0.1, 0.3, 0.6, 1} {
		for _, burst := range []float64{0, 1, 3, 20} {
			for _, fec := range []bool{false, true} {
				last := 1000.0
				for bits := float64(rateLeast); bits <= rateMost; bits += 500 {
					a, bad := plan(bits, share, burst, fec)
					s := planStep{bitrate: a.Bitrate, frame: a.FrameDuration}
					if s.cost(a.RED.Len()) > bits {
						t.Fatalf("%v b/s: %+v costs %v", bits, a, s.cost(a.RED.Len()))
					}
					if bad > last {
						t.Fatalf("%v b/s: %+v is worse than less", bits, a)
					}
					last = bad
					if wait := a.FrameDuration * time.Duration(a.RED.Far()); wait > planWait {
						t.Fatalf("%+v waits %v", a, wait)
					}
					if share == 0 && (a.RED.Len() > 0 || a.FECLoss > 0) {
						t.Fatalf("%+v without loss", a)
					}
				}
			}
		}
	}
	if a, _ := plan(0, 0.2, 1, false); a.Bitrate != 12000 || a.FrameDuration != 60*ms {
		t.Errorf("with nothing: %+v", a)
	}
}

func BenchmarkRateReport(b *testing.B) {
	v := newVoice(pipe{bits: 1e6, queue: 300 * ms, loss: 0.2}, 8)
	v.run(10 * time.Second)
	buf := make([]byte, 0, MaxReceiptsSize)
	b.ReportAllocs()
	for b.Loop() { // one second of a call
		for range 50 {
			now := start.Add(v.at)
			v.rate.Sent(now, v.seq, 60, true)
			v.arrivals.Receive(now, v.seq, uint32(v.seq)*960)
			v.seq++
			v.at += 20 * ms
		}
		rec, err := ParseReceipts(v.arrivals.Append(start.Add(v.at), buf[:0], 1, 2), 2)
		if err != nil {
			b.Fatal(err)
		}
		v.rate.Receipts(start.Add(v.at), &rec)
	}
}

// TestRateChance: a third of the packets lost by chance is no policer, however
// the first hundred fall.
func TestRateChance(t *testing.T) {
	for seed := range uint64(40) {
		v := newVoice(pipe{bits: 1e6, queue: 300 * ms, delay: 30 * ms, loss: 0.3}, seed)
		for range 20 {
			v.run(time.Second)
			if got := v.rate.Target(); got < rateStart {
				t.Fatalf("seed %d: target %d after %v", seed, got, v.at)
			}
		}
	}
}
