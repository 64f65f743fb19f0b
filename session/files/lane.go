// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"time"
)

// Stream is a stream between two devices.
type Stream interface {
	io.Reader
	io.Writer
	// Abort ends both directions at once, and what reads or writes.
	Abort()
}

// Path is the way that a session's packets take.
type Path struct {
	Relayed       bool
	Local, Remote netip.AddrPort
}

// Session is a link with a device whose owner is proved.
type Session interface {
	// Open opens a stream for files.
	Open(context.Context) (Stream, error)
	Traffic() Traffic
	Path() Path
}

// lane is both directions of what a session carries for files. Its fields are
// guarded by the desk's mutex.
type lane struct {
	d      *Desk
	peer   Peer
	sess   Session
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // capacity 1: there may be something to write

	want    bool // a stream of our own
	out     Stream
	in      Stream
	reading chan struct{} // closed when the latest reader has ended
	heard   bool          // the other side has had a stream
	control []message
	outs    []*outgoing // the next in turn first
	recvs   []*Transfer

	throttle Throttle
	path     Path
	asked    bool // by the other side, to make room for a call
}

const (
	// maxControl messages that belong to no transfer may wait.
	maxControl = 256
	// reopenAfter is the pause before a stream is opened again.
	reopenAfter = time.Second
	// lookEvery is how often an idle lane looks at its clocks.
	lookEvery = 10 * time.Second
)

// Up tells of a session with a device. It takes the place of an earlier one.
func (d *Desk) Up(p Peer, s Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	if old := d.lanes[p]; old != nil {
		old.close()
	}
	l := &lane{d: d, peer: p, sess: s, wake: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancel(d.ctx)
	d.lanes[p] = l
	l.setQuiet(time.Now())
	for _, t := range d.list {
		if t.saved.Peer == p.ID && t.saved.Reason == 0 {
			if t.saved.Incoming {
				l.join(t)
			} else {
				d.assign(t)
			}
		}
	}
	d.wg.Go(l.write)
}

// Down tells that a session is gone.
func (d *Desk) Down(p Peer, s Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.lanes[p]; l != nil && l.sess == s {
		l.close()
		d.wanted()
	}
}

// close ends a lane.
func (l *lane) close() {
	l.cancel()
	l.closeOut()
	if l.in != nil {
		l.in.Abort()
		l.in = nil
	}
	for _, t := range l.recvs {
		t.recv.Gone()
		t.recv.Down()
	}
	for _, o := range l.outs {
		o.Down()
		o.t.outs = slices.DeleteFunc(o.t.outs, func(x *outgoing) bool { return x == o })
	}
	l.outs, l.recvs = nil, nil
	if l.d.lanes[l.peer] == l {
		delete(l.d.lanes, l.peer)
	}
}

func (l *lane) closeOut() {
	if l.out != nil {
		l.out.Abort()
		l.out = nil
	}
	for _, o := range l.outs {
		o.Down()
	}
	for _, t := range l.recvs {
		t.recv.Down()
	}
}

// assign has a file sent to all devices that it may go to.
func (d *Desk) assign(t *Transfer) {
	if t.tree == nil || t.saved.Reason != 0 {
		return
	}
	for p, l := range d.lanes {
		if p.ID != t.saved.Peer || t.saved.Taken && p.Device != t.saved.Device ||
			slices.ContainsFunc(t.outs, func(o *outgoing) bool { return o.lane == l }) {
			continue
		}
		o := &outgoing{Sender: NewSender(t.saved.Offer, t.tree, t.saved.Taken, t.saved.Paused), t: t, lane: l, at: -1}
		t.outs = append(t.outs, o)
		l.outs = append(l.outs, o)
		if l.out != nil {
			o.Up(time.Now())
		}
		l.want = true
		l.poke()
	}
	d.wanted()
}

// join puts a transfer that comes from the lane's device on the lane.
func (l *lane) join(t *Transfer) {
	if t.saved.Device != l.peer.Device || t.recv == nil || slices.Contains(l.recvs, t) {
		return
	}
	l.recvs = append(l.recvs, t)
	if l.out != nil {
		t.recv.Up()
	}
}

// share divides what may be asked for ahead among the transfers that come.
func (l *lane) share() {
	n := 0
	for _, t := range l.recvs {
		if t.recv.running() && !t.recv.Whole() {
			n++
		}
	}
	for _, t := range l.recvs {
		t.recv.Share(max(window/max(n, 1), 2))
	}
}

func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) say(m message) {
	if len(l.control) < maxControl {
		l.control = append(l.control, m)
	}
	l.want = true
	l.poke()
}

func (l *lane) sayQuiet() {
	if l.out != nil {
		l.say(message{kind: kindQuiet, on: l.d.quiet})
	}
}

func (l *lane) setQuiet(now time.Time) { l.throttle.Quiet(now, l.d.quiet || l.asked) }

// opened begins a stream of our own.
func (l *lane) opened(s Stream) {
	l.out = s
	now := time.Now()
	for _, o := range l.outs {
		o.Up(now)
	}
	for _, t := range l.recvs {
		t.recv.Up()
	}
	if l.d.quiet {
		l.say(message{kind: kindQuiet, on: true})
	}
}

// next returns the next message to write, or the piece of a file and whose it
// is.
func (l *lane) next(now time.Time) (m message, o *outgoing, ok bool) {
	if len(l.control) > 0 {
		m, l.control = l.control[0], l.control[1:]
		return m, nil, true
	}
	for i := 0; i < len(l.recvs); {
		t := l.recvs[i]
		if m, ok = t.recv.poll(now); ok {
			return m, nil, true
		}
		if t.saved.Reason != 0 {
			l.recvs = slices.Delete(l.recvs, i, i+1)
			continue
		}
		i++
	}
	for range len(l.outs) {
		o = l.outs[0]
		l.outs = l.outs[1:]
		m, p, ok := o.poll(now)
		if !ok && o.Reason() != 0 {
			continue // all was said
		}
		l.outs = append(l.outs, o)
		switch {
		case ok && m.kind != 0:
			return m, nil, true
		case ok:
			o.next = p
			return m, o, true
		}
	}
	return m, nil, false
}

// write is the goroutine that writes the lane.
func (l *lane) write() {
	d := l.d
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var buf []byte
	for l.ctx.Err() == nil {
		d.mu.Lock()
		stream, want := l.out, l.want
		var m message
		var o *outgoing
		var ok bool
		if stream != nil {
			m, o, ok = l.next(time.Now())
		}
		d.mu.Unlock()
		switch {
		case stream == nil && want:
			s, err := l.sess.Open(l.ctx)
			if err != nil {
				d.log.Debug("no stream for files", "peer", l.peer.ID, "err", err)
				l.pause(reopenAfter)
				continue
			}
			d.mu.Lock()
			if l.ctx.Err() != nil {
				s.Abort()
			} else {
				l.opened(s)
			}
			d.mu.Unlock()
		case !ok:
			select {
			case <-l.wake:
			case <-tick.C:
			case <-l.ctx.Done():
			}
		default:
			if o != nil {
				if m, ok = l.load(o); !ok {
					continue
				}
			}
			buf = appendMessage(buf[:0], m)
			if !l.send(stream, buf) {
				d.mu.Lock()
				if l.out == stream {
					l.closeOut()
				}
				d.mu.Unlock()
				l.pause(reopenAfter)
			}
		}
	}
}

// load makes the message of a piece. It reads the chunk, which must be what was
// offered.
func (l *lane) load(o *outgoing) (m message, ok bool) {
	d := l.d
	d.mu.Lock()
	p, f, id := o.next, o.t.source, o.t.ID()
	holds := o.holds(p)
	d.mu.Unlock()
	if !holds || f == nil {
		return m, false // paused or over meanwhile
	}
	if o.at != p.Chunk {
		o.at = -1
		if err := o.read(f, p); err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			if o.t.source == f { // else it was closed on purpose
				o.t.end(reasonOf(err), err)
			}
			return m, false
		}
	}
	return message{kind: kindData, id: id, offset: int64(p.Chunk)*ChunkSize + int64(p.From), data: o.buf[p.From : p.From+p.Length]}, true
}

// send writes b, at the pace that the throttle allows.
func (l *lane) send(s Stream, b []byte) bool {
	d := l.d
	for len(b) > 0 {
		traffic := l.sess.Traffic()
		path := l.sess.Path()
		now := time.Now()
		d.mu.Lock()
		if path != l.path {
			l.throttle.Moved(now)
			l.throttle.Relayed(now, path.Relayed)
			l.path = path
		}
		l.throttle.Observe(now, traffic)
		n := len(b)
		if step := l.throttle.Step(); step > 0 {
			n = min(n, step)
		}
		wait := l.throttle.Wait(now, n)
		if wait == 0 {
			l.throttle.Sent(n)
		}
		d.mu.Unlock()
		if wait > 0 {
			if !l.pause(wait) {
				return false
			}
			continue
		}
		if _, err := s.Write(b[:n]); err != nil {
			d.log.Debug("lane broken", "peer", l.peer.ID, "err", err)
			return false
		}
		b = b[n:]
	}
	return true
}

// pause waits; false when the lane has ended.
func (l *lane) pause(t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}
