// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"maps"
	"sync"
	"time"

	"github.com/p2pos/p2pos/media"
	"github.com/p2pos/p2pos/metric"
)

// tally counts what became of calls. It names nobody: its labels are words of
// this library, so it can't grow.
type tally struct {
	mu       sync.Mutex // guards what follows
	ended    map[outcome]uint64
	missed   uint64
	warnings map[string]uint64
	texts    map[string]uint64    // what happened to them
	files    map[[2]string]uint64 // ended transfers by direction and state

	ring, first, talked       metric.Buckets // seconds
	mos, loss, rtt, concealed metric.Buckets // of a second of a call each
}

// outcome is how a call ended, in labels.
type outcome struct{ direction, stage, reason string }

// newTally returns the counts of a node that has just started. Bounds are where
// people notice something: a ring within a few hundred milliseconds, MOS by half
// points, loss as voice bears it.
func newTally() *tally {
	return &tally{
		ended:     make(map[outcome]uint64),
		warnings:  map[string]uint64{"high-rtt": 0, "high-jitter": 0, "high-loss": 0, "low-mos": 0}, // a rate needs the 0 before the 1
		texts:     map[string]uint64{"received": 0, "stored": 0, "delivered": 0, "read": 0},
		files:     make(map[[2]string]uint64),
		ring:      metric.NewBuckets(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
		first:     metric.NewBuckets(0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
		talked:    metric.NewBuckets(1, 10, 60, 300, 900, 3600, 4*3600),
		mos:       metric.NewBuckets(1.5, 2, 2.5, 3, 3.5, 4, 4.3),
		loss:      metric.NewBuckets(0, 0.01, 0.03, 0.05, 0.1, 0.2, 0.5),
		rtt:       metric.NewBuckets(0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8),
		concealed: metric.NewBuckets(0, 0.01, 0.03, 0.05, 0.1, 0.2, 0.5),
	}
}

func directionOf(c *Call) string {
	if c.Incoming() {
		return "incoming"
	}
	return "outgoing"
}

// note counts an event. now is the time of the event. Those of calls come from
// the pump alone.
func (t *tally) note(e Event, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := e.(type) {
	case CallRinging:
		t.ring.Observe(e.RTT.Seconds())
	case CallAnswered:
		e.Call.answeredAt = now
	case CallMedia:
		if at := e.Call.answeredAt; !at.IsZero() {
			t.first.Observe(now.Sub(at).Seconds())
		}
	case CallQuality:
		for _, w := range []media.Warning{media.HighRTT, media.HighJitter, media.HighLoss, media.LowMOS} {
			if e.Began&w != 0 {
				t.warnings[w.String()]++
			}
		}
	case CallEnded:
		stage, reason, talked := e.Call.End()
		t.ended[outcome{directionOf(e.Call), stage, reason}]++
		if talked > 0 {
			t.talked.Observe(talked.Seconds())
		}
		t.quality(e.Call)
	case CallMissed:
		t.missed++
	case Message:
		if !e.Ours {
			t.texts["received"]++
		}
	case MessageStored:
		t.texts["stored"]++
	case MessageDelivered:
		t.texts["delivered"]++
	case MessageRead:
		t.texts["read"]++
	case FileEvent:
		if e.State == FileComplete || e.State == FileFailed {
			direction := "outgoing"
			if e.Transfer.Incoming() {
				direction = "incoming"
			}
			t.files[[2]string{direction, string(e.State)}]++
		}
	}
}

// quality takes the last minute of a call, a second at a time.
func (t *tally) quality(c *Call) {
	samples, _ := c.Quality()
	for i := range samples {
		s := &samples[i]
		t.mos.Observe(s.MOS)
		t.loss.Observe(s.Loss)
		t.concealed.Observe(s.Concealed)
		if s.RTT > 0 {
			t.rtt.Observe(s.RTT.Seconds())
		}
	}
}

// copy returns the numbers as they are now.
func (t *tally) copy() *tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &tally{
		ended: maps.Clone(t.ended), missed: t.missed, warnings: maps.Clone(t.warnings),
		texts: maps.Clone(t.texts), files: maps.Clone(t.files),
		ring: t.ring.Clone(), first: t.first.Clone(), talked: t.talked.Clone(),
		mos: t.mos.Clone(), loss: t.loss.Clone(), rtt: t.rtt.Clone(), concealed: t.concealed.Clone(),
	}
}
