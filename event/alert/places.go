package alert

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// QuickPlaces is the most attempts of the quick queue at once, in a process.
	QuickPlaces = 24
	// crowded is the number of them from which on an attempt must give up its place if it
	// takes longer than its receiver usually does.
	crowded = QuickPlaces / 2
	// The least and the default time that an attempt then has, and how much longer than the
	// last one it may take.
	leastPatience   = 250 * time.Millisecond
	defaultPatience = 500 * time.Millisecond
	patienceFactor  = 4
)

// places are the attempts of the quick queue that are under way. When many receivers hang
// at once, each would hold a place for quickTimeout, and the others would wait for all of
// them. So in a crowd attempts that take unusually long are cut off, to be made again in
// the slow queue.
type places struct {
	mu      sync.Mutex
	running map[*place]struct{}
	last    map[string]time.Duration // by id of a receiver, the latency of its last success
}

// place is an attempt of the quick queue.
type place struct {
	overdue time.Time // from then on it gives up its place in a crowd
	cancel  context.CancelCauseFunc
}

var errCrowded = errors.New("no response yet, and other messages wait")

// take begins an attempt to a receiver. Its context ends earlier than ctx only in
// a crowd.
func (p *places) take(ctx context.Context, receiver string) (context.Context, *place) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	patience := defaultPatience
	if last, known := p.last[receiver]; known {
		patience = max(leastPatience, patienceFactor*last)
	}
	own := &place{time.Now().Add(patience), cancel}
	p.running[own] = struct{}{}
	p.cut()
	time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cut()
	})
	return ctx, own
}

// cut ends the attempts that are overdue while there is a crowd. p.mu is held.
func (p *places) cut() {
	now := time.Now()
	for own := range p.running {
		if len(p.running) <= crowded {
			return
		}
		if !now.Before(own.overdue) {
			own.cancel(errCrowded)
			delete(p.running, own)
		}
	}
}

// leave ends an attempt.
func (p *places) leave(own *place) {
	own.cancel(nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, own)
}

// answered notes how long a receiver took to accept a message, 0 if it did not.
func (p *places) answered(receiver string, latency time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if latency > 0 {
		p.last[receiver] = latency
	} else {
		delete(p.last, receiver)
	}
}
