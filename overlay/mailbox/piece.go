// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// Piece, at most 3,396 bytes:
//
//	version(1)=1 || queue key(32) || created(4), hours since 1970 || blob(16)
//	|| size(1): 0 = 1 KiB, 1 = 4, 2 = 16 || part(1) || data
//	|| signature(64) by the queue key, context "p2pos mail piece v1", over all before
//
// data has 1,024, 2,048 or 3,277 bytes (the last of five 3,276).
//
// Receipt, at most 1,122 bytes:
//
//	version(1)=1 || queue key(32) || n(1), 1 to 64 || n × blob(16)
//	|| signature(64) by the queue key, context "p2pos mail receipt v1", over all before
const (
	version        = 1
	pieceContext   = "p2pos mail piece v1"
	receiptContext = "p2pos mail receipt v1"

	pieceHead = 1 + 32 + 4 + 16 + 1 + 1
	maxPiece  = pieceHead + 3277 + ed25519.SignatureSize

	// MaxReceipt is how many blobs one receipt names.
	MaxReceipt    = 64
	receiptHead   = 1 + 32 + 1
	maxReceipt    = receiptHead + 16*MaxReceipt + ed25519.SignatureSize
	leastReceipt  = receiptHead + 16 + ed25519.SignatureSize
	maxHour       = 1 << 28 // year 32591
	skewHours     = 1       // how wrong a clock may be
	leastPieceLen = pieceHead + Small + ed25519.SignatureSize
)

// errPiece reports bytes that are no piece or receipt, or not genuine.
var errPiece = errors.New("mailbox: bad piece or receipt")

// name is a piece's short name, unique in an honest queue.
type name [8]byte

// piece is a decoded piece. data and raw alias what was parsed.
type piece struct {
	key     [32]byte
	created uint64
	blob    ID
	class   uint8
	part    uint8
	data    []byte
	raw     []byte
}

func (p *piece) name() (n name) {
	copy(n[:7], p.blob[:])
	n[7] = p.part
	return n
}

// expires returns when holders forget the piece.
func (p *piece) expires() time.Time { return hourTime(p.created + periodHours) }

func hourTime(h uint64) time.Time { return time.Unix(int64(h)*3600, 0) }

// cut makes the pieces of a blob.
func cut(q Queue, now time.Time, blob []byte) ([][]byte, error) {
	class, ok := sizeClass(len(blob))
	if !ok {
		return nil, fmt.Errorf("%w, not %d bytes", errSize, len(blob))
	}
	id, key := IDOf(blob), q.public()
	var list [][]byte
	for part := range uint8(parts(class)) {
		n := partSize(class, part)
		b := make([]byte, 0, pieceHead+n+ed25519.SignatureSize)
		b = append(append(b, version), key[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(hour(now)))
		b = append(append(b, id[:]...), class, part)
		b = append(b, blob[:n]...)
		blob = blob[n:]
		list = append(list, append(b, identity.Sign(q.key, pieceContext, b)...))
	}
	return list, nil
}

// parsePiece reads a piece and verifies nothing. The error is errPiece.
func parsePiece(b []byte) (piece, error) {
	if len(b) < leastPieceLen || len(b) > maxPiece || b[0] != version {
		return piece{}, fmt.Errorf("%w: %d bytes", errPiece, len(b))
	}
	r := wire.NewReader(b[1:])
	p := piece{raw: b}
	r.Fixed(p.key[:])
	p.created = uint64(r.U32())
	r.Fixed(p.blob[:])
	p.class, p.part = r.U8(), r.U8()
	if p.class > 2 || int(p.part) >= parts(p.class) || p.created > maxHour {
		return piece{}, fmt.Errorf("%w: size %d, part %d", errPiece, p.class, p.part)
	}
	p.data = r.Bytes(partSize(p.class, p.part))
	r.Bytes(ed25519.SignatureSize)
	if r.Done() != nil {
		return piece{}, fmt.Errorf("%w: %d bytes", errPiece, len(b))
	}
	return p, nil
}

// genuine tells whether the queue's key signed the piece.
func (p *piece) genuine() bool {
	n := len(p.raw) - ed25519.SignatureSize
	return identity.Verify(p.key[:], pieceContext, p.raw[:n], p.raw[n:])
}

// receipt is a decoded receipt.
type receipt struct {
	key   [32]byte
	blobs []ID
	raw   []byte
}

// makeReceipts signs receipts for blobs, as few as hold them.
func makeReceipts(q Queue, blobs []ID) (list [][]byte) {
	key := q.public()
	for len(blobs) > 0 {
		n := min(len(blobs), MaxReceipt)
		b := append([]byte{version}, key[:]...)
		b = append(b, byte(n))
		for _, id := range blobs[:n] {
			b = append(b, id[:]...)
		}
		blobs = blobs[n:]
		list = append(list, append(b, identity.Sign(q.key, receiptContext, b)...))
	}
	return list
}

// parseReceipt reads a receipt and verifies nothing. The error is errPiece.
func parseReceipt(b []byte) (receipt, error) {
	if len(b) < leastReceipt || len(b) > maxReceipt || b[0] != version {
		return receipt{}, fmt.Errorf("%w: receipt of %d bytes", errPiece, len(b))
	}
	r := wire.NewReader(b[1:])
	x := receipt{raw: b}
	r.Fixed(x.key[:])
	n := int(r.U8())
	if n == 0 || n > MaxReceipt {
		return receipt{}, fmt.Errorf("%w: receipt for %d", errPiece, n)
	}
	for range n {
		var id ID
		r.Fixed(id[:])
		x.blobs = append(x.blobs, id)
	}
	r.Bytes(ed25519.SignatureSize)
	if r.Done() != nil {
		return receipt{}, fmt.Errorf("%w: receipt of %d bytes", errPiece, len(b))
	}
	return x, nil
}

func (x *receipt) genuine() bool {
	n := len(x.raw) - ed25519.SignatureSize
	return identity.Verify(x.key[:], receiptContext, x.raw[:n], x.raw[n:])
}
