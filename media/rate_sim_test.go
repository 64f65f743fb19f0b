// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math/rand/v2"
	"slices"
	"time"
)

// pipe is a bottleneck: so many bits per second, a queue of so many ms that
// drops what does not fit, a delay, and loss by chance.
type pipe struct {
	bits  float64
	queue time.Duration
	delay time.Duration
	loss  float64
	noise time.Duration // jitter
	rng   *rand.Rand
	free  time.Duration // when the link is idle
}

// send returns when a packet arrives, and false when it does not.
func (p *pipe) send(at time.Duration, size int) (time.Duration, bool) {
	start := max(at, p.free)
	if start-at > p.queue {
		return 0, false
	}
	p.free = start + time.Duration(float64(size*8)/p.bits*float64(time.Second))
	if p.rng.Float64() < p.loss {
		return 0, false
	}
	arrive := p.free + p.delay
	if p.noise > 0 {
		arrive += time.Duration(p.rng.Int64N(int64(p.noise)))
	}
	return arrive, true
}

// tcp is a bulk flow that fills the queue it shares, by the rules of Reno (RFC
// 5681): a packet more each round trip, half of them after a loss.
type tcp struct {
	window   float64 // packets
	inflight int
	done     int // packets delivered
	recover  time.Duration
	acks     []time.Duration // arrival of acks
	lost     []time.Duration
}

const tcpSize = 1500

func (f *tcp) step(at time.Duration, p *pipe) {
	for len(f.lost) > 0 && f.lost[0] <= at {
		f.lost = f.lost[1:]
		f.inflight--
		if at >= f.recover {
			f.window = max(f.window/2, 2)
			f.recover = at + 2*p.delay + p.queue
		}
	}
	for len(f.acks) > 0 && f.acks[0] <= at {
		f.acks = f.acks[1:]
		f.inflight--
		f.done++
		f.window += 1 / f.window
	}
	for float64(f.inflight) < f.window {
		f.inflight++
		if arrive, ok := p.send(at, tcpSize); ok {
			f.acks = append(f.acks, arrive+p.delay)
		} else {
			f.lost = append(f.lost, max(at, p.free)+2*p.delay)
		}
	}
}

// voice is one direction of a call over a pipe, with the reports that come back.
type voice struct {
	rate     *Rate
	arrivals Arrivals
	pipe     *pipe
	tcp      *tcp
	fixed    bool // an app that does not follow the advice on rate
	fec      bool
	talk     func(at time.Duration) bool // nil = always
	change   func(at time.Duration, p *pipe)

	at, next, report time.Duration
	seq              uint16
	air              []flying
	back             []flying
	delays           []float64 // ms of each packet that came, beside the pipe's own
	sent, came       int
	bytes            int
	sum              map[Advice]int
}

type flying struct {
	at  time.Duration
	seq uint16
	ts  uint32
	b   []byte
}

func newVoice(p pipe, seed uint64) *voice {
	p.rng = rand.New(rand.NewPCG(seed, 5))
	return &voice{rate: NewRate(), pipe: &p, report: 500 * time.Millisecond, sum: map[Advice]int{}}
}

// run lets time pass, and forgets what was counted before.
func (v *voice) run(d time.Duration) {
	v.delays, v.sent, v.came, v.bytes, v.sum = nil, 0, 0, 0, map[Advice]int{}
	for end := v.at + d; v.at < end; v.at += time.Millisecond {
		v.step()
	}
}

func (v *voice) step() {
	now := start.Add(v.at)
	if v.change != nil {
		v.change(v.at, v.pipe)
	}
	if v.tcp != nil {
		v.tcp.step(v.at, v.pipe)
	}
	if v.at >= v.next {
		a := v.rate.Advice()
		frame := a.FrameDuration
		if v.fixed {
			a.Bitrate, frame = 24000, 20*time.Millisecond
		}
		v.next += frame
		if v.talk == nil || v.talk(v.at) {
			payload := int(float64(a.Bitrate) * frame.Seconds() / 8)
			if n := a.RED.Len(); n > 0 {
				payload += n*(payload+redHeader) + 1
			}
			v.sum[a]++
			v.sent++
			v.bytes += payload + PacketOverhead
			v.rate.Sent(now, v.seq, payload, v.fec)
			if arrive, ok := v.pipe.send(v.at, payload+PacketOverhead); ok {
				v.air = append(v.air, flying{arrive, v.seq, uint32(toSamples(v.at)), nil})
				slices.SortStableFunc(v.air, func(a, b flying) int { return int(a.at - b.at) })
				v.delays = append(v.delays, float64(arrive-v.at-v.pipe.delay)/1e6)
			}
			v.seq++
		}
	}
	for len(v.air) > 0 && v.air[0].at <= v.at {
		v.came++
		v.arrivals.Receive(now, v.air[0].seq, v.air[0].ts)
		v.air = v.air[1:]
	}
	if v.at >= v.report || v.arrivals.Urgent(now) {
		v.report = v.at + time.Second
		if b := v.arrivals.Append(now, nil, 1, 2); b != nil {
			v.back = append(v.back, flying{at: v.at + v.pipe.delay, b: b})
		}
	}
	for len(v.back) > 0 && v.back[0].at <= v.at {
		rec, err := ParseReceipts(v.back[0].b, 2)
		if err != nil {
			panic(err)
		}
		v.rate.Receipts(now, &rec)
		v.back = v.back[1:]
	}
}

// delay returns a percentile of the delay in the queue, in ms.
func (v *voice) delay(percent int) float64 {
	if len(v.delays) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v.delays))
	return s[min(len(s)*percent/100, len(s)-1)]
}

// kbits returns what was on the wire.
func (v *voice) kbits(d time.Duration) float64 { return float64(v.bytes) * 8 / d.Seconds() / 1000 }

func (v *voice) lost() float64 { return 1 - float64(v.came)/float64(max(v.sent, 1)) }
