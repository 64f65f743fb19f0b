// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media/voice"
)

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
func (b *bench) losses(w io.Writer) ([]row, error) {
	fmt.Fprintf(w, "Speech over a path of 50 ms round trip with 20 ms of jitter, both directions, %v each.\n", b.length)
	fmt.Fprintln(w, "ESTOI: 1 = every word as it was said. MOS: E-model of concealment and delay as measured here;")
	fmt.Fprintln(w, "live: the same as the call itself tells. concealed: heard, but said by nobody.")
	fmt.Fprintln(w)
	fmt.Fprintf(w, "%-20s %-40s %6s %5s %5s %10s %14s %7s\n", "loss", "", "ESTOI", "MOS", "live", "concealed", "mouth to ear", "kbit/s")
	rows, err := b.speakAll(lossCells())
	if err != nil {
		return nil, err
	}
	for _, x := range rows {
		name := x.name
		for r, v := range x.results {
			live := "-"
			if v.live > 0 {
				live = fmt.Sprintf("%.2f", v.live)
			}
			fmt.Fprintf(w, "%-20s %-40v %6.3f %5.2f %5s %8.1f %% %11d ms %7.0f\n", name, rival(r), v.estoi, v.mos, live, 100*v.concealed, v.delay.Milliseconds(), v.rate/1000)
			name = ""
		}
	}
	fmt.Fprintln(w)
	for i, least := range []float64{4.3, 4.2, 4.0, 3.7, 3.6} {
		v := rows[i].results[rivalOurs]
		b.promise(rows[i].name+": MOS", fmt.Sprintf("≥ %.1f", least), fmt.Sprintf("%.2f", v.mos), v.mos >= least)
	}
	bursts := rows[4].results[rivalOurs]
	b.promise(rows[4].name+": concealed", "≤ 5 %", fmt.Sprintf("%.1f %%", 100*bursts.concealed), bursts.concealed <= 0.05)
	return rows, nil
}

// delays is mouth to ear by chirps.
func (b *bench) delays(w io.Writer) error {
	cells := []cell{
		{name: "0 ms, clean"},
		{network: network{oneWay: 25 * ms}, name: "25 ms, clean"},
		{network: network{oneWay: 50 * ms, jitter: 20 * ms}, name: "50 ms, jitter 20 ms"},
		{network: network{oneWay: 50 * ms, jitter: 60 * ms}, name: "50 ms, jitter 60 ms"},
		{network: network{oneWay: 50 * ms, jitter: 20 * ms, loss: 0.2}, name: "50 ms, jitter 20 ms, loss 20 %"},
	}
	list, err := each(len(cells)*int(rivals), func(i int) (heard, error) {
		return b.chirp(rival(i%int(rivals)), cells[i/int(rivals)])
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "Mouth to ear: chirps, found by cross-correlation in what is heard (median).")
	fmt.Fprintln(w)
	columns := [rivals]int{24, 34, 42}
	fmt.Fprintf(w, "%-32s", "one way")
	for r, n := range columns {
		fmt.Fprintf(w, "%*v", n, rival(r))
	}
	fmt.Fprintln(w)
	for i, c := range cells {
		fmt.Fprintf(w, "%-32s", c.name)
		for r, n := range columns {
			fmt.Fprintf(w, "%*v", n, list[i*int(rivals)+r])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	for i, most := range []time.Duration{60 * ms, 60*ms + cells[1].oneWay, 150 * ms} {
		h := list[i*int(rivals)]
		b.promise("mouth to ear, one way "+cells[i].name, fmt.Sprintf("≤ %d ms", most.Milliseconds()), h.String(), h.found > 0 && h.delay <= most)
	}
	return nil
}

// thin is a call on links that carry hardly more than itself.
func (b *bench) thin(w io.Writer) error {
	var cells []cell
	for _, kbit := range []int{64, 32, 24} {
		cells = append(cells, cell{network: network{oneWay: 25 * ms, rate: kbit * 1000, queue: 300 * ms}, name: fmt.Sprintf("%d kbit/s", kbit)})
	}
	rows, err := b.speakAll(cells)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "Thin links with a queue of 300 ms in front of them, 25 ms one way.")
	fmt.Fprintln(w)
	fmt.Fprintf(w, "%-12s %-40s %6s %10s %14s %12s %7s\n", "link", "", "ESTOI", "concealed", "mouth to ear", "95 % below", "kbit/s")
	for _, x := range rows {
		name := x.name
		for r, v := range x.results {
			fmt.Fprintf(w, "%-12s %-40v %6.3f %8.1f %% %11d ms %9d ms %7.0f\n", name, rival(r), v.estoi, 100*v.concealed, v.delay.Milliseconds(), v.worst.Milliseconds(), v.rate/1000)
			name = ""
		}
	}
	fmt.Fprintln(w)
	for _, x := range rows[1:] {
		v := x.results[rivalOurs]
		b.promise(x.name+" with a queue of 300 ms: delay", "< 400 ms", fmt.Sprintf("%d ms", v.delay.Milliseconds()), v.delay < 400*ms)
		b.promise(x.name+": intelligible (ESTOI)", fmt.Sprintf("≥ %.1f", understood), fmt.Sprintf("%.3f", v.estoi), v.estoi >= understood)
	}
	return nil
}

// understood is about the score that the same speech has under white noise 10 dB
// below it, through which everybody understands every word.
const understood = 0.8

// beside is a call while somebody sends a file by TCP over the same link.
func (b *bench) beside(w io.Writer) error {
	fmt.Fprintln(w, "Beside an upload by TCP over the same link, 25 ms one way, a queue of 200 ms.")
	fmt.Fprintln(w)
	fmt.Fprintf(w, "%-12s %-40s %6s %10s %14s %7s %14s %10s\n", "link", "", "ESTOI", "concealed", "mouth to ear", "kbit/s", "TCP, kbit/s", "both")
	for _, kbit := range []int{1000, 256} {
		c := cell{network: network{oneWay: 25 * ms, rate: kbit * 1000, queue: 200 * ms}, name: fmt.Sprintf("%d kbit/s", kbit)}
		for r := range rivalPion {
			var up *upload
			v, p, err := b.speakBeside(r, c, func(world *simnet.World, near, far *simnet.Host) {
				up = newUpload(world.Now())
				up.flood(near, far)
			})
			if err != nil {
				return err
			}
			seconds := (b.length + tail).Seconds()
			tcp := float64(up.delivered) * (segment + header) * 8 / seconds
			voice := float64(p[0].bytes) * 8 / seconds
			both := (tcp + voice) / float64(kbit*1000)
			fmt.Fprintf(w, "%-12s %-40v %6.3f %8.1f %% %11d ms %7.0f %14.0f %8.0f %%\n", c.name, r, v.estoi, 100*v.concealed, v.delay.Milliseconds(), voice/1000, tcp/1000, 100*both)
			if r == rivalOurs {
				fair := float64(kbit*1000) / 2
				b.promise(c.name+" beside TCP: the call's share", "≤ half", fmt.Sprintf("%.0f %%", 100*voice/float64(kbit*1000)), voice <= fair)
				b.promise(c.name+" beside TCP: TCP's share of the rest", "≥ 85 %", fmt.Sprintf("%.0f %%", 100*tcp/(float64(kbit*1000)-voice)), tcp >= 0.85*(float64(kbit*1000)-voice))
			}
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
	err = call(c.seed(), c.network, p[0], p[1], length, func(world *simnet.World, h, _ *simnet.Host) {
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
	b.promise("after a freeze of 500 ms: delay is back", "≤ 2 s", back.String(), back <= 2*time.Second)
	return nil
}

// drift is an hour with a sound card that runs fast or slow at one end.
func (b *bench) drift(w io.Writer) error {
	clocks := []float64{100, -100, 200, -200}
	type delays struct{ first, last time.Duration }
	list, err := each(len(clocks), func(i int) (delays, error) {
		first, last, err := b.drifting(clocks[i], time.Hour)
		return delays{first, last}, err
	})
	if err != nil {
		return err
	}
	for i, d := range list {
		fmt.Fprintf(w, "An hour at %+.0f ppm: mouth to ear %v in the first minute, %v in the last.\n", clocks[i], d.first.Round(ms), d.last.Round(ms))
		off := (d.last - d.first).Abs()
		b.promise(fmt.Sprintf("an hour at %+.0f ppm: delay moved", clocks[i]), "≤ 20 ms", off.Round(ms).String(), off <= 20*ms)
	}
	fmt.Fprintln(w)
	return nil
}

// drifting returns mouth to ear in the first minute and in the last one of a call
// at one end of which a clock is off.
func (b *bench) drifting(ppm float64, length time.Duration) (first, last time.Duration, err error) {
	c := cell{network: network{oneWay: 25 * ms, jitter: 20 * ms}, name: "drift"}
	p, err := b.pair(rivalOurs, c, [2]voice.Source{&voice.Chirp{}, voice.Silence{}}, length)
	if err != nil {
		return 0, 0, err
	}
	p[1].period = time.Duration(float64(piece) * (1 - ppm/1e6))
	if err := call(c.seed(), c.network, p[0], p[1], length, nil); err != nil {
		return 0, 0, err
	}
	d, said := chirps(p[1], length)
	if len(d) < said*9/10 || said < 70 {
		return 0, 0, fmt.Errorf("drift: only %d of %d chirps were heard", len(d), said)
	}
	return median(d[5:35]), median(d[len(d)-30:]), nil
}

// matrix is everything: loss × jitter × round trip × rate, in calls a third as
// long as those of the main table, since there are many.
func (b *bench) matrix(w io.Writer) error {
	short := *b
	short.length /= 3
	var cells []cell
	add := func(n network) {
		for _, l := range lossCells() {
			n.loss, n.burst = l.loss, l.burst
			cells = append(cells, cell{network: n})
		}
	}
	for _, oneWay := range []time.Duration{10 * ms, 75 * ms, 150 * ms} {
		for _, jitter := range []time.Duration{0, 20 * ms, 60 * ms} {
			add(network{oneWay: oneWay, jitter: jitter})
		}
	}
	for _, rate := range []int{48000, 96000} {
		add(network{oneWay: 25 * ms, jitter: 20 * ms, rate: rate, queue: 300 * ms})
	}
	rows, err := short.speakAll(cells)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "The whole matrix, %v each: ESTOI, MOS, mouth to ear of %v | %v | %v.\n\n", short.length, rivalOurs, rivalTuned, rivalPion)
	for _, x := range rows {
		fmt.Fprintf(w, "%-96v", x.cell)
		for _, v := range x.results {
			fmt.Fprintf(w, " | %.3f %.2f %4d ms", v.estoi, v.mos, v.delay.Milliseconds())
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	return nil
}
