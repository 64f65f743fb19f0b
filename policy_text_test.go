// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// A policy decides about texts person by person: one that takes 5 s delays that
// person's alone, one that refuses keeps them with their author, and neither
// hears of it.
func TestPolicyTexts(t *testing.T) {
	t.Parallel()
	simTest(t, func(t *testing.T, s *sim) {
		slow, bad, good := s.node(s.public("slow"), Config{}), s.node(s.public("bad"), Config{}), s.node(s.public("good"), Config{})
		var book ledger
		b := s.node(s.public("b"), Config{Audit: book.add, Policy: func(q Ask) error {
			switch {
			case q.Action != ActMessage:
			case q.Peer == slow.ID():
				time.Sleep(5 * time.Second)
			case q.Peer == bad.ID():
				return errors.New("not from there")
			}
			return nil
		}})
		mail, ticket := s.follow(b), s.ticket(b)
		came := func(text string) func() bool {
			return func() bool {
				return slices.ContainsFunc(mail.texts, func(m Message) bool { return m.Text == text })
			}
		}
		receipts := s.follow(bad)
		began := time.Now()
		for from, text := range map[*Node]string{slow: "wait", bad: "buy", good: "hello"} {
			if _, err := from.Send(t.Context(), ticket, text); err != nil {
				t.Fatal(err)
			}
		}
		mail.until(t, 10*time.Second, "from who is welcome", came("hello"))
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("who is welcome waited %v", took)
		}
		mail.until(t, 20*time.Second, "from who takes long", came("wait"))
		if took := time.Since(began); took < 5*time.Second {
			t.Errorf("decided after %v", took)
		}
		time.Sleep(5 * time.Minute)
		mail.Lock()
		if came("buy")() {
			t.Error("a refused text is shown")
		}
		mail.Unlock()
		receipts.Lock()
		if len(receipts.delivered) > 0 {
			t.Error("a refused text is acknowledged")
		}
		receipts.Unlock()
		denied := 0
		for _, e := range book.of(ActMessage) {
			if e.Result == "denied" && e.Peer == bad.ID() && e.Detail == "not from there" {
				denied++
			}
		}
		if denied == 0 || denied > 10 {
			t.Errorf("the audit was told %d times", denied)
		}
	})
}
