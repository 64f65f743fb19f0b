// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package storetest holds implementations of chat.Store to what a chat.Machine
// needs of them.
package storetest
