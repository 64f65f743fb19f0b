// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"encoding/binary"
	"time"

	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/session"
	"github.com/p2pos/p2pos/session/chat"
)

// chatStore keeps what the machine of text must not forget in the room of chat,
// and, in the same transaction, what the application sees in the history.
//
// Where a text is in the history stands in the room of chat too, under
// "h" and its ID (number, 8 bytes), for as long as the machine knows the text.
type chatStore struct {
	db *store.Store
}

// Get implements chat.Store.
func (s *chatStore) Get(name []byte) (value []byte, err error) {
	err = s.db.View(func(tx *store.Tx) (err error) {
		value, err = tx.Map(store.Chat).Get(name)
		return err
	})
	return value, err
}

// Commit implements chat.Store.
func (s *chatStore) Commit(writes []chat.Write, events []chat.Event) error {
	return s.db.Update(func(tx *store.Tx) error {
		m := tx.Map(store.Chat)
		for _, w := range writes {
			if w.Value != nil {
				if err := m.Put(w.Name, w.Value); err != nil {
					return err
				}
				continue
			}
			if err := m.Delete(w.Name); err != nil {
				return err
			}
			if w.Name[0] == chat.IDRoom {
				if err := m.Delete(historyName(w.Name[1:])); err != nil {
					return err
				}
			}
		}
		for _, e := range events {
			if err := s.write(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func historyName(id []byte) []byte { return append([]byte{'h'}, id...) }

// write adds an event to the history.
func (s *chatStore) write(tx *store.Tx, e chat.Event) error {
	now := time.Now()
	switch e := e.(type) {
	case chat.Message:
		r := Record{
			When: e.Received, Peer: e.Peer, Incoming: !e.Ours,
			Message: &MessageRecord{ID: e.ID.String(), Text: e.Text, Sent: e.Sent},
		}
		if !e.Ours {
			r.Message.Delivered = e.Received
		}
		number, err := putRecord(tx, r)
		if err != nil {
			return err
		}
		return tx.Map(store.Chat).Put(historyName(e.ID[:]), binary.BigEndian.AppendUint64(nil, number))
	case chat.Called:
		if e.Ours {
			return nil // the device that called has it
		}
		_, err := putRecord(tx, Record{
			When: e.At, Peer: e.Peer, Name: e.Name, Incoming: true,
			Call: &CallRecord{Stage: session.Ring.String(), Reason: session.Offline.String(), Missed: true},
		})
		return err
	case chat.Delivered:
		return s.change(tx, e.ID, func(m *MessageRecord) { m.Delivered = now })
	case chat.Read:
		return s.change(tx, e.ID, func(m *MessageRecord) { m.Read = now })
	case chat.Seen:
		return s.change(tx, e.ID, func(m *MessageRecord) { m.Read = now })
	}
	return nil
}

// change changes the record of a text, if the history still has it.
func (s *chatStore) change(tx *store.Tx, id chat.ID, f func(*MessageRecord)) error {
	b, err := tx.Map(store.Chat).Get(historyName(id[:]))
	if err != nil || len(b) != 8 {
		return err
	}
	return changeRecord(tx, binary.BigEndian.Uint64(b), func(r *Record) {
		if r.Message != nil && r.Message.ID == id.String() {
			f(r.Message)
		}
	})
}
