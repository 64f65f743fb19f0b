// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package mesh holds the rules by which equal nodes form a network and carry
// each other's messages: which links to want and keep (the table), how a
// message finds its way over them (routing), and how two nodes that share a
// neighbour come to a link (introductions). See design/004-overlay.md.
//
// Everything here is pure: time and randomness are arguments, links are what
// the driver says they are. The same Machine runs in a node and, by the
// hundred thousand, in the simulation.
package mesh
