// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/p2pos/p2pos/internal/wire"
)

// Knock, 702 bytes, all knocks alike:
//
//	0    version(1)=1
//	1    slot(1)
//	2    epoch(4)
//	6    place of the inbox(32)
//	38   token(16): the caller during one day, for this callee alone
//	54   sealed to the inbox key(640), HPKE, info "p2pos knock v1" || bytes 0–53
//	694  work(8)
//
//	token = HMAC-SHA256(device seed, "p2pos knock token v1" || callee's identity key || day(8))[:16]
//	proof of work: SHA-256(SHA-256("p2pos knock work v1" || subkey of the inbox || bytes 0–693) || work)
//	begins with at least 20 zero bits
//
// Sealed, 592 bytes: fields (vec16) || signature(64) by the caller's device key,
// context "p2pos knock v1", over callee's identity key || bytes 0–53 || fields || zeros
//
//	1 caller certificate   2 caller's name (≤ 64)   3 a reach secret of the caller (16, optional)   4 text (≤ 140)
//
// The work covers the inbox's subkey, which nobody knows before the inbox is
// published, so it cannot be done long ahead. A false caller can make tokens
// at will: the token keeps honest callers to one knock a day at each holder,
// the work prices the others, and the callee, who sees certificates, decides.
const (
	knockVersion  = 1
	knockContext  = "p2pos knock v1"
	knockHead     = 54
	knockWorkAt   = 694
	knockPlain    = knockWorkAt - knockHead - 48
	maxKnockName  = 64
	maxKnockText  = 140
	hoursOfDay    = 24
	knockEpochAge = 4 // an owner collects until the inbox has expired, with a clock an hour off

	// KnockSize is the length of every knock.
	KnockSize = 702

	// KnockWork is how many zero bits the proof of work needs: a fifth of a
	// second on a laptop, a second or two on a phone, once a day and callee.
	KnockWork = 20
)

// Greeting is what a caller says in a knock.
type Greeting struct {
	Name  string // cut to 64 bytes, control characters removed
	Text  string // cut to 140 bytes, likewise
	Reach Secret // where the callee can call back; zero = nowhere
}

// Knock is an opened knock. The callee's policy decides what comes of it.
type Knock struct {
	From  Certificate
	Epoch uint64
	Greeting
}

// KnockJob looks for a knock's proof of work. It is for one goroutine.
type KnockJob struct {
	b    []byte
	hash [32]byte // of all but the work
	next uint64
}

// MakeKnock seals a greeting of device d to an inbox and returns the job that
// finds its proof of work. It fails when the inbox key is unusable.
func MakeKnock(d *Device, in Inbox, g Greeting) (*KnockJob, error) {
	place := InboxKey(in.ID, in.Epoch)
	token := hmac.New(sha256.New, d.key.Seed())
	token.Write([]byte("p2pos knock token v1"))
	token.Write(in.ID[:])
	token.Write(binary.BigEndian.AppendUint64(nil, in.Epoch/hoursOfDay))

	b := make([]byte, 0, KnockSize)
	b = binary.BigEndian.AppendUint32(append(b, knockVersion, in.Slot), uint32(in.Epoch))
	b = append(append(b, place[:]...), token.Sum(nil)[:16]...)

	fields := wire.AppendField(nil, 1, d.Certificate().raw)
	if name := cleanText(g.Name, maxKnockName); name != "" {
		fields = wire.AppendField(fields, 2, []byte(name))
	}
	if g.Reach != (Secret{}) {
		fields = wire.AppendField(fields, 3, g.Reach[:])
	}
	if text := cleanText(g.Text, maxKnockText); text != "" {
		fields = wire.AppendField(fields, 4, []byte(text))
	}
	plain := make([]byte, 0, knockPlain)
	plain = wire.AppendVec16(plain, fields)
	plain = append(plain, Sign(d.key, knockContext, knockMessage(in.ID, b, fields))...)[:knockPlain]
	sealed, err := Seal(in.Key, append([]byte(knockContext), b...), plain)
	if err != nil {
		return nil, err
	}
	b = append(b, sealed...)
	return &KnockJob{b: b, hash: workHash(in.subkey, b)}, nil
}

// Try tries n numbers and returns the finished knock when one of them has
// proof of at least the given number of zero bits (KnockWork; more lifts the
// knock over others in a full inbox), else nil. About 2^zeros tries are
// needed, of about 100 ns.
func (j *KnockJob) Try(n, zeros int) []byte {
	for range n {
		j.next++
		if zeroBits(j.hash, j.next) >= zeros {
			return binary.BigEndian.AppendUint64(bytes.Clone(j.b), j.next)
		}
	}
	return nil
}

// KnockInfo is what a holder learns from a knock.
type KnockInfo struct {
	Key   [32]byte // the inbox's place
	Slot  uint8
	Epoch uint64
	Token [16]byte // the caller of the day
}

// PeekKnock reads what a knock says of itself. Its error is ErrRecord.
func PeekKnock(b []byte) (KnockInfo, error) {
	if len(b) != KnockSize {
		return KnockInfo{}, fmt.Errorf("%w: knock of %d bytes", ErrRecord, len(b))
	}
	r := wire.NewReader(b)
	version := r.U8()
	info := KnockInfo{Slot: r.U8(), Epoch: uint64(r.U32())}
	r.Fixed(info.Key[:])
	r.Fixed(info.Token[:])
	if version != knockVersion || info.Slot >= MaxSlots || info.Epoch > maxEpoch {
		return KnockInfo{}, fmt.Errorf("%w: knock of version %d, slot %d, epoch %d", ErrRecord, version, info.Slot, info.Epoch)
	}
	return info, nil
}

// CheckKnock returns how many zero bits of work a knock proves for the inbox
// that it names. It costs two hashes and is 0 for another inbox than info's.
func CheckKnock(b []byte, inbox RecordInfo) int {
	k, err := PeekKnock(b)
	if err != nil || k.Key != inbox.Key || k.Slot != inbox.Slot || k.Epoch != inbox.Epoch {
		return 0
	}
	return zeroBits(workHash(inbox.Subkey, b[:knockWorkAt]), binary.BigEndian.Uint64(b[knockWorkAt:]))
}

// OpenKnock opens a knock that was sealed to device d's inbox and verifies its
// proof of work, for holders may lie, and who sent it. Errors are ErrRecord,
// and ErrExpired for the caller's certificate.
func OpenKnock(d *Device, b []byte, now time.Time) (Knock, error) {
	info, err := PeekKnock(b)
	if err != nil {
		return Knock{}, err
	}
	if e := Hour(now); info.Epoch > e+epochSkew || info.Epoch+knockEpochAge < e {
		return Knock{}, fmt.Errorf("%w: knock of epoch %d, it is %d", ErrRecord, info.Epoch, e)
	}
	if info.Key != InboxKey(d.id, info.Epoch) {
		return Knock{}, fmt.Errorf("%w: knock at another's inbox", ErrRecord)
	}
	device := d.key.Public().(ed25519.PublicKey)
	subkey := blindPrivate(d.key, blindFactor(blindInboxSubkey, device, Secret{}, info.Epoch)).pub
	if CheckKnock(b, RecordInfo{Key: info.Key, Slot: info.Slot, Epoch: info.Epoch, Subkey: subkey[:]}) < KnockWork {
		return Knock{}, fmt.Errorf("%w: knock without work", ErrRecord)
	}
	plain, err := Unseal(inboxSecret(d, info.Epoch), append([]byte(knockContext), b[:knockHead]...), b[knockHead:knockWorkAt])
	if err != nil {
		return Knock{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	k, err := parseKnock(plain, d.id, b[:knockHead], now)
	if err != nil && !errors.Is(err, ErrExpired) {
		err = fmt.Errorf("%w: %w", ErrRecord, err)
	}
	k.Epoch = info.Epoch
	return k, err
}

// parseKnock reads and verifies what was sealed.
func parseKnock(plain []byte, callee ID, head []byte, now time.Time) (Knock, error) {
	var k Knock
	r := wire.NewReader(plain)
	fields, sig := r.Vec16(), r.Bytes(64)
	for _, c := range r.Rest() {
		if c != 0 {
			return Knock{}, errors.New("padding")
		}
	}
	if err := r.Err(); err != nil {
		return Knock{}, err
	}
	err := wire.Fields(fields, func(tag uint8, v []byte) (err error) {
		switch tag {
		case 1:
			k.From, err = ParseCertificate(v, now)
		case 2:
			k.Name, err = cleanField(v, maxKnockName)
		case 3:
			if len(v) != len(k.Reach) {
				return errors.New("reach secret")
			}
			copy(k.Reach[:], v)
		case 4:
			k.Text, err = cleanField(v, maxKnockText)
		}
		return err
	})
	if err != nil {
		return Knock{}, err
	}
	if !Verify(k.From.Device, knockContext, knockMessage(callee, head, fields), sig) {
		return Knock{}, errors.New("signature")
	}
	return k, nil
}

// knockMessage is what the caller signs: a knock for one callee, inbox and
// epoch, so that a callee cannot pass it on as its own.
func knockMessage(callee ID, head, fields []byte) []byte {
	return append(append(bytes.Clone(callee[:]), head...), fields...)
}

func workHash(subkey, b []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte("p2pos knock work v1"))
	h.Write(subkey)
	h.Write(b)
	return [32]byte(h.Sum(nil))
}

// zeroBits returns how many zero bits begin SHA-256(hash || work).
func zeroBits(hash [32]byte, work uint64) int {
	var in [40]byte
	copy(in[:], hash[:])
	binary.BigEndian.PutUint64(in[32:], work)
	sum := sha256.Sum256(in[:])
	n := 0
	for i := 0; i < len(sum); i += 8 {
		z := bits.LeadingZeros64(binary.BigEndian.Uint64(sum[i:]))
		n += z
		if z < 64 {
			break
		}
	}
	return n
}

// cleanField is cleanText for what others sent: it must be clean already.
func cleanField(v []byte, most int) (string, error) {
	s := string(v)
	if cleanText(s, most) != s {
		return "", errors.New("text")
	}
	return s, nil
}

// cleanText makes a text fit a knock and a screen, as cleanName does.
func cleanText(s string, most int) string {
	var b []byte
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			continue
		}
		if len(b)+utf8.RuneLen(r) > most {
			break
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}
