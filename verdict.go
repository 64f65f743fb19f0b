// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/session/chat"
)

// Action is what Config.Policy is asked about, and Config.Audit told of.
type Action string

// The actions. Whoever can call, write or offer a file has proved his identity;
// nodes that link or want something relayed say nothing of the people behind.
const (
	ActCall    Action = "call"    // a call would ring here
	ActMessage Action = "message" // somebody would write texts to this person; refused ones stay with their author
	// ActTransfer: the other side of a call wants this node to call To instead.
	ActTransfer Action = "transfer"
	ActFile     Action = "file"  // a file would be offered here
	ActLink     Action = "link"  // a node of the network and this one would link
	ActRelay    Action = "relay" // a neighbour wants something of others relayed
)

// Ask is a question to Config.Policy: may this be?
type Ask struct {
	Action Action
	Peer   identity.ID // who it is, proved; zero for ActLink and ActRelay
	Name   string      // as a caller gives it
	By     identity.ID // who has transferred the caller to us, proved; zero = nobody
	To     identity.ID // whom to call instead, for ActTransfer
	Group  string      // of a group's call: the group, as its maker calls it
	// Contact is the peer's entry in the address book when Known. Who is
	// blocked there is never asked about.
	Contact Contact
	Known   bool
	Roles   []string        // of the peer, on the network's roster
	Node    identity.NodeID // the node, for ActLink and ActRelay
	Addr    netip.AddrPort  // where it is seen, likewise
	File    string          // the file's cleaned name, for ActFile
	Bytes   int64           // and its size
}

var (
	errPanicked  = errors.New("p2pos: the policy panicked")
	errUndecided = errors.New("p2pos: the policy has not decided yet")
)

// judge is the one place from which Config.Policy is called. What it says, a
// panic included, ends here.
func (n *Node) judge(q Ask) (err error) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			n.log.Warn("policy panicked", "action", string(q.Action), "panic", p)
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
		if err != nil {
			n.auditor.tell(AuditEvent{
				Action: q.Action, When: began, Peer: q.Peer, Node: q.Node, Incoming: true, Bytes: q.Bytes,
				Result: "denied", Detail: err.Error(),
			})
		}
	}()
	if q.Peer != (identity.ID{}) {
		q.Contact, q.Known = n.book.Get(q.Peer)
		if r := n.ov.Roster(); r != nil {
			m, _ := r.Find(q.Peer)
			q.Roles = m.Roles
		}
	}
	return n.cfg.Policy(q)
}

const (
	// maxVerdicts bounds the questions about nodes that are open or whose answer
	// is remembered: a few times the links that a node has.
	maxVerdicts = 512
	// verdictLife is how long an answer about a node holds.
	verdictLife = time.Minute
)

// verdicts are the answers about nodes: one question at a time for each of them
// and action, however often it comes.
type verdicts struct {
	mu  sync.Mutex // guards all
	all map[verdictKey]*verdict
}

type verdictKey struct {
	action Action
	node   identity.NodeID
	peer   identity.ID
}

type verdict struct {
	done  chan struct{} // closed when err and until hold
	err   error
	until time.Time
}

// mayWrite gives the courier the verdict about somebody's texts, which may be
// still to come. It doesn't block.
func (n *Node) mayWrite(id identity.ID) chat.Verdict {
	v := n.verdictOn(Ask{Action: ActMessage, Peer: id})
	if v == nil {
		return chat.Undecided
	}
	select {
	case <-v.done:
	default:
		return chat.Undecided
	}
	if v.err != nil {
		return chat.Refused
	}
	return chat.Allowed
}

// verdictOn returns the verdict about a node, or somebody's texts, which may be still to come: nil when too
// many are.
func (n *Node) verdictOn(q Ask) *verdict {
	k := verdictKey{q.Action, q.Node, q.Peer}
	now := time.Now()
	n.verdicts.mu.Lock()
	defer n.verdicts.mu.Unlock()
	if v := n.verdicts.all[k]; v != nil && !v.old(now) {
		return v
	}
	if len(n.verdicts.all) >= maxVerdicts {
		for k, v := range n.verdicts.all {
			if v.old(now) {
				delete(n.verdicts.all, k)
			}
		}
	}
	if len(n.verdicts.all) >= maxVerdicts {
		return nil
	}
	v := &verdict{done: make(chan struct{})}
	if n.verdicts.all == nil {
		n.verdicts.all = make(map[verdictKey]*verdict)
	}
	n.verdicts.all[k] = v
	go func() { // the application's code: Close can't wait for it
		err := n.judge(q)
		n.verdicts.mu.Lock()
		defer n.verdicts.mu.Unlock()
		v.err, v.until = err, time.Now().Add(verdictLife)
		close(v.done)
	}()
	return v
}

// old reports whether the answer has become too old; the lock is held.
func (v *verdict) old(now time.Time) bool { return !v.until.IsZero() && now.After(v.until) }

// mayLink waits for the verdict about a node that would link: the overlay gives
// it a goroutine of its own, and gives up when the other side does. The answer
// then holds for the next try.
func (n *Node) mayLink(node identity.NodeID, remote netip.AddrPort, giveUp <-chan struct{}) error {
	v := n.verdictOn(Ask{Action: ActLink, Node: node, Addr: remote})
	if v == nil {
		return errUndecided
	}
	select {
	case <-v.done:
		return v.err
	case <-giveUp:
		return errUndecided
	}
}
