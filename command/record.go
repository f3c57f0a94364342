package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"tidemark/client"
	"tidemark/config"
	"tidemark/levels"
)

func (in *invocation) recordCommand() *cobra.Command {
	var base, interval string
	var hours, asJSON bool
	cmd := &cobra.Command{
		Use:   "record",
		Short: "Print how often touched levels held and what was promised, from a running service",
		Long: `Print the record of GET /calibration of a running service: how many of the touched levels
held, with a 95 % interval, and of those that had odds what the odds promised, how many
held, and how many of any lines at their distance do: the control. docs/scorecard.md says
how they are counted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			var c client.Client
			if c.BaseURL, c.Key, err = serviceOf(cfg, base); err != nil {
				return err
			}
			exchange := ""
			if cmd.Flags().Changed("exchange") {
				if exchange, err = oneExchange(cfg); err != nil {
					return err
				}
			}
			if interval != "" {
				if _, err := levels.ParseInterval(interval); err != nil {
					return config.Usage(fmt.Errorf("--interval: %w", err))
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), askService)
			defer cancel()
			found, err := c.Calibration(ctx, exchange, interval)
			if err != nil {
				return serviceError(&c, err)
			}
			if asJSON {
				e := json.NewEncoder(in.stdout)
				e.SetIndent("", "  ")
				records := map[string][]client.RecordRow{}
				for _, i := range found.Intervals {
					if len(i.Record) > 0 {
						records[i.Interval] = i.Record
					}
				}
				return e.Encode(records)
			}
			return newScreen(in.stdout, in.environ).record(found, hours)
		},
	}
	cmd.Flags().StringVar(&base, "url", "", "address of the service, instead of HTTP_ADDR")
	cmd.Flags().StringVar(&interval, "interval", "", "only this candle length")
	cmd.Flags().BoolVar(&hours, "hours", false, "print each hour of the day (UTC), too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: the rows of each interval, as GET /calibration has them")
	config.AddFlags(cmd.Flags())
	return cmd
}

// record prints the record of an exchange.
func (s screen) record(c *client.Calibration, hours bool) error {
	var rows []row
	cells := func(first []string, decided int, rate float64, interval *[2]float64, odds int, promised, realised, baseline *float64) row {
		share := func(p *float64) string {
			if p == nil {
				return "–"
			}
			return tenths(*p)
		}
		spread := "–"
		if interval != nil {
			spread = s.say("record.range", "low", tenths(interval[0]), "high", tenths(interval[1]))
		}
		return row{cells: append(first, strconv.Itoa(decided), tenths(rate), spread, strconv.Itoa(odds), share(promised), share(realised), share(baseline))}
	}
	for _, i := range c.Intervals {
		for _, r := range i.Record {
			kind := s.say("role."+r.Role) + s.say("comma") + s.say("record."+r.Kind)
			if r.Simulated {
				kind += s.say("record.simulated")
			}
			rows = append(rows, cells([]string{i.Interval, kind, r.Since.UTC().Format("2006-01-02")}, r.Decided, r.HoldRate, r.HoldInterval, r.WithOdds, r.Promised, r.Realised, r.Baseline))
			for _, h := range r.Hours {
				if hours {
					rows = append(rows, cells([]string{"", fmt.Sprintf("%02d:00 UTC", h.Hour), ""}, h.Decided, h.HoldRate, h.HoldInterval, h.WithOdds, h.Promised, h.Realised, h.Baseline))
				}
			}
		}
	}
	if len(rows) == 0 {
		return writeAll(s, []byte(s.say("record.none", "exchange", printable(c.Exchange))+"\n"))
	}
	return s.table([]string{s.say("record.interval"), s.say("record.levels"), s.say("record.since"), s.say("record.decided"), s.say("record.held"), "95 %",
		s.say("record.with_odds"), s.say("record.promised"), s.say("record.held"), s.say("record.any_line")}, rows)
}

// tenths writes a share in tenths of percent.
func tenths(p float64) string { return strconv.FormatFloat(100*p, 'f', 1, 64) }
