// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package sock

import (
	"sync"
	"time"
)

// deadline is a point in time that can be waited for and moved, also while
// somebody waits.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	serial int           // of the latest set: a timer of an earlier one is void
	passed chan struct{} // never nil; closed when the time has come
}

// wait returns a channel that is closed when the deadline has passed. Whoever
// waits on it notices a deadline that is moved.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// set moves the deadline; zero means never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.serial++
	over := isClosed(d.passed)
	if t.IsZero() {
		if over {
			d.passed = make(chan struct{})
		}
		return
	}
	left := time.Until(t)
	if left <= 0 {
		if !over {
			close(d.passed)
		}
		return
	}
	if over {
		d.passed = make(chan struct{})
	}
	serial := d.serial
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.serial == serial {
			close(d.passed)
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
