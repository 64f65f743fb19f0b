// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	mrand "math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/p2pos/p2pos/overlay/mailbox"
	"github.com/p2pos/p2pos/overlay/mesh"
)

// Queue is where mail of one pair of people waits in one period of 14 days.
type Queue = mailbox.Queue

// MailID names a blob of mail.
type MailID = mailbox.ID

// Mail is a blob of 1, 4 or 16 KiB as it was put into a queue.
type Mail struct {
	Queue Queue
	ID    MailID
	Blob  []byte
}

// MailQueues returns the queues in which mail under a secret of two people may
// wait at now. The first one is the one to write to.
func MailQueues(secret [32]byte, now time.Time) []Queue { return mailbox.Queues(secret, now) }

const (
	// maxReads queues are read at once: 200 of a hundred contacts take 2 s, and
	// a neighbour's burst is not used up by one of them.
	maxReads = 48
	// maxMailJobs bounds all readings and writings.
	maxMailJobs = 2 * maxReads
)

// mailing is the loop's part in mail: it holds some for others, and reads and
// writes this node's own (package mailbox).
type mailing struct {
	store *mailbox.Store
	jobs  []*mailJob
}

// mailJob is one reading or writing.
type mailJob struct {
	m     mailMachine
	queue Queue
	box   *mailBox
	gone  bool // whoever wanted it has gone
}

// mailMachine is a mailbox.Reader or Writer.
type mailMachine interface {
	asker
	Advance(now time.Time)
	Deadline() time.Time
	NextEvent() (mailbox.Event, bool)
}

func newMailing(o *Overlay, rng *mrand.Rand) mailing {
	shelf := o.cfg.Shelf
	if shelf == nil {
		shelf = new(mailbox.Memory)
	}
	m := mailing{store: mailbox.NewStore(o.self, shelf, rng)}
	if o.cfg.Hold != 0 {
		m.store.Limit(o.cfg.Hold)
	}
	return m
}

func (m *mailing) advance(now time.Time) {
	m.store.Advance(now)
	for _, j := range m.jobs {
		j.m.Advance(now)
	}
}

func (m *mailing) deadline() (d time.Time) {
	d = m.store.Deadline()
	for _, j := range m.jobs {
		d = earlier(d, j.m.Deadline())
	}
	return d
}

// drainMail carries out what the store and the jobs want.
func (c *core) drainMail(now time.Time) {
	m := &c.records.mail
	for {
		e, ok := m.store.NextEvent()
		if !ok {
			break
		}
		if a, ok := e.(mailbox.Ask); ok {
			c.askMail(now, a, m.store)
		}
	}
	m.jobs = slices.DeleteFunc(m.jobs, func(j *mailJob) bool { return j.gone || c.drainMailJob(now, j) })
}

func (c *core) askMail(now time.Time, a mailbox.Ask, by asker) {
	q := mesh.Request{To: a.To, Exact: a.Exact, Kind: mesh.Store, Copies: a.Copies, Body: a.Body}
	if a.Fetch {
		q.Kind = mesh.Fetch
	}
	if a.Ref == 0 {
		c.mesh.m.Send(now, q)
		return
	}
	c.sendRecord(now, a.Ref, by, q)
}

// drainMailJob reports whether the job is over.
func (c *core) drainMailJob(now time.Time, j *mailJob) bool {
	for {
		e, ok := j.m.NextEvent()
		if !ok {
			return false
		}
		switch e := e.(type) {
		case mailbox.Ask:
			c.askMail(now, e, j.m)
		case mailbox.Found:
			j.box.push(mailNews{mail: Mail{j.queue, e.ID, e.Blob}})
		case mailbox.Done:
			j.box.push(mailNews{mail: Mail{Queue: j.queue}, done: true, err: e.Err, left: e.Left})
			return true
		}
	}
}

// startMail begins a job on the loop. Error: ErrCongested, net.ErrClosed, ctx's.
func (o *Overlay) startMail(ctx context.Context, q Queue, box *mailBox, begin func(now time.Time) (mailMachine, error)) (j *mailJob, err error) {
	e := o.loop.Do(ctx, func(now time.Time) {
		m := &o.core.records.mail
		if len(m.jobs) >= maxMailJobs {
			err = ErrCongested
			return
		}
		j = &mailJob{queue: q, box: box}
		if j.m, err = begin(now); err == nil {
			m.jobs = append(m.jobs, j)
		}
	})
	if e != nil {
		err = e
	}
	return j, err
}

// endMail takes back jobs that nobody waits for any more.
func (o *Overlay) endMail(jobs ...*mailJob) {
	o.loop.Do(o.ctx, func(time.Time) {
		for _, j := range jobs {
			j.gone = true
		}
	})
}

// PutMail puts a blob of 1, 4 or 16 KiB into a queue (MailQueues): eight nodes
// keep it for 14 days, and cannot read what the caller has sealed. It returns
// when nodes over two routes have it, or one after a few tries. It goes on
// trying until ctx ends. Errors: ErrMailFull, ErrMailClock, one for other
// sizes, ErrCongested, ctx's, net.ErrClosed.
func (o *Overlay) PutMail(ctx context.Context, q Queue, blob []byte) error {
	return o.writeMail(ctx, q, func(now time.Time) (mailMachine, error) { return mailbox.NewWriter(now, q, blob) })
}

// DropMail lets the holders of a queue forget blobs: they were read, and what
// came of them is safe. Errors: ErrCongested, ctx's, net.ErrClosed. It is
// harmless to drop twice, or what is not there.
func (o *Overlay) DropMail(ctx context.Context, q Queue, blobs ...MailID) error {
	if len(blobs) == 0 {
		return nil
	}
	return o.writeMail(ctx, q, func(now time.Time) (mailMachine, error) { return mailbox.NewDropper(now, q, blobs), nil })
}

func (o *Overlay) writeMail(ctx context.Context, q Queue, begin func(now time.Time) (mailMachine, error)) error {
	box := newMailBox()
	j, err := o.startMail(ctx, q, box, begin)
	if err != nil {
		return err
	}
	for {
		list, err := box.take(ctx, o.ctx)
		if err != nil {
			o.endMail(j)
			return err
		}
		for _, n := range list {
			if n.done {
				return n.err
			}
		}
	}
}

// FetchMail reads queues, 48 at a time, and hands each blob to f as it comes, on
// the caller's goroutine. It returns the queues in which there may be more:
// nobody answered for them, or one reading was not enough. What was read and is
// safe should be dropped, or it comes again. Errors: ctx's, net.ErrClosed,
// ErrCongested.
func (o *Overlay) FetchMail(ctx context.Context, queues []Queue, f func(Mail)) (left []Queue, err error) {
	box := newMailBox()
	var jobs []*mailJob
	defer func() { o.endMail(jobs...) }()
	running, next := 0, 0
	for {
		for ; running < maxReads && next < len(queues); next++ {
			q := queues[next]
			j, err := o.startMail(ctx, q, box, func(now time.Time) (mailMachine, error) { return mailbox.NewReader(now, q, nil), nil })
			if err != nil {
				return append(left, queues[next:]...), err
			}
			jobs = append(jobs, j)
			running++
		}
		if running == 0 {
			return left, nil
		}
		list, err := box.take(ctx, o.ctx)
		if err != nil {
			return append(left, queues[next:]...), err
		}
		for _, n := range list {
			if !n.done {
				f(n.mail)
				continue
			}
			running--
			if n.left {
				left = append(left, n.mail.Queue)
			}
		}
	}
}

// closedOr returns net.ErrClosed once Close has begun, else ctx's error.
func closedOr(ctx, node context.Context) error {
	if node.Err() != nil {
		return net.ErrClosed
	}
	return ctx.Err()
}
