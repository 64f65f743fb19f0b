// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"errors"
	"fmt"

	"github.com/p2pos/p2pos/overlay/mailbox"
)

// Errors that callers branch on.
var (
	// ErrNetwork reports a node of another network: its proof of the network
	// secret, or ours to it, was refused.
	ErrNetwork = errors.New("overlay: the other node belongs to another network")
	// ErrRefused reports a node that links with others of its network, but not
	// with this one.
	ErrRefused = errors.New("overlay: the other node refuses this one")
	// ErrSelf reports that the address dialled was this node's own.
	ErrSelf = errors.New("overlay: that address is this node's own")
	// ErrUnreachable reports that every way to a peer was tried in vain.
	ErrUnreachable = errors.New("overlay: peer not reachable")
	// ErrCongested reports a full send queue on a link; nothing was queued.
	ErrCongested = errors.New("overlay: link congested")
	// ErrDown reports that no link to the peer stands.
	ErrDown = errors.New("overlay: no link to peer")
	// ErrPeer reports that the node at the other end has another key than
	// the one that was asked for.
	ErrPeer = errors.New("overlay: another node answered")
	// ErrMailFull reports a queue, or holders, without room: the reader has to
	// come first.
	ErrMailFull = mailbox.ErrFull
	// ErrMailClock reports that this clock is over an hour off.
	ErrMailClock = mailbox.ErrClock

	errNoDevice  = errors.New("overlay: a node without a device publishes nothing")
	errNoSockets = errors.New("overlay: no way to open sockets")
)

// VersionError reports a node that speaks another major version.
type VersionError struct{ Theirs, Ours uint8 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("overlay: the other node speaks protocol %d, this one %d: one of both must be updated", e.Theirs, e.Ours)
}

// Application error codes with which links are closed (RFC 9000 §20.2).
const (
	codeBye      = 0 // the node shuts down
	codeNetwork  = 1 // the proof of the network secret is wrong
	codeVersion  = 2 // unknown major version
	codeDouble   = 3 // another link between the same nodes stays
	codeProtocol = 4 // a frame that no version allows
	codeRefused  = 5 // by policy
	codePeer     = 6 // not the node that was asked for
	codeRoster   = 8 // not on the roster; the text says why
	codeUnused   = 7 // the link is dead or not needed; the node goes on
)
