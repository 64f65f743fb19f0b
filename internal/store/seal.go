// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package store

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

// An entry of the file:
//
//	key     HMAC-SHA256(names key, room(1) || name)[:16] || number(8), 0 in a Map
//	value   nonce(24) || XChaCha20-Poly1305( name (vec8) || value ), room(1) || key as associated data
//
// The two keys are HKDF-SHA256 of the key store's, one for each purpose.
const (
	hashLen = 16
	keyLen  = hashLen + 8
)

type keys struct {
	aead  cipher.AEAD
	names []byte
}

func newKeys(secret [32]byte) keys {
	derive := func(purpose string) []byte {
		b, err := hkdf.Key(sha256.New, secret[:], nil, purpose, 32)
		if err != nil {
			panic(err) // only for lengths above 255 hashes
		}
		return b
	}
	aead, err := chacha20poly1305.NewX(derive("p2pos store values v1"))
	if err != nil {
		panic(err) // only for a key of another length
	}
	return keys{aead: aead, names: derive("p2pos store names v1")}
}

// hash returns what stands for a name in the file.
func (k keys) hash(r Room, name []byte) []byte {
	m := hmac.New(sha256.New, k.names)
	m.Write([]byte{byte(r)})
	m.Write(name)
	return m.Sum(nil)[:hashLen]
}

func (k keys) key(r Room, name []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(k.hash(r, name), number)
}

func numberOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[hashLen:]) }

func place(r Room, key []byte) []byte { return append([]byte{byte(r)}, key...) }

// seal returns the value of an entry in the file.
func (k keys) seal(r Room, key, name, value []byte) []byte {
	b := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+1+len(name)+len(value)+chacha20poly1305.Overhead)
	rand.Read(b)
	plain := append(append(append(make([]byte, 0, 1+len(name)+len(value)), byte(len(name))), name...), value...)
	return k.aead.Seal(b, b, plain, place(r, key))
}

var errSealed = errors.New("store: an entry does not open")

// open returns name and value of an entry; they alias nothing of the file.
func (k keys) open(r Room, key, sealed []byte) (name, value []byte, err error) {
	if len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, nil, errSealed
	}
	nonce, box := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	plain, err := k.aead.Open(nil, nonce, box, place(r, key))
	if err != nil || r != 0 && len(key) != keyLen || len(plain) < 1 || len(plain) < 1+int(plain[0]) {
		return nil, nil, errSealed
	}
	n := 1 + int(plain[0])
	return plain[1:n:n], plain[n:], nil
}
