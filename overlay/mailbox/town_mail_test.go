// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/overlay/directory"
)

// A blob of each size goes to eight holders within seconds and comes back.
func TestWriteRead(t *testing.T) {
	w := newTown(t, 1, 40)
	q := queueOf(1, now)
	for i, size := range []int{Small, Medium, Large} {
		blob, began := blobOf(size, byte(i)), w.now
		if err := w.write(q, blob); err != nil {
			t.Fatal(err)
		}
		if took := w.now.Sub(began); took > 3*trip {
			t.Errorf("%d bytes took %v", size, took)
		}
		w.run(5*time.Second, nil)
		if n := w.held(q, blob); n != directory.Copies {
			t.Errorf("%d bytes: %d holders", size, n)
		}
		began = w.now
		r := w.read(q)
		if len(r.found) != i+1 || r.done.Left || r.ended.Sub(began) > time.Second {
			t.Errorf("%d blobs, %+v after %v", len(r.found), r.done, r.ended.Sub(began))
		}
		for _, f := range r.found {
			if IDOf(f.Blob) != f.ID {
				t.Error("a blob of another name")
			}
		}
	}
	if r := w.read(queueOf(9, now)); len(r.found) != 0 || r.done.Left {
		t.Errorf("an empty queue: %+v", r)
	}
	if err := w.write(q, make([]byte, 1000)); !errors.Is(err, errSize) {
		t.Errorf("1,000 bytes: %v", err)
	}
}

// A full queue takes several turns, and nothing of it is missing.
func TestReadMuch(t *testing.T) {
	w := newTown(t, 2, 12)
	q := queueOf(1, now)
	want := map[ID]bool{}
	for i := range 60 {
		b := blobOf(Large, byte(i))
		want[IDOf(b)] = true
		if err := w.write(q, b); err != nil {
			t.Fatalf("blob %d: %v", i, err)
		}
	}
	begin := w.now
	r := w.read(q)
	for _, f := range r.found {
		delete(want, f.ID)
	}
	if len(want) > 0 || r.done.Left {
		t.Errorf("%d blobs are missing, %+v", len(want), r.done)
	}
	t.Logf("%d blobs in %v", len(r.found), r.ended.Sub(begin))
	for i := range 20 { // up to the limit
		if err := w.write(q, blobOf(Large, byte(100+i))); errors.Is(err, ErrFull) {
			return
		}
	}
	t.Error("the queue is never full")
}

// Mail outlives its holders: of 40 nodes, two leave and two come every ten
// minutes for a day.
func TestChurn(t *testing.T) {
	w := newTown(t, 3, 40)
	q := queueOf(1, now)
	blobs := [][]byte{blobOf(Small, 1), blobOf(Large, 2)}
	for _, b := range blobs {
		if err := w.write(q, b); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 144 {
		for range 2 {
			for {
				if h := w.nodes[w.rng.IntN(len(w.nodes))]; h.alive {
					h.alive = false
					break
				}
			}
			w.add()
		}
		w.meet()
		w.run(10*time.Minute, nil)
		for _, b := range blobs {
			if n := w.held(q, b); n < 5 {
				t.Fatalf("round %d: %d holders of %d bytes", round, n, len(b))
			}
		}
	}
	if r := w.read(q); len(r.found) != len(blobs) {
		t.Errorf("%d blobs", len(r.found))
	}
	// And its receipt outlives them as well.
	first := w.read(q).found[0]
	var old *holder
	for _, h := range w.nearest(q.Place())[3:] {
		if h.s.find(q.Place()) != nil {
			old = h
		}
	}
	old.alive = false // away with a copy
	w.meet()
	w.dropAll(q, first.ID)
	w.run(time.Hour, nil)
	old.alive = true
	w.meet()
	w.run(time.Hour, nil)
	if n := w.held(q, first.Blob); n != 0 {
		t.Errorf("%d holders of what was dropped", n)
	}
	if r := w.read(q); len(r.found) != len(blobs)-1 {
		t.Errorf("%d blobs", len(r.found))
	}
}

// Holders that hide, forge, or repeat do no harm as long as one is honest.
func TestLyingHolders(t *testing.T) {
	q := queueOf(1, now)
	blob := blobOf(Medium, 5)
	mine := pieces(t, q, now, blob)
	theirs := pieces(t, queueOf(2, now), now, blobOf(Medium, 6))
	forged := bytes.Clone(mine[1])
	forged[200] ^= 1
	ask := func(body []byte) bool { return body[0] == typeAsk }
	for what, lie := range map[string]func([]byte) [][]byte{
		"hide":        func([]byte) [][]byte { return [][]byte{piecesMessage{parts: 1}.append(nil)} },
		"no end":      func([]byte) [][]byte { return [][]byte{piecesMessage{parts: 1, left: 9}.append(nil)} },
		"half":        func([]byte) [][]byte { return [][]byte{piecesMessage{0, 2, 0, mine[0]}.append(nil)} },
		"forge":       func([]byte) [][]byte { return [][]byte{piecesMessage{0, 1, 0, forged}.append(nil)} },
		"foreign":     func([]byte) [][]byte { return [][]byte{piecesMessage{0, 1, 0, theirs[0]}.append(nil)} },
		"nonsense":    func([]byte) [][]byte { return [][]byte{{1, 2, 3}, {typeTaken, 1}, {typePieces}} },
		"take for no": func([]byte) [][]byte { return [][]byte{takenMessage{directory.Full}.append(nil)} },
	} {
		w := newTown(t, 4, 20)
		if err := w.write(q, blob); err != nil {
			t.Fatal(err)
		}
		w.run(5*time.Second, nil)
		for _, h := range w.nearest(q.Place())[:2] { // of the three asked
			h.lie = func(body []byte) [][]byte {
				if ask(body) {
					return lie(body)
				}
				return nil
			}
		}
		r := w.read(q)
		if len(r.found) != 1 || !bytes.Equal(r.found[0].Blob, blob) {
			t.Errorf("%s: %d blobs", what, len(r.found))
		}
		if took := r.ended.Sub(w.now); took > 8*time.Second {
			t.Errorf("%s: took %v", what, took)
		}
	}
	// Nobody answers: it ends, and says that there may be more.
	w := newTown(t, 5, 20)
	for _, h := range w.nodes {
		h.deaf = true
	}
	if r := w.read(q); !r.done.Left || len(r.found) > 0 {
		t.Errorf("%+v", r.done)
	}
}

// What refuses ends in an error that says why; what is silent is tried again.
func TestWriterErrors(t *testing.T) {
	q := queueOf(1, now)
	for o, want := range map[Outcome]error{
		directory.Full: ErrFull, directory.Busy: ErrFull, directory.WrongEpoch: ErrClock, directory.Refused: errRefused,
	} {
		w := newTown(t, 6, 20)
		for _, h := range w.nodes {
			h.lie = func([]byte) [][]byte { return [][]byte{takenMessage{o}.append(nil)} }
		}
		if err := w.write(q, blobOf(Small, 1)); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", o, err, want)
		}
	}
	w := newTown(t, 7, 20)
	for _, h := range w.nodes {
		h.deaf = true
	}
	m, err := NewWriter(w.now, q, blobOf(Large, 1))
	if err != nil {
		t.Fatal(err)
	}
	j := w.start(m)
	w.run(20*time.Second, nil)
	if j.done != nil {
		t.Fatalf("%+v though nobody answers", j.done)
	}
	for _, h := range w.nodes {
		h.deaf = false
	}
	if err := w.finish(j).done.Err; err != nil {
		t.Error(err)
	}
	// One liar who says that it has taken it is not enough.
	w = newTown(t, 8, 20)
	for i, h := range w.nearest(q.Place())[:3] {
		if h.deaf = i > 0; i == 0 {
			h.lie = func([]byte) [][]byte { return [][]byte{takenMessage{directory.Stored}.append(nil)} }
		}
	}
	m, _ = NewWriter(w.now, q, blobOf(Small, 1))
	j = w.start(m)
	if w.run(3*time.Second, nil); j.done != nil {
		t.Error("one holder was enough at once")
	}
	if err := w.finish(j).done.Err; err != nil { // perhaps there is only one
		t.Error(err)
	}
	w = newTown(t, 9, 3)
	w.dropAll(q) // nothing to drop is done at once
}

// A receipt is at all holders within seconds, whichever of them the reader met.
func TestDropSpreads(t *testing.T) {
	for seed := range uint64(20) {
		w := newTown(t, seed, 40)
		q, blob := queueOf(1, now), blobOf(Large, 1)
		if err := w.write(q, blob); err != nil {
			t.Fatal(err)
		}
		w.run(time.Minute, nil)
		before := w.held(q, blob)
		w.dropAll(q, IDOf(blob))
		w.run(10*time.Second, nil)
		if n := w.held(q, blob); before < 8 || n > 0 {
			t.Errorf("seed %d: %d holders, %d after it was dropped", seed, before, n)
		}
	}
}
