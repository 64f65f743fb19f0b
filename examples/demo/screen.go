// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media"
)

// screen is where the demo tells what happens: on a terminal with a line that
// is written over five times a second, elsewhere with a new line each second.
type screen struct {
	w     io.Writer
	live  bool
	start time.Time
	width int // of the live line that stands
}

func (s *screen) every() time.Duration {
	if s.live {
		return 200 * time.Millisecond
	}
	return time.Second
}

func (s *screen) intro(o options) {
	s.start = time.Now()
	total := 0
	for _, c := range classes {
		total += c.count
	}
	fmt.Fprintf(s.w, "%d nodes in one process, on a simulated network: %.0f ms one way between any two", total, ms(oneWay))
	if o.loss > 0 {
		fmt.Fprintf(s.w, ",\n%.3g %% of the packets between a and b lost", 100*o.loss)
	}
	fmt.Fprint(s.w, ".\nEach is behind a NAT box of its own; nobody has an open address:\n")
	for i := range classes {
		c := classes[len(classes)-1-i]
		fmt.Fprintf(s.w, "  %2d %s (%s)\n", c.count, c.name, c.does)
	}
	fmt.Fprint(s.w, "The first packet has to get in somewhere: the others join by the open port of node 1.\n"+
		"Apart from that it is a node like any other.\n\n")
}

// say writes a line with the time in front.
func (s *screen) say(format string, args ...any) {
	fmt.Fprintf(s.w, "%6.2f s  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// status shows the call now.
func (s *screen) status(a, b *party) {
	path := a.call.Path()
	kind := path.Kind
	if kind == "" {
		kind = "no path"
	}
	// Below 80 columns: a longer line could not be written over on a common terminal.
	line := fmt.Sprintf("%6.2f s  talking  %s  rtt %.0f ms  loss %.0f %%  b hears %s  a hears %s",
		time.Since(s.start).Seconds(), kind, ms(path.RTT), 100*lost(a.call.Stats(), b.call.Stats()), b.meter(), a.meter())
	if !s.live {
		fmt.Fprintln(s.w, line)
		return
	}
	n := len([]rune(line))
	fmt.Fprintf(s.w, "\r%s%s", line, strings.Repeat(" ", max(0, s.width-n)))
	s.width = n
}

// done leaves the live line.
func (s *screen) done() {
	if s.live && s.width > 0 {
		fmt.Fprintln(s.w)
		s.width = 0
	}
}

// meterSteps is how many bars a meter has; each is a tenth of a second.
const meterSteps = 6

// meter draws the level of what was heard in the last moments.
func (p *party) meter() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for i := range meterSteps {
		to := len(p.level) - 5*(meterSteps-1-i)
		loud := 0.0
		for _, v := range p.level[max(0, to-5):max(0, to)] {
			loud = max(loud, v)
		}
		b.WriteRune(bar(loud))
	}
	return b.String()
}

// bar shows a level between −50 and −10 dB of full scale, in eight steps.
func bar(level float64) rune {
	db := 20 * math.Log10(max(level, 1e-6))
	return []rune("▁▂▃▄▅▆▇█")[min(7, max(0, int((db+50)/5)))]
}

// direction is one way of the call: what one said and the other heard.
type direction struct {
	speaker, listener string
	said, recorded    []int16
	from              time.Time // when the speaker began
	hears             time.Time // when the listener's recording begins
	missing           []int     // frames of the recording that were lost
	heard             heard
	stats             media.Stats // of the listener
}

func newDirection(speaker, listener *party, seconds int) (direction, error) {
	d := direction{
		speaker: speaker.name, listener: listener.name, from: speaker.speaks, hears: listener.hears,
		missing: listener.missing, stats: listener.stats,
	}
	var err error
	if d.said, err = decode(fromMemory(speaker.speech), seconds*media.ClockRate); err != nil {
		return d, err
	}
	if d.recorded, err = decode(fromFile(listener.file), 0); err != nil {
		return d, err
	}
	d.heard = compare(d.said[:len(d.said)-onTheWay], d.recorded)
	return d, nil
}

// onTheWay is how many samples nobody is asked for at the end, 400 ms: they may
// still be in the network and the playout buffer when a hangs up.
const onTheWay = media.ClockRate * 2 / 5

// delay is from the speaker's mouth to the listener's ear, without the codec.
func (d direction) delay() time.Duration { return d.hears.Add(d.heard.Lag).Sub(d.from) }

// lost is the share of packets that did not arrive.
func lost(of ...media.Stats) float64 {
	var gone, here float64
	for _, s := range of {
		gone += max(0, float64(s.PacketsLost))
		here += float64(s.PacketsReceived)
	}
	return gone / max(1, gone+here)
}

// result is everything about the call that the report and the pictures show.
type result struct {
	seconds int
	loss    float64
	a, b    marks
	path    p2pos.Path
	rtt     time.Duration
	ways    []direction
	relays  []int // places of the nodes that relayed it, in order
	net     survey
}

// after is how long after the call's beginning something was.
func (r result) after(t time.Time) time.Duration { return t.Sub(r.a.called) }

// roundTrip is what the call's packets take, there and back.
func roundTrip(p *party) time.Duration {
	if p.stats.RoundTripTime > 0 {
		return p.stats.RoundTripTime
	}
	return p.path.RTT
}

func (s *screen) report(r result, files ...string) {
	since := func(t time.Time) string { return fmt.Sprintf("%.0f ms", ms(r.after(t))) }
	row := func(name, format string, args ...any) {
		fmt.Fprintf(s.w, "  %-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(s.w)
	row("joined", "first links after %.0f to %.0f ms; %s", ms(r.net.first), ms(r.net.last), r.net.told())
	shares := r.net.shares()
	for i, c := range classes {
		name := ""
		if i == 0 {
			name = "links each"
		}
		row(name, "%s: %v", c.name, shares[i])
	}
	row("a calls b", "found after %s, rings after %s, answered after %s, first sound after %s", since(r.a.placed), since(r.a.ringing), since(r.a.answered), since(r.a.media))
	if len(r.relays) > 0 {
		row("relayed", "from the first packet, by %s", r.net.labels(r.relays))
	}
	if r.a.direct.IsZero() {
		row("direct", "never: %s", r.path.Reason)
	} else {
		row("direct", "after %s, by punching both boxes", since(r.a.direct))
	}
	row("path", "%s at the end, %v to %v, round trip %.0f ms", r.path.Kind, r.path.Local, r.path.Remote, ms(r.rtt))
	for _, d := range r.ways {
		verdict := "heard"
		if !d.heard.enough() {
			verdict = "NOT HEARD"
		}
		row(d.listener+" hears "+d.speaker, "%s: %.0f %% of the speech recognized, correlation %.3f", verdict, 100*d.heard.Share, d.heard.Correlation)
		row("", "%.1f %% lost, %.1f %% concealed, %.0f ms from mouth to ear, MOS %.1f", 100*lost(d.stats), 100*d.stats.Concealed, ms(d.delay()), d.stats.MOS)
	}
	row("written", "%s", strings.Join(files, ", "))
}
