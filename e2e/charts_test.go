package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark/exchange/simulated"
)

// TestCharts_OfRealPairs takes the pictures of docs/charts.md again, from a folder with
// hourly candles of many pairs in files SYMBOL-1h.csv.gz, also in its subfolders:
//
//	UPDATE_CHARTS=FOLDER go test -count=1 -run TestCharts -v ./e2e
//
// Otherwise it holds that they are there, small and described. The rule that chooses the
// pairs and moments is in docs/charts.md; no figure of a level is part of it.
func TestCharts_OfRealPairs(t *testing.T) {
	const pictures, least = 20, 1000 // least: candles before the moment
	folder := os.Getenv("UPDATE_CHARTS")
	if folder == "" {
		t.Log("UPDATE_CHARTS names no folder of candles: the pictures are not made again, only checked")
		page, sum := text(t, "docs/charts.md"), 0
		files, _ := filepath.Glob("docs/charts/*.png")
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sum += len(b)
			if kind := http.DetectContentType(b); kind != "image/png" || len(b) > 25<<10 {
				t.Errorf("%s is %s of %d bytes", file, kind, len(b))
			}
			if !strings.Contains(page, "](charts/"+filepath.Base(file)+")") {
				t.Errorf("docs/charts.md does not show %s", file)
			}
		}
		if len(files) != pictures || sum > 600_000 {
			t.Errorf("%d pictures of %d bytes, want %d of at most 600,000", len(files), sum, pictures)
		}
		return
	}
	var files []string
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, "-1h.csv.gz") && !strings.Contains(path, "_PERP") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no candles, that is no file SYMBOL-1h.csv.gz: %v", folder, err)
	}
	slices.Sort(files)
	t.Logf("%d series", len(files))
	old, _ := filepath.Glob("docs/charts/*.png")
	for _, file := range old {
		os.Remove(file)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for i := 0; i < pictures; {
		interval, hours := "1h", int64(1)
		if i%4 == 3 {
			interval, hours = "4h", 4
		}
		from := time.Date(2018+i%7, 1, 1, 0, 0, 0, 0, time.UTC)
		to := from.AddDate(1, 0, 0)
		if from.Year() == 2024 { // from May 2024 on is the final period, see docs/final-period.md
			to = from.AddDate(0, 4, 0)
		}
		file := files[random.IntN(len(files))]
		moment := from.Add(time.Duration(random.Int64N(int64(to.Sub(from)/time.Hour)/hours)*hours) * time.Hour)
		symbol := strings.TrimSuffix(filepath.Base(file), "-1h.csv.gz")
		rows := recorded(t, file, moment.Add(-8000*time.Hour), moment.Add(time.Duration(hours)*time.Hour))
		if n := int64(len(rows)); n < (least+1)*hours || rows[n-hours].open != moment.UnixMilli() {
			continue // the pair did not trade then, or not long enough
		}
		data := t.TempDir()
		var b strings.Builder
		for _, r := range rows {
			b.WriteString(r.line + "\n")
		}
		if err := os.WriteFile(filepath.Join(data, symbol+"-1h.csv"), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		replay, err := simulated.ReadReplay(data)
		if err != nil {
			t.Fatal(err)
		}
		_, url := market(t, simulated.Options{Replay: replay, Now: replay.Clock(int(hours), 1)})
		s := serve(t, "EXCHANGE_BASE_URL="+url, "ANALYSIS_INTERVAL="+interval, "DATABASE_URL="+sqliteURL(t))
		if j := s.sweepTo(t); j.Done != 1 || j.Failed > 0 {
			t.Logf("passed over %s: a sweep skips it, or fails: %+v", symbol, j)
			s.end(t)
			continue
		}
		picture := small(t, fetch(t, s.base+"/levels/"+symbol+"/chart.png?theme=light&width=900&height=480&candles=168&faint=true"))
		i++
		name := fmt.Sprintf("docs/charts/%02d-%s-%s.png", i, symbol, interval)
		if err := os.WriteFile(name, picture, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s of %s: %d bytes", name, moment.Format("2006-01-02 15:04"), len(picture))
		s.end(t)
	}
}

// fetch returns the body of a reply.
func fetch(t *testing.T, url string) []byte {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", url, res.Status, err, b)
	}
	return b
}

// small returns a PNG of the same picture with at most 96 colours: the most frequent,
// which are all but some shades at the edges of letters.
func small(t *testing.T, picture []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	count := map[color.Color]int{}
	in := full.Bounds()
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			count[full.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	few := image.NewPaletted(in, colours[:min(len(colours), 96)])
	draw.Draw(few, in, full, in.Min, draw.Src)
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, few); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type recordedRow struct {
	open int64 // Unix ms
	line string
}

// recorded returns the rows of a file of candles that open from up to, not including, to.
func recorded(t *testing.T, file string, from, to time.Time) (rows []recordedRow) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		first, _, _ := strings.Cut(lines.Text(), ",")
		open, err := strconv.ParseInt(first, 10, 64)
		if err == nil && open >= from.UnixMilli() && open < to.UnixMilli() {
			rows = append(rows, recordedRow{open, lines.Text()})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return rows
}
