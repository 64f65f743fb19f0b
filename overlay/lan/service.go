// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package lan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/p2pos/p2pos/internal/drive"
)

const (
	// lookEvery is how often the interfaces are listed, where no news of the
	// system's come by Refresh.
	lookEvery = 10 * time.Second
	// readRetry is the wait after a failed read, which may be an interface's end.
	readRetry = 100 * time.Millisecond
)

// A Service announces this node on the LAN and finds others. All methods may
// be called from anywhere.
type Service struct {
	cfg     Config
	log     *slog.Logger
	machine *machine // owned by loop
	loop    *drive.Loop
	found   chan netip.AddrPort // filled by loop, the oldest makes room; closed by Close
	refresh chan struct{}       // capacity 1, dropped when full
	v4, v6  socket              // nil = not to be had
	ctx     context.Context     // ends when Close begins
	cancel  context.CancelFunc
	wg      sync.WaitGroup // readers and the one who looks at interfaces
	once    sync.Once

	system map[int]net.Interface // owned by loop
	joined map[int]bool          // of those, in the groups; owned by look
	mute   bool                  // a failed write was logged; owned by loop
}

// Start announces a node and begins to look for others. It does not wait for
// an interface: there may be one later. Errors: ErrLoopback, those of opening
// port 5353 where it can be had for neither family, and of a Config that makes
// no sense.
func Start(cfg Config) (*Service, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, log: cfg.Logger, found: make(chan netip.AddrPort, maxEvents), refresh: make(chan struct{}, 1),
		joined: make(map[int]bool),
	}
	var err4, err6 error
	if s.v4, err4 = open4(); err4 != nil {
		s.log.Debug("no mDNS over IPv4", "err", err4)
	}
	if s.v6, err6 = open6(); err6 != nil {
		s.log.Debug("no mDNS over IPv6", "err", err6)
	}
	if s.v4 == nil && s.v6 == nil {
		return nil, fmt.Errorf("lan: %w", errors.Join(err4, err6))
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.machine = newMachine(newSelf(cfg.Instance, cfg.Port, cfg.Network), cfg.Addrs, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	s.loop = drive.New(s.machine, s.drain)
	for _, c := range s.sockets() {
		s.wg.Go(func() { s.read(c) })
	}
	s.look()
	s.wg.Go(s.keepLooking)
	return s, nil
}

func (s *Service) sockets() (list []socket) {
	for _, c := range []socket{s.v4, s.v6} {
		if c != nil {
			list = append(list, c)
		}
	}
	return list
}

// Found yields addresses of other nodes of this network on the LAN, each once
// a minute at most while it is announced. At most 64 wait; newer ones push out
// the oldest. It is closed by Close.
func (s *Service) Found() <-chan netip.AddrPort { return s.found }

// Refresh looks at the interfaces at once, for when they may have changed.
func (s *Service) Refresh() {
	select {
	case s.refresh <- struct{}{}:
	default:
	}
}

// Dropped returns how many messages and records were not taken since the start,
// by reason; nil after Close.
func (s *Service) Dropped() (m map[string]uint64) {
	s.loop.Do(s.ctx, func(time.Time) { m = maps.Clone(s.machine.dropped) })
	return m
}

// Close says goodbye and returns when nothing runs any more. It is safe to
// call twice.
func (s *Service) Close() error {
	s.once.Do(func() {
		s.loop.Do(context.Background(), func(time.Time) { s.machine.bye() })
		s.cancel()
		s.loop.Close() // has sent the goodbye
		for _, c := range s.sockets() {
			c.Close()
		}
		s.wg.Wait()
		close(s.found)
	})
	return nil
}

// keepLooking lists the interfaces now and then.
func (s *Service) keepLooking() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.refresh:
		case <-s.ctx.Done():
			return
		}
		s.look()
	}
}

// look lists the interfaces and joins the groups on those that are new.
func (s *Service) look() {
	system, list, err := interfaces(s.cfg.Interfaces)
	if err != nil {
		s.log.Debug("interfaces not listed", "err", err)
		return
	}
	maps.DeleteFunc(s.joined, func(i int, _ bool) bool { _, there := system[i]; return !there })
	for _, v := range list {
		if s.joined[v.index] {
			continue
		}
		i := system[v.index]
		for _, c := range s.sockets() {
			if err := c.join(&i); err != nil {
				s.log.Debug("mDNS group not joined", "interface", i.Name, "err", err)
				continue
			}
			s.joined[v.index] = true
		}
	}
	s.loop.Do(s.ctx, func(now time.Time) {
		s.system = system
		s.machine.setLinks(now, list)
	})
}

// read takes what a socket receives to the loop.
func (s *Service) read(c socket) {
	b := make([]byte, maxMessage+1)
	for {
		n, index, from, err := c.read(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-time.After(readRetry):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		m := bytes.Clone(b[:n])
		s.loop.Post(func(now time.Time) { s.machine.receive(now, index, from, m) })
	}
}

// drain sends what the machine has to say and gives out what it found.
func (s *Service) drain(time.Time) {
	for {
		p, ok := s.machine.poll()
		if !ok {
			break
		}
		s.write(p)
	}
	for {
		a, ok := s.machine.found()
		if !ok {
			return
		}
		for sent := false; !sent; {
			select {
			case s.found <- a:
				sent = true
			default:
				select {
				case <-s.found:
				default:
				}
			}
		}
	}
}

func (s *Service) write(p packet) {
	c := s.v4
	if p.v6 {
		c = s.v6
	}
	i, ok := s.system[p.link]
	if c == nil || !ok {
		return
	}
	err := c.write(p.b, &i, p.to)
	if err != nil && !s.mute { // an interface that goes away, or a firewall: once is enough
		s.log.Debug("mDNS not sent", "interface", i.Name, "err", err)
	}
	s.mute = err != nil
}
