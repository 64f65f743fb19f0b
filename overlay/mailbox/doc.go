// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package mailbox holds the rules by which equal nodes keep sealed messages for
// people who are not there (design/008-mailbox.md).
//
// In the order in which a message meets the types:
//
//   - [Queue] is where mail of one pair waits in one period: both make it from
//     a secret that they share.
//   - [Writer] cuts a blob of 1, 4 or 16 KiB into pieces and has them kept.
//   - [Store] is the holder's: it keeps pieces near this node, compares with the
//     other holders, hands on what they lack, and answers questions.
//   - [Reader] collects a queue's blobs from several holders.
//   - [NewDropper] makes the writer of receipts by which holders forget them.
//
// Messages are drawn in message.go and are bodies of routed messages: what is to
// be kept goes out as kind Store, questions as kind Fetch.
//
// # Concurrency
//
// The types are pure machines: no goroutine, lock, socket or clock. Each belongs
// to one goroutine. Three rules: drain NextEvent after every call; calling
// Advance early is harmless, late costs only time; time never goes backwards.
// Deadline says when Advance is due, zero for never.
//
// # Limits
//
// Each is a named constant with its reason: 14 days, 1 MiB a queue, 64 MiB a
// node. A reader does not remember what it has read before: tell it, or drop
// what was read. A queue that holds more pieces than one question names (400) is
// read in several readings, with drops between.
package mailbox
