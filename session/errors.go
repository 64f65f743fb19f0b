// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import "errors"

// What a receiver reports about a message it dropped. None of them is fatal:
// the message is counted and forgotten, nothing about it is kept.
var (
	// ErrMessage reports bytes that do not follow the layout: too long, cut
	// off, fields missing, an unknown type or version.
	ErrMessage = errors.New("session: malformed message")
	// ErrForged reports a message that follows the layout but not the rules:
	// it does not open, its signature or MAC is wrong, or it was made for
	// another callee, device, node, call or link.
	ErrForged = errors.New("session: message not genuine")
	// ErrReplay reports a message that was accepted before.
	ErrReplay = errors.New("session: message seen before")
	// ErrExpired reports an INVITE whose time is over, or too far ahead.
	ErrExpired = errors.New("session: invite expired")
	// ErrFlood reports a peer that sends INVITEs, or wrong ANSWERs, faster
	// than a person calls.
	ErrFlood = errors.New("session: too many messages from this peer")
)

// What a command or a proof can fail with.
var (
	// ErrUnknownPeer reports a peer that has not been proved on a live link.
	ErrUnknownPeer = errors.New("session: peer not known")
	// ErrNoCall reports a call that does not exist (any more) or is in a state
	// in which the command makes no sense.
	ErrNoCall = errors.New("session: no such call")
	// ErrInCall reports a second call with a device with which one is up. It comes
	// with ErrBusy.
	ErrInCall = errors.New("session: in a call with this device already")
	// ErrBusy reports that as many calls are up as the machine may hold.
	ErrBusy = errors.New("session: line busy")
	// ErrIncapable reports a command that the other side's program would not
	// understand.
	ErrIncapable = errors.New("session: the other side cannot do that")
	// ErrNoGroup reports a group that is not known, or that we don't belong to.
	ErrNoGroup = errors.New("session: no such group")
	// ErrTransfer reports a transfer that failed; the call goes on.
	ErrTransfer = errors.New("session: transfer failed")
	// ErrDenied reports that the other side refused our proof.
	ErrDenied = errors.New("session: denied")
	// ErrNotForUs reports a proof whose reach tag none of our secrets makes.
	ErrNotForUs = errors.New("session: reach tag not known")
	// ErrIncompatible reports an offer and a node without a common codec.
	ErrIncompatible = errors.New("session: no common codec")
)
