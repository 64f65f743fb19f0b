// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/files"
)

// Errors of files. Others are those of the file system.
var (
	// ErrNotRegular reports a path that is a folder, a device or a pipe.
	ErrNotRegular = files.ErrNotRegular
	// ErrTransferState reports a method that makes no sense any more, or not yet.
	ErrTransferState = files.ErrState
	// ErrDeclined reports a receiver who did not want the file.
	ErrDeclined = errors.New("p2pos: declined")
	// ErrCancelled reports a transfer that one side gave up.
	ErrCancelled = errors.New("p2pos: cancelled")
	// ErrChanged reports a file that was changed, or cut, after it was offered.
	ErrChanged = files.ErrChanged
	// ErrWrongContent reports content that is not what was offered: the sender
	// lies, or its disk fails.
	ErrWrongContent = files.ErrWrong
)

// TransferState is where a transfer stands.
type TransferState string

// The states, as the softphone's events name them.
const (
	FileOffered  TransferState = "offered"  // and not accepted yet
	FileActive   TransferState = "active"   // accepted; goes on whenever the other side is there
	FilePaused   TransferState = "paused"   // by either side, or because the disk is full
	FileComplete TransferState = "complete" // checked, and under its name on the receiver's disk
	FileFailed   TransferState = "failed"   // for whatever reason: see Err
)

// A Transfer is one file on its way to or from one person. It lives through
// restarts of either side, changes of network and days without a connection,
// until it is complete or given up; after 30 days it ends by itself.
type Transfer struct {
	n *Node
	t *files.Transfer
}

// TransferProgress says how far a transfer is.
type TransferProgress struct {
	Done  int64         // bytes: received and checked, or sent
	Total int64         // bytes
	Speed float64       // bytes a second, over the last five; 0 = it stands
	Left  time.Duration // at that speed; 0 = not known
	// Relayed says that there is no direct path: other nodes carry 24 kbit/s for
	// a file, no more.
	Relayed bool
}

// SendFile offers a file to somebody, named as in Call. It reads the file once,
// which ctx may stop, and returns; the offer goes out as soon as a device of the
// person can be reached, now or after any number of restarts, from where it is
// on the disk. It must stay there, unchanged, until the end.
//
// Errors: as Call for texts that are wrong; ErrSelf, ErrBlocked, ErrNotFound;
// ErrNotRegular, and those of the file system; ctx's, net.ErrClosed.
func (n *Node) SendFile(ctx context.Context, to, path string) (*Transfer, error) {
	t, err := n.target(to)
	if err != nil {
		return nil, err
	}
	switch {
	case t.ID == n.dev.ID():
		return nil, fmt.Errorf("%w: nothing was sent", ErrSelf)
	case t.Secret == (identity.Secret{}) && !n.inSession(t.ID):
		return nil, fmt.Errorf("%w: %s", ErrNotFound, t.ID.Short())
	}
	n.hope(t)
	n.startJoin()
	x, err := n.desk.Send(ctx, t.ID, path)
	if err != nil {
		return nil, n.stored(err)
	}
	return n.transfer(x), nil
}

// Transfers returns those that have not ended, oldest first: what is offered
// here and waits for an answer, and what goes on from an earlier start.
func (n *Node) Transfers() []*Transfer {
	var list []*Transfer
	for _, x := range n.desk.Transfers() {
		if n.shown(x) {
			list = append(list, n.transfer(x))
		}
	}
	return list
}

// FindTransfer returns a transfer by its ID, false when there is none. Those
// that have ended are found for 30 days.
func (n *Node) FindTransfer(id string) (*Transfer, bool) {
	k, err := files.ParseID(id)
	if err != nil {
		return nil, false
	}
	if x := n.desk.Find(k); x != nil && n.shown(x) {
		return n.transfer(x), true
	}
	return nil, false
}

// ID names the transfer in events and logs, on both sides.
func (t *Transfer) ID() string { return t.t.ID().String() }

// Peer returns who is at the other end; proved.
func (t *Transfer) Peer() identity.ID { return t.t.Peer() }

// Incoming reports whether the file comes here.
func (t *Transfer) Incoming() bool { return t.t.Incoming() }

// Name returns the file's name: of an incoming one as it will be on this disk,
// if nothing is called so already.
func (t *Transfer) Name() string {
	if t.Incoming() {
		return files.CleanName(t.t.Offer().Name)
	}
	return t.t.Offer().Name
}

// Size returns the file's length in bytes, as offered.
func (t *Transfer) Size() int64 { return t.t.Offer().Size }

// SHA256 returns the hash of the whole file, as offered. It is checked before a
// transfer is complete.
func (t *Transfer) SHA256() [32]byte { return t.t.Offer().SHA256 }

// Path returns where the file is on this computer; "" for an incoming one that
// is not complete.
func (t *Transfer) Path() string { return t.t.Path() }

// State returns where the transfer stands.
func (t *Transfer) State() TransferState { return stateOf(t.t.State()) }

func stateOf(s files.State, r files.Reason) TransferState {
	switch {
	case s == files.Ended && r == files.Complete:
		return FileComplete
	case s == files.Ended:
		return FileFailed
	}
	return TransferState(s.String())
}

// Progress returns how far it is.
func (t *Transfer) Progress() TransferProgress {
	p, relayed := t.t.Progress()
	return TransferProgress{p.Done, p.Total, p.Speed, p.Left, relayed}
}

// Accept takes an offered file into a directory, which is made if it isn't
// there. Nothing in it is ever overwritten: a file whose name is taken gets a
// number. Errors: ErrTransferState, those of the file system.
func (t *Transfer) Accept(dir string) error { return t.n.filed(t.t.Accept(dir)) }

// Decline refuses an offered file. Error: ErrTransferState.
func (t *Transfer) Decline() error { return t.n.filed(t.t.Decline()) }

// Pause stops the transfer until Continue, through restarts. Error:
// ErrTransferState when it has ended, or was not accepted.
func (t *Transfer) Pause() error { return t.n.filed(t.t.Pause()) }

// Continue ends Pause, and tries again what failed here, as on a full disk.
// The other side may have paused as well. Errors: as Pause.
func (t *Transfer) Continue() error { return t.n.filed(t.t.Continue()) }

// Cancel gives the transfer up; what has come of the file is removed. Error:
// ErrTransferState when it has ended.
func (t *Transfer) Cancel() error { return t.n.filed(t.t.Cancel()) }

// Done is closed at the end of the transfer, not of the node.
func (t *Transfer) Done() <-chan struct{} { return t.t.Done() }

// Err returns nil while the transfer goes on, and when it is complete; else why
// it failed: ErrDeclined, ErrCancelled, ErrChanged, ErrWrongContent or an error
// that tells more. While it is paused because something went wrong here, Err
// returns that, such as a full disk.
func (t *Transfer) Err() error {
	if err := t.t.Stuck(); err != nil {
		return fmt.Errorf("p2pos: %w", err)
	}
	switch _, r := t.t.State(); r {
	case 0, files.Complete:
		return nil
	case files.Declined:
		return ErrDeclined
	case files.Cancelled:
		if why := t.t.Why(); why != "" {
			return fmt.Errorf("%w: %s", ErrCancelled, why)
		}
		return ErrCancelled
	case files.Changed:
		return ErrChanged
	case files.Wrong:
		return ErrWrongContent
	case files.Elsewhere:
		return errors.New("p2pos: another device of the person has taken the file")
	case files.TooMany:
		return errors.New("p2pos: the receiver has too many offers already")
	case files.Unreadable:
		if why := t.t.Why(); why != "" {
			return errors.New("p2pos: " + why)
		}
		return errors.New("p2pos: the sender can't read the file any more")
	default:
		return fmt.Errorf("p2pos: %s", r)
	}
}

// filed turns an error of a transfer into the application's.
func (n *Node) filed(err error) error {
	if err == nil || errors.Is(err, ErrTransferState) {
		return err
	}
	return n.stored(err)
}

// transfer returns the one Transfer of the app.
func (n *Node) transfer(x *files.Transfer) *Transfer {
	n.transfers.mu.Lock()
	defer n.transfers.mu.Unlock()
	t := n.transfers.all[x.ID()]
	if t == nil {
		t = &Transfer{n, x}
		n.transfers.all[x.ID()] = t
	}
	return t
}
