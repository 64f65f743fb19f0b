// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/overlay"
)

// square starts n nodes with addresses of their own that are all linked.
func (s *sim) square(n int) (nodes []*Node, join []string) {
	s.t.Helper()
	for i := range n {
		node := s.node(s.public(fmt.Sprintf("s%d", i)), Config{Join: join})
		if i > 0 {
			if err := node.Join(s.t.Context()); err != nil {
				s.t.Fatal(err)
			}
		} else {
			join = []string{node.Status().Listen[0].String()}
		}
		nodes = append(nodes, node)
	}
	<-time.After(10 * time.Second)
	for i, node := range nodes {
		if got := node.Status().Links; got != n-1 {
			s.t.Errorf("node %d has %d links in a network of %d", i, got, n)
		}
	}
	return nodes, join
}

func blobOf(size int, fill byte) []byte { return bytes.Repeat([]byte{fill}, size) }

// Mail waits while neither its writer nor its reader is there, survives the
// coming and going of nodes, and is gone once it was read.
func TestMail(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		others, join := s.square(6)
		a := s.node(s.public("a"), Config{Join: join})
		if err := a.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		secret := [32]byte{1, 2, 3}
		write := overlay.MailQueues(secret, time.Now())[0]
		want := map[string]bool{}
		for i, size := range []int{1 << 10, 4 << 10, 16 << 10} {
			b := blobOf(size, byte(i))
			want[string(b)] = true
			start := time.Now()
			if err := a.ov.PutMail(t.Context(), write, b); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes kept after %v", size, time.Since(start))
		}
		if err := a.ov.PublishPrekeys(t.Context(), blobOf(overlay.MaxBundle, 3)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		a.Close()
		time.Sleep(10 * time.Second)
		for i := range 3 {
			others[i].Close()
		}
		time.Sleep(time.Minute)
		b := s.node(s.public("b"), Config{Join: []string{others[5].Status().Listen[0].String()}})
		if err := b.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		joined := time.Now()
		read := func() (list []overlay.Mail, left int) {
			t.Helper()
			rest, err := b.ov.FetchMail(t.Context(), overlay.MailQueues(secret, time.Now()), func(m overlay.Mail) { list = append(list, m) })
			if err != nil {
				t.Fatal(err)
			}
			return list, len(rest)
		}
		got, left := read()
		t.Logf("%d blobs %v after joining, %d queues left", len(got), time.Since(joined), left)
		if len(got) != len(want) || left > 0 || time.Since(joined) > 5*time.Second {
			t.Errorf("%d blobs, %d queues left, after %v", len(got), left, time.Since(joined))
		}
		start := time.Now()
		keys, err := b.ov.FetchPrekeys(t.Context(), a.ID(), a.dev.Reach())
		if err != nil || len(keys) != 1 || len(keys[0].Bundle) != overlay.MaxBundle || keys[0].Device.Identity != a.ID() {
			t.Errorf("%d prekeys of somebody who is away, %v", len(keys), err)
		}
		t.Logf("prekeys after %v", time.Since(start))
		if keys, err = b.ov.FetchPrekeys(t.Context(), a.ID(), identity.Secret{1}); err != nil || len(keys) > 0 {
			t.Errorf("%d prekeys without the ticket, %v", len(keys), err)
		}
		var ids []overlay.MailID
		for _, m := range got {
			if !want[string(m.Blob)] {
				t.Errorf("a blob of %d bytes that nobody wrote", len(m.Blob))
			}
			ids = append(ids, m.ID)
		}
		if err := b.ov.DropMail(t.Context(), write, ids...); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got, _ := read(); len(got) > 0 {
			t.Errorf("%d blobs after they were dropped", len(got))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.ov.PutMail(ctx, write, blobOf(1<<10, 9)); err == nil {
			t.Error("put with a dead context")
		}
		if err := b.ov.PutMail(t.Context(), write, blobOf(1000, 9)); err == nil {
			t.Error("a blob of 1,000 bytes was taken")
		}
	})
}
