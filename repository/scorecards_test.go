package repository

// These tests pin the stored live scorecard: a series has one promise at a time, which
// does not change; its outcome counts once, even if several processes judge it, and in
// the scorecard of its kind; unreadable bytes are not a promise.

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/scorecard"
	"tidemark/service"
)

// promising returns snapshot with odds.
func promising(symbol string, n int) service.Snapshot {
	s := snapshot(symbol, n)
	for _, side := range [][]levels.Level{s.Supports, s.Resistances} {
		for i := range side {
			side[i].HoldProbability, side[i].TouchProbability = 0.4+float32(i)/50, 1-float32(i+1)/11
		}
	}
	return s
}

// due returns the promise of symbol made by at(n).
func due(t *testing.T, db *DB, symbol string, n int) (scorecard.Promise, bool) {
	t.Helper()
	p, ok, err := db.DuePromise(t.Context(), key(symbol), at(n))
	if err != nil {
		t.Fatal(err)
	}
	return p, ok
}

// judgement counts three of ten lines touched, and one of two held.
func judgement(symbol string, n int) service.Judged {
	j := service.Judged{Key: key(symbol), Judgement: scorecard.Judgement{AsOf: at(n), Algorithm: "2", Table: "abc"}}
	j.Touch[2] = scorecard.Score{Samples: 4, Realised: 1, Promised: 1.1, SquaredError: 0.25}
	j.Touch[9] = scorecard.Score{Samples: 6, Realised: 2, Promised: 5.5, SquaredError: 2.5}
	j.Hold[0] = scorecard.Score{Samples: 2, Realised: 1, Promised: 0.9, SquaredError: 0.5}
	return j
}

func judge(t *testing.T, db *DB, judged ...service.Judged) {
	t.Helper()
	if err := db.Put(t.Context(), service.Results{Judged: judged}); err != nil {
		t.Fatal(err)
	}
}

func scorecards(t *testing.T, db *DB) ([]scorecard.Card, []scorecard.Open) {
	t.Helper()
	cards, open, err := db.Scorecards(t.Context(), "binance")
	if err != nil {
		t.Fatal(err)
	}
	return cards, open
}

func TestPromise_IsOfTheFirstAnalysisUntilItIsJudged(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		first, late := promising("BTCUSDT", 5), promising("ETHUSDT", 5)
		late.ComputedAt = late.AsOf.Add(time.Hour)
		put(t, db, first, late)
		want, ok := first.Promise()
		if !ok || len(want.Levels) != 20 {
			t.Fatalf("%+v", want)
		}
		if p, ok := due(t, db, "BTCUSDT", 4); ok {
			t.Errorf("due before it was made: %+v", p)
		}
		got, ok := due(t, db, "BTCUSDT", 5)
		if !ok {
			t.Fatal("it is not there")
		}
		same(t, want, got)
		if p, ok := due(t, db, "ETHUSDT", 100); ok {
			t.Errorf("an analysis computed too late promises %+v", p)
		}

		put(t, db, promising("BTCUSDT", 6), promising("BTCUSDT", 4))
		if p, _ := due(t, db, "BTCUSDT", 100); !p.AsOf.Equal(at(5)) {
			t.Errorf("a later analysis has taken its place: %v", p.AsOf)
		}
		judge(t, db, judgement("BTCUSDT", 6)) // with another AsOf
		if _, ok := due(t, db, "BTCUSDT", 100); !ok {
			t.Error("a judgement of another moment has ended it")
		}
		if err := db.Put(t.Context(), service.Results{Snapshots: []service.Snapshot{promising("BTCUSDT", 173), promising("BTCUSDT", 172)}, Judged: []service.Judged{judgement("BTCUSDT", 5)}}); err != nil {
			t.Fatal(err)
		}
		if p, _ := due(t, db, "BTCUSDT", 1000); !p.AsOf.Equal(at(173)) {
			t.Errorf("after it was judged the promise is of %v, want the newest analysis", p.AsOf)
		}
	})
}

func TestPromise_ThatCannotBeReadIsToldApartAndCountsNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		s := promising("BTCUSDT", 0)
		p, _ := s.Promise()
		whole := appendPromise(nil, &p)
		strange := append([]byte(nil), whole[:len(whole)-checksumSize]...)
		strange[len(strange)-1] = scorecard.Bins
		strange = appendChecksum(strange, 0)
		for name, stored := range map[string][]byte{
			"empty": {}, "cut off": whole[:len(whole)-1], "too long": append(whole[:len(whole):len(whole)], 0),
			"of another version": append([]byte{promiseVersion + 2}, whole[1:]...), "of a bin there is not": strange,
		} {
			put(t, db, s)
			db.write.MustExec(db.write.Rebind(`UPDATE promises SET promise = ?`), stored)
			got, ok := due(t, db, "BTCUSDT", 0)
			if !ok || !got.AsOf.Equal(at(0)) || got.Algorithm != "" || got.Levels != nil {
				t.Errorf("%s: %v, %+v", name, ok, got)
			}
			judge(t, db, service.Judged{Key: key("BTCUSDT"), Judgement: scorecard.Judgement{AsOf: got.AsOf, Skipped: "the promise cannot be read"}})
			if n := count(t, db, "promises"); n != 0 {
				t.Errorf("%s: it is still there", name)
			}
		}
		if cards, _ := scorecards(t, db); len(cards) != 0 {
			t.Errorf("counted: %+v", cards)
		}
	})
}

func TestScorecards_AddUpWhatIsAlikeAndKeepApartWhatIsNot(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		var all []service.Judged
		for i := range 8 {
			put(t, db, promising(symbolOf(i), i))
			all = append(all, judgement(symbolOf(i), i))
		}
		all[3].Table = "def"
		all[4].Algorithm = "3"
		all[5].Simulated = true
		all[6].Skipped, all[6].Tally = "candles of its horizon are missing", scorecard.Tally{}
		judge(t, db, all[1], all[0], all[6])
		judge(t, db, all[2], all[3], all[4], all[5])
		cards, open := scorecards(t, db)
		same(t, []scorecard.Open{{Interval: "1h", Count: 1, First: at(7)}}, open)
		if len(cards) != 4 {
			t.Fatalf("%d scorecards, want 4: %+v", len(cards), cards)
		}
		of := func(algorithm, table string, simulated bool) scorecard.Card {
			for _, c := range cards {
				if c.Algorithm == algorithm && c.Table == table && c.Simulated == simulated {
					return c
				}
			}
			t.Fatalf("no scorecard of %s %s %v", algorithm, table, simulated)
			panic("unreachable")
		}
		one := judgement("", 0).Tally
		three := scorecard.Tally{}
		for range 3 {
			for b := range scorecard.Bins {
				three.Hold[b].Add(one.Hold[b])
				three.Touch[b].Add(one.Touch[b])
			}
		}
		same(t, scorecard.Card{
			Exchange: "binance", Interval: "1h", Algorithm: "2", Table: "abc",
			Since: at(0), Until: at(6), Moments: 3, Skipped: 1, Tally: three,
		}, of("2", "abc", false))
		for _, c := range []scorecard.Card{of("2", "def", false), of("3", "abc", false), of("2", "abc", true)} {
			if c.Moments != 1 || c.Skipped != 0 || c.Tally != one {
				t.Errorf("%+v", c)
			}
		}
		if cards, open, err := db.Scorecards(t.Context(), "okx"); err != nil || len(cards)+len(open) != 0 {
			t.Errorf("another exchange has %v, %v, %v", cards, open, err)
		}
	})
}

func TestScorecards_CountAPromiseOnceHoweverManyProcessesJudgeIt(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		processes := []*DB{d.open(t), d.open(t)}
		const pairs = 40
		var forth, back []service.Judged
		var snapshots []service.Snapshot
		for i := range pairs {
			put(t, processes[0], promising(symbolOf(i), 0))
			forth = append(forth, judgement(symbolOf(i), 0))
			back = append([]service.Judged{judgement(symbolOf(i), 0)}, back...)
			snapshots = append(snapshots, promising(symbolOf(i), 168))
		}
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				b := service.Results{Snapshots: snapshots, Judged: forth}
				if i%3 == 0 {
					b.Judged = back
				}
				if err := processes[i%2].Put(t.Context(), b); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		cards, open := scorecards(t, processes[1])
		if len(cards) != 1 || cards[0].Moments != pairs || cards[0].Touch.Total().Samples != 10*pairs {
			t.Errorf("%+v", cards)
		}
		if got := cards[0].Hold[0]; math.Abs(got.Promised-0.9*pairs) > 1e-9 || math.Abs(got.SquaredError-0.5*pairs) > 1e-9 {
			t.Errorf("sums: %+v", got)
		}
		same(t, []scorecard.Open{{Interval: "1h", Count: pairs, First: at(168)}}, open)
	})
}

func TestPut_OfABatchStoredAlreadyCountsNoJudgement(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		put(t, db, promising("BTCUSDT", 0))
		putJob(t, db, testJob("j"))
		for _, judged := range []int{0, 168} {
			if _, err := db.PutBatch(t.Context(), job.Batch{JobID: "j", Results: service.Results{Snapshots: []service.Snapshot{promising("BTCUSDT", 168)}, Judged: []service.Judged{judgement("BTCUSDT", judged)}}}); err != nil {
				t.Fatal(err)
			}
		}
		if cards, _ := scorecards(t, db); len(cards) != 1 || cards[0].Moments != 1 {
			t.Errorf("%+v", cards)
		}
	})
}

func FuzzDecodePromise(f *testing.F) {
	s := promising("BTCUSDT", 0)
	p, _ := s.Promise()
	f.Add(appendPromise(nil, &p))
	f.Add([]byte{promiseVersion, 0, 1, 'x', 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := decodePromise(b)
		if !ok {
			same(t, scorecard.Promise{}, p)
			return
		}
		again, ok := decodePromise(appendPromise(nil, &p))
		if !ok || fmt.Sprint(again) != fmt.Sprint(p) {
			t.Errorf("%+v becomes %+v", p, again)
		}
	})
}

func TestListed_ADelistedPairLeavesTheScreenAndEndsItsPromises(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.open(t)
		other := promising("OLDUSDT", 5)
		other.Interval = "4h"
		put(t, db, promising("BTCUSDT", 5), promising("OLDUSDT", 5), other)
		elsewhere := promising("OLDUSDT", 5)
		elsewhere.Exchange = "kraken"
		put(t, db, elsewhere)
		events := subscribe(db)
		set := func(gone, back []string, n int) {
			t.Helper()
			if err := db.SetListed(t.Context(), "binance", gone, back, at(n)); err != nil {
				t.Fatal(err)
			}
		}
		listed := func() map[string]job.PairState {
			t.Helper()
			all, err := db.Listed(t.Context(), "binance")
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		set([]string{"OLDUSDT", "NEVERSTORED"}, nil, 7)
		await(t, events, func(c Change) bool { return c.Exchange == "" })
		same(t, map[string]job.PairState{"BTCUSDT": {Listed: true}, "OLDUSDT": {Delisted: true}}, listed())
		same(t, []string{"BTCUSDT 5"}, market(t, db))
		markets, err := db.Markets(t.Context())
		if err != nil || len(markets) != 2 || markets[0].Pairs != 1 { // binance 1h, kraken 1h
			t.Errorf("markets %+v, %v", markets, err)
		}
		s, err := db.Snapshot(t.Context(), key("OLDUSDT"), at(6))
		if err != nil || !s.DelistedAt.Equal(at(7)) || !s.AsOf.Equal(at(5)) {
			t.Errorf("what is stored: %+v, %v; want it as of %v, delisted at %v", s, err, at(5), at(7))
		}
		cards, open := scorecards(t, db)
		skipped := 0
		for _, c := range cards {
			skipped += c.Skipped
		}
		if skipped != 2 || len(open) != 1 || open[0].Count != 1 || open[0].Interval != "1h" {
			t.Errorf("%d promises skipped and %+v open, want 2 and that of BTCUSDT", skipped, open)
		}
		if n := count(t, db, "promises"); n != 2 { // the other is of the other exchange
			t.Errorf("%d promises, want 2", n)
		}

		set([]string{"OLDUSDT"}, nil, 9) // repeated
		if s, err := db.Snapshot(t.Context(), key("OLDUSDT"), time.Time{}); err != nil || !s.DelistedAt.Equal(at(7)) {
			t.Errorf("delisted at %v, want %v still (%v)", s.DelistedAt, at(7), err)
		}
		// an analysis proves that the pair trades, for its own series only
		put(t, db, promising("OLDUSDT", 20))
		same(t, []string{"BTCUSDT 5", "OLDUSDT 20"}, market(t, db))
		same(t, job.PairState{Listed: true, Delisted: true}, listed()["OLDUSDT"])
		set(nil, []string{"OLDUSDT"}, 21)
		same(t, job.PairState{Listed: true}, listed()["OLDUSDT"])
	})
}
