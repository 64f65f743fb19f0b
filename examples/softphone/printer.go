// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

const (
	// maxLines is how many lines may wait for whoever reads our output. It is
	// hours of an ordinary phone; a reader so far behind is gone.
	maxLines = 1024
	// maxStats is how many may wait before we leave out the once-a-second
	// statistics: nobody misses old ones.
	maxStats = 64
)

var errNobodyReads = errors.New("nobody reads the output")

// printer writes events from a goroutine of its own, so that a slow reader
// holds up nobody.
type printer struct {
	json  bool
	start time.Time
	lines chan []byte   // of the caller of emit; closed by close
	done  chan struct{} // closed when everything is written, or writing failed
	err   error         // why it failed; valid after done
}

func newPrinter(w io.Writer, json bool, start time.Time) *printer {
	p := &printer{json: json, start: start, lines: make(chan []byte, maxLines), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for b := range p.lines {
			if _, err := w.Write(b); err != nil {
				p.err = err
				return
			}
		}
	}()
	return p
}

// emit queues an event; it never blocks. It reports errNobodyReads when the
// queue is full.
func (p *printer) emit(e event) error {
	if _, ok := e.(statsEvent); ok && len(p.lines) > maxStats {
		return nil
	}
	t := time.Since(p.start)
	var b []byte
	if p.json {
		b = encode(e, t)
	} else if s := e.text(); s != "" {
		b = fmt.Appendf(nil, "%8.3f  %s\n", t.Seconds(), s)
	} else {
		return nil
	}
	select {
	case p.lines <- b:
		return nil
	default:
		return errNobodyReads
	}
}

// encode returns an event as one line of JSON with ev and t in front.
func encode(e event, t time.Duration) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // two relays in a row are "a>b"
	if err := enc.Encode(e); err != nil {
		panic(err) // an event type of ours that cannot be encoded
	}
	line := fmt.Appendf(nil, `{"ev":%q,"t":%.3f`, e.name(), t.Seconds())
	body := buf.Bytes()[1:]
	if body[0] != '}' {
		line = append(line, ',')
	}
	return append(line, body...)
}

// close waits for what is queued to be written, but not for a reader that is
// stuck. It returns the error of writing.
func (p *printer) close(patience time.Duration) error {
	close(p.lines)
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		return errNobodyReads
	}
}

// millis gives milliseconds with three decimals, as all fields in _ms.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// seconds gives seconds with three decimals.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// round keeps n decimals.
func round(v float64, n int) float64 {
	f := math.Pow10(n)
	return math.Round(v*f) / f
}
