// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"

	"github.com/p2pos/p2pos/internal/wire"
)

// Key store, the file identity.key:
//
//	magic "p2poskey" (8) || version(1)=1 || flags(1): bit 0 = encrypted
//	if encrypted: argon2id time(4), memory in KiB(4), threads(1), salt(16)
//	body (vec16)
//	SHA-256 over all before (32)
//
// The body is a field list:
//
//	1 identity seed (32, optional)   2 device seed (32)   3 sealing key, X25519 (32)
//	4 reach secret (16)              5 reset secret (32)  6 device certificate
//
// Fields of later programs stand behind these and are kept when we write. If
// encrypted, the body is nonce(24) || XChaCha20-Poly1305 of the list under the
// argon2id key, with all bytes in front of it as associated data.
//
// Magic, version and the checksum at the end keep their places in every
// version. That tells the three misfortunes apart: a damaged file (checksum),
// a newer one (version) and a wrong passphrase (the box does not open).
const (
	storeMagic   = "p2poskey"
	storeVersion = 1
	storeSalt    = 16

	flagEncrypted = 1 << 0

	// maxStore bounds what is read: hundreds of bytes are used, and a body
	// cannot be longer than 64 KiB.
	maxStore = 70_000
)

// The errors of a key store.
var (
	// ErrStoreDamaged reports a key store that is empty, cut off or changed.
	// It is never overwritten.
	ErrStoreDamaged = errors.New("identity: key store is damaged")

	// ErrStoreNewer reports a key store that a newer program wrote.
	ErrStoreNewer = errors.New("identity: key store is from a newer program")

	// ErrPassphrase reports a passphrase that is wrong, empty, or missing
	// though the key store is encrypted.
	ErrPassphrase = errors.New("identity: passphrase missing or wrong")
)

// kdf is the cost of turning a passphrase into a key (argon2id, RFC 9106).
type kdf struct {
	time    uint32 // passes
	memory  uint32 // KiB
	threads uint8
}

// defaultKDF is RFC 9106's second recommendation with two lanes: what a phone
// can spare for part of a second.
func defaultKDF() kdf { return kdf{time: 3, memory: 64 << 10, threads: 2} }

// valid bounds what a file may ask of this machine: 1 GiB, 16 passes, 16 lanes.
// The lower bounds are those of argon2.
func (k kdf) valid() bool {
	return k.time >= 1 && k.time <= 16 && k.threads >= 1 && k.threads <= 16 &&
		k.memory >= 8*uint32(k.threads) && k.memory <= 1<<20
}

// lock is what a store is encrypted with; a nil lock leaves it open.
type lock struct {
	kdf  kdf
	salt [storeSalt]byte
	key  [32]byte
}

// newLock derives a key from pass under a fresh salt.
func newLock(k kdf, pass []byte) *lock {
	l := &lock{kdf: k}
	rand.Read(l.salt[:])
	l.derive(pass)
	return l
}

func (l *lock) derive(pass []byte) {
	k := argon2.IDKey(pass, l.salt[:], l.kdf.time, l.kdf.memory, l.kdf.threads, uint32(len(l.key)))
	copy(l.key[:], k)
	clear(k)
}

// storeFile is a key store whose frame has been read and whose body has not.
type storeFile struct {
	head []byte // all in front of the body
	lock *lock  // without its key; nil when not encrypted
	body []byte
}

// parseStore reads the frame of a key store. The result aliases b. The error
// is ErrStoreDamaged or ErrStoreNewer.
func parseStore(b []byte) (storeFile, error) {
	bad := func(why string) (storeFile, error) {
		return storeFile{}, fmt.Errorf("%w: %s", ErrStoreDamaged, why)
	}
	const least = len(storeMagic) + 2 + sha256.Size
	switch {
	case len(b) == 0:
		return bad("the file is empty")
	case len(b) > maxStore:
		return bad("the file is too long")
	case len(b) < least || string(b[:len(storeMagic)]) != storeMagic:
		return bad("it is not a key store, or cut off")
	}
	content := b[:len(b)-sha256.Size]
	if sha256.Sum256(content) != [sha256.Size]byte(b[len(content):]) {
		return bad("it was changed or cut off (checksum)")
	}
	r := wire.NewReader(content)
	r.Bytes(len(storeMagic))
	if v := r.U8(); v != storeVersion {
		return storeFile{}, fmt.Errorf("%w: version %d, this one knows version %d", ErrStoreNewer, v, storeVersion)
	}
	flags := r.U8()
	if flags&^flagEncrypted != 0 {
		return storeFile{}, fmt.Errorf("%w: flags %#x", ErrStoreNewer, flags)
	}
	var f storeFile
	if flags&flagEncrypted != 0 {
		f.lock = &lock{kdf: kdf{time: r.U32(), memory: r.U32(), threads: r.U8()}}
		r.Fixed(f.lock.salt[:])
		if r.Err() == nil && !f.lock.kdf.valid() {
			return bad("it asks for an absurd amount of work")
		}
	}
	f.head = content[:len(content)-r.Len()]
	f.body = r.Vec16()
	if err := r.Done(); err != nil {
		return bad(err.Error())
	}
	return f, nil
}

// open returns the field list. For an encrypted store it takes the passphrase,
// wipes it, and sets the lock's key; the error is ErrPassphrase.
func (f storeFile) open(pass []byte) ([]byte, error) {
	if f.lock == nil {
		return f.body, nil
	}
	defer clear(pass)
	if len(pass) == 0 {
		return nil, fmt.Errorf("%w: the passphrase is empty", ErrPassphrase)
	}
	f.lock.derive(pass)
	list, err := OpenSecret(f.lock.key, f.head, f.body)
	if err != nil {
		return nil, ErrPassphrase
	}
	return list, nil
}

// sealStore returns the bytes of a key store that holds list, and wipes list.
func sealStore(l *lock, list []byte) []byte {
	defer clear(list)
	b := append([]byte(storeMagic), storeVersion)
	if l == nil {
		b = append(b, 0)
	} else {
		b = append(b, flagEncrypted)
		b = binary.BigEndian.AppendUint32(b, l.kdf.time)
		b = binary.BigEndian.AppendUint32(b, l.kdf.memory)
		b = append(b, l.kdf.threads)
		b = append(b, l.salt[:]...)
		list = SealSecret(l.key, b, list)
	}
	b = wire.AppendVec16(b, list)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// encode returns the device's field list.
func (d *Device) encode() []byte {
	var b []byte
	if d.identity != nil {
		b = wire.AppendField(b, 1, d.identity.Seed())
	}
	b = wire.AppendField(b, 2, d.key.Seed())
	b = wire.AppendField(b, 3, d.sealing.Bytes())
	b = wire.AppendField(b, 4, d.reach[:])
	b = wire.AppendField(b, 5, d.reset[:])
	b = wire.AppendField(b, 6, d.Certificate().raw)
	return append(b, d.extra...)
}

// decodeDevice reads a field list. It checks that the keys belong to the
// certificate, not that the certificate holds now. The error is ErrStoreDamaged.
func decodeDevice(list []byte) (*Device, error) {
	bad := func(why any) (*Device, error) {
		return nil, fmt.Errorf("%w: %v", ErrStoreDamaged, why)
	}
	d := &Device{}
	seen := 0
	err := wire.Fields(list, func(tag uint8, v []byte) (err error) {
		r := wire.NewReader(v)
		switch tag {
		case 1:
			if seed := r.Bytes(ed25519.SeedSize); seed != nil {
				d.identity = ed25519.NewKeyFromSeed(seed)
			}
			return r.Done()
		case 2:
			if seed := r.Bytes(ed25519.SeedSize); seed != nil {
				d.key = ed25519.NewKeyFromSeed(seed)
			}
		case 3:
			d.sealing, err = ecdh.X25519().NewPrivateKey(r.Rest())
		case 4:
			r.Fixed(d.reach[:])
		case 5:
			r.Fixed(d.reset[:])
		case 6:
			d.cert, err = parseCertificate(r.Rest())
		default:
			d.extra = wire.AppendField(d.extra, tag, v)
			return nil
		}
		seen++
		return errors.Join(err, r.Done())
	})
	if err != nil {
		return bad(err)
	}
	if seen != 5 {
		return bad("a key is missing")
	}
	d.id = d.cert.Identity
	if d.identity != nil && !bytes.Equal(d.identity.Public().(ed25519.PublicKey), d.id[:]) ||
		!bytes.Equal(d.key.Public().(ed25519.PublicKey), d.cert.Device) ||
		!bytes.Equal(d.sealing.PublicKey().Bytes(), d.cert.Sealing[:]) {
		return bad("keys and certificate don't belong together")
	}
	return d, nil
}
