// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package chat holds the rules of text between people who each have several
// devices, most of them switched off at any time (design/011-chat.md): what is
// kept, what is sent again, in which order it is shown, and what is done when a
// disk is full or a state comes out of a backup.
//
// In order of use:
//
//   - [Load] makes a [Machine] from a [Store], which may be empty.
//   - Commands: [Machine.Send], [Machine.MarkRead]; [Machine.Know] says how a
//     person can be found.
//   - What comes in: [Machine.LinkUp], [Machine.LinkDown], [Machine.Receive],
//     [Machine.Mail], [Machine.Prekeys], and [Machine.Advance].
//   - What goes out: [Machine.Poll] returns [Transmit], [Put], [Collect],
//     [Drop], [Fetch], [Publish] and [Seek]; [Machine.NextEvent] what happened.
//
// A Machine is pure but for its Store: no goroutine, lock, socket or clock. One
// owner calls it, under three rules:
//
//   - after every input drain Poll and NextEvent until they return false;
//   - call Advance at Deadline; calling it early is harmless;
//   - time never goes backwards by much: a clock that was wrong costs repetition,
//     never a message.
//
// # Crashes
//
// Each input is one transaction: its outputs and events come out after the
// store has taken what they rest on. When the store refuses, the input had no
// effect and returns an error that wraps [ErrStore]; the Machine has read
// itself from the store again. So a crash and a full disk are the same to it.
//
// # Limits
//
// See the constants: each has its reason beside it.
package chat
