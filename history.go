// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"net"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/session"
)

// Record is one entry of the history: exactly one of Call, Message, File and Knock
// is not nil. In JSON, as Export writes it, times are RFC 3339 and IDs text.
type Record struct {
	Number   uint64      `json:"number"` // rises with each record of this node
	When     time.Time   `json:"when"`   // when it began, by this node's clock
	Peer     identity.ID `json:"peer"`
	Name     string      `json:"name,omitempty"` // as the peer gave it: show it, don't trust it
	Incoming bool        `json:"incoming"`
	// Device is the person's other device on which it happened, its
	// identity.DeviceID in hexadecimal; "" = this one. Messages have none.
	Device string `json:"device,omitempty"`

	Call    *CallRecord    `json:"call,omitempty"`
	Message *MessageRecord `json:"message,omitempty"`
	File    *FileRecord    `json:"file,omitempty"`
	Knock   *KnockRecord   `json:"knock,omitempty"`
}

// CallRecord says how a call went. Stage and Reason are those of CallError.
type CallRecord struct {
	Stage   string  `json:"stage"`
	Reason  string  `json:"reason"`
	Seconds float64 `json:"seconds"`          // talked
	Missed  bool    `json:"missed,omitempty"` // rang here and was neither answered nor rejected
	Path    string  `json:"path,omitempty"`   // the kind of the last path: "lan", "direct", "relay", "tcp"
}

// MessageRecord is a text and how far it came.
type MessageRecord struct {
	ID        string    `json:"id"`
	Text      string    `json:"text"`
	Sent      time.Time `json:"sent"` // by the sender's clock
	Delivered time.Time `json:"delivered,omitzero"`
	Read      time.Time `json:"read,omitzero"`
}

// KnockRecord is word that a stranger has left.
type KnockRecord struct {
	Text string `json:"text"`
	Rang bool   `json:"rang,omitempty"` // Config.KnockRings let it
}

// FileRecord is a transfer that has ended.
type FileRecord struct {
	Name   string `json:"name"`           // as it was offered: never a path
	Path   string `json:"path,omitempty"` // where it is on this computer
	Bytes  int64  `json:"bytes"`
	Done   int64  `json:"done"`
	State  string `json:"state"` // "complete"; else why it ended: "declined", "cancelled", "changed", "wrong", "unreadable", "elsewhere", "too-many", "expired"
	SHA256 string `json:"sha256,omitempty"`
	Error  string `json:"error,omitempty"`
}

// historyPage is how many records are read in one transaction: the app's code
// never runs inside of one.
const historyPage = 64

// History returns what happened, the newest first: calls, messages and files
// of this person, as they are when they are read. What happened on other devices
// stands where this one heard of it, the newest 2,000 calls and files at most. It ends with an error when the
// database can't be read, with ctx's, or with net.ErrClosed.
func (n *Node) History(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		n.catchUp()
		for next := uint64(math.MaxUint64); ; {
			page, err := n.historyPage(next)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Record{}, n.stored(err))
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
				next = r.Number - 1
			}
			if len(page) < historyPage {
				return
			}
		}
	}
}

// catchUp waits until what the application knows of is written: what an event
// has told, and calls whose Done is closed though their event is still to come.
func (n *Node) catchUp() {
	n.mu.Lock()
	calls := slices.Collect(maps.Values(n.handles))
	n.mu.Unlock()
	for _, c := range calls {
		select {
		case <-c.Done():
			n.recordCall(c)
		default:
		}
	}
	n.writes.wait()
}

func (n *Node) historyPage(from uint64) (page []Record, err error) {
	err = n.db.View(func(tx *store.Tx) error {
		for number, b := range tx.List(store.History).Back(nil, from) {
			page = append(page, decodeRecord(number, b))
			if len(page) == historyPage {
				break
			}
		}
		return nil
	})
	return page, err
}

// decodeRecord reads what putRecord has written, or a later program, of which
// the fields known here are taken.
func decodeRecord(number uint64, b []byte) (r Record) {
	if err := json.Unmarshal(b, &r); err != nil {
		r = Record{}
	}
	r.Number = number
	return r
}

// putRecord appends a record to the history and returns its number.
func putRecord(tx *store.Tx, r Record) (uint64, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("p2pos: history: %w", err)
	}
	return tx.List(store.History).Append(nil, b)
}

// changeRecord changes a record that is still there.
func changeRecord(tx *store.Tx, number uint64, change func(*Record)) error {
	l := tx.List(store.History)
	b, err := l.Get(nil, number)
	if b == nil || err != nil {
		return err
	}
	r := decodeRecord(number, b)
	change(&r)
	if b, err = json.Marshal(r); err != nil {
		return fmt.Errorf("p2pos: history: %w", err)
	}
	return l.Set(nil, number, b)
}

// record writes a record in the background.
func (n *Node) record(r Record) {
	n.auditRecord(r)
	n.writes.add(func() {
		if err := n.past.record(n, r); err != nil {
			n.log.Warn("history not written", "err", err)
		}
	})
}

// recordCall writes down a call that has ended, once.
func (n *Node) recordCall(c *Call) { c.recorded.Do(func() { n.recordEnd(c) }) }

func (n *Node) recordEnd(c *Call) {
	stage, reason, talked := c.End()
	r := Record{
		When: c.Started(), Peer: c.Peer(), Name: c.Name(), Incoming: c.Incoming(),
		Call: &CallRecord{Stage: stage, Reason: reason, Seconds: talked.Round(time.Millisecond).Seconds(), Missed: c.missed()},
	}
	if kind := c.kind.Load(); kind != nil {
		r.Call.Path = *kind
	}
	n.record(r)
}

// recordMissed writes down a call that never became one here.
func (n *Node) recordMissed(m CallMissed) {
	n.record(Record{
		When: m.When, Peer: m.Peer, Name: m.Name, Incoming: true,
		Call: &CallRecord{Stage: session.Ring.String(), Reason: session.Busy.String(), Missed: true},
	})
}

// Export writes contacts and then the history, oldest first, as JSON, one
// object a line: {"contact":{…}} or {"record":{…}}. Secrets are left out. What
// is added meanwhile may be missing. Errors: of w, of reading, ctx's.
func (n *Node) Export(ctx context.Context, w io.Writer) error {
	n.catchUp()
	out := json.NewEncoder(w)
	for c := range n.book.All() {
		if err := out.Encode(map[string]any{"contact": exportedContact{c.ID, c.Name, c.Verified, c.Blocked, c.Added}}); err != nil {
			return fmt.Errorf("p2pos: export: %w", err)
		}
	}
	for next := uint64(1); ; {
		var page []Record
		err := n.db.View(func(tx *store.Tx) error {
			for number, b := range tx.List(store.History).From(nil, next) {
				page = append(page, decodeRecord(number, b))
				if len(page) == historyPage {
					break
				}
			}
			return nil
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return n.stored(err)
		}
		for _, r := range page {
			if err := out.Encode(map[string]any{"record": r}); err != nil {
				return fmt.Errorf("p2pos: export: %w", err)
			}
			next = r.Number + 1
		}
		if len(page) < historyPage {
			return nil
		}
	}
}

type exportedContact struct {
	ID       identity.ID `json:"id"`
	Name     string      `json:"name,omitempty"`
	Verified bool        `json:"verified,omitempty"`
	Blocked  bool        `json:"blocked,omitempty"`
	Added    time.Time   `json:"added"`
}

// stored turns an error of the database into the application's.
func (n *Node) stored(err error) error {
	switch {
	case n.ctx.Err() != nil, errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("p2pos: %w", err)
}
