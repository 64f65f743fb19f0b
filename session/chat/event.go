// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"time"

	"github.com/p2pos/p2pos/identity"
)

// Event is what a Machine tells: one of the types below.
type Event interface{ event() }

// Message is a text: of Peer, or, with Ours, to Peer from this device or
// another one of the same person.
type Message struct {
	ID   ID
	Peer identity.ID
	Ours bool
	// Here says that this device has said it; it comes out of Send.
	Here     bool
	Text     string
	Sent     time.Time // by the author's clock, to the millisecond
	Received time.Time // by this one's
	// Gap says that something which its author said before is missing and was
	// waited for in vain.
	Gap bool
}

// Delivered says that an own text is on a disk of the other person.
type Delivered struct {
	ID   ID
	Peer identity.ID
}

// Read says that an own text was read.
type Read struct {
	ID   ID
	Peer identity.ID
}

// Seen says that a text of theirs was read, here or at another own device.
type Seen struct {
	ID   ID
	Peer identity.ID
}

// Stored says that an own text lies in the mailbox of a device of the other
// person: this node may be switched off.
type Stored struct {
	ID   ID
	Peer identity.ID
}

// Called says that a call of Peer's, or with Ours of another own device's to
// Peer, has reached nobody.
type Called struct {
	Peer     identity.ID
	Name     string // as Peer gives it; may be empty
	Ours     bool
	At       time.Time // by the caller's clock, never later than Received
	Received time.Time
}

// Met says what a person tells about itself: a name, shown and never trusted,
// and a reach secret with which it can be found.
type Met struct {
	Peer   identity.ID
	Name   string
	Secret identity.Secret // zero = not told
}

func (Message) event()   {}
func (Delivered) event() {}
func (Read) event()      {}
func (Seen) event()      {}
func (Stored) event()    {}
func (Called) event()    {}
func (Met) event()       {}

// Output is what a Machine wants done: one of the types below.
type Output interface{ output() }

// Transmit is an envelope for a node.
type Transmit struct {
	To   identity.NodeID
	Body []byte
}

// Put is a blob for a mailbox. Answer with PutDone.
type Put struct {
	Ref    uint32
	Secret [32]byte
	Blob   []byte
}

// Collect asks for what is in a mailbox. Answer with Mail.
type Collect struct {
	Ref    uint32
	Secret [32]byte
}

// Drop deletes blobs that were read.
type Drop struct {
	Secret [32]byte
	Names  [][16]byte
}

// Fetch asks for a person's prekeys. Answer with Prekeys.
type Fetch struct {
	Peer   identity.ID
	Secret identity.Secret
}

// Publish is this device's own prekeys, to be found by others from now on.
type Publish struct{ Bundle []byte }

// Seek asks for links to a person's devices.
type Seek struct {
	Peer   identity.ID
	Secret identity.Secret // zero = not known
}

// Located says that an envelope has shown whose device a node runs, that was not
// known to run one.
type Located struct {
	Node   identity.NodeID
	Peer   identity.ID
	Device [16]byte
}

func (Transmit) output() {}
func (Put) output()      {}
func (Collect) output()  {}
func (Drop) output()     {}
func (Fetch) output()    {}
func (Publish) output()  {}
func (Seek) output()     {}
func (Located) output()  {}

// Blob is what a mailbox held.
type Blob struct {
	Name [16]byte
	Data []byte
}

// Counters count what was refused, by cause.
type Counters struct {
	Malformed uint64 // ErrMessage
	Unread    uint64 // could not be opened
	Repeated  uint64 // opened before
	Blocked   uint64
	Refused   uint64 // texts that MayWrite keeps out
	Store     uint64 // the store failed
	Restarts  uint64 // sessions begun anew because the other's could not be read
}
