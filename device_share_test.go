// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// twins is a person with two devices that know nobody.
func (s *sim) twins() (phone, laptop *Node, join []string) {
	_, join = s.square(1)
	phone = s.node(s.public("phone"), Config{Join: join, Dir: s.t.TempDir()})
	if err := phone.Join(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	<-time.After(5 * time.Second)
	// Its way into the network is the other device's ticket, before and after.
	laptop = s.link(phone, s.public("laptop"), "laptop", false, []string{s.ticket(phone)})
	<-time.After(15 * time.Second)
	return phone, laptop, join
}

// lines is the whole book in words.
func lines(n *Node) (list []string) {
	for c := range n.Contacts().All() {
		list = append(list, strings.TrimSpace(fmt.Sprint(c.Name, " ", c.ID[0], map[bool]string{true: " verified"}[c.Verified],
			map[bool]string{true: " blocked"}[c.Blocked], map[bool]string{true: " reachable"}[c.Reachable])))
	}
	return list
}

func (s *sim) books(what string, want []string, nodes ...*Node) {
	s.t.Helper()
	for i, n := range nodes {
		if got := lines(n); !slices.Equal(got, want) {
			s.t.Errorf("%s: device %d has %q, want %q", what, i, got, want)
		}
	}
}

// A new device gets the book whole; what is changed on one is on the other a
// moment later; both offline, both change things, and both hold.
func TestDevicesShareContacts(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		nodes, join := s.square(1)
		ben := nodes[0]
		phoneHost, laptopHost := s.public("phone"), s.public("laptop")
		phoneCfg := Config{Join: join, Dir: t.TempDir()}
		phone := s.node(phoneHost, phoneCfg)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(phone.Join(t.Context()))
		_, err := phone.Contacts().Add(s.ticket(ben), "Ben")
		must(err)
		must(phone.Contacts().Verify(ben.ID(), true))
		id := func(b byte) identity.ID { return identity.ID{b} }
		for i := range byte(3) {
			_, err := phone.Contacts().Add(id(1+i).String(), fmt.Sprint("Friend ", i+1))
			must(err)
		}
		<-time.After(5 * time.Second)
		laptop := s.link(phone, laptopHost, "laptop", false, join)
		<-time.After(15 * time.Second)
		whole := []string{fmt.Sprint("Ben ", ben.ID()[0], " verified reachable"), "Friend 1 1", "Friend 2 2", "Friend 3 3"}
		s.books("linked", whole, phone, laptop)
		if to, err := laptop.target("ben"); err != nil || to.Secret != ben.dev.Reach() || len(to.Addrs) == 0 {
			t.Errorf("the laptop does not know where Ben is: %+v, %v", to, err)
		}

		// At once, either way.
		events := phone.Events(context.Background())
		heard := make(chan ContactChanged, 8)
		s.wg.Go(func() {
			for e := range events {
				if c, ok := e.(ContactChanged); ok {
					heard <- c
				}
			}
		})
		must(laptop.Contacts().Rename(id(1), "Ann"))
		must(laptop.Contacts().Remove(id(2)))
		must(phone.Contacts().Block(id(3)))
		<-time.After(time.Second)
		now := []string{"Ann 1", whole[0], "Friend 3 3 blocked"}
		s.books("changed", now, phone, laptop)
		told := map[identity.ID]bool{}
		for range 3 {
			c := <-heard
			told[c.Contact.ID] = c.Removed
		}
		if len(told) != 3 || told[id(1)] || !told[id(2)] || told[id(3)] || len(heard) != 0 {
			t.Errorf("the phone's application heard %v", told)
		}

		// Apart: both change the same people, and name two others alike.
		laptopCfg := laptop.cfg
		laptop.Close()
		must(phone.Contacts().Rename(id(1), "Anne"))
		must(phone.Contacts().Unblock(id(3)))
		must(phone.Contacts().Remove(ben.ID()))
		_, err = phone.Contacts().Add(id(8).String(), "Cem")
		must(err)
		phone.Close()
		<-time.After(time.Minute)
		laptop = s.node(laptopHost, Config{Dir: laptopCfg.Dir, Join: join})
		must(laptop.Contacts().Verify(id(1), true))
		must(laptop.Contacts().Rename(id(3), "Frida"))
		_, err = laptop.Contacts().Add(id(9).String(), "cem")
		must(err)
		<-time.After(time.Minute)
		phone = s.node(phoneHost, phoneCfg)
		must(phone.Join(t.Context()))
		must(laptop.Join(t.Context()))
		<-time.After(time.Minute)
		s.books("together again", []string{"Anne 1 verified", "Cem 8", "cem (2) 9", "Frida 3"}, phone, laptop)
		if c, ok := laptop.Contacts().Find("CEM (2)"); !ok || c.ID != id(9) {
			t.Errorf("%+v", c)
		}

		// What was merged is on the disk, and nothing more is said of it.
		laptop.Close()
		<-time.After(time.Second) // others notice that it has gone
		laptop = s.node(laptopHost, Config{Dir: laptopCfg.Dir, Join: join})
		s.books("restarted", []string{"Anne 1 verified", "Cem 8", "cem (2) 9", "Frida 3"}, laptop)
		must(laptop.Join(t.Context()))
		<-time.After(time.Minute)
		must(laptop.Contacts().Rename(id(8), "Cemil"))
		<-time.After(time.Second)
		s.books("a name is free again", []string{"Anne 1 verified", "cem 9", "Cemil 8", "Frida 3"}, phone, laptop)
		synctest.Wait()
	})
}

// A device that was revoked hears nothing more, and nobody hears it.
func TestDevicesShareRevoked(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		phone, laptop, _ := s.twins()
		if _, err := phone.Contacts().Add(identity.ID{1}.String(), "Ann"); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		s.books("before", []string{"Ann 1"}, phone, laptop)
		if err := phone.RevokeDevice(laptop.dev.Certificate().DeviceID()); err != nil {
			t.Fatal(err)
		}
		if _, err := phone.Contacts().Add(identity.ID{2}.String(), "Ben"); err != nil {
			t.Fatal(err)
		}
		if _, err := laptop.Contacts().Add(identity.ID{3}.String(), "Cem"); err != nil {
			t.Fatal(err)
		}
		<-time.After(30 * time.Second)
		s.books("the phone", []string{"Ann 1", "Ben 2"}, phone)
		s.books("the laptop", []string{"Ann 1", "Cem 3"}, laptop)
	})
}

// Who is blocked on one device is not heard by the other one, and a call there
// ends.
func TestDevicesShareBlock(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		phone, laptop, join := s.twins()
		ben := s.node(s.public("ben"), Config{Join: join})
		ears := s.callee(laptop)
		call, err := ben.Call(t.Context(), s.ticket(laptop), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ears
		if err := phone.Contacts().Block(ben.ID()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-call.Done():
		case <-time.After(10 * time.Second):
			t.Error("the call goes on")
		}
		if c, ok := laptop.Contacts().Get(ben.ID()); !ok || !c.Blocked {
			t.Errorf("%+v", c)
		}
	})
}
