// SPDX-License-Identifier: 0BSD

package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/media"
)

// event is something that happened: an object in JSON, or a line for people.
// Names and fields are a contract with the programs that read them: add, but
// don't change.
type event interface {
	name() string
	text() string // "" = not worth a line
}

type readyEvent struct {
	ID     string   `json:"id"`
	Node   string   `json:"node"`
	Listen []string `json:"listen"`
}

func (readyEvent) name() string { return "ready" }
func (e readyEvent) text() string {
	return fmt.Sprintf("your ID is %s; listening on %s; type help", e.ID, strings.Join(e.Listen, ", "))
}

type ticketEvent struct {
	Ticket string `json:"ticket"`
}

func (ticketEvent) name() string { return "ticket" }
func (e ticketEvent) text() string {
	return "for whoever may call you, good for a day:\n" + e.Ticket
}

type joinedEvent struct {
	Links int `json:"links"`
}

func (joinedEvent) name() string { return "joined" }
func (e joinedEvent) text() string {
	return "joined: another node is linked, you can be called"
}

// who is what all calls show of the other side.
type who struct {
	Call string `json:"call"`
	Peer string `json:"peer"`
}

type outgoingEvent struct {
	who
	Name string `json:"name"`
	By   string `json:"by"` // who has transferred us there; "" = nobody
}

func (outgoingEvent) name() string { return "outgoing" }
func (e outgoingEvent) text() string {
	if e.By != "" {
		return e.By + " transfers you: calling " + e.Peer
	}
	return "calling " + e.Peer
}

// transferEvent says how a transfer goes that was asked for here.
type transferEvent struct {
	Call   string `json:"call"`
	State  string `json:"state"` // trying, rings, failed
	Reason string `json:"reason"`
}

func (transferEvent) name() string { return "transfer" }
func (e transferEvent) text() string {
	switch e.State {
	case "trying":
		return "they call whom you have named"
	case "rings":
		return "it rings there"
	}
	return "the transfer has failed, you are still in the call: " + e.Reason
}

// searchEvent says how the search for a callee goes.
type searchEvent struct {
	who
	State string  `json:"state"`
	TCall float64 `json:"t_call"`
}

func (searchEvent) name() string { return "search" }
func (e searchEvent) text() string {
	switch e.State {
	case "asking":
		return "asking the network where they are"
	case "found":
		return "found, and being rung"
	case "unknown":
		return "nobody in the network knows where they are; trying the addresses in the ticket"
	case "withdrawn":
		return "their phone has gone offline"
	}
	return ""
}

type incomingEvent struct {
	who
	Name    string `json:"name"`
	Waiting bool   `json:"waiting"` // while another call is up
	Contact string `json:"contact"` // the name in our contacts; "" = not there
	By      string `json:"by"`      // who has transferred them to us; "" = nobody
}

func (incomingEvent) name() string { return "incoming" }
func (e incomingEvent) text() string {
	from := e.Peer + saysToBe(e.Name)
	if e.Contact != "" {
		from = e.Contact
	}
	if e.By != "" {
		from += ", transferred by " + e.By
	}
	if e.Waiting {
		return fmt.Sprintf("another call, %s, from %s: answer or reject", e.Call, from)
	}
	return fmt.Sprintf("call from %s: answer or reject", from)
}

// saysToBe shows a name that is somebody's own word: quoted, so that it cannot
// move the cursor or look like a line of ours.
func saysToBe(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(", who says to be %q", name)
}

type ringingEvent struct {
	who
	TCall   float64 `json:"t_call"`
	RingRTT float64 `json:"ring_rtt_ms"`
}

func (ringingEvent) name() string   { return "ringing" }
func (e ringingEvent) text() string { return fmt.Sprintf("it rings (%.0f ms away)", e.RingRTT) }

type answeredEvent struct {
	who
	TCall float64 `json:"t_call"`
}

func (answeredEvent) name() string { return "answered" }
func (answeredEvent) text() string { return "answered" }

type mediaEvent struct {
	Call  string  `json:"call"`
	TCall float64 `json:"t_call"`
}

func (mediaEvent) name() string { return "media" }
func (mediaEvent) text() string { return "you hear them" }

type pathEvent struct {
	Call   string   `json:"call"`
	Kind   string   `json:"kind"`
	Via    string   `json:"via"`
	Vias   []string `json:"vias"`
	Server string   `json:"server,omitempty"` // TURN
	Remote string   `json:"remote"`
	Local  string   `json:"local"`
	RTT    float64  `json:"rtt_ms"`
	TCall  float64  `json:"t_call"`
	Reason string   `json:"reason"`
}

func pathOf(p p2pos.Path, call string, t time.Duration) pathEvent {
	vias := []string{}
	for _, v := range p.Vias {
		vias = append(vias, v.String())
	}
	via := ""
	if len(vias) > 0 {
		via = vias[0]
	}
	return pathEvent{
		Call: call, Kind: p.Kind, Via: via, Vias: vias, Remote: addr(p.Remote), Local: addr(p.Local),
		RTT: millis(p.RTT), TCall: seconds(t), Reason: p.Reason, Server: p.Server,
	}
}

// addr writes "" for an address that is not known.
func addr(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (pathEvent) name() string { return "path" }
func (e pathEvent) text() string {
	if e.Kind == "" {
		return e.Reason
	}
	if e.Server != "" {
		return "path: relayed by the TURN server " + e.Server
	}
	if len(e.Vias) > 0 {
		s := fmt.Sprintf("path: relayed by %d other nodes", len(e.Vias))
		if e.Reason != "" {
			s += ", since " + e.Reason
		}
		return s
	}
	return fmt.Sprintf("path: %s, %s to %s", e.Kind, e.Local, e.Remote)
}

// statsEvent comes once a second in a call. Packets are counted from the
// call's start, the rest is of that second.
type statsEvent struct {
	Call      string  `json:"call"`
	RTT       float64 `json:"rtt_ms"`
	Jitter    float64 `json:"jitter_ms"`
	Sent      uint64  `json:"sent"`
	Received  uint64  `json:"received"`
	Lost      int64   `json:"lost"`
	Concealed float64 `json:"concealed"`
	Gap       float64 `json:"gap_ms"`
	Buffer    float64 `json:"buffer_ms"`
	MOS       float64 `json:"mos"`
	KbpsIn    float64 `json:"kbps_in"`
	KbpsOut   float64 `json:"kbps_out"`

	tick int
}

// statsOf compares two snapshots; took is the time between them.
func statsOf(call string, now, before *media.Stats, took time.Duration) statsEvent {
	now.Score(before)
	kbps := func(now, before uint64) float64 {
		return round(float64(now-before)*8/1000/max(took.Seconds(), 1e-3), 2)
	}
	return statsEvent{
		Call: call, RTT: millis(now.RoundTripTime), Jitter: millis(now.Jitter),
		Sent: now.PacketsSent, Received: now.PacketsReceived, Lost: now.PacketsLost,
		Concealed: round(now.Concealed, 4), Gap: millis(now.LongestGap), Buffer: millis(now.Buffer),
		MOS:    round(now.MOS, 2),
		KbpsIn: kbps(now.BytesReceived, before.BytesReceived), KbpsOut: kbps(now.BytesSent, before.BytesSent),
	}
}

// textEvery is after how many seconds people see the statistics again.
const textEvery = 10

func (statsEvent) name() string { return "stats" }
func (e statsEvent) text() string {
	if e.tick%textEvery != 1 {
		return ""
	}
	return fmt.Sprintf("quality %.1f of 5; round trip %.0f ms, buffer %.0f ms, %d of %d packets lost, %.0f kbit/s in, %.0f out",
		e.MOS, e.RTT, e.Buffer, e.Lost, e.Received+uint64(max(e.Lost, 0)), e.KbpsIn, e.KbpsOut)
}

type mutedEvent struct {
	Call string `json:"call"`
	On   bool   `json:"on"`
}

func (mutedEvent) name() string { return "muted" }
func (e mutedEvent) text() string {
	if e.On {
		return "they hear silence"
	}
	return "they hear you again"
}

// holdEvent is two events: held and resumed.
type holdEvent struct {
	Call string `json:"call"`
	By   string `json:"by"` // me or peer
	on   bool
}

func by(me bool) string {
	if me {
		return "me"
	}
	return "peer"
}

func (e holdEvent) name() string {
	if e.on {
		return "held"
	}
	return "resumed"
}

func (e holdEvent) text() string {
	switch {
	case e.on && e.By == "me":
		return "call " + e.Call + " is on hold: resume " + e.Call + " takes it up again"
	case e.on:
		return "they have put you on hold"
	case e.By == "me":
		return "call " + e.Call + " goes on"
	}
	return "they have taken you off hold"
}

type wordsEvent struct {
	Call     string   `json:"call"`
	Words    []string `json:"words"`
	Verified bool     `json:"verified"` // they were compared with this contact before
}

func (wordsEvent) name() string { return "words" }
func (e wordsEvent) text() string {
	return "read to each other, and hang up if they differ: " + strings.Join(e.Words, " ")
}

// recordingEvent says that a call is recorded, or no longer: by me, where to, or
// by the peer, as that tells us.
type recordingEvent struct {
	Call string `json:"call"` // "" = calls to come
	File string `json:"file"`
	By   string `json:"by"`
	On   bool   `json:"on"`
}

func (recordingEvent) name() string { return "recording" }
func (e recordingEvent) text() string {
	switch {
	case e.By == "peer" && e.On:
		return "they record this call"
	case e.By == "peer":
		return "they don't record this call any more"
	case !e.On:
		return "recording has ended"
	case e.Call == "":
		return fmt.Sprintf("the next call is recorded to %s", e.File)
	}
	return fmt.Sprintf("recording to %s; they know", e.File)
}

type dtmfEvent struct {
	Call   string `json:"call"`
	Digits string `json:"digits"`
}

func (dtmfEvent) name() string   { return "dtmf" }
func (e dtmfEvent) text() string { return "they pressed " + e.Digits }

// qualityEvent says what is wrong with the sound now.
type qualityEvent struct {
	Call     string   `json:"call"`
	Warnings []string `json:"warnings"`
}

func (qualityEvent) name() string { return "quality" }
func (e qualityEvent) text() string {
	if len(e.Warnings) == 0 {
		return "the sound is well again"
	}
	return "the sound suffers: " + strings.Join(e.Warnings, ", ")
}

type endedEvent struct {
	Call    string  `json:"call"`
	Reason  string  `json:"reason"`
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
}

func (endedEvent) name() string { return "ended" }
func (e endedEvent) text() string {
	if e.Stage == "talk" || e.Seconds > 0 {
		return fmt.Sprintf("call ended after %.1f s: %s", e.Seconds, e.Reason)
	}
	return fmt.Sprintf("call ended: %s (at %s)", e.Reason, e.Stage)
}
