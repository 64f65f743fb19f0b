// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"time"

	"github.com/p2pos/p2pos/media"
)

// Options tune a Machine. The zero value works.
type Options struct {
	// MaxCalls is how many calls may be up at once, in any state; others find
	// the line busy. 0 = 8, the most; 1 = busy in a call. An own call that rings
	// several devices of one identity counts once.
	MaxCalls int
	// RingTimeout is how long a call rings here before it counts as not
	// answered. 0 = 45 s.
	RingTimeout time.Duration
	// CallTimeout is how long an own call may ring there. 0 = 60 s, the life of
	// an INVITE; at most that.
	CallTimeout time.Duration
	// OfflineAfter is how long an own call waits for a first sign of the other
	// side. 0 = 8 s.
	OfflineAfter time.Duration
	// Codecs we can send and receive, most wanted first. nil = Opus.
	Codecs []media.Codec
	// Video are the codecs of pictures we can pass on, most wanted first, for
	// calls that come with one. nil = VP8, H264.
	Video []media.Codec
	// Capabilities offered beyond the codecs.
	Capabilities Capabilities
}

const (
	// maxCalls is more than a person can keep apart, and a table scan is cheap.
	maxCalls = 8
	// maxDevices is how many devices of one identity an own call may ring:
	// one for each record slot of an identity.
	maxDevices = 5
	// maxPeers is an order above the links a node holds in the largest network.
	maxPeers = 1024
	// maxGone is how many peers without a link are remembered for what they
	// have used up (seen calls, INVITE allowance), so that a new link is no
	// fresh start.
	maxGone = 256
	// maxEnded and endedLife bound the memory of ended calls, which answers
	// messages that crossed the end. It outlives every INVITE.
	maxEnded  = 64
	endedLife = 75 * time.Second
	// maxEchoes bounds how often the end of one call is repeated to a peer that
	// has not understood.
	maxEchoes = 8
	// maxBadAnswers: each costs two public-key operations; a genuine peer
	// sends none.
	maxBadAnswers = 8
	// maxBacklog bounds what waits for Poll and NextEvent. A driver that drains
	// after every input never comes near.
	maxBacklog = 64

	// An INVITE costs us three public-key operations. A person redials ten
	// times in a row, then every three seconds.
	inviteBurst  = 10
	inviteRefill = 3 * time.Second

	// ringEvery keeps the small flow alive that a ring leaves at the nodes it
	// passed, which forget it after 10 s.
	ringEvery = 5 * time.Second
	// mediaTimeout is how long a call's first media may take: longer than every
	// path switch, shorter than patience. In mid-call the other side's lid may
	// have been shut for a minute; sleepTimeout leaves it the time to be back.
	mediaTimeout = 30 * time.Second
	sleepTimeout = 90 * time.Second
	// askAfter is how long a call may be silent, a few reports, until the other
	// side is asked whether it goes on, and from one question to the next. There
	// are two: more, over the route, leave so many flows at relays behind that a
	// computer which wakes up waits a second longer for its sound.
	askAfter = 5 * time.Second
	mostAsks = 2
)

func (o Options) withDefaults() Options {
	if o.MaxCalls <= 0 || o.MaxCalls > maxCalls {
		o.MaxCalls = maxCalls
	}
	if o.RingTimeout <= 0 {
		o.RingTimeout = 45 * time.Second
	}
	if o.CallTimeout <= 0 || o.CallTimeout > inviteLife {
		o.CallTimeout = inviteLife
	}
	if o.OfflineAfter <= 0 {
		o.OfflineAfter = 8 * time.Second
	}
	if o.Codecs == nil {
		o.Codecs = []media.Codec{media.Opus()}
	}
	o.Codecs = append([]media.Codec(nil), o.Codecs...)
	if o.Video == nil {
		o.Video = []media.Codec{media.VP8(), media.H264()}
	}
	o.Video = append([]media.Codec(nil), o.Video...)
	return o
}
