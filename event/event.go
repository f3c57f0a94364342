// Package event says what happens to levels: price comes near, touches one, and it holds or
// breaks. State decides that, without a clock, a database or a log; Watcher feeds it.
//
// # Episodes
//
// A level has at most one episode at a time, and each kind of transition happens at most once
// in it. Distances are in ATR, and from the touch line of the level, see
// levels.Moment.TouchLine.
//
//   - An episode begins when price is within 1 ATR of the touch line (Approaching), or reaches
//     it in one step (Touched only). The extremes of closed candles count, and prices between
//     closes.
//   - What is known at the close before that is frozen for the episode: last price, ATR, the
//     level, its price and its odds. So Touched, Held and Broke are what levels.Moment.Judge
//     says of that moment, and the odds are those that were promised before the touch.
//   - An episode in which no candle has touched the level ends when one closes more than
//     1.5 ATR away, later than the last price that made a transition.
//   - A touch between closes is Touched at once. Only closed candles decide: if they do not
//     confirm it, nothing happens again until one of them touches the level and decides.
//   - A decided episode is over: Held or Broke. It is Flipped instead of Held if price had
//     passed the level into its role and no episode had held since: the analysis says so
//     (levels.Crossed, levels.Reclaimed), the last decided episode broke it into that role, or
//     price passed it between two analyses. An episode that stays undecided, because one
//     candle does both or the horizon ends, is over without a transition.
//   - After that the level rests. The next episode may begin once a candle has closed more than
//     1.5 ATR away, by the ATR at the close before that candle.
//
// # Levels
//
//   - Only levels that are drawn by default have episodes: those not faint at levels.DrawEdge.
//     One that becomes faint or vanishes is decided if a candle has touched it; otherwise its
//     episode ends.
//   - Appeared and Vanished compare these levels in two analyses, by id. A level that appears
//     within 1 ATR has an episode without Approaching. One that replaces a touched or resting
//     level rests.
//   - Nothing happens at the first analysis of a series, at one of another algorithm or of
//     simulated prices after real ones, or if candles between two analyses are absent from
//     those given: all episodes end, and levels within 1 ATR rest. Candles that the exchange
//     does not have are not absent.
//   - After a pause, all candles since the last analysis are taken one by one, with its levels
//     and the moment at the close before each; levels appear and vanish at the end. A level
//     that price has passed meanwhile has its new role and no promise: its odds were those of
//     the other.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"tidemark/levels"
	"tidemark/service"
)

// Kind is what happened to a level.
type Kind uint8

// The kinds.
const (
	Appeared    Kind = iota // an analysis shows it that the one before did not show
	Approaching             // price is within 1 ATR of its touch line
	Touched                 // price is at its touch line
	Held                    // see levels.Held
	Broke                   // see levels.Broke
	Flipped                 // held in the role into which price had passed it
	Vanished                // an analysis does not show it that the one before showed
)

var kinds = [...]string{"appeared", "approaching", "touched", "held", "broke", "flipped", "vanished"}

func (k Kind) String() string { return kinds[k] }

// Transition is one thing that happened to a level. Times are in UTC.
type Transition struct {
	Kind Kind
	// Level is the level at the start of the episode; of Appeared as it is, of Vanished as
	// it was.
	Level levels.Level
	// Passed is set if price passed the level between its analysis and the episode: Role was
	// the other one, and its odds were those of the other role.
	Passed bool
	// Begun is the close before the candle or the price that began the episode; of Appeared
	// and Vanished the close of the analysis that shows or drops the level.
	Begun time.Time
	// At is the close of Candle, or the time of the price.
	At time.Time
	// Candle is the closed candle that decided; nil if a price between closes did.
	Candle *levels.Candle
	Price  float64 // last price at At
	ATR    float64 // at Begun
	// TouchedAt is the time of Touched, or the close of the candle that touched the level if
	// that was earlier: a price may be known before the candle that closed before it. Only
	// of Held, Broke and Flipped.
	TouchedAt time.Time
	// Retest is set if price had passed the level into its role, so that Flipped is possible
	// instead of Held; only of Held, Broke and Flipped.
	Retest bool
	// Promise is the odds at Begun; only of Held, Broke and Flipped, and nil if the level
	// had none.
	Promise *Promise
	// Other is the id of the level that replaces a vanished one, or that an appeared one
	// replaces; 0 for none.
	Other uint64
	// Approach is the distance in ATR from the touch line to the last close before Candle or
	// the price; only of Approaching and Touched.
	Approach float64
}

// Promise is the odds of a level. See levels.Level.
type Promise struct {
	Touch, Hold float32
	Interval    [2]float32 // of Hold
	Baseline    float32
	Edge        float32 // points
	Samples     int32
}

// EventID returns the id of a transition: equal facts have equal ids in any process. It has
// 32 hexadecimal digits.
func EventID(key service.Key, t Transition) string {
	b := make([]byte, 0, 128)
	for _, part := range [...]string{key.Exchange, key.Symbol, string(key.Interval)} {
		b = append(append(b, part...), 0)
	}
	b = append(strconv.AppendUint(b, t.Level.ID, 16), 0)
	b = append(strconv.AppendInt(b, t.Begun.UnixMilli(), 10), 0)
	sum := sha256.Sum256(append(b, t.Kind.String()...))
	return hex.EncodeToString(sum[:16])
}
