// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// film runs an encoder that does as it is told over a link, in steps of a
// millisecond.
type film struct {
	capacity int // bits per second; 0 = no limit
	room     time.Duration
	delay    time.Duration
	jitter   time.Duration
	loss     float64
	off      bool // the camera
	rng      *rand.Rand

	now     time.Duration
	rate    *VideoRate
	told    int
	seq     uint16
	free    time.Duration // when the link is
	arrives []filmPacket  // by time
	in      Arrivals
	report  time.Duration
	reports []filmReport
	owed    float64
	queues  []float64 // ms each packet waited, since mark
	sent    int       // bytes on the wire, since mark
	gone    int       // packets lost, since mark
}

type filmPacket struct {
	at  time.Duration
	seq uint16
	ts  uint32
}

type filmReport struct {
	at time.Duration
	b  []byte
}

func newFilm(capacity int) *film {
	return &film{
		capacity: capacity, room: 300 * time.Millisecond, delay: 20 * time.Millisecond,
		rng: rand.New(rand.NewPCG(1, 1)), rate: NewVideoRate(),
	}
}

func (f *film) clock() time.Time { return numbersStart.Add(f.now) }

func (f *film) mark() { f.queues, f.sent, f.gone = nil, 0, 0 }

// run goes on for d.
func (f *film) run(d time.Duration) {
	for end := f.now + d; f.now < end; f.now += time.Millisecond {
		if f.now%(33*time.Millisecond) == 0 && !f.off {
			f.picture()
		}
		for len(f.arrives) > 0 && f.arrives[0].at <= f.now {
			p := f.arrives[0]
			f.arrives = f.arrives[1:]
			f.in.Receive(f.clock(), p.seq, p.ts)
		}
		if f.now-f.report >= 100*time.Millisecond {
			f.report = f.now
			if b := f.in.Append(f.clock(), nil, 2, 1); len(b) > 0 {
				f.reports = append(f.reports, filmReport{f.now + f.delay, b})
			}
		}
		for len(f.reports) > 0 && f.reports[0].at <= f.now {
			r, err := ParseReceipts(f.reports[0].b, 1)
			f.reports = f.reports[1:]
			if err == nil {
				f.rate.Receipts(f.clock(), &r)
			}
		}
	}
}

// picture sends one, of packets up to 1,100 bytes, each 40th a key frame.
func (f *film) picture() {
	f.told = f.rate.Bitrate(f.told)
	f.owed += float64(f.told) / 8 * 0.033
	size := int(f.owed * (0.7 + 0.6*f.rng.Float64()))
	f.owed -= float64(size)
	ts := uint32(f.now/time.Millisecond) * 90
	for left := max(size, 1); left > 0; left -= 1100 {
		n := min(left, 1100)
		f.rate.Sent(f.clock(), f.seq, ts, n)
		f.send(n, ts)
		f.seq++
	}
}

func (f *film) send(n int, ts uint32) {
	wire := n + PacketOverhead
	f.sent += wire
	at := f.now
	if f.capacity > 0 {
		f.free = max(f.free, f.now)
		if f.free-f.now > f.room {
			f.gone++
			return
		}
		f.queues = append(f.queues, float64(f.free-f.now)/1e6)
		f.free += time.Duration(float64(wire*8) / float64(f.capacity) * 1e9)
		at = f.free
	}
	if f.rng.Float64() < f.loss {
		f.gone++
		return
	}
	at += f.delay + time.Duration(f.rng.Float64()*float64(f.jitter))
	i, _ := slices.BinarySearchFunc(f.arrives, at, func(p filmPacket, at time.Duration) int { return int(p.at - at) })
	f.arrives = slices.Insert(f.arrives, i, filmPacket{at, f.seq, ts})
}

// waited returns the queue that 95 of 100 packets found at most, in ms.
func (f *film) waited() float64 {
	if len(f.queues) == 0 {
		return 0
	}
	slices.Sort(f.queues)
	return f.queues[len(f.queues)*95/100]
}

func TestVideoRate(t *testing.T) {
	for _, c := range []struct {
		rule     string
		film     film
		calm, d  time.Duration
		low, up  int     // bounds of what is sent, bit/s
		waited   float64 // most, ms at 95 %
		setAfter func(*film)
	}{
		{rule: "a free road is used up", film: film{}, calm: 60 * time.Second, low: 2_200_000, up: 2_700_000},
		{rule: "with jitter too", film: film{jitter: 20 * time.Millisecond}, calm: 60 * time.Second, low: 1_500_000, up: 2_700_000},
		{rule: "600 kb/s", film: film{capacity: 600_000}, calm: 20 * time.Second, low: 400_000, up: 600_000, waited: 90},
		{rule: "1 Mb/s with jitter", film: film{capacity: 1_000_000, jitter: 15 * time.Millisecond}, calm: 30 * time.Second, low: 600_000, up: 1_000_000, waited: 90},
		{rule: "150 kb/s, less than it begins with", film: film{capacity: 150_000}, calm: 15 * time.Second, low: 80_000, up: 150_000, waited: 200},
		{rule: "5 % lost by chance is no queue", film: film{loss: 0.05}, calm: 30 * time.Second, low: 280_000, up: 2_700_000},
		{rule: "30 % lost is too much", film: film{loss: 0.3}, calm: 30 * time.Second, low: 40_000, up: 120_000},
		{rule: "a link that shrinks", film: film{capacity: 2_000_000}, calm: 40 * time.Second, low: 180_000, up: 400_000, waited: 250,
			setAfter: func(f *film) { f.capacity = 400_000; f.run(10 * time.Second) }},
		{rule: "a link that grows", film: film{capacity: 300_000}, calm: 20 * time.Second, low: 600_000, up: 2_700_000,
			setAfter: func(f *film) { f.capacity = 3_000_000; f.run(30 * time.Second) }},
		{rule: "relayed", film: film{}, calm: 40 * time.Second, low: 100_000, up: 145_000,
			setAfter: func(f *film) { f.rate.NewPath(true); f.run(20 * time.Second) }},
		{rule: "a policer of 256 kb/s beside 100 of voice", film: film{capacity: 156_000, room: time.Nanosecond}, calm: 20 * time.Second, low: 50_000, up: 170_000},
	} {
		f := newFilm(c.film.capacity)
		f.jitter, f.loss = c.film.jitter, c.film.loss
		if c.film.room > 0 {
			f.room = c.film.room
		}
		f.run(c.calm)
		if c.setAfter != nil {
			c.setAfter(f)
		}
		f.mark()
		const d = 20 * time.Second
		f.run(d)
		got := int(float64(f.sent*8) / d.Seconds())
		t.Logf("%-45s %8d bit/s, 95 %% waited %5.1f ms at most, %d lost", c.rule, got, f.waited(), f.gone)
		if got < c.low || got > c.up || c.waited > 0 && f.waited() > c.waited {
			t.Errorf("%s: %d bit/s, %.0f ms", c.rule, got, f.waited())
		}
	}
}

// A camera that is off for a while goes on where it was, and has not crept up.
func TestVideoRateCameraOff(t *testing.T) {
	f := newFilm(0)
	f.run(5 * time.Second)
	f.off = true
	f.run(time.Second) // what is on its way arrives
	before := f.rate.Target()
	f.run(60 * time.Second)
	if got := f.rate.Target(); got != before {
		t.Errorf("%d after a minute without a picture, %d before", got, before)
	}
}

// Nonsense in receipts is no reason for anything.
func TestVideoRateLies(t *testing.T) {
	f := newFilm(0)
	f.run(3 * time.Second)
	before := *f.rate
	var a Arrivals
	for i := range 200 {
		a.Receive(f.clock(), uint16(40000+i), uint32(i))
	}
	r, err := ParseReceipts(a.Append(f.clock(), nil, 2, 1), 1)
	if err != nil {
		t.Fatal(err)
	}
	f.rate.Receipts(f.clock(), &r)
	f.rate.Missed(40000)
	if *f.rate != before {
		t.Error("receipts of packets never sent changed something")
	}
	if n := testing.AllocsPerRun(100, func() { f.rate.Receipts(f.clock(), &r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
