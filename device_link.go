// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/store"
	"github.com/p2pos/p2pos/session"
)

// DeviceLink is this installation's question to be a device of somebody. It is
// for one goroutine.
type DeviceLink struct {
	n    *Node
	id   identity.ID
	code string
}

// LinkDevice asks to make this installation a device of the person whose ticket
// is given, under a name that tells it from the person's others. It returns when
// one of that person's devices shows the question, with a code for this one to
// show; DeviceLink.Wait waits for the answer. The search takes some seconds.
//
// Errors: those of identity for tickets, ErrOtherNetwork, ErrSelf, ErrNotFound
// (an ID instead of a ticket), ErrOffline, ErrNotHolder (only devices that cannot
// link are online), ErrManyDevices, ErrDenied, ErrBusy, ctx's, net.ErrClosed.
func (n *Node) LinkDevice(ctx context.Context, ticket, name string) (*DeviceLink, error) {
	t, err := n.parseTarget(ticket)
	if err != nil {
		return nil, err
	}
	switch {
	case t.ID == n.dev.ID():
		return nil, ErrSelf
	case t.Secret == (identity.Secret{}):
		return nil, fmt.Errorf("%w: %s", ErrNotFound, t.ID.Short())
	}
	n.startJoin()
	newcomer, err := identity.NewNewcomer(name)
	if err != nil {
		return nil, fmt.Errorf("p2pos: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = ErrOffline
	for p := range n.hub.Sessions(ctx, t) {
		if e := n.kin(func(_ time.Time, k *session.Kin) error {
			n.kins.drain() // of an earlier question
			k.Join(p, newcomer)
			return nil
		}); e != nil {
			return nil, e
		}
		e, code := n.kinAnswer(ctx)
		if e == nil {
			return &DeviceLink{n, t.ID, code}, nil
		}
		n.quitLink()
		if ctx.Err() != nil || n.ctx.Err() != nil {
			return nil, e
		}
		if err = e; !errors.Is(e, ErrNotHolder) && !errors.Is(e, ErrOffline) {
			return nil, err
		}
	}
	if e := n.closing(ctx.Err()); e != nil {
		err = e
	}
	return nil, err
}

// quitLink takes the question back: an answer that is late is not another's.
func (n *Node) quitLink() {
	n.kin(func(_ time.Time, k *session.Kin) error { k.Quit(); return nil })
}

// askTime bounds the wait for a device that was asked to show the question.
const askTime = 10 * time.Second

// kinAnswer waits for the code, or the reason why there is none.
func (n *Node) kinAnswer(ctx context.Context) (error, string) {
	wait := time.NewTimer(askTime)
	defer wait.Stop()
	for {
		select {
		case e := <-n.kins.news:
			switch e := e.(type) {
			case session.KinCode:
				return nil, e.Code
			case session.KinRefused:
				return deviceError(e.Why), ""
			}
		case <-wait.C:
			return ErrOffline, ""
		case <-ctx.Done():
			return n.closing(ctx.Err()), ""
		case <-n.ctx.Done():
			return net.ErrClosed, ""
		}
	}
}

// Code returns the six digits to show: the user compares them with those on the
// other device before approving there.
func (l *DeviceLink) Code() string { return l.code }

// Person returns whose device this installation is to be.
func (l *DeviceLink) Person() identity.ID { return l.id }

// Wait waits for the answer, and on a yes puts the new identity in place of the
// old one, whose key store is kept as identity.key.1, .2 and so on. When it
// returns nil, close the node and make a new one of the same Config: it is a
// device of the person then. Config.Passphrase is asked once more. Errors:
// ErrDenied, ErrManyDevices, ErrOffline (the other device has gone), those of
// identity.Install, ctx's, net.ErrClosed.
func (l *DeviceLink) Wait(ctx context.Context) error {
	n := l.n
	for {
		select {
		case e := <-n.kins.news:
			switch e := e.(type) {
			case session.KinRefused:
				return deviceError(e.Why)
			case session.KinJoined:
				if err := n.become(e); err != nil {
					n.quitLink()
					return err
				}
				err := n.kin(func(_ time.Time, k *session.Kin) error { k.Joined(); return nil })
				n.ov.Flush(ctx)
				return err
			}
		case <-ctx.Done():
			n.quitLink()
			return n.closing(ctx.Err())
		case <-n.ctx.Done():
			return net.ErrClosed
		}
	}
}

// become stores what makes the next start a device of another person. The node
// goes on as the old one until it is closed, and writes nothing any more.
func (n *Node) become(j session.KinJoined) error {
	memories, err := n.ov.Memories(n.ctx)
	if err != nil {
		return n.closing(err)
	}
	n.saving.Lock() // no state of the old identity from here on
	defer n.saving.Unlock()
	if n.replaced.Swap(true) {
		return errors.New("p2pos: this installation is another device already; start anew")
	}
	kept, err := identity.Install(n.dir, j.Device, n.cfg.Passphrase)
	if err != nil {
		n.replaced.Store(false)
		return fmt.Errorf("p2pos: %w", err)
	}
	n.log.Info("identity replaced", "old", kept)
	n.db.Close() // not before: after a failure this node goes on
	if err := setAside(n.dir, storeFile); err != nil {
		n.log.Warn("database of the old identity not kept aside", "err", err)
	}
	if err := saveState(n.dir, j.Device.Derive(stateLabel), state{port: n.port, memories: memories}); err != nil {
		n.log.Warn("state not saved", "err", err)
	}
	db := store.New(store.Options{Dir: n.dir, Key: j.Device.Derive(storeLabel), Size: n.cfg.StoreSize, Logger: n.log})
	defer db.Close()
	st := session.KinState{List: j.Granted.List, Revoked: j.Granted.Revoked}
	if err := writeDevices(db, nil, deviceState(st, identity.Certificate{}, nil, nil)); err != nil {
		n.log.Warn("device list not saved", "err", err) // a holder has it
	}
	return nil
}

const (
	storeFile = "store.db"
	// maxAside bounds the files of one name that are kept aside.
	maxAside = 100
)

// setAside renames a file to NAME.old1, .old2 and so on. One that is not there
// is no error.
func setAside(dir, name string) error {
	path := filepath.Join(dir, name)
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	for i := 1; i <= maxAside; i++ {
		to := path + ".old" + strconv.Itoa(i)
		if _, err := os.Lstat(to); err != nil {
			return os.Rename(path, to)
		}
	}
	return fmt.Errorf("p2pos: %d old files of that name", maxAside)
}
