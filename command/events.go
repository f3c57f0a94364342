package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/client"
	"tidemark/config"
	"tidemark/levels"
	"tidemark/wire"
)

func (in *invocation) eventsCommand() *cobra.Command {
	var f client.EventFilter
	var base, intervals string
	var follow, asJSON, asCSV bool
	cmd := &cobra.Command{
		Use:   "events [SYMBOL]",
		Short: "Print what happens to levels, from a running service",
		Long: `Print what happens to levels, from GET /events of a running service: the newest events,
or those since a time (--since 1h, --since 2026-11-22T19:00:00Z), the oldest first. It sends
the first of API_KEYS, if any is set.

With --follow it continues with what happens from then on until Ctrl-C. It waits while the
service restarts, and then continues after the last event.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			var c client.Client
			if c.BaseURL, c.Key, err = serviceOf(cfg, base); err != nil {
				return err
			}
			if len(args) > 0 {
				if _, err := api.ParseSymbol(args[0]); err != nil {
					return config.Usage(err)
				}
				f.Symbols = args
			}
			if intervals != "" {
				all, err := api.ParseIntervals(intervals)
				if err != nil {
					return config.Usage(fmt.Errorf("--interval: %w", err))
				}
				for _, i := range all {
					f.Intervals = append(f.Intervals, string(i))
				}
			}
			for _, kind := range f.Kinds {
				if !slices.Contains(wire.EventKinds, kind) {
					return config.Usage(fmt.Errorf("--kind: %q is none of %s", kind, strings.Join(wire.EventKinds, ", ")))
				}
			}
			switch {
			case asJSON && asCSV:
				return config.Usage(errors.New("--json and --csv exclude each other"))
			case !(f.MinEdge >= 0 && f.MinEdge <= 100):
				return config.Usage(fmt.Errorf("--min-edge: %v is not a number from 0 to 100", f.MinEdge))
			case f.Limit < 1 || f.Limit > 1000:
				return config.Usage(fmt.Errorf("--limit: %d is not between 1 and 1000", f.Limit))
			}
			if cmd.Flags().Changed("exchange") {
				if f.Exchange, err = oneExchange(cfg); err != nil {
					return err
				}
			}
			out := newScreen(in.stdout, in.environ)
			show := func(e *client.Event) error { return out.event(e) }
			switch {
			case asJSON:
				show = func(e *client.Event) error { return writeAll(out, append(api.AppendEvent(nil, e), '\n')) }
			case asCSV:
				if err := writeAll(out, []byte(api.EventCSVHeader)); err != nil {
					return err
				}
				show = func(e *client.Event) error { return writeAll(out, api.AppendEventCSV(nil, e)) }
			}
			if !follow {
				ctx, cancel := context.WithTimeout(cmd.Context(), askService)
				defer cancel()
				return in.printEvents(c.Events(ctx, f), &c, show)
			}
			f.Retry = func(failures int, err error) bool {
				if failures == 1 {
					fmt.Fprintln(in.stderr, wordsOf(in.environ).say("events.no_response", "since", time.Now().UTC().Format("15:04:05 UTC"), "error", printable(err.Error())))
				}
				return true
			}
			err = in.printEvents(c.FollowEvents(cmd.Context(), f), &c, show)
			if cmd.Context().Err() != nil {
				return nil
			}
			return err
		},
	}
	cmd.Flags().StringVar(&base, "url", "", "address of the service, instead of HTTP_ADDR")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "continue with what happens from now on")
	cmd.Flags().StringVar(&f.Since, "since", "", "begin after an event (its number or id), a time, a duration ago (1h, 2d), or latest; default: the newest events")
	cmd.Flags().StringSliceVar(&f.Kinds, "kind", nil, "only these kinds: "+strings.Join(wire.EventKinds, ", "))
	cmd.Flags().StringVar(&intervals, "interval", "", "only these candle lengths, separated by commas")
	cmd.Flags().Float64Var(&f.MinEdge, "min-edge", 0, "only levels with at least this edge, in points")
	cmd.Flags().IntVar(&f.Limit, "limit", 100, "newest events printed without --since, 1 to 1000")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per event, as the HTTP API does")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print the events as CSV, one per line")
	config.AddFlags(cmd.Flags())
	return cmd
}

// printEvents shows the events of a service.
func (in *invocation) printEvents(all func(func(client.Event, error) bool), c *client.Client, show func(*client.Event) error) error {
	for e, err := range all {
		switch {
		case errors.Is(err, client.ErrMissed):
			fmt.Fprintln(in.stderr, wordsOf(in.environ).say("events.missed"))
		case err != nil:
			return serviceError(c, err)
		default:
			if err := show(&e); err != nil {
				return err
			}
		}
	}
	return nil
}

// serviceError returns the error of a command whose request to a service failed with err.
func serviceError(c *client.Client, err error) error {
	p, answered := errors.AsType[*client.Problem](err)
	switch {
	case !answered:
		return fmt.Errorf("not reachable: %w", err)
	case p.Status == http.StatusUnauthorized:
		return fmt.Errorf("%s requires an API key: set a valid one in API_KEYS", c.BaseURL)
	}
	err = fmt.Errorf("%s responds with %d %s", c.BaseURL, p.Status, printable(p.Detail))
	if p.Status == http.StatusBadRequest {
		return config.Usage(err)
	}
	return err
}

func writeAll(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

// event writes an event as one line.
func (s screen) event(e *client.Event) error {
	pair := e.Symbol
	if e.Name != nil {
		pair = *e.Name
	}
	role, least, baseline, odds := levels.Support, 0.0, 0.0, ""
	if e.Level.Role == levels.Resistance.String() {
		role = levels.Resistance
	}
	if l := &e.Level; l.HoldInterval != nil && l.BaselineHoldProbability != nil && l.HoldProbability != nil {
		least, baseline = l.HoldInterval[0], *l.BaselineHoldProbability
		odds = s.say("event.odds", "p", percent(*l.HoldProbability), "line", percent(baseline))
	}
	if p := e.Promise; p != nil {
		least, baseline = p.HoldInterval[0], p.BaselineHoldProbability
		odds = s.say("event.promised", "p", percent(p.HoldProbability), "line", percent(baseline))
	}
	text := s.say("happened."+e.Kind, "role", s.say("role."+e.Level.Role), "level", plain(e.Level.Price), "zone", plain(e.Level.Low)+"–"+plain(e.Level.High),
		"price", plain(e.Price)) + s.say("event.edge", "edge", fmt.Sprintf("%.1f", e.Level.Edge)) + odds
	line := fmt.Sprintf("%s  %-9s %-12s %-3s  ", e.OccurredAt.UTC().Format("2006-01-02 15:04:05"), printable(e.Exchange), printable(pair), printable(e.Interval))
	line += s.paint(sideColour(role, least, baseline), printable(text))
	if e.Simulated {
		line += "  " + s.paint(warning, s.say("event.simulated"))
	}
	return writeAll(s, []byte(line+"\n"))
}
