// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import "time"

const (
	// MaxText bounds a text, in bytes of UTF-8: three pages, and half of the
	// largest blob of a mailbox.
	MaxText = 8192
	// MaxName bounds a display name, in bytes (design/001).
	MaxName = 64
	// MaxWaiting texts may wait for one person; more is a program gone wild.
	MaxWaiting = 10_000
	// maxPeople are talked with: as many as a node remembers.
	maxPeople = 1024
	// maxDevices of one person: as many as have record slots.
	maxDevices = 5
	// maxAuthors of one conversation are remembered: five devices on each side,
	// and some that were replaced.
	maxAuthors = 32
	// maxKept entries of a conversation are kept to be sent again: a month of
	// lively talk.
	maxKept = 4096
	// maxSessions with one device: two that began at once, and two before them.
	maxSessions = 4
	// maxHeld entries of a conversation wait for one before them.
	maxHeld = 256
	// maxHeldBytes is what they may have together; they are one value in the store.
	maxHeldBytes = 512 << 10
	// decideEvery is how often it is asked whether a text is taken that waits for
	// that.
	decideEvery = 250 * time.Millisecond
	// holdTime is how long: the author will be back, or its mailbox has lost one.
	holdTime = 24 * time.Hour
	// maxLinks are known at a time: one for each person's device that is online.
	maxLinks = 1024

	// callEvery is the time between two entries of calls that reached nobody.
	callEvery = time.Minute

	// window entries are under way to a device without an acknowledgement.
	window = 64
	// maxItems bounds the items of a message in bytes: three link frames, or a
	// blob of the largest size with a start in it.
	maxItems = 12_000
	// narrowItems does so where no link stands: a parcel of the route.
	narrowItems = 1000
	// mailItems does so for a blob of the largest size that has a start.
	mailItems = 14_000
	// maxOwed acknowledgements wait for one device; what is not acknowledged
	// comes again.
	maxOwed = 1024
	// maxAcks go in one message.
	maxAcks = 256
	// maxReads go in one entry.
	maxReads = 256

	// resendFirst and resendMost are the waits before what was not acknowledged
	// is sent again; they double. Links lose nothing by themselves.
	resendFirst = 2 * time.Second
	resendMost  = time.Minute
	// patience is how long a person is looked for before mail is written.
	patience = 3 * time.Second
	// putFirst and putMost are the waits after a mailbox refused.
	putFirst = 5 * time.Second
	putMost  = 10 * time.Minute
	// putAgain is when what still waits is put into the mailbox once more: half of
	// the time that it keeps it.
	putAgain = 7 * 24 * time.Hour
	// seekFirst and seekMost are the waits between searches for a person.
	seekFirst = 30 * time.Second
	seekMost  = 15 * time.Minute
	// publishNew and publishOld are how long after joining prekeys are published
	// that nobody has yet, or that the network had before; a random part comes on
	// top. publishTime is what it takes when the node is about to be switched off:
	// programs promise to be gone within two seconds.
	publishNew  = time.Minute
	publishOld  = 5 * time.Minute
	publishTime = 1500 * time.Millisecond
	// fetchEvery is how often a person's prekeys are looked at for new devices,
	// fetchRetry after a failure.
	fetchEvery = 24 * time.Hour
	fetchRetry = time.Minute
	// talkedOf is how long ago somebody was talked with whose devices matter still.
	talkedOf = 30 * 24 * time.Hour
	// maxFetches are under way at a time.
	maxFetches = 8
	// pollEvery is how often each mailbox is looked into, pollFirst how soon again
	// when nobody has answered.
	pollEvery = 10 * time.Minute
	pollFirst = time.Second
	// maxPolls are under way at a time: each is up to three questions, of which the
	// overlay takes 96.
	maxPolls = 16
	// restartEvery and maxRestarts bound sessions that this side begins because it
	// can't read the other's.
	restartEvery = time.Hour
	maxRestarts  = 4
	// handedFor is how long keys that came over a link are used: a little less than
	// their owner keeps them.
	handedFor = 50 * time.Minute
	// rewindEvery bounds how often a device may ask for everything again.
	rewindEvery = 10 * time.Second
	// keepEvery is how often keys are looked through for those to delete.
	keepEvery = time.Hour
	// digestEvery is how often own devices compare what they have.
	digestEvery = 10 * time.Minute
	// digestSoon is how long after something new they do so.
	digestSoon = 2 * time.Second
	// storeRetry is the wait after the store has failed to be read.
	storeRetry = time.Second
)
