// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Incoming takes a stream that a device has opened for files. It returns at
// once.
func (d *Desk) Incoming(p Peer, s Session, stream Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[p]
	if l == nil || l.sess != s || d.closed {
		stream.Abort()
		return
	}
	if l.in != nil {
		l.in.Abort()
	}
	l.in = stream
	if l.heard && l.out != nil {
		// What it had asked for on the stream before is lost.
		now := time.Now()
		for _, o := range l.outs {
			o.Up(now)
		}
	}
	l.heard, l.want = true, true
	l.poke()
	// One reader at a time: two would do the same disk work, and count it twice.
	before, done := l.reading, make(chan struct{})
	l.reading = done
	d.wg.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		err := l.read(stream)
		if errors.Is(err, ErrMessage) {
			d.refused.Add(1)
		}
		stream.Abort()
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil && l.ctx.Err() == nil {
			d.log.Debug("lane ended", "peer", p.ID, "err", err)
		}
		if l.in == stream {
			l.in = nil
			l.asked = false
			l.setQuiet(time.Now())
			for _, t := range l.recvs {
				t.recv.Gone()
			}
		}
	})
}

// read hears a stream to its end.
func (l *lane) read(s Stream) error {
	in := bufio.NewReaderSize(s, 32<<10)
	buf := make([]byte, maxBody)
	for {
		var head [headLen]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(head[1:]))
		if n > maxBody {
			return fmt.Errorf("%w: %d bytes", ErrMessage, n)
		}
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return err
		}
		m, known, err := parseMessage(kind(head[0]), buf[:n])
		if err != nil {
			return err
		}
		if known {
			if err := l.hear(m); err != nil {
				return err
			}
		}
	}
}

// hear takes one message, and does the disk work that follows from it.
func (l *lane) hear(m message) error {
	d := l.d
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.ctx.Err() != nil {
		return l.ctx.Err()
	}
	if m.kind == kindQuiet {
		l.asked = m.on
		l.setQuiet(now)
		return nil
	}
	t := d.byID[m.id]
	if t != nil && (t.saved.Peer != l.peer.ID || t.saved.Incoming && t.saved.Device != l.peer.Device) {
		return errRule("somebody else's transfer")
	}
	switch {
	case t == nil && m.kind == kindOffer:
		l.offered(m)
		return nil
	case t == nil:
		if m.kind == kindTake {
			l.say(message{kind: kindEnd, id: m.id, reason: Cancelled}) // forgotten
		}
		return nil
	case t.saved.Incoming:
		return l.hearSender(t, now, m)
	}
	return l.hearReceiver(t, now, m)
}

// offered takes an offer that is new here.
func (l *lane) offered(m message) {
	d := l.d
	mine, all := 0, 0
	var spare *Transfer // an offer of somebody who isn't here
	for _, t := range d.list {
		if !t.saved.Incoming || t.saved.Reason != 0 {
			continue
		}
		all++
		if t.saved.Peer == l.peer.ID {
			mine++
		} else if spare == nil && !t.saved.Taken && !d.present(t.saved.Peer, t.saved.Device) {
			spare = t
		}
	}
	switch {
	case mine >= maxUnfinished, len(l.recvs) >= maxIncoming, all >= maxIncoming && spare == nil:
		l.say(message{kind: kindEnd, id: m.id, reason: TooMany})
		return
	case all >= maxIncoming:
		spare.end(TooMany, nil)
	}
	t := &Transfer{
		d: d, done: make(chan struct{}), recv: NewReceiver(m.offer, false, false, 0),
		saved: Saved{Offer: m.offer, Peer: l.peer.ID, Device: l.peer.Device, Incoming: true, Began: time.Now()},
	}
	t.recv.receive(time.Time{}, m)
	d.add(t)
	l.join(t)
	d.tell(t)
}

// hearSender takes a message about a file that comes here.
func (l *lane) hearSender(t *Transfer, now time.Time, m message) error {
	d := l.d
	if t.recv == nil { // it has ended before the last start
		if m.kind == kindOffer {
			l.say(message{kind: kindEnd, id: m.id, reason: t.saved.Reason})
		}
		return nil
	}
	l.join(t)
	if err := t.recv.receive(now, m); err != nil {
		return err
	}
	t.after(l)
	for t.shelf != nil && !t.finishing {
		w, ok := t.recv.work()
		if !ok {
			break
		}
		s := t.shelf
		d.mu.Unlock()
		good, err := false, error(nil)
		if w.Data != nil {
			if _, err = s.part.WriteAt(w.Data, w.Offset); err != nil {
				err = fmt.Errorf("files: %w", err)
			}
		} else {
			good, err = s.check(w)
		}
		d.mu.Lock()
		switch {
		case t.saved.Reason != 0 || l.ctx.Err() != nil:
		case err != nil && w.Data != nil:
			t.recv.notWritten()
			t.setPaused(true, err)
		case err != nil:
			t.setPaused(true, err)
			return nil
		case w.Data != nil:
			t.recv.wrote()
		default:
			t.recv.checked(good)
		}
		t.after(l)
	}
	return nil
}

// hearReceiver takes a message about a file that is sent from here.
func (l *lane) hearReceiver(t *Transfer, now time.Time, m message) error {
	i := slices.IndexFunc(l.outs, func(o *outgoing) bool { return o.t == t })
	if i < 0 {
		switch {
		case t.saved.Reason != 0 && m.kind == kindTake:
			l.say(message{kind: kindEnd, id: m.id, reason: t.saved.Reason})
		case t.saved.Taken && t.saved.Device != l.peer.Device && m.kind == kindTake:
			l.say(message{kind: kindEnd, id: m.id, reason: Elsewhere})
		case m.kind == kindEnd && t.saved.Device == l.peer.Device:
			t.end(m.reason, nil) // the file is being read again
		}
		return nil
	}
	o := l.outs[i]
	if err := o.receive(now, m); err != nil {
		return err
	}
	switch {
	case o.Reason() != 0:
		t.outs = slices.DeleteFunc(t.outs, func(x *outgoing) bool { return x == o })
		for _, x := range t.outs {
			x.End(Elsewhere)
			x.lane.poke()
		}
		t.over(o.Reason(), nil)
	case o.Taken() && !t.saved.Taken:
		t.saved.Taken, t.saved.Device = true, l.peer.Device
		l.d.cfg.Book.Later(t.saved)
		for _, x := range t.outs {
			if x != o {
				x.End(Elsewhere)
				x.lane.poke()
			}
		}
		t.outs = []*outgoing{o}
	}
	l.d.tell(t)
	l.poke()
	return nil
}

// read loads a chunk.
func (o *outgoing) read(f *os.File, p Piece) error {
	size := chunkLen(o.Offer().Size, p.Chunk)
	if cap(o.buf) < size {
		o.buf = make([]byte, size)
	}
	o.buf = o.buf[:size]
	if _, err := f.ReadAt(o.buf, int64(p.Chunk)*ChunkSize); err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrChanged // it was cut
	} else if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	if sha256.Sum256(o.buf) != p.Hash {
		return ErrChanged
	}
	o.at = p.Chunk
	return nil
}

func reasonOf(err error) Reason {
	if errors.Is(err, ErrChanged) {
		return Changed
	}
	return Unreadable
}
