package simulated

import (
	"archive/zip"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// write makes a file of candles in folder, compressed as its name says.
func write(t *testing.T, folder, name, content string) {
	t.Helper()
	f, err := os.Create(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var w io.Writer = f
	switch filepath.Ext(name) {
	case ".gz":
		z := gzip.NewWriter(f)
		defer z.Close()
		w = z
	case ".zip":
		z := zip.NewWriter(f)
		defer z.Close()
		if w, err = z.Create(strings.TrimSuffix(name, "zip") + "csv"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
}

const replayHeader = "open_time_ms,open,high,low,close,volume\n"

var replayStart = time.Date(2023, 5, 1, 0, 0, 0, 0, time.UTC)

// hours are the rows of so many hours: closes of 101, 102 ... with a low of 90.
func hours(from time.Time, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d,%d.00000000,%d.5,90.00000000,%d,%d.25000000\n", from.Add(time.Duration(i)*time.Hour).UnixMilli(), 100+i, 101+i, 101+i, i+1)
	}
	return b.String()
}

func readReplay(t *testing.T, folder string) *Replay {
	t.Helper()
	r, err := ReadReplay(folder)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReplay_ServesTheFileAndClosesCandlesAsTimeGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		write(t, folder, "BTCUSDT-1h.csv.gz", replayHeader+hours(replayStart, 48))
		write(t, folder, "ETHUSDT-4h.csv", "1682899200000,1,2,0.5,1.5,7\n1682913600000,1.5,2,1,1.75,8\n")
		write(t, folder, "INVENTORY.tsv", "ignored")
		r := readReplay(t, folder)
		if r.Dates() != "2023-05-01/2023-05-02" {
			t.Errorf("dates %s", r.Dates())
		}
		s := New(Options{Replay: r, Now: r.Clock(3, 60)}) // a second is a minute
		rows := func(query string) (all [][]any) {
			t.Helper()
			w := get(t, s, "klines?"+query, &all)
			if w.Header().Get("X-Tidemark-Replay") != "2023-05-01/2023-05-02" || w.Header().Get("X-Tidemark-Simulated") != "true" {
				t.Errorf("headers %v", w.Header())
			}
			return all
		}
		got := rows("symbol=BTCUSDT&interval=1h")
		if len(got) != 46 {
			t.Fatalf("%d rows at the start", len(got))
		}
		if row := got[44]; row[1] != "144.00000000" || row[2] != "145.50000000" || row[3] != "90.00000000" || row[4] != "145.00000000" || row[5] != "45.25000000" {
			t.Errorf("the last closed row is %v", row)
		}
		if row := got[45]; row[1] != "145.00000000" || row[4] != "145.00000000" || row[2] != "145.00000000" || row[5] != "0.00000000" {
			t.Errorf("the forming row knows the future: %v", row)
		}
		day := rows("symbol=BTCUSDT&interval=1d&limit=2")
		if row := day[0]; row[1] != "100.00000000" || row[2] != "124.50000000" || row[4] != "124.00000000" || row[5] != "306.00000000" || row[8] != 24.0 {
			t.Errorf("the first day is %v", row)
		}
		if row := day[1]; row[4] != "145.00000000" || row[5] != "740.25000000" {
			t.Errorf("the forming day is %v", row)
		}
		if got := rows("symbol=BTCUSDT&interval=15m"); len(got) != 0 {
			t.Errorf("%d quarters of an hour from hours", len(got))
		}
		time.Sleep(61 * time.Second)
		if got := rows("symbol=BTCUSDT&interval=1h&limit=2"); got[0][4] != "146.00000000" || got[1][4] != "146.00000000" {
			t.Errorf("an hour later: %v", got)
		}
		var tick map[string]any
		get(t, s, "ticker/24hr?symbol=BTCUSDT", &tick)
		if tick["lastPrice"] != "146.00000000" || tick["openPrice"] != "123.00000000" {
			t.Errorf("ticker %v", tick)
		}
		if p := s.Pairs(); p[0].Status != "TRADING" || p[1].Status != "BREAK" || p[1].Kind != Halted {
			t.Errorf("pairs %+v", p)
		}
		time.Sleep(2 * time.Minute)
		if p := s.Pairs(); p[0].Status != "BREAK" {
			t.Errorf("after the end: %+v", p[0])
		}
		if got := rows("symbol=BTCUSDT&interval=1h&limit=1"); got[0][4] != "148.00000000" {
			t.Errorf("after the end: %v", got)
		}
	})
}

func TestReplay_IsServedAsAnyVenue(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, "BTCUSDT-1h.csv", hours(replayStart, 30))
	write(t, folder, "BTCUSDT_PERP-1h.csv", strings.ReplaceAll(hours(replayStart, 30), "90.0", "80.0"))
	r := readReplay(t, folder)
	for _, venue := range Venues() {
		s := New(Options{Venue: venue, Replay: r, Now: r.Clock(2, 1)})
		want := "90"
		if s.dialect.swap {
			want = "80"
		}
		if n := len(s.Pairs()); n != 1 {
			t.Errorf("%s: %d pairs", venue, n)
		}
		v, ok := venueTests[venue]
		if !ok {
			continue
		}
		if body := send(s, v.klines).Body.String(); !json.Valid([]byte(body)) || strings.Count(body, want) < 17 {
			t.Errorf("%s: %s", venue, body)
		}
	}
}

func TestReplay_JoinsMonthsAndTakesTheFinestInterval(t *testing.T) {
	folder := t.TempDir()
	micro := strings.ReplaceAll(hours(replayStart.AddDate(0, 1, 0), 3), "00000,", "00000000,") // as since 2025
	write(t, folder, "BTCUSDT-1h-2023-06.zip", micro)
	write(t, folder, "BTCUSDT-1h-2023-05.zip", strings.ReplaceAll(hours(replayStart, 3), "\n", ",1682902799999,5,17,1,1,0\n"))
	write(t, folder, "BTCUSDT-1d.csv", "not read")
	s := readReplay(t, folder).series
	if len(s) != 1 || len(s[0].bars) != 6 || s[0].iv.name != "1h" || s[0].tickDecimals != 1 || s[0].lotDecimals != 2 {
		t.Fatalf("%+v", s[0])
	}
	if b := s[0].bars[1]; b != (bar{uint32(replayStart.Unix() + 3600), 1010, 1025, 900, 1020, 17, 225}) {
		t.Errorf("%+v", b)
	}
	if b := s[0].bars[3]; int64(b.open) != replayStart.AddDate(0, 1, 0).Unix() || b.trades != 1 {
		t.Errorf("%+v", b)
	}
}

func TestReplay_SaysWhatIsWrongWithAFile(t *testing.T) {
	good := hours(replayStart, 2)
	next := itoa(replayStart.Add(2 * time.Hour).UnixMilli())
	for _, c := range []struct{ name, content, want string }{
		{"candles.csv", good, "candles.csv is not named SYMBOL-INTERVAL, as in BTCUSDT-1h.csv"},
		{"BTCUSDT-7h.csv", good, "BTCUSDT-7h.csv: the interval 7h is none from 1s to 1d"},
		{"BTCXYZ-1h.csv", good, "BTCXYZ-1h.csv: the symbol BTCXYZ ends in no known quote asset, such as USDT"},
		{"notes.txt", good, "has no file of candles, such as BTCUSDT-1h.csv"},
		{"BTCUSDT-1h.csv", "", "BTCUSDT-1h.csv has no candles"},
		{"BTCUSDT-1h.csv", replayHeader, "BTCUSDT-1h.csv has no candles"},
		{"BTCUSDT-1h.csv", good + "soon,1,2,1,1,1\n", `BTCUSDT-1h.csv, line 3: "soon" is not a time in milliseconds`},
		{"BTCUSDT-1h.csv", good + next + ",1,2,1\n", "BTCUSDT-1h.csv, line 3: 4 columns, want open time, open, high, low, close and volume"},
		{"BTCUSDT-1h.csv", good + next + ",1,2,0,1,1\n", `BTCUSDT-1h.csv, line 3: "0" is not a price`},
		{"BTCUSDT-1h.csv", good + next + ",1,NaN,1,1,1\n", `BTCUSDT-1h.csv, line 3: "NaN" is not a price`},
		{"BTCUSDT-1h.csv", good + next + ",1,2,1,1,-1\n", `BTCUSDT-1h.csv, line 3: "-1" is not a volume`},
		{"BTCUSDT-1h.csv", good + next + ",5,2,1,1,1\n", "BTCUSDT-1h.csv, line 3: the open 5 and the close 1 are not between the low 1 and the high 2"},
		{"BTCUSDT-1h.csv", good + good, "BTCUSDT-1h.csv, line 3: 2023-05-01T00:00:00Z is not after the row before"},
		{"BTCUSDT-4h.csv", good, "BTCUSDT-4h.csv, line 2: 2023-05-01T01:00:00Z is not the open of a candle of 4h"},
		{"BTCUSDT-1h.csv.gz", "", "BTCUSDT-1h.csv.gz has no candles"},
	} {
		folder := t.TempDir()
		write(t, folder, c.name, c.content)
		if _, err := ReadReplay(folder); err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	folder := t.TempDir()
	os.WriteFile(filepath.Join(folder, "BTCUSDT-1h.csv.gz"), []byte("plain"), 0o600)
	if _, err := ReadReplay(folder); err == nil || !strings.HasPrefix(err.Error(), "BTCUSDT-1h.csv.gz: ") {
		t.Errorf("not compressed: %v", err)
	}
	folder = t.TempDir()
	write(t, folder, "BTCUSDT-1h-2023-05.csv", good)
	write(t, folder, "BTCUSDT-1h-2023-06.csv", good)
	if _, err := ReadReplay(folder); err == nil || err.Error() != "BTCUSDT-1h-2023-06.csv begins before BTCUSDT-1h-2023-05.csv ends" {
		t.Errorf("overlapping months: %v", err)
	}
	if _, err := ReadReplay(filepath.Join(folder, "none")); err == nil {
		t.Error("no folder")
	}
}

func TestReplay_OfManyDecimalsKeepsNineDigits(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, "ONEUSDT-1h.csv", "1682899200000,12345.12345678,12345.12345678,12345.12345678,12345.12345678,123456789012.5\n")
	s := readReplay(t, folder).series[0]
	if b := s.bars[0]; s.tickDecimals != 5 || b.o != 1234512346 || s.lotDecimals != 0 && s.lotDecimals != 3 || b.volume == 0 {
		t.Errorf("%+v", s)
	}
}
