// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package book holds the rules by which the devices of one person keep the same
// address book and the same list of what happened (design/017-own-devices.md):
// which of two changes counts, what is remembered of what was removed, and what
// one device has to tell another.
//
// A [Contact] carries a [Stamp] for each of its fields. [Merge] takes the later
// of each, so it does not matter in which order, how often, or by which way
// changes arrive: devices that have seen the same changes have the same book.
// [Clock] makes stamps. [Names] keeps petnames unique without asking anybody.
// A [Past] never changes; its name is the hash of it.
//
// Two devices compare [Digest]s of 256 buckets each and send each other
// the buckets that differ, then changes as they are made. [Frame] is what goes
// over.
//
// Everything here is pure: values in, values out. Nothing may be used from more
// than one goroutine at a time.
package book
