// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package ratchet protects what two devices write to each other over months,
// whether or not they are ever online together: a hybrid key agreement with
// somebody who is away, then a double ratchet (design/011-chat.md).
//
// In order of use:
//
//   - A [Keyring] holds the private halves of the prekeys that a device has
//     given out, and makes the [Bundle] to publish.
//   - [Start] begins a [Session] with the owner of a Bundle. Until the other
//     side has answered, [Session.Start] goes in front of every message.
//   - [Keyring.Accept] makes the other side's Session from it.
//   - [Session.Encrypt] and [Session.Decrypt] make and open messages.
//
// # What is promised
//
// A message key opens one message and is forgotten then. Who steals a state
// can't read what was said before; nor, without a quantum computer, what is
// said after both sides have spoken twice more. Whoever records everything
// today and has a quantum computer later reads nothing: the start is hybrid.
// Both sides know each other by their certified sealing keys; nothing is
// signed, so neither can prove to a third party what the other said.
//
// # Crashes
//
// The owner writes a Session's state ([Session.Append]) to disk after Encrypt
// and before the message leaves; after Decrypt together with what was read. A
// state that was put back from an old copy all the same reveals nothing:
// nonces are random. The other side finds it out ([ErrStale], [ErrForged]), and
// both start anew.
//
// # Concurrency
//
// Nothing here may be used by two goroutines at once. There is no clock, lock
// or goroutine inside.
package ratchet
