// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// A Transfer is one file on its way, from the offer to the end, through
// restarts of either side.
type Transfer struct {
	d    *Desk
	done chan struct{}

	// Guarded by d.mu.
	saved     Saved
	shown     State
	finishing bool
	stuck     error // why it was paused here, not by the user

	// Of the sender.
	source *os.File
	tree   *Tree // nil until the file has been read
	outs   []*outgoing

	// Of the receiver.
	recv  *Receiver
	shelf *shelf
}

// outgoing is a transfer on its way to one device.
type outgoing struct {
	*Sender
	t    *Transfer
	lane *lane
	next Piece  // taken from the Sender and not yet sent; Length 0 = none
	buf  []byte // the chunk it belongs to
	at   int    // that chunk's number; −1 = none
}

// ID names the transfer.
func (t *Transfer) ID() ID { return t.saved.Offer.ID }

// Offer returns what the file is, its name as offered.
func (t *Transfer) Offer() Offer { return t.saved.Offer }

// Peer returns who is at the other end.
func (t *Transfer) Peer() identity.ID { return t.saved.Peer }

// Incoming reports whether the file comes here.
func (t *Transfer) Incoming() bool { return t.saved.Incoming }

// Began returns when the offer was made or came here.
func (t *Transfer) Began() time.Time { return t.saved.Began }

// State returns where it stands, and why it ended.
func (t *Transfer) State() (State, Reason) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	return t.state(), t.saved.Reason
}

func (t *Transfer) state() State {
	switch {
	case t.saved.Reason != 0:
		return Ended
	case t.recv != nil && t.recv.taken:
		return t.recv.State()
	case len(t.outs) == 1 && t.outs[0].taken:
		return t.outs[0].State()
	}
	return state(0, t.saved.Taken, t.saved.Paused)
}

// Path returns the file on this computer: what is sent, or where it was
// received; "" before that.
func (t *Transfer) Path() string {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	return t.saved.Path
}

// Done is closed at the end, whatever it is.
func (t *Transfer) Done() <-chan struct{} { return t.done }

// Stuck returns why the transfer has paused by itself, such as a full disk; nil
// when it hasn't. Continue tries again.
func (t *Transfer) Stuck() error {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	return t.stuck
}

// Why returns what an end that is an error says, "" otherwise.
func (t *Transfer) Why() string {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	return t.saved.Why
}

// Progress returns how far it is, and whether a relay with its small quota is
// in the way. Of a sender's bytes those count that were sent.
func (t *Transfer) Progress() (p Progress, relayed bool) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	return t.progress()
}

func (t *Transfer) progress() (p Progress, relayed bool) {
	now := time.Now()
	switch {
	case t.saved.Reason == Complete:
		p = Progress{Done: t.saved.Offer.Size}
	case t.recv != nil:
		p = t.recv.Progress(now)
	case len(t.outs) == 1:
		p = t.outs[0].Progress(now)
	}
	p.Total = t.saved.Offer.Size
	for peer, l := range t.d.lanes {
		if peer.ID == t.saved.Peer && l.path.Relayed {
			relayed = true
		}
	}
	return p, relayed
}

// Accept takes an offered file into dir, which is made if need be. The file
// gets its offered name, cleaned, or a number behind it. Errors: ErrState,
// ErrMany, those of the file system and of the Book.
func (t *Transfer) Accept(dir string) error {
	d := t.d
	dir, err := absolute(dir)
	if err != nil {
		return err
	}
	d.mu.Lock()
	ok := t.saved.Incoming && t.state() == Offered && t.shelf == nil && !t.finishing
	taken := 0
	for _, o := range d.list {
		if o.saved.Incoming && o.saved.Taken && o.saved.Reason == 0 {
			taken++
		}
	}
	t.finishing = ok // nobody else accepts meanwhile
	d.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: accept", ErrState)
	}
	s, have, err := (*shelf)(nil), int64(0), error(nil)
	if taken >= maxTaken {
		err = fmt.Errorf("%w: %d are received", ErrMany, taken)
	} else {
		s, have, err = openShelf(dir, t.ID(), true)
	}
	if err == nil {
		next := t.copySaved()
		next.Dir, next.Taken = dir, true
		if err = d.cfg.Book.Save(next); err != nil {
			s.discard()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t.finishing = false
	if err != nil {
		return err
	}
	if t.state() != Offered || d.closed {
		s.discard()
		d.cfg.Book.Later(t.saved) // it holds next
		return fmt.Errorf("%w: accept", ErrState)
	}
	t.saved.Dir, t.saved.Taken = dir, true
	t.shelf = s
	t.receive(have, false)
	return nil
}

func (t *Transfer) copySaved() Saved {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	return t.saved
}

// receive begins or goes on to receive; the shelf is open. whole: what it holds
// was compared with the offer.
func (t *Transfer) receive(have int64, whole bool) {
	was := t.recv
	t.recv = NewReceiver(t.saved.Offer, false, t.saved.Paused, have)
	t.recv.up, t.recv.offered = was.up, was.offered
	if whole {
		t.recv.assume()
	}
	t.recv.Take()
	t.after(t.d.lanes[Peer{t.saved.Peer, t.saved.Device}])
}

// Decline refuses an offered file. Error: ErrState.
func (t *Transfer) Decline() error {
	d := t.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if !t.saved.Incoming || t.state() != Offered {
		return fmt.Errorf("%w: decline", ErrState)
	}
	t.end(Declined, nil)
	return nil
}

// Cancel gives a transfer up; what was received of it is removed. Error:
// ErrState when it has ended.
func (t *Transfer) Cancel() error {
	d := t.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.saved.Reason != 0 {
		return fmt.Errorf("%w: cancel", ErrState)
	}
	t.end(Cancelled, nil)
	return nil
}

// Pause stops a transfer until Continue, through restarts. Error: ErrState when
// it has ended or an offer was not accepted.
func (t *Transfer) Pause() error { return t.pause(true) }

// Continue ends Pause. The other side may have paused as well. Errors: as
// Pause.
func (t *Transfer) Continue() error { return t.pause(false) }

func (t *Transfer) pause(on bool) error {
	d := t.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.saved.Reason != 0 || t.saved.Incoming && !t.saved.Taken {
		return fmt.Errorf("%w: pause", ErrState)
	}
	t.setPaused(on, nil)
	return nil
}

// setPaused is for the user, and with why for what happens here.
func (t *Transfer) setPaused(on bool, why error) {
	t.saved.Paused, t.stuck = on, why
	t.d.cfg.Book.Later(t.saved)
	if t.recv != nil {
		if on {
			t.recv.Pause()
		} else {
			t.recv.Continue()
		}
	}
	for _, o := range t.outs {
		if on {
			o.Pause()
		} else {
			o.Continue()
		}
		o.lane.poke()
	}
	if !on {
		t.d.wanted()
	}
	t.after(t.d.lanes[Peer{t.saved.Peer, t.saved.Device}])
}

// end ends the transfer here, and tells the other side.
func (t *Transfer) end(r Reason, why error) {
	if t.saved.Reason != 0 {
		return
	}
	if t.recv != nil {
		t.recv.End(r)
	}
	for _, o := range t.outs {
		o.End(r)
		o.lane.poke()
	}
	t.over(r, why)
	if l := t.d.lanes[Peer{t.saved.Peer, t.saved.Device}]; l != nil {
		l.poke()
	}
}

// over notes the end, whoever brought it about.
func (t *Transfer) over(r Reason, why error) {
	if t.saved.Reason != 0 {
		return
	}
	t.saved.Reason, t.saved.Ended, t.stuck = r, time.Now(), nil
	if why != nil {
		t.saved.Why = why.Error()
	}
	t.d.cfg.Book.Later(t.saved)
	if r == Complete {
		t.shelf = nil // it was placed
	} else {
		t.shelf.discard()
		t.shelf = nil
	}
	if t.source != nil {
		t.source.Close()
		t.source = nil
	}
	t.tree, t.outs = nil, nil // whoever still has something to say is on its lane
	if t.recv != nil {
		t.recv.End(r)
	}
	close(t.done)
	t.d.tell(t)
}

// letGo closes files at the end of the Desk.
func (t *Transfer) letGo() {
	t.shelf.close()
	t.shelf = nil
	if t.source != nil {
		t.source.Close()
		t.source = nil
	}
}

// after looks what follows from the receiver's state: the file may be whole.
func (t *Transfer) after(l *lane) {
	d := t.d
	if r := t.recv; r != nil {
		if r.Reason() != 0 && t.saved.Reason == 0 {
			var why error
			if r.Reason() == Wrong {
				why = ErrWrong
			}
			t.over(r.Reason(), why)
		}
		if r.Whole() && !t.finishing && t.stuck == nil && !t.saved.Paused && t.shelf != nil && !d.closed {
			t.finishing = true
			d.wg.Go(t.finish)
		}
	}
	d.tell(t)
	if l != nil {
		l.share()
		l.poke()
	}
}

// finish checks the whole file and gives it its name.
func (t *Transfer) finish() {
	d := t.d
	d.mu.Lock()
	s, o, last := t.shelf, t.saved.Offer, t.saved.Final
	d.mu.Unlock()
	err := s.verify(d.ctx, o)
	name := ""
	if err == nil {
		name, err = s.place(CleanName(o.Name), last, func(try string) error {
			next := t.copySaved()
			next.Final = try
			if next.Reason != 0 {
				return ErrState // cancelled meanwhile
			}
			if err := d.cfg.Book.Save(next); err != nil {
				return err
			}
			d.mu.Lock()
			t.saved.Final = try
			d.mu.Unlock()
			return nil
		})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t.finishing = false
	switch {
	case t.saved.Reason != 0:
	case err == nil:
		s.root.Close()
		t.saved.Path = filepath.Join(t.saved.Dir, name)
		t.end(Complete, nil)
	case errors.Is(err, ErrWrong):
		t.end(Wrong, err)
	case d.ctx.Err() == nil:
		d.log.Warn("file not finished", "transfer", o.ID, "err", err)
		t.setPaused(true, err) // a full disk, most likely
	}
}

// reopen goes on to receive after a restart.
func (t *Transfer) reopen() {
	s := t.copySaved()
	if s.Final != "" && wasPlaced(s.Dir, s.Final, s.Offer) {
		t.d.mu.Lock()
		defer t.d.mu.Unlock()
		if t.saved.Reason == 0 {
			t.saved.Path = filepath.Join(s.Dir, s.Final)
			t.end(Complete, nil)
		}
		return
	}
	shelf, have, err := openShelf(s.Dir, s.Offer.ID, false)
	// One that is whole needs nobody any more.
	whole := err == nil && have == s.Offer.Size && shelf.verify(t.d.ctx, s.Offer) == nil
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	switch {
	case t.saved.Reason != 0:
		shelf.discard()
	case t.d.closed:
		shelf.close()
	case err != nil:
		t.end(Cancelled, err)
	default:
		t.shelf = shelf
		t.receive(have, whole)
		t.d.wanted()
	}
}

// prepare reads the sender's file again after a restart.
func (t *Transfer) prepare() {
	s := t.copySaved()
	f, err := openSource(s.Path)
	var tree *Tree
	if err == nil {
		if tree, err = hashFile(t.d.ctx, f); err == nil && !tree.fits(s.Offer) {
			err = fmt.Errorf("%w: %s", ErrChanged, s.Path)
		}
		if err != nil {
			f.Close()
		}
	}
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled), t.saved.Reason != 0, t.d.closed:
		if err == nil {
			f.Close()
		}
	case err == nil:
		t.source, t.tree = f, tree
		t.d.assign(t)
		t.d.wanted()
	case errors.Is(err, ErrChanged):
		t.end(Changed, err)
	default:
		t.end(Unreadable, err)
	}
}
