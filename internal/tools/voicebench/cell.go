// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/media/libopus"
	"github.com/p2pos/p2pos/media/ogg"
	"github.com/p2pos/p2pos/media/voice"
)

// rival is one way to carry a voice.
type rival int

const (
	rivalOurs rival = iota
	rivalTuned
	rivalPion
	rivals
)

func (r rival) String() string {
	return [...]string{"P2P OS", "Opus+FEC, pion buffer of 100 ms", "Opus+FEC, pion buffer as it comes (1 s)"}[r]
}

// tuned is the start of pion's buffer in packets that makes 100 ms, the delay
// ours may have on a bad net.
const tuned = 5

func (r rival) line(first bool, n network) (line, error) {
	switch r {
	case rivalTuned:
		return newPlain(first, tuned, n.loss)
	case rivalPion:
		return newPlain(first, 0, n.loss)
	}
	return newOurs(first)
}

// cell is one network of the matrix.
type cell struct {
	network
	name string
}

// roundTrip is twice the way, the usual number.
func (c cell) roundTrip() time.Duration { return 2 * c.oneWay }

func (c cell) String() string {
	s := fmt.Sprintf("loss %2.0f %%", 100*c.loss)
	if c.burst > 1 {
		s += fmt.Sprintf(" in bursts of %.0f", c.burst)
	}
	s += fmt.Sprintf(", jitter %v, round trip %v", c.jitter, c.roundTrip())
	if c.rate > 0 {
		s += fmt.Sprintf(", %d kbit/s with a queue of %v", c.rate/1000, c.queue)
	}
	return s
}

// seed gives each cell its own chances, the same in every run and for every
// rival.
func (c cell) seed() uint64 {
	h := fnv.New64a()
	io.WriteString(h, c.String())
	return h.Sum64()
}

// each does n things, as many at once as there are processors, and returns what
// came of them in order.
func each[T any](n int, f func(i int) (T, error)) ([]T, error) {
	out, errs := make([]T, n), make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				out[i], errs[i] = f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return out, errors.Join(errs...)
}

// speakAll lets all rivals talk over all cells.
func (b *bench) speakAll(cells []cell) ([]row, error) {
	list, err := each(len(cells)*int(rivals), func(i int) (result, error) {
		c, r := cells[i/int(rivals)], rival(i%int(rivals))
		v, _, err := b.speak(r, c)
		if err != nil {
			err = fmt.Errorf("%v, %v: %w", r, c, err)
		}
		return v, err
	})
	rows := make([]row, len(cells))
	for i, c := range cells {
		rows[i] = row{cell: c, results: [rivals]result(list[i*int(rivals):])}
	}
	return rows, err
}

// row is a cell and what came of it for each rival.
type row struct {
	cell
	results [rivals]result
}

// bench has the speech.
type bench struct {
	voices   [2][]int16
	length   time.Duration
	promises []promise
}

// loop is a Source of sound again and again.
type loop struct {
	pcm []int16
	at  int
}

func (l *loop) ReadPCM(pcm []int16) (int, error) {
	for i := range pcm {
		pcm[i] = l.pcm[l.at]
		l.at = (l.at + 1) % len(l.pcm)
	}
	return len(pcm), nil
}

// newBench decodes the committed speech below dir.
func newBench(dir string, length time.Duration) (*bench, error) {
	b := &bench{length: length}
	for i, name := range []string{"speech-a.ogg", "speech-b.ogg"} {
		pcm, err := decode(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		b.voices[i] = pcm
	}
	return b, nil
}

func decode(name string) ([]int16, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := ogg.NewReader(f)
	if err != nil {
		return nil, err
	}
	dec, err := libopus.NewDecoder(1)
	if err != nil {
		return nil, err
	}
	var all []int16
	pcm := make([]int16, libopus.MaxSamples)
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		n, err := dec.Decode(p, pcm)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, pcm[:n]...)
	}
}

// pair puts two persons at lines of a kind.
func (b *bench) pair(r rival, c cell, voices [2]voice.Source, length time.Duration) (p [2]*person, err error) {
	for i := range p {
		l, err := r.line(i == 0, c.network)
		if err != nil {
			return p, err
		}
		p[i] = newPerson(l, voices[i], start, length)
	}
	// Sound cards are not in step: the second one's pieces end 3.7 ms later.
	p[1].due = p[1].due.Add(3700 * time.Microsecond)
	return p, nil
}

// speak lets both talk over a cell, and rates both directions together.
func (b *bench) speak(r rival, c cell) (result, [2]*person, error) {
	return b.speakBeside(r, c, nil)
}

// speakBeside is speak with something else going on in the network.
func (b *bench) speakBeside(r rival, c cell, script func(w *simnet.World, near, far *simnet.Host)) (result, [2]*person, error) {
	p, err := b.pair(r, c, [2]voice.Source{&loop{pcm: b.voices[0]}, &loop{pcm: b.voices[1]}}, b.length)
	if err != nil {
		return result{}, p, err
	}
	if err := call(c.seed(), c.network, p[0], p[1], b.length, script); err != nil {
		return result{}, p, err
	}
	forth, err := rate(p[0], p[1], b.length)
	if err != nil {
		return result{}, p, err
	}
	back, err := rate(p[1], p[0], b.length)
	return mean(forth, back), p, err
}

// heard is what became of the chirps of one cell and rival.
type heard struct {
	delay       time.Duration // median
	found, said int
}

func (h heard) String() string {
	switch {
	case h.found == 0:
		return "-"
	case h.found < h.said:
		return fmt.Sprintf("(%d of %d found) %d ms", h.found, h.said, h.delay.Milliseconds())
	}
	return fmt.Sprintf("%d ms", h.delay.Milliseconds())
}

// chirp measures mouth to ear over a cell, both directions together.
func (b *bench) chirp(r rival, c cell) (heard, error) {
	p, err := b.pair(r, c, [2]voice.Source{&voice.Chirp{}, &voice.Chirp{}}, b.length)
	if err != nil {
		return heard{}, err
	}
	if err := call(c.seed(), c.network, p[0], p[1], b.length, nil); err != nil {
		return heard{}, err
	}
	there, possible := chirps(p[1], b.length)
	back, also := chirps(p[0], b.length)
	d := append(there, back...)
	return heard{median(d), len(d), possible + also}, nil
}
