package client

import "tidemark/wire"

// The types of what the service answers are those of package wire.
type (
	// Analysis is what the closed candles of a pair say, as of the close of the last one.
	Analysis = wire.Analysis
	// Level is a price at which a market may turn, and the zone around it.
	Level = wire.Level
	// PairOnIntervals is the levels of a pair on several intervals.
	PairOnIntervals = wire.PairOnIntervals[wire.OnInterval]
	// OnInterval is the analysis of one of them, or why there is none.
	OnInterval = wire.OnInterval
	// LevelRef names a level of another interval.
	LevelRef = wire.LevelRef
	// Kline is a row of open time (Unix milliseconds), open, high, low, close and volume.
	Kline = wire.Kline
	// History is the levels as of past moments.
	History = wire.History[[]wire.HistoryMoment]
	// HistoryMoment is those as of one of them.
	HistoryMoment = wire.HistoryMoment
	// HistoryLevel is a level as of a past moment.
	HistoryLevel = wire.HistoryLevel
	// Calibration is where odds come from, and how they did.
	Calibration = wire.Calibration
	// RecordRow is what became of touched levels of a side and kind.
	RecordRow = wire.RecordRow
	// Row is a level with what its analysis says of the pair.
	Row = wire.Row
	// Explanation tells why a level is there.
	Explanation = wire.Explanation
	// Test is an approach of price to the level and what came of it.
	Test = wire.Test
	// Touch is a run of candles that met the zone.
	Touch = wire.Touch
	// Finding is what one method found in the zone.
	Finding = wire.Finding
	// Mark is one thing that a method found.
	Mark = wire.Mark
	// PriceMarks are the prices that every trader sees.
	PriceMarks = wire.PriceMarks
	// PriceMark is one of them.
	PriceMark = wire.PriceMark
	// MarkRecord is what became of marks of a kind.
	MarkRecord = wire.MarkRecord
	// Factor is one reason for the hold odds.
	Factor = wire.Factor
	// Event is something that happened to a level.
	Event = wire.Event
	// Job is the work a request asked for, its progress and its results.
	Job = wire.Job
	// Reason is a code for programs and a sentence for people.
	Reason = wire.Reason
	// Outcome is why a symbol was not analysed.
	Outcome = wire.Outcome
	// Problem is an error that the service answered with (RFC 9457). errors.As finds it
	// in every error of this package that has one.
	Problem = wire.Problem
	// PairChoice is one of the pairs that a name means; see Problem.Choices.
	PairChoice = wire.PairChoice
	// Exchange is an exchange and what there is of it.
	Exchange = wire.Exchange
)
