// SPDX-License-Identifier: 0BSD

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/p2pos/p2pos"
)

// fileTick is how often a transfer that moves is told of.
const fileTick = time.Second

// sendFile offers a file; reading it may take a while.
func (p *phone) sendFile(ctx context.Context, arg string) error {
	to, path := p.whom(arg)
	if to == "" || path == "" {
		return errors.New("what to whom? send WHOM PATH")
	}
	p.wg.Go(func() {
		if _, err := p.node.SendFile(ctx, to, path); err != nil && ctx.Err() == nil {
			p.post(ctx, func() { p.complain("send", err) })
		}
	})
	return nil
}

// transfer finds a transfer by its ID, or the beginning of it; without one, the
// only one there is to verb.
func (p *phone) transfer(verb, arg string, want func(*p2pos.Transfer) bool) (*p2pos.Transfer, error) {
	var found *p2pos.Transfer
	for _, t := range p.node.Transfers() {
		if strings.HasPrefix(t.ID(), arg) && want(t) {
			if found != nil {
				return nil, errors.New("which? give the transfer's ID")
			}
			found = t
		}
	}
	switch {
	case found == nil && arg == "":
		return nil, errors.New("there is none to " + verb)
	case found == nil:
		return nil, fmt.Errorf("no such transfer: %q", clip(arg, 40))
	}
	return found, nil
}

// received is where files go.
func (p *phone) received() string { return filepath.Join(p.opt.dir, "received") }

func (p *phone) file(verb, arg string) error {
	offered := func(t *p2pos.Transfer) bool { return t.Incoming() && t.State() == p2pos.FileOffered }
	any := func(t *p2pos.Transfer) bool { return !offered(t) }
	switch verb {
	case "accept", "decline":
		t, err := p.transfer(verb, arg, offered)
		if err != nil {
			return err
		}
		if verb == "decline" {
			return t.Decline()
		}
		return t.Accept(p.received())
	}
	t, err := p.transfer(verb, arg, any)
	switch {
	case err != nil:
		return err
	case verb == "pause":
		return t.Pause()
	case verb == "continue":
		return t.Continue()
	}
	return t.Cancel()
}

// fileChanged tells of a transfer, and takes it if that is wished for.
func (p *phone) fileChanged(e p2pos.FileEvent) {
	t := e.Transfer
	p.emit(p.fileOf(t, e.State))
	if err := t.Err(); err != nil && e.State != p2pos.FileComplete {
		p.complain("file", fmt.Errorf("%s: %w", t.Name(), err))
	}
	if e.State == p2pos.FileOffered && t.Incoming() && (p.opt.accept || p.opt.answer) {
		if err := t.Accept(p.received()); err != nil {
			p.complain("accept", err)
		}
	}
	if e.State == p2pos.FileActive && p.files == nil {
		p.fileTicker = time.NewTicker(fileTick)
		p.files = p.fileTicker.C
	}
}

// filesMove tells how far the transfers are that go on.
func (p *phone) filesMove() {
	active := false
	for _, t := range p.node.Transfers() {
		if t.State() == p2pos.FileActive {
			active = true
			p.emit(p.fileOf(t, p2pos.FileActive))
		}
	}
	if !active && p.files != nil {
		p.fileTicker.Stop()
		p.files, p.fileTicker = nil, nil
	}
}

func (p *phone) fileOf(t *p2pos.Transfer, state p2pos.TransferState) fileEvent {
	g := t.Progress()
	e := fileEvent{
		Transfer: t.ID(), Peer: t.Peer().String(), Name: t.Name(), Bytes: t.Size(), Done: g.Done, State: string(state),
		Incoming: t.Incoming(), Speed: round(g.Speed, 0), Left: round(g.Left.Seconds(), 1), Relayed: g.Relayed, Path: t.Path(),
	}
	if state == p2pos.FileComplete {
		sum := t.SHA256()
		e.SHA256 = hex.EncodeToString(sum[:])
	}
	return e
}

type fileEvent struct {
	Transfer string  `json:"transfer"`
	Peer     string  `json:"peer"`
	Name     string  `json:"name"`
	Bytes    int64   `json:"bytes"`
	Done     int64   `json:"done"`
	State    string  `json:"state"`
	SHA256   string  `json:"sha256,omitempty"` // when complete
	Incoming bool    `json:"incoming"`
	Speed    float64 `json:"bytes_s"`
	Left     float64 `json:"left_s"` // 0 = not known
	Relayed  bool    `json:"relayed"`
	Path     string  `json:"path"` // on this computer; "" while it comes
}

func (fileEvent) name() string { return "file" }
func (e fileEvent) text() string {
	what := fmt.Sprintf("file %s %q, %d bytes", e.Transfer[:8], e.Name, e.Bytes)
	switch {
	case e.State == "offered" && e.Incoming:
		return what + " from " + e.Peer + ": accept or decline"
	case e.State == "active" && e.Done > 0:
		s := fmt.Sprintf("%s: %.0f %%, %.2f MB/s, %.0f s left", what, 100*float64(e.Done)/float64(max(e.Bytes, 1)), e.Speed/1e6, e.Left)
		if e.Relayed {
			s += " (slow: only by way of other nodes)"
		}
		return s
	case e.State == "complete":
		return what + ": complete, " + e.Path
	}
	return what + ": " + e.State
}
