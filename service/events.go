package service

import (
	"time"

	"tidemark/levels"
	"tidemark/scorecard"
)

// Event is something that happened to a level of a series.
type Event struct {
	// ID is made of what happened, so that two processes that see it give it the same.
	ID string
	Key
	Kind  string // of package event
	Role  levels.Role
	Level uint64
	Edge  float64
	At    time.Time
	Body  []byte // the JSON object of the API without its number
	// Touch is what became of a touched level; nil of an event that does not decide that.
	Touch *scorecard.Touch
}

// Watch is the state of the levels of a series, to be stored with what made it.
type Watch struct {
	Key
	AsOf   time.Time // of the analysis up to which it was advanced
	State  []byte    // of package event
	Events []Event   // what happened since the state before
}

// EventQuery selects events. Zero values select everything.
type EventQuery struct {
	After     int64 // the number of the last event that is known
	Exchange  string
	Intervals []string
	Pairs     []EventPair
	Kinds     []string
	Levels    []uint64
	Role      string
	MinEdge   float64
	Limit     int // 1 or more
}

// EventPair is a pair of an exchange by the venue's id.
type EventPair struct{ Exchange, Symbol string }

// StoredEvent is an event with its number, which grows in the order in which events are
// stored, with holes.
type StoredEvent struct {
	Seq  int64
	Kind string
	Body []byte // of Event
}
