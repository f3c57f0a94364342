package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"tidemark/levels"
)

// Schedule says when sweeps of one interval begin without a request.
type Schedule struct {
	Interval levels.Interval
	Text     string // ANALYSIS_SCHEDULE in one spelling: schedules that are equal have equal texts
	// Next returns the first moment after t that the schedule names, in UTC.
	Next func(t time.Time) time.Time
}

// Schedules returns one Schedule for each of ANALYSIS_INTERVALS, or none if
// ANALYSIS_SCHEDULE is empty.
func (c *Config) Schedules() ([]Schedule, error) {
	var all []Schedule
	shortest := time.Duration(0)
	for _, name := range c.AnalysisIntervals {
		interval, err := levels.ParseInterval(name)
		if err != nil {
			return nil, fmt.Errorf("ANALYSIS_INTERVALS: %w", err)
		}
		if slices.ContainsFunc(all, func(s Schedule) bool { return s.Interval == interval }) {
			return nil, fmt.Errorf("ANALYSIS_INTERVALS: %s is named twice", interval)
		}
		all = append(all, Schedule{Interval: interval})
		if d := interval.Duration(); shortest == 0 || d < shortest {
			shortest = d
		}
	}
	if c.AnalysisSchedule == "" {
		return nil, nil
	}
	text, next, err := parseSchedule(c.AnalysisSchedule, shortest)
	if err != nil {
		return nil, fmt.Errorf("ANALYSIS_SCHEDULE: %q %w", c.AnalysisSchedule, err)
	}
	for i := range all {
		all[i].Text, all[i].Next = text, next
	}
	return all, nil
}

// parseSchedule reads a duration or a cron expression, and returns the Text and the
// Next of its Schedule.
func parseSchedule(text string, shortest time.Duration) (string, func(time.Time) time.Time, error) {
	fields := strings.Fields(text)
	if len(fields) == 1 {
		d, err := time.ParseDuration(text)
		switch {
		case err != nil:
			return "", nil, errors.New(`is neither a duration such as 1h nor five cron fields such as "0 */4 * * *"`)
		case d < shortest:
			return "", nil, fmt.Errorf("is shorter than the shortest of ANALYSIS_INTERVALS: sweeping more often than candles close finds nothing new; use %s or more", short(shortest))
		case d%time.Minute != 0:
			return "", nil, errors.New("is not a number of whole minutes, on which candles close; such as 15m or 1h")
		}
		return short(d), func(t time.Time) time.Time { return levels.NextBoundary(t, d) }, nil
	}
	// cron's parser accepts a time zone before the five fields
	if strings.Contains(fields[0], "TZ=") {
		return "", nil, errors.New("names a time zone: cron fields are in UTC, as candles are")
	}
	text = strings.Join(fields, " ")
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(text)
	if err != nil {
		return "", nil, fmt.Errorf(`is no cron expression: %w; five fields are minute, hour, day of the month, month and day of the week, such as "0 */4 * * *"`, err)
	}
	next := func(t time.Time) time.Time { return parsed.Next(t.UTC()) }
	if next(time.Now()).IsZero() {
		return "", nil, errors.New("names no moment in the next five years")
	}
	return text, next, nil
}

// short is d without the zeros that time.Duration prints: 1h, not 1h0m0s.
func short(d time.Duration) string {
	text := strings.TrimSuffix(d.String(), "0s")
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
