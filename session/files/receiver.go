// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import (
	"crypto/sha256"
	"slices"
	"time"
)

const (
	// window is how many chunks are asked for ahead on a lane, shared by its
	// transfers: 4 MiB, what QUIC itself lets be under way on a stream.
	window = 16
)

// Receiver holds the rules of one file that comes from one device. After every
// call drain poll and work; time never goes backwards.
//
// It takes chunks in order. What it holds of the file is always a row of whole
// chunks from the start, checked.
type Receiver struct {
	offer  Offer
	chunks int
	meter  Meter

	up      bool
	offered bool // on the sender's lane of now
	taken   bool
	ours    bool // paused by us
	theirs  bool // paused by them
	ended   Reason
	share   int // chunks that this transfer may ask for ahead

	out   []message
	askAt time.Time // when to ask for an offer that doesn't come

	pages  []Hash         // nil until the list is here and fits the root
	list   []Hash         // what there is of it
	hashes map[int][]Hash // of the pages that are needed now
	asked  struct {
		list   bool
		page   int // pages below it were asked for
		chunks int // chunks below it were asked for
	}

	part int // chunks that the part file may hold: to be checked before more is asked for
	have int // chunks that are checked and on the disk
	buf  []byte
	full bool // buf is a checked chunk that waits to be written
}

// NewReceiver returns the Receiver of an offer. What is remembered from an
// earlier start: taken, paused, and how many bytes the part file has.
func NewReceiver(o Offer, taken, paused bool, part int64) *Receiver {
	r := &Receiver{offer: o, chunks: chunksOf(o.Size), taken: taken, ours: paused, share: window}
	r.part = min(int((part+ChunkSize-1)/ChunkSize), r.chunks)
	return r
}

// assume has the part file taken for whole: its hashes were compared with the
// offer's.
func (r *Receiver) assume() {
	r.have, r.part = r.chunks, 0
	r.meter.Set(r.offer.Size)
}

// Offer returns what is offered.
func (r *Receiver) Offer() Offer { return r.offer }

// State returns where the transfer stands.
func (r *Receiver) State() State { return state(r.ended, r.taken, r.ours || r.theirs) }

// Reason returns why it is over; 0 before.
func (r *Receiver) Reason() Reason { return r.ended }

// Whole reports that every chunk is checked and on the disk.
func (r *Receiver) Whole() bool { return r.taken && r.ended == 0 && r.have == r.chunks }

// Take accepts the offer.
func (r *Receiver) Take() {
	if r.ended == 0 && !r.taken {
		r.taken = true
		r.answer()
	}
}

// Pause stops asking until Continue. What is under way is let go.
func (r *Receiver) Pause() {
	if r.ended == 0 && !r.ours {
		r.ours = true
		r.void()
		r.say(kindPause)
	}
}

// Continue ends Pause.
func (r *Receiver) Continue() {
	if r.ended == 0 && r.ours {
		r.ours = false
		r.say(kindGo)
		r.ask()
	}
}

// End is the end of the transfer on this side.
func (r *Receiver) End(reason Reason) {
	if r.ended == 0 {
		r.ended = reason
		r.void()
		r.hashes, r.list, r.buf, r.full = nil, nil, nil, false
		r.say(kindEnd)
	}
}

// Up tells that there is a lane to the sender. Nothing is asked for before its
// OFFER has come on its own.
func (r *Receiver) Up() {
	r.up = true
	r.out = nil
	r.void()
	r.answer()
}

// Down tells that the lane to the sender is gone.
func (r *Receiver) Down() {
	r.up = false
	r.out = nil
	r.void()
}

// Gone tells that the sender's lane is gone.
func (r *Receiver) Gone() {
	r.offered = false
	r.void()
}

// answer says on a new OFFER, or a new lane, what is wanted.
func (r *Receiver) answer() {
	switch {
	case !r.up || !r.offered:
	case r.ended != 0:
		r.say(kindEnd)
	case r.taken && r.ours:
		r.say(kindTake)
		r.say(kindPause)
	case r.taken:
		r.say(kindTake)
		r.ask()
	}
}

// Share sets how many chunks may be asked for ahead, at least one.
func (r *Receiver) Share(n int) { r.share = max(n, 1) }

// void forgets what was asked for, or waits to be: a sender that stops and goes
// on while it reads nothing must not make that grow.
func (r *Receiver) void() {
	r.out = slices.DeleteFunc(r.out, func(m message) bool { return m.kind == kindWant })
	r.asked.list, r.asked.page, r.asked.chunks = false, 0, 0
	if !r.full {
		r.buf = r.buf[:0]
		r.meter.Set(r.done()) // not what was lost of a chunk
	}
	r.meter.Stop()
}

func (r *Receiver) say(k kind) {
	if r.up {
		r.out = append(r.out, message{kind: k, id: r.offer.ID, reason: r.ended})
	}
}

func (r *Receiver) sayWant(what uint8, first, count int) {
	r.out = append(r.out, message{kind: kindWant, id: r.offer.ID, what: what, first: uint32(first), count: uint32(count)})
}

// receive takes a message for this transfer. The error is ErrMessage: the lane
// should be given up.
func (r *Receiver) receive(now time.Time, m message) error {
	if r.ended != 0 && m.kind != kindOffer {
		return nil
	}
	switch m.kind {
	case kindOffer:
		if m.offer != r.offer {
			return errRule("another offer under the same ID")
		}
		r.theirs, r.offered = false, true
		r.out = nil // all of it is said anew
		r.void()    // the sender starts anew
		r.answer()
	case kindPause:
		r.theirs = true
		r.void()
	case kindGo:
		r.theirs = false
		r.ask()
	case kindEnd:
		if m.reason == Complete {
			return errRule("the sender says that the file is here")
		}
		r.ended = m.reason
		r.void()
	case kindList, kindHashes, kindData:
		if !r.running() {
			return nil // sent before the pause was known
		}
		switch m.kind {
		case kindList:
			return r.takeList(m)
		case kindHashes:
			return r.takePage(m)
		}
		return r.takeData(now, m)
	default:
		return errRule("from a sender")
	}
	return nil
}

func (r *Receiver) running() bool {
	return r.up && r.offered && r.taken && !r.ours && !r.theirs && r.ended == 0
}

// ask asks for what is needed next.
func (r *Receiver) ask() {
	if !r.running() || r.have == r.chunks {
		return
	}
	if r.pages == nil && !r.asked.list {
		r.asked.list = true
		r.list = nil
		r.sayWant(wantList, 0, pagesOf(r.chunks))
	}
	if r.part > r.have {
		r.askPage(r.have / pageChunks) // to check the part file with
		return
	}
	// Before the list is here only the first page can be checked.
	end := min(r.have+r.share, r.chunks)
	if r.pages == nil {
		end = min(end, (r.have/pageChunks+1)*pageChunks)
	}
	from := max(r.asked.chunks, r.have)
	if from >= end || end-from < r.share/2 && end < r.chunks {
		return
	}
	for page := from / pageChunks; page <= (end-1)/pageChunks; page++ {
		r.askPage(page)
	}
	r.asked.chunks = end
	r.sayWant(wantChunks, from, end-from)
}

func (r *Receiver) askPage(i int) {
	if r.hashes[i] == nil && i >= r.asked.page {
		r.asked.page = i + 1
		r.sayWant(wantPage, i, 1)
	}
}

func (r *Receiver) takeList(m message) error {
	if r.pages != nil || int(m.first) != len(r.list) {
		return nil // from before a pause
	}
	r.list = append(r.list, hashList(m.hashes)...)
	switch n := pagesOf(r.chunks); {
	case len(r.list) < n:
		return nil
	case len(r.list) > n || rootHash(r.offer.Size, r.list) != r.offer.Root:
		r.End(Wrong)
		return nil
	}
	r.pages, r.list = r.list, nil
	r.ask()
	return nil
}

func (r *Receiver) takePage(m message) error {
	i := int(m.first)
	if r.pages == nil || i >= r.asked.page || r.hashes[i] != nil {
		return nil // from before a pause
	}
	list := hashList(m.hashes)
	if len(list) != min(pageChunks, r.chunks-i*pageChunks) || pageHash(list) != r.pages[i] {
		r.End(Wrong)
		return nil
	}
	if r.hashes == nil {
		r.hashes = make(map[int][]Hash)
	}
	r.hashes[i] = list
	return nil
}

// hash returns what a chunk has to be; false when that is not known yet.
func (r *Receiver) hash(chunk int) (Hash, bool) {
	list := r.hashes[chunk/pageChunks]
	if list == nil {
		return Hash{}, false
	}
	return list[chunk%pageChunks], true
}

func (r *Receiver) takeData(now time.Time, m message) error {
	start := int64(r.have) * ChunkSize
	switch {
	case m.offset < start || r.have >= r.chunks:
		return nil // sent twice, before a pause and after
	case r.full:
		return errRule("work was not done") // the owner's fault, and the lane's end
	case m.offset == start:
		r.buf = r.buf[:0]
	case m.offset != start+int64(len(r.buf)):
		return nil // from before a pause
	}
	size := chunkLen(r.offer.Size, r.have)
	want, ok := r.hash(r.have)
	if !ok || r.have >= r.asked.chunks || r.part > r.have {
		return nil // from before a pause
	}
	if len(r.buf)+len(m.data) > size {
		return errRule("a chunk that is too long")
	}
	if r.buf == nil {
		r.buf = make([]byte, 0, size)
	}
	r.buf = append(r.buf, m.data...)
	r.meter.Add(now, len(m.data), start+int64(len(r.buf)))
	if len(r.buf) < size {
		return nil
	}
	if sha256.Sum256(r.buf) != want {
		r.End(Wrong)
		return nil
	}
	r.full = true
	return nil
}

// Work is what the owner is to do with the part file.
type Work struct {
	Chunk  int
	Offset int64
	Data   []byte // write it, then call Wrote; nil: read it, then call Checked
	Length int    // how much to read
	Hash   Hash   // what it has to be
}

// work returns the next piece of work, if there is any.
func (r *Receiver) work() (w Work, ok bool) {
	if r.ended != 0 {
		return w, false
	}
	w = Work{Chunk: r.have, Offset: int64(r.have) * ChunkSize}
	if r.full {
		w.Data = r.buf
		return w, true
	}
	if r.part > r.have {
		if w.Hash, ok = r.hash(r.have); ok {
			w.Length = chunkLen(r.offer.Size, r.have)
		}
	}
	return w, ok
}

// wrote tells that work's data is in the part file.
func (r *Receiver) wrote() {
	r.buf, r.full = r.buf[:0], false
	r.step()
}

// notWritten tells that it could not be written: the transfer pauses, and the
// chunk will be asked for again.
func (r *Receiver) notWritten() {
	r.buf, r.full = r.buf[:0], false
	r.meter.Set(r.done())
	r.Pause()
}

// checked tells whether the chunk in the part file is the right one. From the
// first that is not, all are asked for.
func (r *Receiver) checked(good bool) {
	if !good {
		r.part = r.have
		r.ask()
		return
	}
	r.step()
	r.meter.Set(r.done())
}

func (r *Receiver) step() {
	r.have++
	if r.have%pageChunks == 0 {
		delete(r.hashes, r.have/pageChunks-1)
	}
	if r.have == r.chunks {
		r.meter.Set(r.offer.Size)
		return
	}
	r.ask()
}

func (r *Receiver) done() int64 { return min(int64(r.have)*ChunkSize, r.offer.Size) }

// askAfter is how long the sender's OFFER may be late on a lane, and twice that
// how long the next. Who has ended the transfer answers TAKE with END.
const askAfter = 30 * time.Second

// poll returns the next message to send.
func (r *Receiver) poll(now time.Time) (m message, ok bool) {
	switch {
	case !r.up || r.offered || !r.taken || r.ended != 0:
		r.askAt = time.Time{}
	case r.askAt.IsZero():
		r.askAt = now.Add(askAfter)
	case !now.Before(r.askAt):
		r.askAt = now.Add(2 * askAfter)
		r.say(kindTake)
	}
	if len(r.out) == 0 {
		return m, false
	}
	m, r.out = r.out[0], r.out[1:]
	return m, true
}

// Progress returns how far the transfer is.
func (r *Receiver) Progress(now time.Time) Progress { return r.meter.progress(now, r.offer.Size) }
