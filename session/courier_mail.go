// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"errors"
	"time"

	"github.com/p2pos/p2pos/overlay"
	"github.com/p2pos/p2pos/session/chat"
)

// putMail puts one blob into a mailbox.
func (c *courier) putMail(now time.Time, o chat.Put) {
	var err error
	select {
	case c.puts <- struct{}{}:
		ctx, cancel := context.WithTimeout(c.h.ctx, putTime)
		err = c.h.ov.PutMail(ctx, overlay.MailQueues(o.Secret, now)[0], o.Blob)
		cancel()
		<-c.puts
	case <-c.h.ctx.Done():
		return
	}
	if err != nil {
		c.log.Debug("mail not put", "err", err)
	}
	c.post(func(now time.Time) {
		if c.m != nil {
			c.m.PutDone(now, o.Ref, err)
		}
	})
}

// errMore reports a mailbox that has more, or that nobody has answered for.
var errMore = errors.New("session: the mailbox was not read to its end")

// collectMail reads a mailbox, in all periods that matter.
func (c *courier) collectMail(now time.Time, o chat.Collect) {
	ctx, cancel := context.WithTimeout(c.h.ctx, mailTime)
	defer cancel()
	var list []overlay.Mail
	left, err := c.h.ov.FetchMail(ctx, overlay.MailQueues(o.Secret, now), func(m overlay.Mail) { list = append(list, m) })
	if err == nil && len(left) > 0 {
		err = errMore
	}
	if c.h.ctx.Err() != nil {
		return
	}
	if err != nil {
		c.log.Debug("mailbox not read", "blobs", len(list), "err", err)
	}
	c.post(func(now time.Time) {
		if c.m == nil {
			return
		}
		var blobs []chat.Blob
		for _, m := range list {
			blobs = append(blobs, chat.Blob{Name: m.ID, Data: m.Blob})
			if len(c.queues) < maxQueues {
				c.queues[m.ID] = m.Queue
			}
		}
		if err := c.m.Mail(now, o.Ref, blobs, err); err != nil {
			c.log.Warn("mail not kept", "err", err)
		}
	})
}

// dropMail deletes blobs where they are.
func (c *courier) dropMail(o chat.Drop) {
	queues := overlay.MailQueues(o.Secret, time.Now())
	names := make([][]overlay.MailID, len(queues))
	for _, n := range o.Names {
		q, ok := c.queues[n]
		delete(c.queues, n)
		for i := range queues {
			if !ok || q.Period() == queues[i].Period() {
				names[i] = append(names[i], overlay.MailID(n))
			}
		}
	}
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.h.ctx, putTime)
		defer cancel()
		for i, q := range queues {
			if len(names[i]) == 0 {
				continue
			}
			if err := c.h.ov.DropMail(ctx, q, names[i]...); err != nil {
				c.log.Debug("mail not dropped", "err", err) // it is found to be old next time
			}
		}
	})
}

// fetchKeys looks for a person's prekeys.
func (c *courier) fetchKeys(o chat.Fetch) {
	ctx, cancel := context.WithTimeout(c.h.ctx, keysTime)
	defer cancel()
	found, err := c.h.ov.FetchPrekeys(ctx, o.Peer, o.Secret)
	if c.h.ctx.Err() != nil {
		return
	}
	var list [][]byte
	for _, k := range found {
		list = append(list, k.Bundle)
	}
	c.post(func(now time.Time) {
		if c.m == nil {
			return
		}
		if err := c.m.Prekeys(now, o.Peer, list, err); err != nil {
			c.log.Debug("prekeys not used", "peer", o.Peer, "err", err)
		}
	})
}
