// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package drive runs pure protocol machines. A Loop owns one machine and is
// the only goroutine that touches it, so the machine needs no lock and sees
// its inputs in one order. The loop also is where the machine gets its clock.
//
//	l := drive.New(machine, drain)
//	l.Post(func(now time.Time) { machine.Receive(now, datagram) }) // from a socket reader
//	err := l.Do(ctx, func(now time.Time) { n = machine.Len() })    // from anywhere else
//	l.Close()
//
// Post, Do, Dropped and Close may be called from any goroutine; Do and Close
// not from the loop itself (from an input, the machine or drain), where they
// would wait for themselves.
package drive

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// QueueLen bounds the inputs that wait for the loop: 80 ms of a 100 Mbit/s
// flood of 1,200-byte datagrams, and 8 KiB for an idle loop.
const QueueLen = 1024

// maxAdvance bounds how often a machine is advanced in a row before the loop
// looks at its inputs again. A machine may need one call for each rule that is
// due at the same moment; none has this many.
const maxAdvance = 64

// minWait is how long the loop leaves a machine alone whose deadline is still
// due after maxAdvance calls. Without it such a machine would take a core,
// and would stop the clock of a testing/synctest bubble.
const minWait = time.Millisecond

// Machine is what a loop needs from a pure machine.
type Machine interface {
	// Advance tells the machine that it is now at least now. Calling it early
	// is harmless.
	Advance(now time.Time)
	// Deadline returns when Advance wants to be called next; zero means never.
	Deadline() time.Time
}

// Loop runs one machine on one goroutine.
type Loop struct {
	machine Machine
	drain   func(now time.Time)

	inputs  chan func(now time.Time) // capacity QueueLen; Post drops when full, Do waits; never closed
	stop    chan struct{}            // closed by Close
	stopped chan struct{}            // closed by the loop as its last act
	once    sync.Once
	dropped atomic.Uint64
}

// New starts the loop of m. It calls drain on the loop's goroutine after every
// input and every Advance: drain polls datagrams and events out of the
// machine. A machine that has something to say at its birth is drained after
// its first input or deadline. Time given to one machine never goes backwards.
//
// The loop may call drain before New has returned: a drain that uses the Loop
// itself must wait for it to be assigned.
func New(m Machine, drain func(now time.Time)) *Loop {
	l := &Loop{
		machine: m,
		drain:   drain,
		inputs:  make(chan func(time.Time), QueueLen),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go l.run()
	return l
}

// Post queues f and returns at once. It returns false, and f never runs, when
// the loop is closed or QueueLen inputs wait already. An input that was queued
// when Close began may not run either.
func (l *Loop) Post(f func(now time.Time)) bool {
	if l.closing() {
		return false
	}
	select {
	case l.inputs <- f:
		return true
	default:
		l.dropped.Add(1)
		return false
	}
}

// The life of one Do: whoever moves it out of waiting decides whether f runs.
const (
	waiting int32 = iota
	running
	abandoned
)

// Do queues f, waits for room when the queue is full, and returns once f has
// run. It returns the context's error when ctx ended first, and net.ErrClosed
// when the loop closed first; in both cases f has not run and never will.
func (l *Loop) Do(ctx context.Context, f func(now time.Time)) error {
	if l.closing() {
		return net.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var state atomic.Int32
	done := make(chan struct{})
	input := func(now time.Time) {
		if !state.CompareAndSwap(waiting, running) {
			return
		}
		f(now)
		close(done)
	}

	var failed error
	select {
	case l.inputs <- input:
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			failed = ctx.Err()
		case <-l.stopped:
			failed = net.ErrClosed
		}
	case <-ctx.Done():
		return ctx.Err()
	case <-l.stop:
		return net.ErrClosed
	}
	if state.CompareAndSwap(waiting, abandoned) {
		return failed
	}
	<-done // f has begun: report what is true
	return nil
}

// Dropped returns how many inputs Post refused because the queue was full.
func (l *Loop) Dropped() uint64 { return l.dropped.Load() }

// Close stops the loop and waits until it has ended; the machine may then be
// used by the caller. Inputs that still wait do not run, and pending calls of
// Do return net.ErrClosed. It is safe to call twice.
func (l *Loop) Close() {
	l.once.Do(func() { close(l.stop) })
	<-l.stopped
}

func (l *Loop) closing() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l *Loop) run() {
	defer close(l.stopped)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var set time.Time // what the timer is set to; zero = nothing
	now := time.Now()
	for {
		due := l.advance(now)
		if !due.Equal(set) {
			// Resetting drops a tick that has not been received yet (Go 1.23).
			if due.IsZero() {
				timer.Stop()
			} else {
				timer.Reset(due.Sub(now))
			}
			set = due
		}
		select {
		case f := <-l.inputs:
			if l.closing() {
				return
			}
			now = time.Now()
			f(now)
			l.drain(now)
		case <-timer.C:
			now, set = time.Now(), time.Time{}
		case <-l.stop:
			return
		}
	}
}

// advance runs the machine for as long as it is due and returns when to look
// again, zero for never.
func (l *Loop) advance(now time.Time) time.Time {
	for range maxAdvance {
		d := l.machine.Deadline()
		if d.IsZero() || now.Before(d) {
			return d
		}
		l.machine.Advance(now)
		l.drain(now)
	}
	return now.Add(minWait)
}
