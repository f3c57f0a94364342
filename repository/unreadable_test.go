package repository

// This test pins a stored analysis that cannot be read: only it is missing, it is counted
// and logged once with the name of its pair, and the next analysis replaces it.

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"tidemark/service"
)

// lines collects the log of a test.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// with returns the lines that contain text.
func (l *lines) with(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func TestUnreadable_IsLeftOutAloneUntilItIsAnalysedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		log := &lines{}
		db := d.open(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
		var names []string
		for i := range latestPage + 10 { // two pages
			put(t, db, snapshot(symbolOf(i), 0))
			names = append(names, symbolOf(i))
		}
		slices.Sort(names)
		// the last of the first page, after which the second begins; and one more
		damaged := []string{names[latestPage-1], names[3]}
		for _, symbol := range damaged {
			s := snapshot(symbol, 0)
			b := appendSnapshot(nil, &s)
			b[60] ^= 1 // in a price
			if n, err := exec(t.Context(), db.write, `UPDATE analyses SET snapshot = ? WHERE series_id = (SELECT id FROM series WHERE symbol = ?)`, b, symbol); err != nil || n != 1 {
				t.Fatal(n, err)
			}
		}
		look := func() (whole, broken []string) {
			for s, err := range db.Latest(t.Context(), "binance", "1h") {
				switch {
				case errors.Is(err, service.ErrUnreadable):
					broken = append(broken, s.Symbol)
				case err != nil:
					t.Fatal(err)
				default:
					whole = append(whole, s.Symbol)
				}
			}
			return whole, broken
		}
		for range 2 {
			whole, broken := look()
			same(t, []string{names[3], names[latestPage-1]}, broken)
			same(t, slices.DeleteFunc(slices.Clone(names), func(s string) bool { return slices.Contains(damaged, s) }), whole)
		}
		_, err := db.Snapshot(t.Context(), key(damaged[0]), at(0))
		if !errors.Is(err, service.ErrNotAnalyzed) || !errors.Is(err, service.ErrUnreadable) || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("asked for by itself: %v", err)
		}
		if n := db.Unreadable(); n != 2 {
			t.Errorf("%d counted, want 2", n)
		}
		for _, symbol := range damaged {
			if n := len(log.with("symbol=" + symbol + " ")); n != 1 {
				t.Errorf("%d lines name %s, want 1", n, symbol)
			}
		}

		put(t, db, snapshot(damaged[0], 1), snapshot(damaged[1], 0))
		whole, broken := look()
		if len(broken) > 0 || len(whole) != len(names) {
			t.Errorf("after the next analyses %q are broken, and %d of %d are there", broken, len(whole), len(names))
		}
	})
}
