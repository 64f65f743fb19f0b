// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package metric holds what a node has measured, as numbers with names, and
// writes it in the two text formats that Prometheus and its kin read.
//
// A Family is one quantity under one name; its Points tell apart what labels
// tell apart. Node.Metrics makes families, OpenMetrics and Text write
// them, and any other system can be fed from the same values.
//
// Names follow OpenMetrics 1.0: base units (seconds, bytes, ratios from 0 to 1),
// the unit as the name's end, no _total in the name of a counter (the writers
// add it). Families are plain values: nothing here is shared or locked.
package metric
