// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import "errors"

// The errors of this package.
var (
	// ErrMessage reports bytes that are no message, start, bundle or state.
	ErrMessage = errors.New("ratchet: malformed")
	// ErrForged reports a message that does not open: it was changed, meant for
	// another place, or one of the two states is not what it was.
	ErrForged = errors.New("ratchet: message does not open")
	// ErrRepeated reports a message that was opened before.
	ErrRepeated = errors.New("ratchet: message repeated")
	// ErrStale reports a message whose key has been used, and which isn't among
	// the last ones opened: an old copy, or its sender's state is one.
	ErrStale = errors.New("ratchet: message of an old state")
	// ErrFar reports a message too many ahead of the last one.
	ErrFar = errors.New("ratchet: too many messages are missing")
	// ErrKey reports a start for prekeys that are not there (any more).
	ErrKey = errors.New("ratchet: prekey unknown or used up")
	// ErrExpired reports a bundle outside its time: it is old, or one of the
	// two clocks is wrong.
	ErrExpired = errors.New("ratchet: prekeys are not valid now")
)
