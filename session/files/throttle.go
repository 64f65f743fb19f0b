// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import "time"

// Throttle says how fast a lane may write while a call is up: as fast as leaves
// the queue in front of the narrowest link short, for there the voice waits as
// well. It is modelled on LEDBAT (RFC 6817): the round trip's growth over its
// least is that queue. It is pure; rates are bytes a second.
type Throttle struct {
	on   bool
	rate float64
	most float64 // 0 = none; holds without a call too

	tokens float64
	filled time.Time // when tokens were right

	base    [baseSlots]time.Duration // least round trip of each minute, the newest first; 0 = none
	baseAt  time.Time                // when the newest began
	least   time.Duration            // of this interval
	queue   time.Duration            // of the interval before
	judgeAt time.Time                // when the interval ends
	last    Traffic
	drops   uint64  // of this interval
	sent    float64 // bytes of this interval
}

const (
	// queueTarget is how long voice should wait behind a file, beside the time
	// that its packets take: no more than half of a frame.
	queueTarget = 10 * time.Millisecond
	// settleTime is within which a queue above or below it should be gone.
	settleTime = 500 * time.Millisecond
	// minRate is what a call spares in any case.
	minRate = 8_000
	// startRate is where it begins when nothing is known yet.
	startRate = 32_000
	// relayRate is what a relayed link is promised and can keep (design/005):
	// 24 of 32 kbit/s.
	relayRate = 3_000
	// interval is how long delays are gathered for one judgement.
	interval  = 100 * time.Millisecond
	baseSlots = 10
	baseSlot  = time.Minute
	// What may be written at once is two packets, or what the rate lets through in
	// burstTime: timers are no finer than a millisecond. Two, because QUIC
	// acknowledges every second packet at once and a single one up to 25 ms later,
	// which would look like a queue.
	twoPackets = 2300
	burstTime  = 4 * time.Millisecond
)

// Quiet tells whether a call is up.
func (t *Throttle) Quiet(now time.Time, on bool) {
	if on == t.on {
		return
	}
	t.on = on
	if on {
		// What QUIC has under way without a limit has to drain first.
		t.rate, t.tokens, t.filled = startRate, 0, now
		t.judgeAt, t.queue, t.least, t.drops, t.sent = now.Add(interval), 0, 0, 0, 0
	}
}

// Relayed tells whether the path leads over a relay, whose quota is small.
func (t *Throttle) Relayed(now time.Time, yes bool) {
	most := 0.0
	if yes {
		most = relayRate
	}
	if most != t.most {
		t.most, t.tokens, t.filled = most, 0, now
	}
}

// Moved tells that the path is another one: what is known of its delay is void.
func (t *Throttle) Moved(now time.Time) {
	t.base = [baseSlots]time.Duration{}
	t.baseAt, t.least = now, 0
}

// Traffic is what a link knows of itself.
type Traffic struct {
	RTT      time.Duration // the latest round trip; 0 = none yet
	Lost     uint64        // packets, since the start
	Received uint64        // packets; a round trip is news only when it has grown
}

// Observe tells of the link's traffic.
func (t *Throttle) Observe(now time.Time, l Traffic) {
	if l.Lost > t.last.Lost {
		t.drops += l.Lost - t.last.Lost
	}
	news := l.Received != t.last.Received
	l.Lost = max(l.Lost, t.last.Lost)
	t.last = l
	rtt := l.RTT
	if rtt <= 0 || !news {
		return
	}
	if t.least == 0 || rtt < t.least {
		t.least = rtt
	}
	if t.judgeAt.Sub(now) > interval/2 {
		t.least = 0 // how it is at the end counts, if anything is heard there
	}
	for now.Sub(t.baseAt) >= baseSlot {
		if now.Sub(t.baseAt) >= baseSlots*baseSlot {
			t.baseAt = now
		} else {
			t.baseAt = t.baseAt.Add(baseSlot)
		}
		copy(t.base[1:], t.base[:])
		t.base[0] = 0
	}
	if t.base[0] == 0 || rtt < t.base[0] {
		t.base[0] = rtt
	}
	if t.on && !now.Before(t.judgeAt) {
		t.judge(now) // not without a round trip in it: this one, if no other
	}
}

// judge sets the rate by the delay of an interval. While there is a queue, its
// growth shows what the link lets through: capacity = rate / (1 + growth). From
// there the rate aims at the target.
func (t *Throttle) judge(now time.Time) {
	base := time.Duration(0)
	for _, b := range t.base {
		if b > 0 && (base == 0 || b < base) {
			base = b
		}
	}
	took := (now.Sub(t.judgeAt) + interval).Seconds()
	used := t.sent / took
	queue := t.least - base
	growth := (queue - t.queue).Seconds() / took
	// A pair of packets takes its time on each narrow link, which is no queue.
	target := queueTarget + time.Duration(1.5*twoPackets/t.rate*float64(time.Second))
	switch {
	case t.drops > 0:
		t.rate = 0.7 * min(t.rate, max(used, minRate))
	case queue < target/4:
		if used > t.rate/2 { // one that isn't used proves nothing
			t.rate *= 1.1
		}
	default:
		through := used / min(max(1+growth, 0.7), 2)
		aim := through * (1 + (target-queue).Seconds()/settleTime.Seconds())
		t.rate = min(max(aim, t.rate/3), t.rate*1.1)
	}
	t.rate = max(t.rate, minRate)
	t.judgeAt, t.queue = now.Add(interval), queue
	t.least, t.drops, t.sent = 0, 0, 0
}

// limit returns the rate that holds now; 0 = none.
func (t *Throttle) limit() float64 {
	switch {
	case t.on && t.most > 0:
		return min(t.rate, t.most)
	case t.on:
		return t.rate
	}
	return t.most
}

// Step returns how much to write at once; 0 = any amount.
func (t *Throttle) Step() int {
	rate := t.limit()
	if rate == 0 {
		return 0
	}
	return int(burst(rate))
}

func burst(rate float64) float64 { return max(twoPackets, rate*burstTime.Seconds()) }

// Wait returns how long to wait before n bytes are written.
func (t *Throttle) Wait(now time.Time, n int) time.Duration {
	rate := t.limit()
	if rate == 0 {
		return 0
	}
	most := burst(rate)
	t.tokens = min(t.tokens+now.Sub(t.filled).Seconds()*rate, most)
	t.filled = now
	if lack := min(float64(n), most) - t.tokens; lack > 0 {
		return time.Duration(lack / rate * float64(time.Second))
	}
	return 0
}

// Sent tells that n bytes were written.
func (t *Throttle) Sent(n int) {
	t.tokens -= float64(n)
	t.sent += float64(n)
}
