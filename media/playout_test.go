// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package media

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
)

const ms = time.Millisecond

// start is an arbitrary moment; pure code must not care which.
var start = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// packet is one RTP packet on its way.
type packet struct {
	at   time.Duration // arrival
	seq  uint16
	ts   uint32
	ssrc uint32
	p    []byte
}

func (k packet) push(p *Playout) {
	p.Push(start.Add(k.at), &rtp.Header{SSRC: k.ssrc, SequenceNumber: k.seq, Timestamp: k.ts}, k.p)
}

// speech is a 20 ms Opus packet that can be told from others.
func speech(id int) []byte { return []byte{0x08, byte(id >> 8), byte(id), 0x55} }

// say returns packets i = 0, 1, … sent each 20 ms, arriving after delays[i];
// negative is lost.
func say(delays ...time.Duration) []packet {
	var out []packet
	for i, d := range delays {
		if d >= 0 {
			out = append(out, packet{time.Duration(i)*20*ms + d, uint16(i), uint32(i) * 960, 1, speech(i)})
		}
	}
	return out
}

// every returns n equal delays.
func every(n int, d time.Duration) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = d
	}
	return out
}

// listen plays packets for a time in steps of 1 ms, as a reader would, and
// writes down what came: "3" packet 3, "x" lost, "." silence of the sender's
// making, "-" nothing going on. Runs are shortened: "3-7", "x*4".
func listen(t *testing.T, p *Playout, packets []packet, end time.Duration) string {
	t.Helper()
	var trace []string
	var f Frame
	var clock uint32
	buf := make([]byte, 0, MaxPayload)
	due, begun := time.Duration(0), false
	for at := time.Duration(0); at < end; at += ms {
		for _, k := range packets {
			if k.at >= at && k.at < at+ms {
				k.push(p)
			}
		}
		now := start.Add(at)
		if !begun {
			ready, ok := p.Ready(now)
			if !ok || now.Before(ready) {
				continue
			}
			begun, due = true, at
		}
		for due <= at {
			playing := p.Pop(now, &f, buf)
			if len(trace) > 0 && f.Timestamp != clock {
				t.Errorf("at %v: timestamp %d, want %d", at, f.Timestamp, clock)
			}
			clock = f.Timestamp + uint32(f.Samples)
			due += toDuration(int64(f.Samples))
			switch {
			case !playing:
				trace = append(trace, "-")
			case len(f.Payload) == 0 && f.Lost:
				trace = append(trace, "x")
			case len(f.Payload) == 0:
				trace = append(trace, ".")
			case isSilence(f.Payload):
				trace = append(trace, "s")
			default:
				trace = append(trace, fmt.Sprint(int(f.Payload[1])<<8|int(f.Payload[2])))
			}
		}
		checkPlayout(t, p, now)
	}
	return shorten(trace)
}

// checkPlayout holds what must be true of every buffer at every time.
func checkPlayout(t *testing.T, p *Playout, now time.Time) {
	t.Helper()
	s := p.Stats(now)
	if sum := s.Played + s.Late + s.Duplicate + s.Dropped + s.Removed + s.Malformed + uint64(s.Buffered); sum != s.Received {
		t.Fatalf("%d packets accounted for of %d: %+v", sum, s.Received, s)
	}
	full := 0
	for i := range p.slots {
		if p.slots[i].full {
			full++
		}
	}
	if full != s.Buffered {
		t.Fatalf("%d slots full, %d counted", full, s.Buffered)
	}
	if limit := toDuration(p.max); s.Buffer > limit {
		t.Fatalf("buffer holds %v, cap is %v", s.Buffer, limit)
	}
	if s.Target > playoutMax {
		t.Fatalf("target %v above the cap", s.Target)
	}
}

func shorten(trace []string) string {
	var out []string
	for i := 0; i < len(trace); {
		j := i + 1
		var a, b int
		n, _ := fmt.Sscan(trace[i], &a)
		if n == 1 {
			for j < len(trace) {
				if k, _ := fmt.Sscan(trace[j], &b); k != 1 || b != a+j-i {
					break
				}
				j++
			}
			if j-i > 1 {
				out = append(out, fmt.Sprintf("%d-%d", a, a+j-i-1))
			} else {
				out = append(out, trace[i])
			}
		} else {
			for j < len(trace) && trace[j] == trace[i] {
				j++
			}
			if j-i > 1 {
				out = append(out, fmt.Sprintf("%s*%d", trace[i], j-i))
			} else {
				out = append(out, trace[i])
			}
		}
		i = j
	}
	return strings.Join(out, " ")
}

func TestPlayoutScenarios(t *testing.T) {
	join := func(p ...[]packet) (out []packet) {
		for _, q := range p {
			out = append(out, q...)
		}
		return out
	}
	shift := func(p []packet, f func(*packet)) []packet {
		for i := range p {
			f(&p[i])
		}
		return p
	}
	with := func(d []time.Duration, at int, v ...time.Duration) []time.Duration {
		copy(d[at:], v)
		return d
	}
	// dtx leaves out packets from..to-1 without leaving a hole in the numbers.
	dtx := func(p []packet, from, to int) []packet {
		out := p[:0:0]
		for i, k := range p {
			if i < from || i >= to {
				if i >= to {
					k.seq -= uint16(to - from)
				}
				out = append(out, k)
			}
		}
		return out
	}
	tests := []struct {
		name    string
		packets []packet
		end     time.Duration
		want    string
	}{
		{"in order, played 60 ms after the fastest", say(every(10, 30*ms)...), 290 * ms, "0-9"},
		{"nothing behind the last packet", say(every(10, 30*ms)...), 350 * ms, "0-9 x*3"},
		{"a lost packet is concealed once", say(with(every(10, 0), 4, -1)...), 260 * ms, "0-3 x 5-9"},
		{"a lost burst keeps its time", say(with(every(12, 0), 4, -1, -1, -1)...), 300 * ms, "0-3 x*3 7-11"},
		{"a lost burst longer than the buffer does too", say(with(every(16, 0), 4, -1, -1, -1, -1, -1, -1)...), 380 * ms, "0-3 x*6 10-15"},
		{"the first packet is lost", say(with(every(6, 0), 0, -1)...), 180 * ms, "1-5"},
		{"reordered within the delay", say(with(every(10, 0), 4, 50*ms)...), 260 * ms, "0-9"},
		{"reordered before the start", say(with(every(10, 0), 0, 30*ms)...), 260 * ms, "0-9"},
		{"too late is discarded", say(with(every(10, 0), 4, 90*ms)...), 260 * ms, "0-3 x 5-9"},
		{"when two are, the delay grows", say(with(every(10, 0), 4, 90*ms, 80*ms)...), 280 * ms, "0-3 x*3 6-9"},
		{"every packet twice", join(say(every(10, 0)...), say(every(10, 5*ms)...)), 260 * ms, "0-9"},
		{"the first twice, after it was played", join(say(every(10, 0)...), say(70*ms)), 260 * ms, "0-9"},
		{"sequence and timestamp wrap", shift(say(every(10, 0)...), func(k *packet) {
			k.seq += 65531
			k.ts -= 3 * 960
		}), 260 * ms, "0-9"},
		{"silence not sent is not lost", dtx(say(every(12, 0)...), 4, 6), 300 * ms, "0-3 .*2 6-11"},
		{"silence and loss together are loss", dtx(say(with(every(12, 0), 4, -1)...), 4, 5), 300 * ms, "0-3 x*2 6-11"},
		{"a stall is made up for by waiting", say(with(every(12, 0), 5, 100*ms, 80*ms, 60*ms, 40*ms, 20*ms)...), 340 * ms, "0-4 x*2 5-11"},
		{"a sender that starts again", join(say(every(5, 0)...), shift(say(every(8, 0)...), func(k *packet) {
			k.at += 100 * ms
			k.seq += 30000
			k.ts += 1 << 30
			k.p = speech(int(k.p[2]) + 100)
		})), 320 * ms, "0-2 -*3 101-107"},
		{"another SSRC with the same numbers", join(say(every(5, 0)...), shift(say(every(8, 0)...), func(k *packet) {
			k.at += 100 * ms
			k.ssrc = 2
			k.p = speech(int(k.p[2]) + 100)
		})), 320 * ms, "0-2 -*3 101-107"},
		{"one stray packet changes nothing", join(say(every(10, 0)...), []packet{{90 * ms, 40000, 5, 1, speech(99)}}), 260 * ms, "0-9"},
		{"a timestamp that goes back is stray too", join(say(every(4, 0)...), []packet{{70 * ms, 4, 100, 1, speech(99)}}, shift(say(every(6, 0)...)[4:], func(k *packet) { k.seq++ })), 180 * ms, "0-5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPlayout(PlayoutConfig{Target: 60 * ms})
			if got := listen(t, p, tt.packets, tt.end); got != tt.want {
				t.Errorf("heard %s\nwant  %s\n%+v", got, tt.want, p.Stats(start.Add(tt.end)))
			}
		})
	}
}
