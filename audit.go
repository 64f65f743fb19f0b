// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session"
	"github.com/p2pos/p2pos/session/chat"
)

// AuditEvent says what happened on this node: who, when, how long, over which
// path and how it ended; never what was said, written or sent.
type AuditEvent struct {
	Action   Action
	When     time.Time     // when it began
	Took     time.Duration // time talked; how long a link stood
	Peer     identity.ID   // who it was, proved; zero for relaying, and for links where the network has no roster
	Node     identity.NodeID
	Incoming bool   // they began: who called, sent, or dialled
	Path     string // of a call: "lan", "direct", "relay", "tcp"; "" = none
	Bytes    int64  // of a file
	// Result is how it ended. Calls: the reasons of CallError. Files: the states
	// of FileRecord. Messages: "received", "delivered" (one
	// of ours), "sent" (by another device of this person). Links: "up", "down". Any of
	// them: "denied", by the policy.
	Result string
	Stage  string // of a call, how far it came
	Detail string // what the policy said, or an error; "" = nothing
}

const (
	// auditRoom is how many events may wait for the sink.
	auditRoom = 1024
	// auditTime is how long Close lets the sink take what waits.
	auditTime = time.Second
)

// auditor hands events to Config.Audit, in order, on a goroutine of its own.
// Its zero value tells nobody.
type auditor struct {
	sink func(AuditEvent)
	log  *slog.Logger
	room chan AuditEvent
	done chan struct{} // closed when the goroutine has ended
	lost atomic.Uint64

	mu     sync.RWMutex // guards closed: nobody tells behind the end
	closed bool
}

func (a *auditor) start(sink func(AuditEvent), log *slog.Logger) {
	if sink == nil {
		return
	}
	a.sink, a.log = sink, log
	a.room, a.done = make(chan AuditEvent, auditRoom), make(chan struct{})
	go a.run()
}

func (a *auditor) run() {
	defer close(a.done)
	for e := range a.room {
		a.hand(e)
	}
}

// hand calls the application's code.
func (a *auditor) hand(e AuditEvent) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Warn("audit sink panicked", "panic", p)
		}
	}()
	a.sink(e)
}

// tell never blocks: what finds no room is counted.
func (a *auditor) tell(e AuditEvent) {
	if a.room == nil {
		return
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed {
		return
	}
	select {
	case a.room <- e:
	default:
		a.lost.Add(1)
	}
}

// close lets the sink take what waits, as long as it isn't stuck.
func (a *auditor) close() {
	if a.room == nil {
		return
	}
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.room)
	}
	a.mu.Unlock()
	late := time.NewTimer(auditTime)
	defer late.Stop()
	select {
	case <-a.done:
	case <-late.C:
		a.log.Warn("audit sink is stuck", "waiting", len(a.room))
	}
}

// auditRecord tells of what goes into the history, but for what was said.
func (n *Node) auditRecord(r Record) {
	e := AuditEvent{When: r.When, Peer: r.Peer, Incoming: r.Incoming}
	switch {
	case r.Call != nil:
		e.Action, e.Result, e.Stage, e.Path = ActCall, r.Call.Reason, r.Call.Stage, r.Call.Path
		e.Took = time.Duration(r.Call.Seconds * float64(time.Second))
	case r.File != nil:
		e.Action, e.Result, e.Bytes, e.Detail = ActFile, r.File.State, r.File.Bytes, r.File.Error
	default:
		return
	}
	n.auditor.tell(e)
}

// auditMessage tells of a text that has come: from somebody, or from another
// device of this person.
func (n *Node) auditMessage(e chat.Message) {
	a := AuditEvent{Action: ActMessage, When: e.Sent, Peer: e.Peer, Incoming: true, Result: "received"}
	if e.Ours {
		a.Incoming, a.Result = false, "sent"
	}
	n.auditor.tell(a)
}

// auditLinkUp tells of a link's beginning.
func (n *Node) auditLinkUp(e session.LinkUp) {
	if n.cfg.Audit == nil {
		return
	}
	a := AuditEvent{Action: ActLink, When: time.Now(), Peer: e.Member, Node: e.Node, Incoming: e.Incoming, Result: "up"}
	n.mu.Lock()
	n.linkedAt[e.Node] = a
	n.mu.Unlock()
	n.auditor.tell(a)
}

// auditLinkDown tells of its end.
func (n *Node) auditLinkDown(node identity.NodeID) {
	if n.cfg.Audit == nil {
		return
	}
	now := time.Now()
	n.mu.Lock()
	a, ok := n.linkedAt[node]
	delete(n.linkedAt, node)
	n.mu.Unlock()
	if !ok {
		a = AuditEvent{Action: ActLink, When: now, Node: node}
	}
	a.Result, a.Took = "down", now.Sub(a.When)
	n.auditor.tell(a)
}
