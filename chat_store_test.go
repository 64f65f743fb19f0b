// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/session/chat"
	"github.com/p2pos/p2pos/session/chat/storetest"
)

// openChatStore opens a database in a directory.
func openChatStore(t *testing.T, dir string) *chatStore {
	t.Helper()
	db := store.New(store.Options{Dir: dir, Key: [32]byte{1}})
	t.Cleanup(func() { db.Close() })
	return &chatStore{db: db}
}

func TestChatStore(t *testing.T) {
	dirs := make(map[chat.Store]string)
	storetest.Run(t, func(t *testing.T, last chat.Store) chat.Store {
		dir := dirs[last]
		if last == nil {
			dir = t.TempDir()
		} else {
			last.(*chatStore).db.Close()
		}
		s := openChatStore(t, dir)
		dirs[s] = dir
		return s
	})
}

// The history has a text with the transaction that took it, and knows how far
// it came; a text that is forgotten leaves no trace but its record.
func TestChatStoreHistory(t *testing.T) {
	s := openChatStore(t, t.TempDir())
	id, peer := chat.NewID(), identity.ID{7}
	name := append([]byte{chat.IDRoom}, id[:]...)
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	commit := func(w []chat.Write, e ...chat.Event) {
		t.Helper()
		if err := s.Commit(w, e); err != nil {
			t.Fatal(err)
		}
	}
	commit([]chat.Write{{Name: name, Value: []byte("place")}}, chat.Message{ID: id, Peer: peer, Ours: true, Here: true, Text: "hello", Sent: at, Received: at})
	state := func() (out string) {
		err := s.db.View(func(tx *store.Tx) error {
			for n, b := range tx.List(store.History).From(nil, 1) {
				m := decodeRecord(n, b).Message
				out += fmt.Sprintf("%s %s %t %t;", m.ID, m.Text, !m.Delivered.IsZero(), !m.Read.IsZero())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got, want := state(), id.String()+" hello false false;"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	commit(nil, chat.Delivered{ID: id, Peer: peer})
	commit(nil, chat.Read{ID: id, Peer: peer})
	if got, want := state(), id.String()+" hello true true;"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	commit([]chat.Write{{Name: name}})
	if v, err := s.Get(historyName(id[:])); v != nil || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	commit(nil, chat.Read{ID: id, Peer: peer}) // of a text that is forgotten: nothing
}

// A database without room refuses the whole transaction, and a machine on it
// goes on when there is room.
func TestChatStoreFull(t *testing.T) {
	db := store.New(store.Options{Dir: t.TempDir(), Key: [32]byte{1}, Size: 4096})
	defer db.Close()
	s := &chatStore{db: db}
	err := s.Commit([]chat.Write{{Name: []byte("a"), Value: make([]byte, 100)}, {Name: []byte("b"), Value: make([]byte, 8000)}}, nil)
	if err == nil {
		t.Fatal("kept more than fits")
	}
	if v, err := s.Get([]byte("a")); v != nil || err != nil {
		t.Errorf("half of it is there: %q, %v", v, err)
	}
	if err := s.Commit([]chat.Write{{Name: []byte("a"), Value: []byte("1")}}, nil); err != nil {
		t.Error(err)
	}
}
