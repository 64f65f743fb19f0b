// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"fmt"
	"time"
)

// Explain says in plain words what NAT this is, what can be reached directly
// from behind it and what can't, and why; one sentence a line. It is for people:
// don't parse it.
func (b Behaviour) Explain() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch b.Mapping {
	case UDPBlocked:
		say("UDP does not get through this network, so nothing can be reached directly by it.")
		say("Calls go through another node by TCP.")
		return append(out, b.explainSix()...)
	case UnknownDependence:
		say("Not enough peers have answered yet to tell what kind of network this is.")
		return append(out, b.explainSix()...)
	}
	out = append(out, b.explainMapping()...)
	out = append(out, b.explainReach()...)
	out = append(out, b.explainRest()...)
	return append(out, b.explainSix()...)
}

func (b Behaviour) explainMapping() (out []string) {
	switch b.Mapping {
	case NoNAT:
		out = append(out, "There is no NAT: this computer has an address of its own on the Internet.")
	case EndpointIndependent:
		out = append(out, "The router gives each program one outside port and keeps it for all destinations, which is the friendly kind.")
	case AddressDependent:
		out = append(out, "The router gives each program another outside port for each computer it talks to.")
	case AddressAndPortDependent:
		out = append(out, "The router gives each program another outside port for each destination (\"symmetric\" NAT).")
	}
	if b.Mapping == NoNAT {
		return out
	}
	switch b.Ports {
	case Preserved:
		out = append(out, "Outside it uses the port that the program has inside, where that is free.")
	case Sequential:
		out = append(out, fmt.Sprintf("It counts its ports up by %d, so the next one can be foretold.", b.Step))
	case RandomPorts:
		out = append(out, "It chooses ports at random from the full range.")
	case BlockPorts:
		out = append(out, fmt.Sprintf("It chooses ports at random, but only from %d to %d.", b.Block[0], b.Block[1]))
		if b.Chosen == Yes {
			out = append(out, "A program that asks for one of those ports keeps it, so that we choose our port after all.")
		}
	}
	if b.Carrier == Yes {
		out = append(out, "Behind the router there is a second NAT, most likely the provider's (CGN). A port opened on the router alone is not reachable from outside.")
	}
	if b.Arbitrary == Yes {
		out = append(out, "It has several outside addresses and takes any of them for each new connection.")
	}
	return out
}

// explainReach says who can be reached. Dependent mappings are met only where
// the other side lets in what it didn't expect, or ports can be found.
func (b Behaviour) explainReach() (out []string) {
	switch b.Filtering {
	case NoNAT:
		return append(out, "No firewall is in the way: anybody can reach this computer directly.")
	case EndpointIndependent:
		out = append(out, "Once a port is open, anybody can write to it.")
	case AddressDependent:
		out = append(out, "It lets in only computers that were written to.")
	case AddressAndPortDependent:
		out = append(out, "It lets in only answers, from exactly the address and port that were written to.")
	default:
		out = append(out, "What it lets in is not known yet.")
	}
	hard := b.Mapping == AddressDependent || b.Mapping == AddressAndPortDependent
	switch {
	case !hard && (b.Filtering == EndpointIndependent || b.Filtering == AddressDependent):
		out = append(out, "Nearly everybody can be reached directly.")
	case !hard:
		out = append(out,
			"Most can be reached directly, since both sides can write at the same time.",
			"Behind a symmetric NAT the other's port must be searched for, which takes a moment.")
	case b.Chosen == Yes || b.Ports == Sequential:
		out = append(out, "Its ports can be foretold, so most can be reached directly.")
	case b.Ports == BlockPorts:
		out = append(out,
			"Computers with a friendly router can be reached directly; where that one is strict, a short search in the block finds the port.",
			"Two such NATs find each other only after minutes; until then the call goes through another node.")
	default:
		out = append(out,
			"Computers with a friendly router can be reached directly; where that one is strict, a search of some seconds finds the port.",
			"Behind a second NAT of this kind nobody can be reached directly, since neither side can know its own port; such calls go through another node.")
	}
	return out
}

func (b Behaviour) explainRest() (out []string) {
	switch b.Hairpin {
	case Yes:
		out = append(out, "Computers behind this router also reach each other by its outside address.")
	case No:
		out = append(out, "Computers behind this router reach each other only by their inside addresses.")
	}
	if b.Unreplied > 0 {
		out = append(out, fmt.Sprintf("An open port without an answer closes after about %v.", b.Unreplied.Round(time.Second)))
	}
	if b.Replied > 0 {
		out = append(out, fmt.Sprintf("One in use stays open for about %v of silence.", b.Replied.Round(time.Second)))
	}
	if b.Absolute > 0 {
		out = append(out, fmt.Sprintf("After about %v it closes even in the middle of a call, so new ones are opened before that.", b.Absolute.Round(time.Second)))
	}
	return out
}

func (b Behaviour) explainSix() []string {
	switch b.IPv6 {
	case NoIPv6:
		return []string{"There is no IPv6 here; with it most of the above would not matter."}
	case OpenIPv6:
		return []string{"IPv6 works and lets everybody in: whoever has IPv6 too is reached directly."}
	case FirewalledIPv6:
		return []string{"IPv6 works, behind a firewall: whoever has IPv6 too is reached directly when both sides write first."}
	}
	return nil
}
