// This file pins the calibration: planted effects are found on unseen pairs and
// times, a random walk has none, equal files give an equal table, and errors of bad
// files contain their name.

package calibrate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tidemark/levels"
)

// write writes n hourly candles of each of pairs random walks. Where reverting
// is true, a walk is drawn back to its mean of the last two hundred candles, so
// that lines far from it hold.
func write(t *testing.T, folder string, pairs, n int, reverting bool) {
	t.Helper()
	for pair := range pairs {
		r := rand.New(rand.NewPCG(uint64(pair), 3))
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("P%02d-1h.csv.gz", pair)))
		if err != nil {
			t.Fatal(err)
		}
		z := gzip.NewWriter(f)
		fmt.Fprintln(z, "open_time_ms,open,high,low,close,volume")
		price, mean := 0.0, 0.0
		for i := range n {
			open, high, low := price, price, price
			for range 8 {
				step := 0.003 * r.NormFloat64()
				if reverting {
					step -= 0.02 * (price - mean)
				}
				price += step
				high, low = max(high, price), min(low, price)
			}
			mean += (price - mean) / 200
			e := func(x float64) string { return fmt.Sprintf("%.8f", 100*math.Exp(x)) }
			fmt.Fprintf(z, "%d,%s,%s,%s,%s,%d\n", i*3_600_000, e(open), e(high), e(low), e(price), 1+r.IntN(100))
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// computes marks a test that computes for long: the test command runs it without the
// race detector, and what has the detector is -short. That sees the fits, which are
// made side by side, in e2e's test of tidemark calibrate.
func computes(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("only computes")
	}
}

func gatherFrom(t *testing.T, folder string) *data {
	t.Helper()
	all, err := list([]string{folder})
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := gather(all, 0, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestValidation_FindsWhatIsPlantedAndNothingWhereThereIsNothing(t *testing.T) {
	computes(t)
	for _, planted := range []bool{true, false} {
		t.Run(fmt.Sprintf("planted %v", planted), func(t *testing.T) {
			folder := t.TempDir()
			write(t, folder, 12, 6000, planted)
			d := gatherFrom(t, folder)
			predicted, moments := d.predict(splits[1], 1, func() {})
			var own []level
			for _, l := range predicted {
				if d.intervals[d.moments[l.moment].interval] == "1h" {
					own = append(own, l)
				}
			}
			if !planted && len(own) < 50 {
				return // hardly any level has an edge
			}
			r := d.judge(own, moments[slices.Index(d.intervals, "1h")])
			t.Log(&r)
			if planted && (r.lift[1] <= 0 || r.holdSkill <= 0) {
				t.Errorf("lift %s, skill %v of a market that reverts", interval(r.lift), r.holdSkill)
			}
			if !planted && (r.lift[1] > 0 || r.terciles[1] > 0 || r.holdSkill > 0.01) {
				t.Errorf("lift %s, terciles %s, skill %v of a random walk", interval(r.lift), interval(r.terciles), r.holdSkill)
			}
		})
	}
}

func TestPredict_LearnsFromNoPairAndNoTimeItIsJudgedOn(t *testing.T) {
	computes(t)
	folder := t.TempDir()
	write(t, folder, 4, 3000, false)
	d := gatherFrom(t, folder)
	if len(d.intervals) != 7 {
		t.Fatalf("hourly candles make up %v", d.intervals)
	}
	borders := d.borders()
	for _, s := range splits {
		for b := range blocks {
			from, to := borders[b], borders[b+1]-1
			for i := range d.moments {
				m := &d.moments[i]
				if s.train(m.at, m.at+d.horizon(m), from, to) && m.at+d.horizon(m) >= from && m.at <= to {
					t.Errorf("%s: a moment at %d on %s teaches about %d to %d", s.name, m.at, d.intervals[m.interval], from, to)
				}
			}
		}
		predicted, _ := d.predict(s, 1, func() {})
		for _, l := range predicted {
			m := &d.moments[l.moment]
			if m.at < borders[l.block] || m.at+d.horizon(m) >= borders[l.block+1] {
				t.Fatalf("%s: outcomes of a moment at %d on %s do not lie in block %d", s.name, m.at, d.intervals[m.interval], l.block)
			}
		}
	}
}

func TestHalf_IsAHalfAndKeepsBaseAssetsTogether(t *testing.T) {
	for symbol, want := range map[string]string{
		"SOLUSDT": "SOL", "SOLUSDC": "SOL", "SOLUSDT_PERP": "SOL", "SOLBTC": "SOL", "1000SHIBUSDT_PERP": "SHIB", "1INCHUSDT": "1INCH",
		"USDTTRY": "USDT", "BTCUSDT": "BTC", "USDCUSDT": "USDC",
	} {
		if got := base(symbol); got != want {
			t.Errorf("%s: base asset %s, want %s", symbol, got, want)
		}
	}
	d := new(data)
	for i := range 400 {
		d.assets = append(d.assets, fmt.Sprintf("C%d", i))
	}
	first := 0
	for asset := range int32(400) {
		if d.half(asset) == 0 {
			first++
		}
	}
	if first < 170 || first > 230 {
		t.Errorf("%d of 400 base assets lie in the first half", first)
	}
}

func TestGather_RotatesMomentsAndTakesNoCandleAfterUntil(t *testing.T) {
	computes(t)
	folder := t.TempDir()
	write(t, folder, 2, 6000, false)
	all, err := list([]string{folder})
	if err != nil {
		t.Fatal(err)
	}
	const until = 5000 * 3_600_000
	d, p, err := gather(all, until, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if p[0].To != until || p[0].Candles != 2*5000 {
		t.Errorf("%+v, want all candles up to %d", p[0], until)
	}
	hours, drawn, judged := map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
	for i := range d.moments {
		m := &d.moments[i]
		if end := m.at + d.horizon(m); end > until {
			t.Fatalf("a moment is judged by candles up to %d", end)
		}
		if d.intervals[m.interval] == "1h" {
			hours[m.at/3_600_000%24], drawn[m.at/3_600_000%6] = true, true
			if m.judged {
				judged[m.at/3_600_000%24] = true
			}
		}
	}
	if len(hours) != 24 || len(drawn) != 6 || len(judged) < 20 {
		t.Errorf("moments at %d hours of the day, %d phases of drawing, judged at %d hours", len(hours), len(drawn), len(judged))
	}
}

func TestSeries_JoinsFilesOfAPairByTime(t *testing.T) {
	folder := t.TempDir()
	put := func(name string, hours ...int) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		fmt.Fprintln(z, "open_time_ms,open,high,low,close,volume")
		for _, h := range hours {
			fmt.Fprintf(z, "%d,1,2,1,1,%d\n", h*3_600_000, len(name))
		}
		if err := errors.Join(z.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("a/A-1h.csv.gz", 5, 6, 7, 8)
	put("bb/A-1h.csv.gz", 1, 2, 5)
	put("c/B-1h.csv.gz", 1)
	all, err := list([]string{folder})
	if err != nil {
		t.Fatal(err)
	}
	if all[0].symbol != "A" || len(all[0].files) != 2 || all[1].symbol != "B" {
		t.Fatalf("%+v", all)
	}
	var c levels.Candles
	if err := all[0].read(&c, 8*3_600_000, io.Discard); err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range c.Len() {
		got = append(got, fmt.Sprintf("%d:%v", c.OpenTime[i]/3_600_000, c.Volume[i]))
	}
	if s := strings.Join(got, " "); s != "1:14 2:14 5:14 6:13 7:13" {
		t.Errorf("joined %s", s)
	}
}

func TestRun_EqualFilesGiveAnEqualTable(t *testing.T) {
	computes(t)
	folder := t.TempDir()
	write(t, folder, 6, 6000, true)
	run := func(seed uint64) []byte {
		var log bytes.Buffer
		table, err := Run(Options{Folders: []string{folder}, Seed: seed, Command: "test", Log: &log})
		if err != nil {
			t.Fatal(err)
		}
		file, err := table.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := levels.ReadTable(file); err != nil {
			t.Error(err)
		}
		for _, s := range splits {
			if !strings.Contains(log.String(), s.name+": lift ") {
				t.Errorf("says nothing of %s:\n%s", s.name, &log)
			}
		}
		return file
	}
	one := run(1)
	if !bytes.Equal(one, run(1)) {
		t.Error("the same again is another table")
	}
	if bytes.Equal(one, run(2)) {
		t.Error("another seed gives the same table: the seed does nothing")
	}
}

func TestMerge_MakesTheCandlesOfALongerInterval(t *testing.T) {
	var c levels.Candles
	c.Reset("1h", 0)
	for i := 3; i < 23; i++ {
		if i >= 8 && i <= 9 || i >= 16 && i <= 19 {
			continue // missing in part, and whole
		}
		x := float64(i)
		if err := c.Append(levels.Candle{OpenTime: int64(i) * 3_600_000, Open: x, High: x + 5, Low: x / 2, Close: x + 1, Volume: x}); err != nil {
			t.Fatal(err)
		}
	}
	merge(&c, "4h")
	want := []levels.Candle{ // that of 00:00 has only its last hour, that of 20:00 ends at 23:00
		{OpenTime: 4 * 3_600_000, Open: 4, High: 12, Low: 2, Close: 8, Volume: 4 + 5 + 6 + 7},
		{OpenTime: 8 * 3_600_000, Open: 10, High: 16, Low: 5, Close: 12, Volume: 10 + 11},
		{OpenTime: 12 * 3_600_000, Open: 12, High: 20, Low: 6, Close: 16, Volume: 12 + 13 + 14 + 15},
	}
	if c.Interval != "4h" || c.Len() != len(want) {
		t.Fatalf("%d candles of %s", c.Len(), c.Interval)
	}
	for i := range want {
		if c.At(i) != want[i] {
			t.Errorf("candle %d: %+v, want %+v", i, c.At(i), want[i])
		}
	}
}

func TestList_AFileOfTheIntervalComesBeforeAnyOther(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"A-15m", "A-4h", "B-1h", "B-30m", "C-1d"} {
		if err := os.WriteFile(filepath.Join(folder, name+".csv.gz"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := list([]string{folder})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, fmt.Sprintf("%s %s of %s", s.interval, s.symbol, s.of))
	}
	want := "15m A of 15m, 30m A of 15m, 30m B of 30m, 1h A of 15m, 1h B of 1h, 2h A of 15m, 2h B of 1h, 4h A of 4h, 4h B of 1h, " +
		"6h A of 15m, 6h B of 1h, 8h A of 4h, 8h B of 1h, 12h A of 4h, 12h B of 1h, 1d A of 4h, 1d B of 1h, 1d C of 1d"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestRun_RefusesWhatItCannotRead(t *testing.T) {
	pack := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(text))
		_ = z.Close()
		return b.Bytes()
	}
	const header = "open_time_ms,open,high,low,close,volume\n"
	for want, content := range map[string][]byte{
		"gzip: invalid header":  []byte("this is no gzip file"),
		"its header is":         pack("a,b,c,d,e,f\n"),
		"wrong number of field": pack(header + "1,2,3\n"),
		"line 2":                pack(header + "0,1,2,1,x,3\n"),
		"no candles":            pack(header),
		"no file has the":       pack(header + "0,1,2,1,1,3\n"),
	} {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "A-1h.csv.gz"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(Options{Folders: []string{folder}, Log: io.Discard}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := Run(Options{Folders: []string{t.TempDir()}, Log: io.Discard}); err == nil || !strings.Contains(err.Error(), "SYMBOL-INTERVAL") {
		t.Errorf("an empty folder: %v", err)
	}
}
