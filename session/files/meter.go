// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package files

import "time"

// Progress says how far a transfer is.
type Progress struct {
	Done  int64         // bytes that are safe, or on the sender's side sent
	Total int64         // bytes
	Speed float64       // bytes a second over the last seconds; 0 = it stands
	Left  time.Duration // at this speed; 0 = not known, or nothing
}

const (
	meterSlots = 5 // of meterSlot each: long enough to be steady, short enough to be true
	meterSlot  = time.Second
)

// Meter measures the speed of a transfer over the last five seconds.
type Meter struct {
	done  int64
	began time.Time // of what is measured; zero = it stands
	slots [meterSlots]int64
	slot  int64 // number of the newest slot, since began
	total int64 // of the slots
}

// Add notes n bytes more, which make done in all.
func (m *Meter) Add(now time.Time, n int, done int64) {
	if m.began.IsZero() {
		*m = Meter{began: now}
	}
	m.roll(now)
	m.done = done
	m.slots[m.slot%meterSlots] += int64(n)
	m.total += int64(n)
}

// Set notes that done bytes are there without having come now.
func (m *Meter) Set(done int64) { m.done = done }

// Stop notes that nothing comes for now.
func (m *Meter) Stop() { *m = Meter{done: m.done} }

func (m *Meter) roll(now time.Time) {
	for to := int64(now.Sub(m.began) / meterSlot); m.slot < to; {
		if to-m.slot > meterSlots {
			m.slot = to - meterSlots
		}
		m.slot++
		i := m.slot % meterSlots
		m.total -= m.slots[i]
		m.slots[i] = 0
	}
}

func (m *Meter) progress(now time.Time, total int64) Progress {
	p := Progress{Done: m.done, Total: total}
	if m.began.IsZero() {
		return p
	}
	m.roll(now)
	// The newest slot has just begun: it counts for the part of it that is over.
	took := min(now.Sub(m.began), (meterSlots-1)*meterSlot+now.Sub(m.began)%meterSlot)
	if took < meterSlot/10 {
		return p
	}
	p.Speed = float64(m.total) / took.Seconds()
	if p.Speed > 0 && p.Done < total {
		p.Left = time.Duration(float64(total-p.Done) / p.Speed * float64(time.Second))
	}
	return p
}
