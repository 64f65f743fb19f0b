// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// company is a network with a roster.
type company struct {
	s       *sim
	key     identity.AdminKey
	network Network
	number  uint64
}

func (s *sim) company() *company {
	s.t.Helper()
	n, err := identity.NewNetwork("acme")
	if err != nil {
		s.t.Fatal(err)
	}
	return &company{s: s, key: identity.NewAdminKey(), network: n}
}

func (c *company) config(join ...string) Config {
	return Config{Network: c.network, Admin: c.key.Admin(), Join: join}
}

func (c *company) roster(valid time.Duration, nodes ...*Node) []byte {
	c.s.t.Helper()
	c.number++
	r := Roster{Network: c.network.Tag(), Number: c.number, Issued: time.Now(), Expires: time.Now().Add(valid)}
	for _, n := range nodes {
		r.Members = append(r.Members, identity.Member{ID: n.ID(), Roles: []string{"staff"}})
	}
	signed, err := c.key.Sign(r)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return signed.Raw()
}

// links waits until a node has links, or none, for a while.
func (s *sim) links(n *Node, any bool, within time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		got := n.Status().Links
		if got > 0 == any {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s has %d links after %v", n.cfg.Name, got, within)
		}
	}
}

// A roster that is handed to one node reaches all; who is not on it is refused,
// and hears why; who is revoked loses links and calls within a minute and gets in
// nowhere again, restarts of either side included.
func TestRoster(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		co := s.company()
		var book ledger
		conf := co.config()
		conf.Audit = book.add
		hub := s.node(s.public("hub"), conf)
		join := hub.Status().Listen[0].String()
		hosts := map[string]string{}
		start := func(name, dir string, cfg Config) *Node {
			if dir == "" {
				dir = t.TempDir()
			}
			hosts[name] = dir
			cfg.Dir = dir
			return s.node(s.public(name), cfg)
		}
		a, c := start("a", "", co.config(join)), start("c", "", co.config(join))
		b := start("b", "", co.config(join, c.Status().Listen[0].String())) // goes on dialling c
		if err := a.Join(t.Context()); !errors.Is(err, ErrNotMember) {
			t.Errorf("without a roster: %v", err)
		}
		if err := hub.SetRoster(co.roster(24*time.Hour, hub, a, b, c)); err != nil {
			t.Fatal(err)
		}
		for _, n := range []*Node{a, b, c} {
			n.startJoin()
			s.links(n, true, time.Minute)
			if r := n.Roster(); r == nil || r.Number != co.number {
				t.Fatalf("%s has no roster", n.cfg.Name)
			}
		}

		outsider := start("outsider", "", co.config(join))
		refused := outsider.Events(t.Context())
		if err := outsider.Join(t.Context()); !errors.Is(err, ErrNotMember) || !strings.Contains(err.Error(), outsider.ID().Short()) {
			t.Errorf("an outsider: %v", err)
		}
		for e := range refused {
			if x, ok := e.(Refused); ok {
				if !errors.Is(x.Err, ErrNotMember) {
					t.Errorf("%v", x.Err)
				}
				break
			}
		}
		if list := book.of(ActLink); len(list) == 0 || list[len(list)-1].Result != "denied" || list[len(list)-1].Peer != outsider.ID() {
			t.Errorf("at the member: %+v", list)
		}
		plain := start("plain", "", Config{Network: co.network, Join: []string{join}}) // knows the secret, shows nobody
		if err := plain.Join(t.Context()); err == nil {
			t.Error("a node that shows nobody is in")
		}

		if _, err := outsider.Call(t.Context(), s.ticket(a), nil); !errors.Is(err, ErrNotMember) {
			t.Errorf("a call by an outsider: %v", err)
		}
		if err := outsider.Health(); !errors.Is(err, ErrNotMember) || !errors.Is(err, ErrAlone) {
			t.Errorf("an outsider's health: %v", err)
		}
		taken := make(chan *Call, 1)
		go func() {
			for call := range c.Incoming(t.Context()) {
				call.Answer()
				taken <- call
			}
		}()
		synctest.Wait()
		call, _ := s.setUp(a, s.ticket(c))
		theirs := <-taken
		wrong := make(chan error, 1)
		for _, n := range []*Node{hub, a, b} {
			go func() {
				for e := range n.Events(t.Context()) {
					if x, ok := e.(Refused); ok {
						select {
						case wrong <- x.Err:
						default:
						}
					}
				}
			}()
		}
		synctest.Wait()
		ticketC := s.ticket(c)
		began := time.Now()
		if err := b.SetRoster(co.roster(24*time.Hour, hub, a, b)); err != nil { // on any node
			t.Fatal(err)
		}
		for what, x := range map[string]*Call{"at the member": call, "at who is revoked": theirs} {
			<-x.Done()
			if _, reason, _ := x.End(); reason != "denied" || !errors.Is(x.Err(), ErrNotMember) {
				t.Errorf("%s the call ended %s: %v", what, reason, x.Err())
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the calls ended after %v", took)
		}
		s.links(c, false, time.Minute)
		for _, n := range []*Node{hub, a, b} {
			s.links(n, true, 0)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("revoked after %v", took)
		}
		if _, err := a.Call(t.Context(), ticketC, nil); !errors.Is(err, ErrNotMember) {
			t.Errorf("a call to who is revoked: %v", err)
		}
		time.Sleep(2 * time.Minute)
		s.links(c, false, 0)
		select {
		case err := <-wrong:
			t.Errorf("a member hears that it is refused: %v", err)
		default:
		}
		for _, e := range book.of(ActLink) {
			if e.Result != "denied" && e.Peer == (identity.ID{}) {
				t.Errorf("whose link it was: %+v", e)
			}
		}

		// All start again, the revoked one with the old roster: nobody takes it.
		dirA, dirC := hosts["a"], hosts["c"]
		for _, n := range []*Node{hub, a, b, c, outsider, plain} {
			n.Close()
		}
		a = start("a2", dirA, co.config())
		c = start("c2", dirC, co.config(a.Status().Listen[0].String()))
		if r := a.Roster(); r == nil || r.Number != co.number {
			t.Fatal("forgotten over a restart")
		}
		if err := c.Join(t.Context()); !errors.Is(err, ErrNotMember) {
			t.Errorf("after a restart: %v", err)
		}
		// A member comes with a newer one, and takes the other along.
		co.number++
		raw := co.roster(time.Hour, a, c)
		if err := c.SetRoster(raw); err != nil {
			t.Fatal(err)
		}
		s.links(c, true, 2*time.Minute)
		s.links(a, true, time.Minute) // it may learn of the link a moment later
		if a.Roster().Number != co.number {
			t.Error("not taken over")
		}
		time.Sleep(time.Hour)
		s.links(c, false, time.Minute) // it has expired
	})
}

// What is no newer roster of this admin is refused, and nothing changes.
func TestRosterRefused(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		co := s.company()
		n := s.node(s.public("n"), co.config())
		old := co.roster(time.Hour, n)
		good := co.roster(time.Hour, n)
		other := s.company()
		other.network = co.network
		forged := append([]byte(nil), good...)
		forged[50] ^= 1
		expired := co.roster(time.Second, n)
		time.Sleep(time.Minute)
		if err := n.SetRoster(good); err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			raw  []byte
			want error
		}{
			"rolled back": {old, identity.ErrRosterOld}, "the same": {good, identity.ErrRosterOld},
			"of another admin": {other.roster(time.Hour, n), identity.ErrRosterAdmin},
			"forged":           {forged, identity.ErrRoster}, "empty": {nil, identity.ErrRoster},
			"expired": {expired, identity.ErrRosterExpired},
		} {
			if err := n.SetRoster(c.raw); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n.Roster().Number != 2 {
			t.Errorf("%d", n.Roster().Number)
		}
		if err := s.node(s.public("m"), Config{}).SetRoster(good); err == nil {
			t.Error("a roster without an admin")
		}
		// A damaged file is kept aside, and another admin's is no reason to trust it.
		dir := n.dir
		n.Close()
		path := filepath.Join(dir, rosterFile)
		if err := os.WriteFile(path, forged, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := co.config()
		cfg.Dir = dir
		n = s.node(s.public("n2"), cfg)
		if n.Roster() != nil {
			t.Error("a forged file is in force")
		}
		if _, err := os.Stat(path + ".bad"); err != nil {
			t.Error(err)
		}
	})
}

// What an earlier start has left is no reason not to start: a roster of another
// admin or network is not this network's.
func TestRosterOfAnother(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		one, other := s.company(), s.company()
		dir := t.TempDir()
		start := func(name string, c *company) *Node {
			cfg := c.config()
			cfg.Dir = dir
			return s.node(s.public(name), cfg)
		}
		a := start("a", one)
		if err := a.SetRoster(one.roster(time.Hour, a)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.Close()
		if b := start("b", other); b.Roster() != nil {
			t.Errorf("%+v", b.Roster())
		} else {
			b.Close()
		}
		if c := start("c", one); c.Roster() == nil {
			t.Error("the roster is gone")
		}
	})
}

func TestLoadRoster(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, rosterFile)
	if err := os.Mkdir(path, 0o700); err != nil { // can't be read
		t.Fatal(err)
	}
	if _, err := loadRoster(dir, Admin{}, Network{}); err == nil || errors.Is(err, identity.ErrRoster) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("moved away:", err)
	}
	os.Remove(path)
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadRoster(dir, Admin{}, Network{}); !errors.Is(err, identity.ErrRoster) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path + ".bad"); err != nil {
		t.Error(err)
	}
}
