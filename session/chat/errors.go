// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import "errors"

// The errors of this package.
var (
	// ErrText reports a text that is empty, too long, or not UTF-8.
	ErrText = errors.New("chat: a text must be 1 to 8192 bytes of UTF-8")
	// ErrUnknown reports a person to whom nobody here knows a way.
	ErrUnknown = errors.New("chat: no way to this person is known")
	// ErrWaiting reports that too much waits for this person already.
	ErrWaiting = errors.New("chat: too many messages wait for this person")
	// ErrPeople reports that there are too many people already.
	ErrPeople = errors.New("chat: too many people")
	// ErrNoMessage reports an ID that is of no message that can be read.
	ErrNoMessage = errors.New("chat: no such message")
	// ErrStore reports that nothing was done because the store failed; the
	// store's error is wrapped too.
	ErrStore = errors.New("chat: not stored")
	// ErrMessage reports bytes from outside that are not as they should be.
	ErrMessage = errors.New("chat: malformed message")
	// ErrBlocked reports a message of somebody who is blocked.
	ErrBlocked = errors.New("chat: blocked")
	// errSession reports an envelope of a session that is not there (any more).
	errSession = errors.New("chat: no session for this message")
)
