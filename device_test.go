// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/simnet"
	"github.com/p2pos/p2pos/session"
)

// approve has a holder approve the next installation that asks with this code.
func (s *sim) approve(n *Node, holder bool) (codes <-chan string) {
	out := make(chan string, 1)
	events := n.Events(context.Background())
	s.wg.Go(func() {
		for e := range events {
			if a, ok := e.(DeviceAsks); ok {
				if err := n.ApproveDevice(a.Device, holder); err != nil {
					s.t.Errorf("approve: %v", err)
				}
				out <- a.Code
				return
			}
		}
	})
	return out
}

// link makes a fresh installation on h a device of the person of n, and starts
// it again as that.
func (s *sim) link(n *Node, h *simnet.Host, name string, holder bool, join []string) *Node {
	s.t.Helper()
	cfg := Config{Dir: s.t.TempDir(), Join: join}
	fresh := s.node(h, cfg)
	if err := fresh.Join(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	codes := s.approve(n, holder)
	l, err := fresh.LinkDevice(s.t.Context(), s.ticket(n), name)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := l.Wait(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if code := <-codes; code != l.Code() || l.Person() != n.ID() {
		s.t.Errorf("codes %q and %q", code, l.Code())
	}
	fresh.Close()
	<-time.After(time.Second) // others notice that it has gone
	linked := s.node(h, cfg)
	if linked.ID() != n.ID() {
		s.t.Fatalf("it is %v, not %v", linked.ID(), n.ID())
	}
	if err := linked.Join(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return linked
}

// family is a person with three devices, and somebody else, in a small network.
func (s *sim) family() (devices [3]*Node, caller *Node, join []string) {
	_, join = s.square(4)
	devices[0] = s.node(s.public("phone"), Config{Join: join})
	caller = s.node(s.public("caller"), Config{Join: join})
	for _, n := range []*Node{devices[0], caller} {
		if err := n.Join(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	<-time.After(5 * time.Second)
	for i, name := range []string{"laptop", "tablet"} {
		devices[i+1] = s.link(devices[0], s.public(name), name, false, join)
	}
	<-time.After(15 * time.Second)
	return devices, caller, join
}

// device returns a node's own entry in another one's list.
func (s *sim) device(n, of *Node) (d Device) {
	s.t.Helper()
	list, err := n.Devices()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, d := range list {
		if d.ID == of.dev.Certificate().DeviceID() {
			return d
		}
	}
	s.t.Fatalf("not listed: %+v", list)
	return d
}

// Three devices of one person ring at once. The first answer wins, the others
// stop within a round trip and 50 ms, and nobody has missed a call. How many
// devices there are makes the call no slower.
func TestDevicesRing(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		devices, caller, _ := s.family()
		for i, n := range devices {
			for j, o := range devices {
				if d := s.device(n, o); !d.Online || d.This != (i == j) || d.Holder != (j == 0) {
					t.Errorf("device %d sees device %d as %+v", i, j, d)
				}
			}
		}
		type bell struct {
			call  *Call
			rings time.Time
		}
		var rung [3]chan bell
		missed := make(chan Event, 16)
		for i, n := range devices {
			rung[i] = make(chan bell, 4)
			calls := n.Incoming(context.Background())
			s.wg.Go(func() {
				for c := range calls {
					rung[i] <- bell{c, time.Now()}
				}
			})
			events := n.Events(context.Background())
			s.wg.Go(func() {
				for e := range events {
					if m, ok := e.(CallMissed); ok {
						missed <- m
					}
				}
			})
		}
		// The ticket has no address in it that any of the three would have
		// before the others.
		if _, err := caller.book.Add(s.ticket(devices[0]), ""); err != nil {
			t.Fatal(err)
		}
		var took [2]time.Duration
		for round, answerer := range []int{1, 0} {
			start := time.Now()
			call, err := caller.Call(t.Context(), devices[0].ID().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var bells [3]bell
			for i := range devices {
				if bells[i] = <-rung[i]; time.Since(start) > 5*time.Second {
					t.Fatalf("device %d rang after %v", i, time.Since(start))
				}
				t.Logf("device %d rings after %v", i, bells[i].rings.Sub(start))
			}
			time.Sleep(2 * time.Second)
			answered := time.Now()
			if err := bells[answerer].call.Answer(); err != nil {
				t.Fatal(err)
			}
			if err := call.Answered(t.Context()); err != nil {
				t.Fatal(err)
			}
			took[round] = time.Since(answered)
			for i, b := range bells {
				if i == answerer {
					continue
				}
				<-b.call.Done()
				stopped := time.Since(answered)
				if _, reason, _ := b.call.End(); reason != "elsewhere" || stopped > rtt+50*time.Millisecond {
					t.Errorf("device %d stopped after %v: %s", i, stopped, reason)
				}
				t.Logf("device %d stops %v after the answer of device %d", i, stopped, answerer)
			}
			call.HangUp()
			<-bells[answerer].call.Done()
			time.Sleep(time.Second)
		}
		if len(missed) > 0 {
			t.Errorf("%d missed calls", len(missed))
		}
		// With one device left, the call is up after the same time.
		devices[1].Close()
		devices[2].Close()
		time.Sleep(2 * time.Minute)
		call, err := caller.Call(t.Context(), devices[0].ID().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		b := <-rung[0]
		time.Sleep(2 * time.Second)
		answered := time.Now()
		b.call.Answer()
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		if alone := time.Since(answered); took[1] > alone+5*time.Millisecond || took[0] > alone+rtt/2 {
			t.Errorf("answer to sound: %v with one device, %v with three", alone, took)
		}
		call.HangUp()
	})
}

// A lost device is revoked: own devices, contacts that are linked and those that
// look the person up refuse it.
func TestDeviceRevoked(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		devices, caller, join := s.family()
		stranger := s.node(s.public("stranger"), Config{Join: join})
		if err := stranger.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, n := range devices {
			calls := n.Incoming(context.Background())
			s.wg.Go(func() {
				for c := range calls {
					c.Answer()
				}
			})
		}
		lost := devices[2]
		id := lost.dev.Certificate().DeviceID()
		// The lost one and the caller have talked.
		call, err := lost.Call(t.Context(), s.ticket(caller), nil)
		if err != nil {
			t.Fatal(err)
		}
		call.HangUp()
		time.Sleep(time.Second)
		if err := devices[1].RevokeDevice(id); !errors.Is(err, ErrNotHolder) {
			t.Errorf("revoked by one that may not: %v", err)
		}
		if err := devices[0].RevokeDevice(identity.DeviceID{1}); !errors.Is(err, ErrNoDevice) {
			t.Errorf("revoked nobody: %v", err)
		}
		if err := devices[0].RevokeDevice(id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // records go out
		for i, n := range devices[:2] {
			if d := s.device(n, lost); !d.Revoked || d.Online {
				t.Errorf("device %d sees it as %+v", i, d)
			}
		}
		// It stops by itself.
		if d := s.device(lost, lost); !d.Revoked {
			t.Errorf("it does not know: %+v", d)
		}
		// The stranger looks the person up, and then knows.
		call, err = stranger.Call(t.Context(), s.ticket(devices[0]), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := call.c.PeerDevice(); got == id {
			t.Error("the revoked one has answered")
		}
		time.Sleep(time.Second)
		call.HangUp()
		if list, err := stranger.hub.Revoked(t.Context()); err != nil || len(list) != 1 || list[0].Devices[0] != id {
			t.Errorf("the stranger knows %+v, %v", list, err)
		}
		// It calls in vain, and its word is kept over a restart.
		if err := stranger.saveDevices(); err != nil {
			t.Fatal(err)
		}
		dir := stranger.dir
		stranger.Close()
		h := s.public("stranger again")
		again := s.node(h, Config{Dir: dir, Join: join})
		if err := again.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if call, err := lost.Call(ctx, s.ticket(again), nil); err == nil {
			if err := call.Answered(ctx); err == nil {
				t.Error("a revoked device was answered")
			}
		}
	})
}

// Linking is refused in plain words, and a newcomer loses nothing by it.
func TestDeviceRefused(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		_, join := s.square(3)
		phone := s.node(s.public("phone"), Config{Join: join})
		fresh := s.node(s.public("fresh"), Config{Join: join})
		for _, n := range []*Node{phone, fresh} {
			if err := n.Join(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		if _, err := fresh.LinkDevice(t.Context(), s.ticket(fresh), ""); !errors.Is(err, ErrSelf) {
			t.Errorf("own ticket: %v", err)
		}
		if _, err := fresh.LinkDevice(t.Context(), phone.ID().String(), ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("an ID: %v", err)
		}
		if _, err := fresh.LinkDevice(t.Context(), "p2pos:nonsense", ""); err == nil {
			t.Error("nonsense was taken")
		}
		events := phone.Events(context.Background())
		s.wg.Go(func() {
			for e := range events {
				if a, ok := e.(DeviceAsks); ok {
					phone.DenyDevice(a.Device)
				}
			}
		})
		before := fresh.ID()
		fresh.kins.linking(session.KinCode{Code: "old"}) // of a question given up
		l, err := fresh.LinkDevice(t.Context(), s.ticket(phone), "laptop")
		if err != nil {
			t.Fatal(err)
		}
		if l.Code() == "old" {
			t.Error("the code of an earlier question")
		}
		if err := l.Wait(t.Context()); !errors.Is(err, ErrDenied) {
			t.Errorf("refused: %v", err)
		}
		if d, err := identity.Open(fresh.dir, time.Now(), "", nil); err != nil || d.ID() != before {
			t.Errorf("%v, %v", d, err)
		}
		if list, _ := filepath.Glob(filepath.Join(fresh.dir, "identity.key.*")); len(list) > 0 {
			t.Errorf("%v", list)
		}
		phone.Close()
		other, err := New(Config{Dir: t.TempDir(), PacketConn: s.listen(s.public("gone"), 4000)})
		if err != nil {
			t.Fatal(err)
		}
		gone := s.ticket(other)
		other.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := fresh.LinkDevice(ctx, gone, ""); !errors.Is(err, ErrOffline) {
			t.Errorf("nobody there: %v", err)
		}
	})
}

// The old identity's files are kept aside when an installation becomes somebody's
// device.
func TestDeviceKeepsOldIdentity(t *testing.T) {
	simTest(t, func(t *testing.T, s *sim) {
		_, join := s.square(3)
		phone := s.node(s.public("phone"), Config{Join: join})
		if err := phone.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		h := s.public("laptop")
		cfg := Config{Dir: t.TempDir(), Join: join}
		fresh := s.node(h, cfg)
		if err := fresh.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := fresh.book.Add(s.ticket(phone), "me"); err != nil {
			t.Fatal(err)
		}
		old := fresh.ID()
		codes := s.approve(phone, true)
		l, err := fresh.LinkDevice(t.Context(), s.ticket(phone), "laptop")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-codes
		fresh.saveNow(t.Context())
		if err := fresh.saveDevices(); err != nil {
			t.Fatal(err)
		}
		fresh.Close()
		for _, name := range []string{"identity.key.1", "store.db.old1"} {
			if _, err := os.Stat(filepath.Join(cfg.Dir, name)); err != nil {
				t.Error(err)
			}
		}
		linked := s.node(h, cfg)
		if linked.ID() != phone.ID() || !linked.dev.Holder() {
			t.Errorf("%v, holder %v", linked.ID(), linked.dev.Holder())
		}
		if d := s.device(linked, phone); !d.Holder || d.Revoked {
			t.Errorf("it knows the phone as %+v", d)
		}
		os.Remove(filepath.Join(cfg.Dir, "identity.key"))
		if err := os.Rename(filepath.Join(cfg.Dir, "identity.key.1"), filepath.Join(cfg.Dir, "identity.key")); err != nil {
			t.Fatal(err)
		}
		if d, err := identity.Open(cfg.Dir, time.Now(), "", nil); err != nil || d.ID() != old {
			t.Errorf("the old one: %v, %v", d, err)
		}
	})
}

// When the new identity can't be stored, the node goes on as it was.
func TestDeviceNotInstalled(t *testing.T) {
	n := newNodeHere(t, t.TempDir())
	for i := range 100 { // no name is left for the old one
		if err := os.WriteFile(filepath.Join(n.dir, fmt.Sprintf("identity.key.%d", i+1)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.become(session.KinJoined{Device: n.dev}); err == nil {
		t.Fatal("installed")
	}
	if _, err := n.Contacts().Add(identity.ID{7}.String(), "Anna"); err != nil {
		t.Error(err)
	}
	if n.replaced.Load() {
		t.Error("it writes nothing any more")
	}
}
