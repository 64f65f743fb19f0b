// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package files carries files between two people's devices: content is
// addressed by its hashes, the receiver asks for it chunk by chunk, and a
// transfer goes on where it stopped after a crash of either side, on another
// path or another day (design/009-files.md).
//
// The rules are pure: no goroutine, lock, file, socket or clock. In order of
// use:
//
//   - [Digest] hashes a file; its [Tree] makes the [Offer].
//   - [Sender] and [Receiver] hold the rules of one transfer on either side:
//     messages in, messages and work for the disk out.
//   - [CleanName] turns an offered name into one for this computer's disk.
//   - [Throttle] says how fast to write beside a call, [Meter] how fast it goes.
//
// [Desk] drives them: it holds all transfers of a node, writes and reads the
// lanes that it is given, and does the disk work. Its methods may be called from
// anywhere; the machines belong to one owner at a time.
//
// # Limits
//
// Regular files up to 1 TiB. Nothing is written to disk before a transfer is
// accepted, nothing unverified ever, and nothing is ever overwritten.
package files
