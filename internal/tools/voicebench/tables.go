// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media/voice"
)

// row is a cell and what came of it for each rival.
type row struct {
	cell
	results [rivals]result
}

const ms = time.Millisecond

// lossCells are the networks of the main table: an ordinary path, and more and
// more of it lost.
func lossCells() (list []cell) {
	for _, loss := range []float64{0, 0.1, 0.2, 0.3} {
		list = append(list, cell{network: network{loss: loss, jitter: 20 * ms, oneWay: 25 * ms}, name: fmt.Sprintf("%.0f %% random", 100*loss)})
	}
	return append(list, cell{network: network{loss: 0.2, burst: 3, jitter: 20 * ms, oneWay: 25 * ms}, name: "20 % in bursts of 3"})
}

// losses is the main table.
func (b *bench) losses(w io.Writer) (rows []row, err error) {
	fmt.Fprintf(w, "Speech over a path of 50 ms round trip with 20 ms of jitter, both directions, %v each.\n", b.length)
	fmt.Fprintln(w, "ESTOI: 1 = every word as it was said. MOS: E-model, 1 to 4.5. concealed: heard, but said by nobody.")
	fmt.Fprintln(w)
	fmt.Fprintf(w, "%-20s %-40s %6s %5s %10s %14s %7s\n", "loss", "", "ESTOI", "MOS", "concealed", "mouth to ear", "kbit/s")
	for _, c := range lossCells() {
		x := row{cell: c}
		for r := range rivals {
			if x.results[r], _, err = b.speak(r, c); err != nil {
				return nil, fmt.Errorf("%v, %v: %w", r, c, err)
			}
			name := ""
			if r == 0 {
				name = c.name
			}
			v := x.results[r]
			fmt.Fprintf(w, "%-20s %-40v %6.3f %5.2f %8.1f %% %9d ms %9.0f\n", name, r, v.estoi, v.mos, 100*v.concealed, v.delay.Milliseconds(), v.rate/1000)
		}
		rows = append(rows, x)
	}
	fmt.Fprintln(w)
	return rows, nil
}

// delays is mouth to ear by chirps.
func (b *bench) delays(w io.Writer) error {
	fmt.Fprintln(w, "Mouth to ear: chirps said, found by cross-correlation in what is heard (median).")
	fmt.Fprintln(w)
	fmt.Fprintf(w, "%-34s %10s %32s %40s\n", "one way", rivalOurs, rivalTuned, rivalPion)
	for _, c := range []cell{
		{name: "0 ms, clean"},
		{network: network{oneWay: 25 * ms}, name: "25 ms, clean"},
		{network: network{oneWay: 50 * ms, jitter: 20 * ms}, name: "50 ms, jitter 20 ms"},
		{network: network{oneWay: 50 * ms, jitter: 60 * ms}, name: "50 ms, jitter 60 ms"},
		{network: network{oneWay: 50 * ms, jitter: 20 * ms, loss: 0.2}, name: "50 ms, jitter 20 ms, loss 20 %"},
	} {
		fmt.Fprintf(w, "%-34s", c.name)
		for r := range rivals {
			d, heard, said, err := b.chirp(r, c)
			if err != nil {
				return err
			}
			cols := [rivals]int{10, 32, 40}
			text := fmt.Sprintf("%d ms", d.Milliseconds())
			if heard == 0 {
				text = "-"
			} else if heard < said {
				text = fmt.Sprintf("(%d of %d heard) %s", heard, said, text)
			}
			fmt.Fprintf(w, " %*s", cols[r], text)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	return nil
}

// thin is a call on links that carry hardly more than itself.
func (b *bench) thin(w io.Writer) error {
	fmt.Fprintln(w, "Thin links with a queue of 300 ms in front of them, 25 ms one way.")
	fmt.Fprintln(w)
	fmt.Fprintf(w, "%-12s %-40s %6s %10s %14s %12s %7s\n", "link", "", "ESTOI", "concealed", "mouth to ear", "95 % below", "kbit/s")
	for _, kbit := range []int{64, 32, 24} {
		c := cell{network: network{oneWay: 25 * ms, rate: kbit * 1000, queue: 300 * ms}, name: fmt.Sprintf("%d kbit/s", kbit)}
		for r := range rivals {
			v, _, err := b.speak(r, c)
			if err != nil {
				return err
			}
			name := ""
			if r == 0 {
				name = c.name
			}
			fmt.Fprintf(w, "%-12s %-40v %6.3f %8.1f %% %11d ms %9d ms %7.0f\n", name, r, v.estoi, 100*v.concealed, v.delay.Milliseconds(), v.worst.Milliseconds(), v.rate/1000)
		}
	}
	fmt.Fprintln(w)
	return nil
}

// freeze stops the network for half a second and sees how long the delay needs
// to come back.
func (b *bench) freeze(w io.Writer) error {
	const at, stop, length = 10 * time.Second, 500 * ms, 30 * time.Second
	c := cell{network: network{oneWay: 25 * ms, jitter: 5 * ms}, name: "freeze"}
	p, err := b.pair(rivalOurs, c, [2]voice.Source{&loop{pcm: b.voices[0]}, &loop{pcm: b.voices[1]}}, length)
	if err != nil {
		return err
	}
	type mark struct {
		at    time.Duration
		delay time.Duration
	}
	var marks []mark
	err = call(c.seed(), c.network, p[0], p[1], length, func(world *simnet.World, h *simnet.Host) {
		// What is sent while the network stands still arrives when it goes on.
		for t := time.Duration(0); t <= stop; t += ms {
			prof := c.profile()
			if t < stop {
				prof.Delay, prof.Jitter = c.oneWay+stop-t, 0
			}
			world.At(start.Add(at+t), func() { h.SetProfile(prof) })
		}
		for t := 5 * time.Second; t < length; t += 20 * ms {
			world.At(start.Add(t), func() {
				o := p[1].line.(*ours)
				s := o.play.Stats(world.Now())
				marks = append(marks, mark{t, s.Buffer})
			})
		}
	})
	if err != nil {
		return err
	}
	var usual time.Duration
	n := 0
	for _, m := range marks {
		if m.at < at {
			usual += m.delay
			n++
		}
	}
	usual /= time.Duration(n)
	var peak, back time.Duration
	for _, m := range marks {
		if m.at >= at+stop {
			peak = max(peak, m.delay)
			if m.delay > usual+40*ms {
				back = m.at - at - stop + 20*ms
			}
		}
	}
	fmt.Fprintf(w, "Freeze of %v: the buffer held %v before, up to %v after it, and was back within 40 ms after %v.\n\n", stop, usual.Round(ms), peak.Round(ms), back)
	return nil
}

// drift is an hour with a sound card that runs 100 ppm fast at one end.
func (b *bench) drift(w io.Writer) error {
	const length = time.Hour
	for _, ppm := range []float64{100, -100} {
		c := cell{network: network{oneWay: 25 * ms, jitter: 20 * ms}, name: "drift"}
		p, err := b.pair(rivalOurs, c, [2]voice.Source{&voice.Chirp{}, voice.Silence{}}, length)
		if err != nil {
			return err
		}
		p[1].period = time.Duration(float64(piece) * (1 - ppm/1e6))
		if err := call(c.seed(), c.network, p[0], p[1], length, nil); err != nil {
			return err
		}
		d := chirps(p[1], length)
		if len(d) < 120 {
			return fmt.Errorf("drift: only %d chirps were heard in an hour", len(d))
		}
		first, last := median(d[5:35]), median(d[len(d)-30:])
		fmt.Fprintf(w, "An hour at %+.0f ppm: mouth to ear %v in the first minute, %v in the last.\n", ppm, first.Round(ms), last.Round(ms))
	}
	fmt.Fprintln(w)
	return nil
}

// matrix is everything: loss × jitter × round trip × rate.
func (b *bench) matrix(w io.Writer) error {
	fmt.Fprintf(w, "The whole matrix: ESTOI / MOS / mouth to ear of %v | %v | %v.\n\n", rivalOurs, rivalTuned, rivalPion)
	for _, rate := range []int{0, 48000} {
		for _, oneWay := range []time.Duration{10 * ms, 75 * ms, 150 * ms} {
			for _, jitter := range []time.Duration{0, 20 * ms, 60 * ms} {
				for _, l := range lossCells() {
					if rate > 0 && (jitter != 20*ms || oneWay != 75*ms) {
						continue // a thin link's own queue is its jitter
					}
					c := cell{network: network{loss: l.loss, burst: l.burst, jitter: jitter, oneWay: oneWay, rate: rate}}
					if rate > 0 {
						c.queue = 300 * ms
					}
					fmt.Fprintf(w, "%-88v", c)
					for r := range rivals {
						v, _, err := b.speak(r, c)
						if err != nil {
							return err
						}
						fmt.Fprintf(w, " | %.3f %.2f %4d ms", v.estoi, v.mos, v.delay.Milliseconds())
					}
					fmt.Fprintln(w)
				}
			}
		}
	}
	fmt.Fprintln(w)
	return nil
}
