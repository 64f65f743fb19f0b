// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package store keeps what a node must not forget: contacts, history, messages
// on their way, blobs held for others, transfers. It is one embedded database
// (go.etcd.io/bbolt), the file store.db in the node's directory.
//
// A [Store] made by [New] touches no disk. Reading where no file is finds
// nothing; the first [Store.Update] makes the file. All work is done in
// transactions: what one Update writes is there as a whole or not at all,
// also after a crash or a loss of power at any moment.
//
//	err := s.Update(func(tx *store.Tx) error {
//		seq, err := tx.List(store.Outbox).Append(peer, message)
//		...
//		return tx.Map(store.Chat).Put(peer, ratchet)
//	})
//
// # Rooms
//
// The database is divided into rooms. Each is used in one of two ways: as a
// [Map] from names to values, or as a set of [List]s, each with a name, whose
// values have rising numbers. Names and values are plain bytes: who owns a room
// knows their layout. The methods of Map and List use basic types alone, so
// that a package which may not import this one declares the few it needs as an
// interface and is handed a Map or a List by the top.
//
// # At rest
//
// Values are sealed with XChaCha20-Poly1305, and names stand in the file as a
// keyed hash, both under keys derived from the key store's. What the file shows
// is how many entries a room has, which of them belong to one list, how long
// each is and when it changed. A sealed value opens in its own place only.
// Whoever can write the file can put back an old copy of it as a whole. Deleted
// values stay in free pages, sealed, until these are used again.
//
// # Bounds
//
// Own rooms hold [Options.Size] bytes together. When they are full the oldest
// entries of [History] go first, nothing else does: with no history left an
// Update that would add gets [ErrFull]. [Held], what is kept for others, has a
// budget of its own and never displaces anything of the node's. Sizes count
// entries; the file may be up to about twice as long.
//
// # Damage
//
// A database that is damaged, or belongs to another key, is kept aside as
// store.db.bad (bad2, …), what can still be read of it is copied into a new one,
// and a warning is logged once. One from a newer program is left alone.
package store
