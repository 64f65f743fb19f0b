// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
)

func TestPetname(t *testing.T) {
	id := identity.ID{1}
	for in, want := range map[string]string{
		"":                              "",
		"Anna":                          "Anna",
		"  Anna \t Lee ":                "Anna Lee",
		"Änne / Büro":                   "Änne / Büro",
		"👩\u200d👩\u200d👧 Lee":           "👩\u200d👩\u200d👧 Lee",
		strings.Repeat("x", maxPetname): strings.Repeat("x", maxPetname),
	} {
		if got, err := cleanPetname(in); got != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for what, in := range map[string]string{
		"a line end":      "Anna\nev",
		"an escape":       "Anna\x1b[2J",
		"a zero":          "An\x00na",
		"backwards":       "\u202eannA",
		"no width":        "An\u200bna",
		"a paragraph":     "An\u2029na",
		"no UTF-8":        "An\xffna",
		"a byte too many": strings.Repeat("x", maxPetname+1),
		"100 kB":          strings.Repeat("x", 100<<10),
		"an ID":           id.String(),
		"a ticket":        "P2POS:ABC",
	} {
		if got, err := cleanPetname(in); !errors.Is(err, ErrName) || got != "" {
			t.Errorf("%s: %q, %v", what, got, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("%s: an error of %d bytes", what, len(err.Error()))
		}
	}
}

// newNodeHere returns a node on loopback that nobody knows of.
func newNodeHere(t *testing.T, dir string) *Node {
	t.Helper()
	n, err := New(Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestContacts(t *testing.T) {
	dir := t.TempDir()
	n, other := newNodeHere(t, dir), newNodeHere(t, t.TempDir())
	ticket, err := other.Ticket(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	book := n.Contacts()
	if _, err := os.Stat(filepath.Join(dir, "store.db")); err == nil {
		t.Error("a node without contacts has a database")
	}
	ben := identity.ID{2}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := book.Add(strings.ToUpper(ticket), " Anna  Lee ") // as a QR code has it
	if must(err); c.ID != other.ID() || c.Name != "Anna Lee" || !c.Reachable || c.Verified || c.Blocked {
		t.Errorf("%+v", c)
	}
	c, err = book.Add(ben.String(), "Ben")
	if must(err); c.Reachable {
		t.Errorf("%+v", c)
	}
	for what, add := range map[string][2]string{
		"another's name":        {identity.ID{3}.String(), "anna lee"},
		"a bad name":            {identity.ID{3}.String(), "a\x00b"},
		"no ID":                 {"anna", ""},
		"oneself":               {n.ID().String(), "me"},
		"a ticket that is torn": {ticket[:60], ""},
	} {
		if _, err := book.Add(add[0], add[1]); err == nil {
			t.Errorf("added %s", what)
		}
	}
	if err := book.Rename(identity.ID{3}, "Cem"); !errors.Is(err, ErrNoContact) {
		t.Error(err)
	}
	if err := book.Rename(ben, "ANNA LEE"); !errors.Is(err, ErrName) {
		t.Error(err)
	}
	if err := book.Block(n.ID()); !errors.Is(err, ErrSelf) {
		t.Error(err)
	}
	must(book.Rename(ben, "Benno"))
	must(book.Verify(ben, true))
	must(book.Block(identity.ID{9}))
	if _, err := n.Call(t.Context(), identity.ID{9}.String(), nil); !errors.Is(err, ErrBlocked) {
		t.Errorf("call to somebody blocked: %v", err)
	}
	n.Close()
	if err := book.Verify(ben, false); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}

	n = newNodeHere(t, dir)
	book = n.Contacts()
	var list []string
	for c := range book.All() {
		list = append(list, fmt.Sprint(c.Name, " ", c.Verified, c.Blocked, c.Reachable))
	}
	if want := []string{"Anna Lee false false true", "Benno true false false", " false true false"}; !slices.Equal(list, want) {
		t.Errorf("after a restart %q", list)
	}
	if c, ok := book.Find("BENNO"); !ok || c.ID != ben {
		t.Errorf("%+v", c)
	}
	// The ticket's addresses are still good for a call by name.
	if to, err := n.target("anna lee"); err != nil || to.ID != other.ID() || to.Secret != other.dev.Reach() || len(to.Addrs) == 0 {
		t.Errorf("%+v, %v", to, err)
	}
	must(book.Unblock(identity.ID{9}))
	must(book.Remove(ben))
	if _, ok := book.Get(ben); ok || book.Remove(ben) == nil {
		t.Error("removed, and there")
	}
}

// Two nodes can't share a directory once there is something to lose.
func TestDirInUse(t *testing.T) {
	dir := t.TempDir()
	n := newNodeHere(t, dir)
	if _, err := n.Contacts().Add(identity.ID{2}.String(), ""); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{Dir: dir, Listen: "127.0.0.1:0"})
	var field *ConfigError
	if !errors.Is(err, store.ErrInUse) || !errors.As(err, &field) || field.Field != "Dir" {
		t.Errorf("%v", err)
	}
	n.Close()
	newNodeHere(t, dir)
}

// Who is blocked can't ring and can't tell that anybody is there; a call that
// is up ends.
func TestBlocked(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		a, b := s.node(s.public("a"), Config{}), s.node(s.public("b"), Config{})
		ticket := s.ticket(b)
		ears := s.callee(b)
		call, err := a.Call(t.Context(), ticket, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ears
		events := b.Events(t.Context())
		if err := b.Contacts().Block(a.ID()); err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		if stage, reason, _ := call.End(); stage != "talk" || reason != "hangup" {
			t.Errorf("the call ended by %s at %s", reason, stage)
		}
		// By ticket, by ID, and as somebody who comes anew.
		try := func(a *Node, to string) {
			t.Helper()
			call, err := a.Call(t.Context(), to, nil)
			if err == nil {
				err = call.Answered(t.Context())
			}
			var ce *CallError
			if !errors.As(err, &ce) || ce.Reason != "offline" {
				t.Errorf("call to one who blocks: %v", err)
			}
		}
		try(a, ticket)
		try(a, b.ID().String())
		if err := b.Contacts().Unblock(a.ID()); err != nil {
			t.Fatal(err)
		}
		call, err = a.Call(t.Context(), ticket, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Errorf("after Unblock: %v", err)
		}
		<-ears
		call.HangUp()
		b.Close()
		for e := range events {
			switch e := e.(type) {
			case ContactChanged, Presence, Joined, NAT, CallEnded, CallPath, CallAnswered, CallMedia, CallWords:
			default:
				t.Errorf("the app heard %T", e)
			}
		}
	})
}
