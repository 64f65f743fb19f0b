// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package p2pos puts serverless calls into an app: make a key, hand out a
// ticket, ring someone, talk. There is no account, no operator and no
// supernode; every node is equal.
//
// A Node is made with New from a Config whose zero value works. It has an
// identity (a key on disk) and makes tickets, texts that say how to ring it:
//
//	n, err := p2pos.New(p2pos.Config{})
//	ticket, err := n.Ticket(24 * time.Hour) // hand it to a friend
//
// The friend rings, both read and write encoded Opus frames:
//
//	call, err := n.Call(ctx, ticket, nil)     // returns while it rings
//	err = call.Answered(ctx)                  // waits for the answer
//	in, out := call.Tracks()
//
// and the callee takes calls from an iterator:
//
//	for call := range n.Incoming(ctx) { call.Answer() }
//
// # Concurrency
//
// Every method may be called from any goroutine, Close included. The app pulls
// (Incoming, Events, In.ReadFrame); none of its code runs on the library's
// goroutines, with the exception of Config.Policy, MayRelay and KnockRings, which
// have one of their own for each question, and Config.Audit, which has one. A
// context ends the wait, not the call: calls end by HangUp, Close, or the other
// side.
//
// # Errors
//
// Errors wrap the sentinels of this package and of identity; a failed call
// gives a *CallError with the stage it reached. After Close methods return
// net.ErrClosed.
//
// # Limits today
//
// Nodes find each other on the LAN, by tickets, by an ID they know, and by what
// they remember. Calls are relayed by other nodes where no direct path can be
// had. A node holds eight calls at a time, a group eight people. docs/embedding.md
// is the guide for those who build it in.
package p2pos
