// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package directory holds the rules by which equal nodes keep each other's
// reach records (package identity): where is this person's device now, for
// those who have a ticket, and for nobody else.
//
// The types in the order in which a record meets them:
//
//   - [Publisher] is the owner's: it keeps this device's records of every live
//     reach secret published, for the last, this and the next hour.
//   - [Store] is the holder's: it keeps what others publish near this node,
//     hands it on to the nodes nearest to each key, and answers questions.
//   - [Lookup] is the reader's: it asks for the records of an ID and a reach
//     secret (or for its prekeys, or for the inbox of a bare ID), verifies what
//     comes and tells each device as soon as it is found.
//   - [Collector] is the owner's again: it fetches the knocks that strangers
//     left in this device's inbox.
//   - [Replicas] chooses the nodes that hold a key.
//
// The messages are drawn in message.go. They are bodies of routed messages:
// STORE and KNOCK go out as kind Store, FETCH and COLLECT as kind Fetch.
//
// # Concurrency
//
// The types are pure machines: no goroutine, lock, socket or clock. Each
// belongs to one goroutine. Three rules: drain NextEvent after every call;
// calling Advance early is harmless, late costs only time; time never goes
// backwards. Deadline says when Advance is due, zero for never.
//
// # What holders learn
//
// A holder sees a key, a size that all records share, random-looking bytes,
// how many devices stand under the key, when they change, and which neighbour
// brought them. Two hours of one owner, or two of its tickets, cannot be linked
// by the bytes. That they come over the same neighbour at about the same time
// can be seen, so publications are spread in time.
//
// # Limits
//
// Each is a named constant with its reason. A store holds at most 4 MiB, a
// quarter of it from one prefix; the farthest keys go first. A withdrawn record
// stays, saying "gone", until its hour and the next are over. With its proof of
// work a flooder still fills a bare ID's inbox for an hour at some cost; more
// work displaces less. Secrets that expire are the caller's business: leave
// them out of [Publisher.SetReach].
//
// # Not done yet
//
// Hiding the number of devices under a key.
package directory
