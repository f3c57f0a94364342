package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"tidemark/api"
	"tidemark/config"
	"tidemark/levels"
	"tidemark/wire"
)

// Bounds of watch.
const (
	maxWatched   = 500      // pairs shown
	pipedPairs   = 30       // pairs shown without a terminal
	maxWatchBody = 16 << 20 // bytes of one page of the service
	askService   = 30 * time.Second
)

// watcher follows the pairs nearest to a level through a running service.
type watcher struct {
	base     string // of the service, without a slash at its end
	key      string // the API key; empty for none
	interval string // empty for the service's own
	exchange string // empty for all of the service
	every    time.Duration
	pairs    int        // 0 for as many as fit on the screen
	minEdge  float64    // points; negative for that of the service
	filters  url.Values // more parameters of GET /levels
}

func (in *invocation) watchCommand() *cobra.Command {
	w := watcher{filters: url.Values{}}
	var base, side, watchlist string
	var states, symbols []string
	var within, volume float64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Watch the pairs nearest to a level, live, from a running service",
		Long: `Watch the pairs nearest to a level. For each pair watch shows the level nearest to
its price, from GET /levels of a running service. Distances are measured from the last
price that the service has read or, if that is out of date, from the close of the newest
analysed candle; age is the time since that price or close. Filters choose among the
levels and pairs.

On a terminal watch redraws the screen until Ctrl-C, and waits while the service
restarts. Elsewhere it prints one table, or with --json one JSON object per pair. It
sends the first of API_KEYS, if any is set.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := in.config(cmd)
			if err != nil {
				return err
			}
			if w.base, w.key, err = serviceOf(cfg, base); err != nil {
				return err
			}
			switch {
			case w.every < time.Second || w.every > time.Hour:
				return config.Usage(fmt.Errorf("--every: %s is not between 1s and 1h", w.every))
			case w.pairs < 0 || w.pairs > maxWatched:
				return config.Usage(fmt.Errorf("--pairs: %d is not between 0 and %d", w.pairs, maxWatched))
			}
			if cmd.Flags().Changed("min-edge") && !(w.minEdge >= 0 && w.minEdge <= 100) {
				return config.Usage(fmt.Errorf("--min-edge: %v is not a number from 0 to 100", w.minEdge))
			}
			if w.interval != "" {
				if _, err := levels.ParseInterval(w.interval); err != nil {
					return config.Usage(fmt.Errorf("--interval: %w", err))
				}
			}
			switch {
			case side != "" && side != levels.Support.String() && side != levels.Resistance.String():
				return config.Usage(fmt.Errorf("--side: %q is neither support nor resistance", side))
			case !(within >= 0 && within <= 1000):
				return config.Usage(fmt.Errorf("--within: %v is not a number from 0 to 1000", within))
			case !(volume >= 0 && volume <= math.MaxFloat64):
				return config.Usage(fmt.Errorf("--min-volume: %v is not a volume", volume))
			}
			for _, state := range states {
				if !slices.Contains(levelStates, state) {
					return config.Usage(fmt.Errorf("--state: %q is none of %s", state, strings.Join(levelStates, ", ")))
				}
			}
			for _, symbol := range symbols {
				if _, err := api.ParseSymbol(symbol); err != nil {
					return config.Usage(fmt.Errorf("--symbols: %w", err))
				}
			}
			for name, value := range map[string]string{"role": side, "state": strings.Join(states, ","), "symbols": strings.Join(symbols, ","), "watchlist": watchlist} {
				if value != "" {
					w.filters.Set(name, value)
				}
			}
			for flag, name := range map[string]string{"within": "max_distance_atr", "min-volume": "min_quote_volume"} {
				if f := cmd.Flags().Lookup(flag); f.Changed {
					w.filters.Set(name, f.Value.String())
				}
			}
			if cmd.Flags().Changed("exchange") {
				if w.exchange, err = oneExchange(cfg); err != nil {
					return err
				}
			}
			switch {
			case asJSON:
				return w.printJSON(cmd.Context(), in.stdout)
			case canRedraw(in.stdout, in.environ):
				return w.live(cmd.Context(), in.stdout.(*os.File), in.environ)
			}
			return w.printOnce(cmd.Context(), newScreen(in.stdout, in.environ))
		},
	}
	cmd.Flags().StringVar(&base, "url", "", "address of the service, instead of HTTP_ADDR")
	cmd.Flags().StringVar(&w.interval, "interval", "", "candle length, instead of the service's default")
	cmd.Flags().DurationVar(&w.every, "every", 5*time.Second, "time between two requests, 1s to 1h")
	cmd.Flags().IntVar(&w.pairs, "pairs", 0, fmt.Sprintf("pairs shown, up to %d; 0: as many as fit on the screen, or %d without one", maxWatched, pipedPairs))
	cmd.Flags().Float64Var(&w.minEdge, "min-edge", -1, "watch levels with at least this edge, in points, instead of those the service shows")
	cmd.Flags().StringVar(&side, "side", "", "watch only levels on this side of the price: support or resistance")
	cmd.Flags().StringSliceVar(&states, "state", nil, "watch only levels in these states: "+strings.Join(levelStates, ", "))
	cmd.Flags().StringSliceVar(&symbols, "symbols", nil, "watch only these pairs")
	cmd.Flags().StringVar(&watchlist, "watchlist", "", "watch only the pairs of this list of the service")
	cmd.Flags().Float64Var(&within, "within", 0, "watch only levels at most this far from the price, in ATR")
	cmd.Flags().Float64Var(&volume, "min-volume", 0, "watch only pairs with at least this volume of the last 24 hours, in their quote asset")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per pair and exit")
	config.AddFlags(cmd.Flags())
	return cmd
}

// levelStates are the states of levels, as GET /levels names them.
var levelStates = []string{"untested", "held", "broken", "reclaimed"}

// serviceOf returns the address of a running service, without a slash at its end: that of
// --url or, if it is empty, HTTP_ADDR. The key is the first of API_KEYS.
func serviceOf(cfg config.Config, base string) (address, key string, err error) {
	if base == "" {
		base = "http://" + reachable(cfg.HTTPAddr)
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
		return "", "", config.Usage(fmt.Errorf("--url: %q is not the address of a service such as http://127.0.0.1:8080", base))
	}
	if len(cfg.APIKeys) > 0 {
		key = cfg.APIKeys[0]
	}
	return strings.TrimSuffix(base, "/"), key, nil
}

// canRedraw reports whether w is a terminal that can be redrawn.
func canRedraw(w io.Writer, environ []string) bool {
	return newScreen(w, environ).width > 0 && !slices.Contains(environ, "TERM=dumb")
}

// nearLevel is a row of GET /levels: the level of a pair that is nearest to its price.
type nearLevel struct {
	wire.Row
	raw     json.RawMessage // as it came
	several bool            // the list is of several exchanges
}

// nearList is the response of the service: the pairs nearest to a level.
type nearList struct {
	exchange, interval string
	simulated          bool
	near               []nearLevel // one per pair, the nearest first
	at                 time.Time   // of the request
}

// refusal is an error that a repeated request would return again.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// fetch requests the nearest level of each of the n pairs nearest to a level. It may need
// several pages, because a pair has several levels.
func (w *watcher) fetch(ctx context.Context, n int) (nearList, error) {
	list := nearList{at: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, askService)
	defer cancel()
	seen := map[string]bool{}
	for cursor := ""; ; {
		q := maps.Clone(w.filters)
		q.Set("sort", "distance_atr")
		q.Set("limit", strconv.Itoa(min(1000, 4*n)))
		if w.interval != "" {
			q.Set("interval", w.interval)
		}
		if w.exchange != "" {
			q.Set("exchange", w.exchange)
		}
		if w.minEdge >= 0 {
			q.Set("min_edge", strconv.FormatFloat(w.minEdge, 'f', -1, 64))
		}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var page wire.LevelPage[[]json.RawMessage]
		if err := w.get(ctx, "/levels?"+q.Encode(), &page); err != nil {
			return list, err
		}
		list.exchange, list.interval = printable(page.Exchange), printable(page.Interval)
		for _, raw := range page.Levels {
			l := nearLevel{raw: raw}
			if err := json.Unmarshal(raw, &l.Row); err != nil || l.Symbol == "" {
				return list, refusal{fmt.Errorf("the response of %s is not from tidemark", w.base)}
			}
			if l.Name != nil {
				l.Name = new(printable(*l.Name))
			}
			l.Symbol, l.Exchange, l.Role = printable(l.Symbol), printable(l.Exchange), printable(l.Role)
			l.several = page.Exchange != l.Exchange
			if seen[l.Exchange+" "+l.Symbol] {
				continue
			}
			seen[l.Exchange+" "+l.Symbol] = true
			list.simulated = list.simulated || l.Simulated
			list.near = append(list.near, l)
			if len(list.near) == n {
				return list, nil
			}
		}
		if page.Next == nil || *page.Next == cursor {
			return list, nil
		}
		cursor = *page.Next
	}
}

// printable returns text without control characters: the terminal must not execute the
// escape sequences of an untrusted service.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}

// get sends a request to the service and decodes the response.
func (w *watcher) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+path, nil)
	if err != nil {
		return refusal{err}
	}
	req.Header.Set("Accept", "application/json")
	if w.key != "" {
		req.Header.Set("Authorization", "Bearer "+w.key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("not reachable: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxWatchBody))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", w.base, err)
	case res.StatusCode == http.StatusOK:
		if err := json.Unmarshal(body, into); err != nil {
			return refusal{fmt.Errorf("the response of %s is not from tidemark", w.base)}
		}
		return nil
	}
	var problem wire.Problem
	json.Unmarshal(body, &problem) // without a detail the status is enough
	err = fmt.Errorf("%s responds with %s", w.base, printable(strings.TrimSpace(res.Status+" "+problem.Detail)))
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return refusal{fmt.Errorf("%s requires an API key: set a valid one in API_KEYS", w.base)}
	case res.StatusCode == http.StatusBadRequest:
		return refusal{config.Usage(err)}
	case res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests:
		return refusal{err}
	}
	return err
}

// printJSON writes one line per pair, as returned by GET /levels.
func (w *watcher) printJSON(ctx context.Context, out io.Writer) error {
	list, err := w.fetch(ctx, cmp.Or(w.pairs, pipedPairs))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, l := range list.near {
		if err := json.Compact(&b, l.raw); err != nil {
			return err
		}
		b.WriteByte('\n')
	}
	_, err = out.Write(b.Bytes())
	return err
}

// printOnce writes one table.
func (w *watcher) printOnce(ctx context.Context, s screen) error {
	list, err := w.fetch(ctx, cmp.Or(w.pairs, pipedPairs))
	if err != nil {
		return err
	}
	fmt.Fprintln(s, s.simulated(list.simulated)+list.title(s.words))
	if note := list.note(s.words, len(w.filters) > 0); note != "" {
		fmt.Fprintln(s, s.paint(warning, note))
	}
	return s.table(s.heads(nearHead), list.rows(s.words, time.Now()))
}

func (l *nearList) title(w words) string {
	return w.count("watch.title", len(l.near), "exchange", l.exchange, "interval", l.interval, "at", l.at.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// note returns a warning about the list, or "".
func (l *nearList) note(w words, filtered bool) string {
	stale, priced := 0, false
	for _, n := range l.near {
		if n.Stale {
			stale++
		}
		priced = priced || n.MarketPrice != nil
	}
	switch {
	case len(l.near) == 0 && filtered:
		return w.say("watch.no_match")
	case len(l.near) == 0:
		return w.say("watch.nothing")
	case stale > 0:
		return w.count("watch.stale", stale)
	case !priced:
		return w.say("watch.no_prices")
	}
	return ""
}

// nearHead holds the keys of the columns. A narrow screen drops the last ones: 60 columns
// show the zone and the edge.
var nearHead = []string{"pair", "distance", "zone", "edge", "kind", "ATR", "price", "holds", "any_line", "age"}

// rows returns the rows of the table at the time now.
func (l *nearList) rows(w words, now time.Time) []row {
	all := make([]row, len(l.near))
	for i, n := range l.near {
		inATR, holds, anyLine := "-", "-", "-"
		if n.DistanceATR != nil {
			inATR = fmt.Sprintf("%+.2f", *n.DistanceATR)
		}
		role, least, baseline := levels.Support, 0.0, 0.0
		if n.Role == levels.Resistance.String() {
			role = levels.Resistance
		}
		if n.HoldInterval != nil && n.BaselineHoldProbability != nil {
			least, baseline = n.HoldInterval[0], *n.BaselineHoldProbability
			holds, anyLine = percents(*n.HoldInterval), percent(baseline)
		}
		pair := n.Symbol
		if n.Name != nil {
			pair = *n.Name
		}
		if n.several {
			pair = n.Exchange + " " + pair
		}
		if n.Stale {
			pair = w.say("stale") + " " + pair
		}
		edge := fmt.Sprintf("%.1f", n.Edge)
		if n.Faint {
			edge += " " + w.say("faint")
		}
		price, at := n.LastPrice, n.AsOf
		if n.MarketPrice != nil && n.MarketPriceAt != nil {
			price, at = *n.MarketPrice, *n.MarketPriceAt
		}
		all[i] = row{sideColour(role, least, baseline), []string{
			pair, fmt.Sprintf("%+.2f %%", n.DistancePct), plain(n.Low) + "–" + plain(n.High), edge, w.say("role." + n.Role), inATR,
			plain(price), holds, anyLine, w.age(now.Sub(at)),
		}}
	}
	return all
}

// plain formats a price as the service does.
func plain(price float64) string { return strconv.FormatFloat(price, 'f', -1, 64) }

// age returns a duration in its largest whole unit.
func (w words) age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return w.say("age.seconds", "n", int(d/time.Second))
	case d < time.Hour:
		return w.say("age.minutes", "n", int(d/time.Minute))
	case d < 48*time.Hour:
		return w.say("age.hours", "n", int(d/time.Hour))
	}
	return w.say("age.days", "n", int(d/(24*time.Hour)))
}

// Control sequences of a live screen (ECMA-48, and xterm's alternate screen, which
// preserves the contents of the terminal). The cursor is hidden, and a line that is too
// long because of wide characters is cut, not wrapped.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	homeScreen  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// live redraws the list until ctx ends, and then restores the terminal. If the service
// does not respond, live repeats the request and keeps showing the last list with a
// notice. It returns an error if the first request fails or the service refuses one.
func (w *watcher) live(ctx context.Context, tty *os.File, environ []string) (err error) {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, resizes...)
	defer signal.Stop(resized)
	list, err := w.fetch(ctx, w.wanted(newScreen(tty, environ)))
	if err != nil {
		return err
	}
	if _, err := io.WriteString(tty, enterScreen); err != nil {
		return err
	}
	defer func() {
		_, left := io.WriteString(tty, leaveScreen)
		err = errors.Join(err, left)
	}()
	status, texts := "", wordsOf(environ)
	var since time.Time // when the service stopped responding; zero if it responds
	for {
		if err := w.draw(newScreen(tty, environ), &list, status); err != nil {
			return err
		}
		pause := w.every
		if !since.IsZero() {
			pause = min(pause, time.Second)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-resized:
		case <-timer.C:
		}
		timer.Stop()
		next, err := w.fetch(ctx, w.wanted(newScreen(tty, environ)))
		_, refused := errors.AsType[refusal](err)
		switch {
		case ctx.Err() != nil:
			return nil
		case refused:
			return err
		case err != nil:
			if since.IsZero() {
				since = time.Now()
			}
			status = texts.say("watch.no_response", "since", since.UTC().Format("15:04:05 UTC"), "error", err, "every", min(w.every, time.Second))
			continue
		case !since.IsZero():
			status = texts.say("watch.again", "since", next.at.UTC().Format("15:04:05 UTC"), "after", next.at.Sub(since).Round(time.Second))
			since = time.Time{}
		}
		list = next
	}
}

// linesAbove is the number of lines above the pairs: title, hint, status, note and the
// head of the table.
const linesAbove = 5

// wanted returns the number of pairs to request.
func (w *watcher) wanted(s screen) int {
	room := min(maxWatched, max(1, s.height-linesAbove))
	if w.pairs > 0 {
		return min(w.pairs, room)
	}
	return room
}

// draw writes the whole screen at once. It cuts lines and the list to the size of the
// screen.
func (w *watcher) draw(s screen, l *nearList, status string) error {
	var b bytes.Buffer
	out := screen{Writer: &b, colours: s.colours, width: s.width, picture: true, words: s.words}
	line := func(c colour, text string) {
		fmt.Fprintln(&b, out.paint(c, cut(text, s.width)))
	}
	title := bold
	if l.simulated {
		title = warning
	}
	line(title, s.simulatedMark(l.simulated)+l.title(s.words))
	line(faint, s.say("watch.hint", "every", w.every, "base", w.base))
	if status != "" {
		line(warning, status)
	}
	if note := l.note(s.words, len(w.filters) > 0); note != "" {
		line(warning, note)
	}
	rows := l.rows(s.words, time.Now())
	if err := out.table(s.heads(nearHead), rows[:min(len(rows), max(0, s.height-linesAbove))]); err != nil {
		return err
	}
	picture := strings.TrimSuffix(b.String(), "\n") // the last newline would scroll
	_, err := io.WriteString(s, homeScreen+strings.ReplaceAll(picture, "\n", clearLine+"\n")+clearLine+clearBelow)
	return err
}
