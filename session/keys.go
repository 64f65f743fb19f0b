// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
)

// direction numbers who sends; it goes into every derived key, so that no
// message or packet can be turned around.
type direction uint8

const (
	fromCaller direction = 1
	fromCallee direction = 2
)

// Labels of design/001. A label never changes its meaning; a new derivation
// gets a new one.
const (
	labelSignal = "p2pos signal v1"
	labelKEM    = "p2pos media v1"
	labelSRTP   = "p2pos srtp v1"
	labelUpdate = "p2pos update v1"
	labelWords  = "p2pos words v1"
	labelVideo  = "p2pos video v1"
)

// Key is one direction's SRTP master key and salt (AEAD_AES_128_GCM, RFC 7714
// §12). It prints as nothing.
type Key struct {
	key  [16]byte
	salt [12]byte
}

// String hides the key.
func (Key) String() string { return "session.Key(secret)" }

// GoString hides the key from %#v.
func (k Key) GoString() string { return k.String() }

// LogValue hides the key.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Keys are a call's media keys as seen from one side, those of its UPDATEs, and
// what both sides' safety words are made of.
type Keys struct {
	Send, Receive             Key // of the sound
	SendVideo, ReceiveVideo   Key
	sendUpdate, receiveUpdate [32]byte

	transcript [32]byte
	nonce      [32]byte // the callee's
}

// String hides the keys.
func (Keys) String() string { return "session.Keys(secret)" }

// GoString hides the keys from %#v.
func (k Keys) GoString() string { return k.String() }

// LogValue hides the keys.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// must unwraps what HKDF with SHA-256 returns: the lengths asked for are
// constants far below its limit, which is the only error it has.
func must(b []byte, err error) []byte {
	if err != nil {
		panic("session: hkdf: " + err.Error())
	}
	return b
}

// signalKey derives one direction's key for control messages from the secret
// in the INVITE, so both sides have it before there is an answer.
func signalKey(secret *[32]byte, id CallID, d direction) (k [32]byte) {
	info := append([]byte(labelSignal), id[:]...)
	info = append(info, byte(d))
	copy(k[:], must(hkdf.Key(sha256.New, secret[:], nil, string(info), len(k))))
	return k
}

// mediaKey derives one direction's SRTP key of the stream that label names:
//
//	PRK = HKDF-Extract(KEM export, salt = SHA-256(sealed INVITE || plain ANSWER))
//	key || salt = HKDF-Expand(PRK, label || call id || sender's device key || direction || epoch)
func mediaKey(label string, export, transcript []byte, id CallID, device []byte, d direction, epoch uint32) (k Key) {
	prk := must(hkdf.Extract(sha256.New, export, transcript))
	info := append([]byte(label), id[:]...)
	info = append(info, device...)
	info = append(info, byte(d))
	info = binary.BigEndian.AppendUint32(info, epoch)
	okm := must(hkdf.Expand(sha256.New, prk, string(info), len(k.key)+len(k.salt)))
	copy(k.key[:], okm)
	copy(k.salt[:], okm[len(k.key):])
	return k
}

// updateKey derives one direction's key for UPDATEs as mediaKey does, of epoch 0.
func updateKey(export, transcript []byte, id CallID, device []byte, d direction) (k [32]byte) {
	prk := must(hkdf.Extract(sha256.New, export, transcript))
	info := append([]byte(labelUpdate), id[:]...)
	info = append(info, device...)
	info = append(info, byte(d))
	copy(k[:], must(hkdf.Expand(sha256.New, prk, string(info), len(k))))
	return k
}

// transcript binds the media keys to every byte of the handshake.
func transcript(sealedInvite, plainAnswer []byte) []byte {
	h := sha256.New()
	h.Write(sealedInvite)
	h.Write(plainAnswer)
	return h.Sum(nil)
}

// Sizes of MLKEM768-X25519 (X-Wing): 1,184 + 32 and 1,088 + 32.
const (
	kemKeySize = 1216
	kemEncSize = 1120
)

// encapsulate makes the callee's half of the hybrid key agreement: the bytes
// for the ANSWER and 32 bytes only the holder of the INVITE's key can repeat.
func encapsulate(public []byte) (enc, export []byte, err error) {
	pub, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return nil, nil, err
	}
	enc, s, err := hpke.NewSender(pub, hpke.HKDFSHA256(), hpke.ExportOnly(), []byte(labelKEM))
	if err != nil {
		return nil, nil, err
	}
	export, err = s.Export(labelKEM, 32)
	return enc, export, err
}

func decapsulate(key hpke.PrivateKey, enc []byte) (export []byte, err error) {
	r, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.ExportOnly(), []byte(labelKEM))
	if err != nil {
		return nil, err
	}
	return r.Export(labelKEM, 32)
}
