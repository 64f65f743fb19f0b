// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package identity holds who is who: persons, their devices, running nodes,
// networks, and the texts by which people pass them on.
//
// The types in the order in which a program meets them:
//
//   - [Device] is one installation of a person, with its keys. [Open] loads it
//     from a directory or makes a new person there; [NewDevice] keeps it in
//     memory. The key store can be encrypted ([ChangePassphrase]).
//   - [ID] is a person: an identity's public key. Its text has check characters
//     that locate a typing error ([ParseID], [TypoError]).
//   - [Certificate] shows that a device speaks for an ID. [ParseCertificate]
//     verifies what another node presents.
//   - [Ticket] is the text a person hands out to be called: the ID, the reach
//     [Secret], and addresses to start from.
//   - [Network] is the network a node belongs to; closed ones have a generated
//     secret.
//   - [NodeID] names a running node to its neighbours and no person.
//   - [ReachTag] is where introducers find a person during one hour.
//   - [SafetyWords] makes words of what two people compare aloud.
//   - [Sign] and [Verify], [Seal] and [Unseal], [SealSecret] and [OpenSecret]
//     are the signatures and sealed boxes that every protocol here uses.
//
// The byte layouts are drawn above their code and in design/001-wire.md.
//
// # Concurrency
//
// All types are values or never change once made: everything may be used from
// any goroutine. Nothing here reads a clock or starts a goroutine. Only [Open]
// and [ChangePassphrase] block, on the disk and on deriving the key from a
// passphrase (64 MiB of memory, part of a second).
//
// # Secrets
//
// Device, Secret and Network print placeholders under every verb of fmt and in
// log/slog. A field of such a type that is not exported by the struct around it
// is out of fmt's reach, so don't print such structs. Go cannot promise that
// memory is wiped; passphrases and decrypted stores are overwritten after use,
// the keys themselves stay in memory.
//
// # Limits
//
// A certificate holds for 90 days and is renewed by Open in the last 30, so a
// program that runs longer than that without a restart has to Open again. A
// key store that other users could read is closed to them and reported
// ([ErrExposed]), not refused. On Windows the directory's access list is what
// protects the file.
//
// # Not done yet
//
// Linking a second device to a person, revoking a device.
package identity
