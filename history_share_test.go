// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
)

// happened tells a history, oldest first, and on which other device it was.
func (s *sim) happened(n *Node, names map[string]string) (list []string) {
	s.t.Helper()
	for r, err := range n.History(s.t.Context()) {
		if err != nil {
			s.t.Fatal(err)
		}
		what := ""
		switch {
		case r.Call != nil:
			what = fmt.Sprintf("%s at %s", r.Call.Reason, r.Call.Stage)
		case r.File != nil:
			what = fmt.Sprintf("%s %s %q", r.File.Name, r.File.State, r.File.Path)
		}
		if r.Device != "" {
			what += " on " + names[r.Device]
		}
		list = append(list, what)
	}
	slices.Reverse(list)
	return list
}

// What happens on one device is in the history of the others, once, and in that
// of one that comes later.
func TestDevicesShareHistory(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		nodes, join := s.square(1)
		ben := nodes[0]
		laptopHost := s.public("laptop")
		phone := s.node(s.public("phone"), Config{Join: join, Dir: t.TempDir()})
		if err := phone.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		ticket := s.ticket(ben)
		ring := func(from *Node, to string) *Call {
			t.Helper()
			c, err := from.Call(t.Context(), to, nil)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		// Before there was another device: nobody answers.
		c := ring(phone, ticket)
		<-time.After(time.Second)
		c.HangUp()
		<-time.After(5 * time.Second)
		laptop := s.link(phone, laptopHost, "laptop", false, join)
		<-time.After(15 * time.Second)
		names := map[string]string{}
		for _, d := range []struct {
			n    *Node
			name string
		}{{phone, "phone"}, {laptop, "laptop"}} {
			names[fmt.Sprintf("%x", d.n.dev.Certificate().DeviceID())] = d.name
		}
		check := func(what string, n *Node, want ...string) {
			t.Helper()
			if got := s.happened(n, names); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		check("linked", laptop, "cancelled at ring on phone")

		// Both ring, one answers; then nobody does; then one rejects.
		calls := laptop.Incoming(t.Context())
		verdict := make(chan string, 3)
		s.wg.Go(func() {
			for c := range calls {
				switch <-verdict {
				case "answer":
					c.Answer()
				case "reject":
					c.Reject()
				}
			}
		})
		own := s.ticket(phone)
		for _, v := range []string{"answer", "nothing", "reject"} {
			verdict <- v
			c := ring(ben, own)
			<-time.After(10 * time.Second)
			c.HangUp()
			<-time.After(time.Minute)
		}
		check("the laptop", laptop, "cancelled at ring on phone", "hangup at talk", "cancelled at ring", "rejected at ring")
		check("the phone", phone, "cancelled at ring", "hangup at talk on laptop", "cancelled at ring", "rejected at ring on laptop")

		// What one does while the other is away, a file among it.
		dir := laptop.cfg.Dir
		laptop.Close()
		path, _ := randomFile(t, "letter", 1000)
		got := s.accept(ben, t.TempDir())
		x, err := phone.SendFile(t.Context(), ticket, path)
		if err != nil {
			t.Fatal(err)
		}
		<-got
		s.complete(x)
		<-time.After(time.Minute)
		laptop = s.node(laptopHost, Config{Join: join, Dir: dir})
		if err := laptop.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		check("the phone", phone, "cancelled at ring", "hangup at talk on laptop", "cancelled at ring", "rejected at ring on laptop", fmt.Sprintf("letter complete %q", path))
		check("the laptop, back", laptop, "cancelled at ring on phone", "hangup at talk", "cancelled at ring", "rejected at ring", `letter complete "" on phone`)

		tablet := s.link(phone, s.public("tablet"), "tablet", false, join)
		<-time.After(15 * time.Second)
		if got := s.happened(tablet, names); len(got) != 5 || got[0] != "cancelled at ring on phone" || got[4] != `letter complete "" on phone` {
			t.Errorf("a third device: %q", got)
		}
	})
}

// One ring on several devices is one entry, in whatever order they tell of it.
func TestSettle(t *testing.T) {
	db := store.New(store.Options{Dir: filepath.Join(t.TempDir())})
	defer db.Close()
	at := time.Unix(1_800_000_000, 0)
	call := func(device, reason string, after time.Duration) Record {
		return Record{When: at.Add(after), Peer: identity.ID{1}, Incoming: true, Device: device, Call: &CallRecord{Reason: reason, Missed: reason == "noanswer" || reason == "cancelled"}}
	}
	for what, c := range map[string]struct {
		come []Record
		want string
	}{
		"answered there, rang here":       {[]Record{call("", "elsewhere", 0), call("b", "hangup", time.Second)}, "[hangup b]"},
		"rejected there, rang here late":  {[]Record{call("b", "rejected", 0), call("", "elsewhere", time.Second)}, "[rejected b]"},
		"missed on both":                  {[]Record{call("", "cancelled", 0), call("b", "cancelled", 2*time.Second)}, "[cancelled ]"},
		"missed on both, heard first":     {[]Record{call("b", "cancelled", 0), call("", "cancelled", time.Second)}, "[cancelled ]"},
		"missed on three":                 {[]Record{call("b", "cancelled", 0), call("c", "cancelled", 0), call("", "cancelled", 0)}, "[cancelled ]"},
		"answered here, missed elsewhere": {[]Record{call("", "hangup", 0), call("b", "cancelled", time.Second)}, "[hangup ]"},
		"another call":                    {[]Record{call("", "cancelled", 0), call("b", "cancelled", time.Minute)}, "[cancelled  cancelled b]"},
		"two calls of this device":        {[]Record{call("", "cancelled", 0), call("", "cancelled", time.Second)}, "[cancelled  cancelled ]"},
	} {
		var got []string
		err := db.Update(func(tx *store.Tx) error {
			for n := range tx.List(store.History).From(nil, 1) {
				tx.List(store.History).Delete(nil, n)
			}
			for _, r := range c.come {
				if err := settle(tx, r); err != nil {
					return err
				}
			}
			for n, b := range tx.List(store.History).From(nil, 1) {
				r := decodeRecord(n, b)
				got = append(got, r.Call.Reason+" "+r.Device)
			}
			return nil
		})
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, %v, want %s", what, got, err, c.want)
		}
	}
}
