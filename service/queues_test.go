package service

// These tests pin that what waits for one exchange does not take the places of those who
// wait for another.

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/levels"
)

func TestAnalyze_RequestsForAPausedExchangeTakeNoPlaceOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paused := &fakeExchange{name: "paused", WaitFunc: func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}}
		a := analyzerOf(t, &fakeStore{}, paused, &fakeExchange{name: "answers"}) // one slot and one place each
		results := make(chan error, 3)
		for i := range 3 {
			go func() {
				_, err := a.Analyze(t.Context(), Request{Exchange: "paused", Symbol: fmt.Sprint("P", i)})
				results <- err
			}()
		}
		synctest.Wait()
		if err := <-results; !errors.Is(err, ErrBusy) {
			t.Errorf("a request beyond the limit of its exchange: %v", err)
		}
		if _, err := a.Analyze(t.Context(), Request{Exchange: "answers", Symbol: "A"}); err != nil {
			t.Errorf("the other exchange: %v", err)
		}
		if err := a.Candles(t.Context(), Key{Exchange: "answers", Symbol: "A", Interval: "1h"}, 100, func(*levels.Candles) error { return nil }); err != nil {
			t.Errorf("candles of the other exchange: %v", err)
		}
		for range 2 {
			if err := <-results; !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
	})
}

func TestForming_RequestsToASilentExchangeTakeNoPlaceOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := &fakeExchange{name: "silent", FormingFunc: func(string, levels.Interval) (*Forming, error) {
			time.Sleep(time.Minute)
			return nil, ErrExchange
		}}
		answers := &fakeExchange{name: "answers", FormingFunc: func(string, levels.Interval) (*Forming, error) { return nil, nil }}
		a := analyzerOf(t, &fakeStore{}, silent, answers)
		for i := range formingCalls {
			go a.Forming(t.Context(), Key{Exchange: "silent", Symbol: fmt.Sprint("P", i), Interval: "1h"})
		}
		synctest.Wait()
		if _, err := a.Forming(t.Context(), Key{Exchange: "silent", Symbol: "MORE", Interval: "1h"}); !errors.Is(err, ErrBusy) {
			t.Errorf("a call beyond the limit: %v", err)
		}
		if _, err := a.Forming(t.Context(), Key{Exchange: "answers", Symbol: "A", Interval: "1h"}); err != nil {
			t.Errorf("the other exchange: %v", err)
		}
	})
}
