// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
)

// summary tells a node's history in short lines, newest first.
func summary(t *testing.T, n *Node) (list []string) {
	t.Helper()
	for r, err := range n.History(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		way := "to"
		if r.Incoming {
			way = "from"
		}
		list = append(list, fmt.Sprintf("%s %s %s at %s missed %v path %q talked %v", way, r.Name, r.Call.Reason, r.Call.Stage, r.Call.Missed, r.Call.Path, r.Call.Seconds >= 6))
	}
	return list
}

func TestCallHistory(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		dir := t.TempDir()
		a, b := s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{Dir: dir, MaxCalls: 1})
		c := s.node(s.public("c"), Config{})
		ticket := s.ticket(b)
		ring := func(n *Node) *Call {
			t.Helper()
			call, err := n.Call(t.Context(), ticket, nil)
			if err != nil {
				t.Fatal(err)
			}
			return call
		}
		// Nobody answers, and the caller gives up.
		call := ring(a)
		time.Sleep(time.Second)
		call.HangUp()
		<-call.Done()
		time.Sleep(time.Second)
		// Answered; another one finds the line busy.
		ears := s.callee(b)
		call = ring(a)
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ears
		time.Sleep(3 * time.Second)
		<-ring(c).Done()
		time.Sleep(3 * time.Second)
		call.HangUp()
		<-call.Done()
		time.Sleep(time.Second)
		wantA := []string{
			"to  hangup at talk missed false path \"direct\" talked true",
			"to  cancelled at ring missed false path \"\" talked false",
		}
		if got := summary(t, a); !slices.Equal(got, wantA) {
			t.Errorf("a: %q", got)
		}
		wantB := []string{
			"from a hangup at talk missed false path \"direct\" talked true",
			"from c busy at ring missed true path \"\" talked false",
			"from a cancelled at ring missed true path \"\" talked false",
		}
		if got := summary(t, b); !slices.Equal(got, wantB) {
			t.Errorf("b: %q", got)
		}
		// A call that the node's end cuts off is there after the next start.
		call = ring(a)
		call.Answered(t.Context())
		<-ears
		b.Close()
		b2 := s.nodeOn("b", Config{Dir: dir}, s.listen(s.public("b2"), 4000))
		if got := summary(t, b2); len(got) != 4 || !slices.Equal(got[1:], wantB) || !strings.Contains(got[0], "at talk") {
			t.Errorf("after a restart: %q", got)
		}
	})
}

// More than a page, changed while it is read, and to its end and not beyond.
func TestHistoryPages(t *testing.T) {
	n := newNodeHere(t, t.TempDir())
	const count = 3*historyPage + 5
	for i := range count {
		n.record(Record{When: time.Unix(int64(i), 0), Peer: identity.ID{byte(i)}, Message: &MessageRecord{ID: fmt.Sprint(i), Text: "t"}})
	}
	next := count
	for r, err := range n.History(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if next--; r.Message.ID != fmt.Sprint(next) || r.Number != uint64(next+1) {
			t.Fatalf("record %d: %+v", next, r)
		}
		if next%50 == 0 {
			n.record(Record{File: &FileRecord{Name: "while reading"}})
			n.writes.wait()
		}
	}
	if next != 0 {
		t.Errorf("%d are missing", next)
	}
	err := n.db.Update(func(tx *store.Tx) error {
		return changeRecord(tx, 1, func(r *Record) { r.Message.Read = time.Unix(99, 0) })
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := n.Contacts().Add(identity.ID{7}.String(), "Anna"); err != nil {
		t.Fatal(err)
	}
	if err := n.Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(b.Bytes()), []byte("\n"))
	var first struct{ Contact struct{ Name string } }
	var second struct{ Record Record }
	if err := errors.Join(json.Unmarshal(lines[0], &first), json.Unmarshal(lines[1], &second)); err != nil {
		t.Fatal(err)
	}
	if len(lines) != count+5 || first.Contact.Name != "Anna" || second.Record.Number != 1 || !second.Record.Message.Read.Equal(time.Unix(99, 0)) {
		t.Errorf("%d lines, %+v, %+v", len(lines), first, second)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range n.History(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	n.Close()
	for _, err := range n.History(t.Context()) {
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}
