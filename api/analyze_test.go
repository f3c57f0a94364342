// Pins POST /analyze: what it takes, what it refuses and how it names the fault,
// and that bodies hold no slot and no more memory than there is for them.
package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/job"
	"tidemark/levels"
	"tidemark/service"
	"tidemark/wire"
)

type analysisJSON = wire.Analysis

type levelJSON = wire.Level

type jobJSON = wire.Job

func TestAnalyze_OneSymbolIsAnsweredAndStored(t *testing.T) {
	h := start(t)
	rec := h.do("POST", "/analyze", `{"symbol":"btc-usdt"}`)
	want(t, rec, 200)
	a := decode[analysisJSON](t, rec)
	if *a.Symbol != "BTCUSDT" || *a.Exchange != "simulated" || a.Interval != "1h" || a.Klines != 500 || !a.Simulated {
		t.Errorf("%+v", a)
	}
	if a.Stale || a.StaleReason != nil || a.OddsReason != nil {
		t.Errorf("fresh, with odds: %+v", a)
	}
	if len(a.Supports)+len(a.Resistances) == 0 { // at an extreme of the market one side is empty
		t.Fatal("no levels in a market that swings")
	}
	for i, l := range a.Supports {
		if l.HoldProbability == nil || *l.HoldProbability <= 0 || *l.HoldProbability >= 1 || l.Samples == nil || *l.Samples == 0 {
			t.Errorf("support %d has no odds: %+v", i, l)
		}
		if l.Price > a.LastPrice || l.DistancePct > 0 || i > 0 && l.Price >= a.Supports[i-1].Price {
			t.Errorf("support %d: %+v", i, l)
		}
	}
	for i, l := range a.Resistances {
		if l.Price <= a.LastPrice || l.DistancePct < 0 || i > 0 && l.Price <= a.Resistances[i-1].Price {
			t.Errorf("resistance %d: %+v", i, l)
		}
	}
	stored := h.get("/levels/BTCUSDT")
	want(t, stored, 200)
	if !bytes.Equal(stored.Body.Bytes(), rec.Body.Bytes()) {
		t.Errorf("stored %s\nanswered %s", stored.Body, rec.Body)
	}
}

func TestAnalyze_NothingIsStoredWhenNotAsked(t *testing.T) {
	h := start(t)
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT","store":false,"interval":"4h","kline_limit":100}`), 200)
	want(t, h.get("/levels/BTCUSDT?interval=4h"), 404)
}

// What everybody reads is of the configured number of klines, unless the request says
// that another one is to be stored.
func TestAnalyze_AnotherKlineLimitIsStoredOnlyWhenSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		stored := func(klines int) {
			t.Helper()
			h.api.Invalidate("", "", nil)
			if a := decode[analysisJSON](t, h.get("/levels/BTCUSDT")); a.Klines != klines {
				t.Errorf("an analysis of %d klines is stored, want %d", a.Klines, klines)
			}
		}
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
		stored(500)
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT","kline_limit":100}`), 200)
		stored(500)
		j := decode[jobJSON](t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT","kline_limit":100}`, "Prefer", "respond-async"))
		finished(t, h, j.ID)
		stored(500)
		for _, several := range []string{`"symbols":["BTCUSDT","ETHUSDT"]`, `"all":true`} {
			rec := h.do("POST", "/analyze", `{`+several+`,"kline_limit":100}`)
			want(t, rec, 400)
			if p := problemOf(t, rec); *p.Errors[0].Pointer != "/store" {
				t.Errorf("%+v", p)
			}
		}
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT","kline_limit":100,"store":true}`), 200)
		stored(100)
		want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT","kline_limit":500}`), 200)
		stored(500)
		finished(t, h, decode[jobJSON](t, h.do("POST", "/analyze", `{"symbols":["BTCUSDT","ETHUSDT"],"kline_limit":100,"store":true}`)).ID)
		stored(100)
	})
}

func TestAnalyze_PreferenceSeveralAndAllBecomeJobs(t *testing.T) {
	h := start(t)
	rec := h.do("POST", "/analyze", `{"symbol":"BTCUSDT","faint":true}`, "Prefer", "respond-async")
	want(t, rec, 400)
	if !strings.Contains(rec.Body.String(), "/faint") {
		t.Errorf("faint levels of a job: %s", rec.Body)
	}
	for _, c := range []struct {
		body, prefer, applied, kind string
		total                       int
	}{
		{`{"symbol":"BTCUSDT"}`, "respond-async", "respond-async", "analysis", 1},
		{`{"symbol":"ETHUSDT"}`, "wait=5, Respond-Async; x=y", "respond-async", "analysis", 1},
		{`{"symbols":["BTC/USDT","ETHUSDT","BTCUSDT","NOPE"]}`, "", "", "analysis", 3},
		{`{"all":true}`, "respond-async", "", "sweep", 5},
	} {
		rec := h.do("POST", "/analyze", c.body, "Prefer", c.prefer)
		want(t, rec, 202)
		j := decode[jobJSON](t, rec)
		if j.Kind != c.kind || rec.Header().Get("Location") != "/jobs/"+j.ID || rec.Header().Get("Preference-Applied") != c.applied {
			t.Errorf("%s: %+v, header %v", c.body, j, rec.Header())
		}
		end := finished(t, h, j.ID)
		if end.State != "completed" || end.SymbolsTotal != c.total {
			t.Errorf("%s: ended as %+v", c.body, end)
		}
	}
	want(t, h.get("/levels/PEPEUSDT"), 200)
}

// finished waits for a job to end and returns it.
func finished(t testing.TB, h *harness, id string) jobJSON {
	t.Helper()
	for {
		j := decode[jobJSON](t, h.get("/jobs/"+id))
		if job.State(j.State).Final() {
			return j
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAnalyze_OwnKlinesAreAnsweredAndNeverStored(t *testing.T) {
	h := start(t)
	var answers [][]byte
	for _, body := range []string{
		klinesBody(300, false),
		strings.Replace(klinesBody(300, false), `{"interval":"1h",`, `{`, 1), // the interval comes last
	} {
		if !strings.Contains(body, `"interval"`) {
			body = strings.TrimSuffix(body, "}") + `,"interval":"1h"}`
		}
		rec := h.do("POST", "/analyze", body)
		want(t, rec, 200)
		a := decode[analysisJSON](t, rec)
		if a.Symbol != nil || a.Exchange != nil || a.Simulated || a.Klines != 300 || !a.Stale || a.StaleReason == nil {
			t.Errorf("%+v", a)
		}
		clean, _, _ := bytes.Cut(rec.Body.Bytes(), []byte(`"computed_at"`))
		_, levels, _ := bytes.Cut(rec.Body.Bytes(), []byte(`"supports"`))
		answers = append(answers, append(bytes.Clone(clean), levels...))
	}
	if !bytes.Equal(answers[0], answers[1]) {
		t.Error("the answer depends on the order of the fields")
	}
	if len(h.store.snaps) != 0 {
		t.Errorf("stored: %v", h.store.snaps)
	}
}

func TestAnalyze_RowsOfExchangesAreUnderstood(t *testing.T) {
	h := start(t)
	rec := h.do("POST", "/analyze", strings.Replace(klinesBody(200, true), `{`, `{"exchange":"binance-usdm","kline_limit":150,`, 1))
	want(t, rec, 200)
	a := decode[analysisJSON](t, rec)
	if a.Klines != 150 || a.Exchange == nil || *a.Exchange != "binance-usdm" {
		t.Errorf("%+v", a)
	}
}

func TestAnalyze_OwnKlinesOnPreferenceAreAJobWithItsResult(t *testing.T) {
	h := start(t)
	rec := h.do("POST", "/analyze", klinesBody(100, false), "Prefer", "respond-async")
	want(t, rec, 202)
	j := decode[jobJSON](t, rec)
	if j.State != "completed" || j.Result == nil || j.Result.Klines != 100 {
		t.Errorf("%s", rec.Body)
	}
	want(t, h.get("/jobs/"+j.ID), 200)
}

func TestAnalyze_RefusalsNameWhatIsWrong(t *testing.T) {
	h := start(t)
	row := func(change func(k *levels.Candle)) string { // the fourth of ten
		list := klines(10)
		change(&list[3])
		b := []byte(`{"interval":"1h","klines":[`)
		for i, k := range list {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendKline(b, k)
		}
		return string(b) + "]}"
	}
	now := time.Now().UnixMilli() / 3600_000 * 3600_000
	for name, c := range map[string]struct {
		body    string
		status  int
		code    string
		pointer string // "-": none
		says    string
	}{
		"empty body":          {" ", 400, "invalid_request", "", "empty"},
		"no JSON":             {"symbol=BTCUSDT", 400, "invalid_request", "", "JSON"},
		"cut off":             {`{"symbol":"BTC`, 400, "invalid_request", "/symbol", "JSON"},
		"array":               {`["BTCUSDT"]`, 400, "invalid_request", "", "object"},
		"trailing data":       {`{"symbol":"BTCUSDT"} {}`, 400, "invalid_request", "", "follows"},
		"trailing rubbish":    {`{"symbol":"BTCUSDT"}]`, 400, "invalid_request", "", ""},
		"nothing asked":       {`{}`, 400, "invalid_request", "", "one of"},
		"unknown field":       {`{"symbol":"BTCUSDT","intervall":"1h"}`, 400, "invalid_request", "/intervall", "unknown field"},
		"repeated field":      {`{"symbol":"BTCUSDT","symbol":"ETHUSDT"}`, 400, "invalid_request", "/symbol", "twice"},
		"symbol and all":      {`{"symbol":"BTCUSDT","all":true}`, 400, "invalid_request", "/all", "only one"},
		"symbol and klines":   {`{"symbol":"BTCUSDT","interval":"1h","klines":[]}`, 400, "invalid_request", "/klines", "only one"},
		"all false":           {`{"all":false}`, 400, "invalid_request", "/all", "true"},
		"symbol a number":     {`{"symbol":5}`, 400, "invalid_request", "/symbol", "string"},
		"symbol null":         {`{"symbol":null}`, 400, "invalid_request", "/symbol", "string"},
		"symbol empty":        {`{"symbol":""}`, 400, "invalid_request", "/symbol", "empty"},
		"symbol with a space": {`{"symbol":"BTC USDT"}`, 400, "invalid_request", "/symbol", "BTC USDT"},
		"symbol too long":     {`{"symbol":"` + strings.Repeat("A", 41) + `"}`, 400, "invalid_request", "/symbol", "symbol"},
		"symbols empty":       {`{"symbols":[]}`, 400, "invalid_request", "/symbols", "empty"},
		"symbols a string":    {`{"symbols":"BTCUSDT"}`, 400, "invalid_request", "/symbols", "list"},
		"symbols with null":   {`{"symbols":["BTCUSDT",null]}`, 400, "invalid_request", "/symbols/1", "string"},
		"too many symbols":    {`{"symbols":[` + strings.Repeat(`"A",`, 500) + `"A"]}`, 400, "invalid_request", "/symbols/500", "500"},
		"interval unknown":    {`{"symbol":"BTCUSDT","interval":"1H"}`, 400, "invalid_request", "/interval", "15m"},
		"interval a number":   {`{"symbol":"BTCUSDT","interval":60}`, 400, "invalid_request", "/interval", "string"},
		"limit low":           {`{"symbol":"BTCUSDT","kline_limit":99}`, 400, "invalid_request", "/kline_limit", "100"},
		"limit high":          {`{"symbol":"BTCUSDT","kline_limit":10001}`, 400, "invalid_request", "/kline_limit", "10000"},
		"limit a fraction":    {`{"symbol":"BTCUSDT","kline_limit":100.5}`, 400, "invalid_request", "/kline_limit", "whole"},
		"limit a string":      {`{"symbol":"BTCUSDT","kline_limit":"500"}`, 400, "invalid_request", "/kline_limit", "whole"},
		"store a string":      {`{"symbol":"BTCUSDT","store":"yes"}`, 400, "invalid_request", "/store", "true or false"},
		"several not stored":  {`{"all":true,"store":false}`, 400, "invalid_request", "/store", "stor"},
		"klines to be stored": {`{"interval":"1h","klines":[],"store":true}`, 400, "invalid_request", "/store", "stor"},
		"klines no interval":  {`{"klines":[[1,1,1,1,1,1]]}`, 400, "invalid_request", "/interval", "interval"},
		"exchange unknown":    {`{"symbol":"BTCUSDT","exchange":"kraken"}`, 422, "unknown_exchange", "-", "kraken"},
		"exchange nonsense":   {`{"symbol":"BTCUSDT","exchange":"A B"}`, 400, "invalid_request", "/exchange", "exchange"},
		"symbol unknown":      {`{"symbol":"NOPEUSDT"}`, 422, "unknown_symbol", "-", "NOPEUSDT"},
		"pair too young":      {`{"symbol":"YOUNGUSDT"}`, 422, "too_few_candles", "-", "50"},
		"klines too few":      {klinesBody(49, false), 422, "too_few_candles", "-", "50"},
		"klines none":         {`{"interval":"1h","klines":[]}`, 422, "too_few_candles", "-", "0"},
		"klines an object":    {`{"interval":"1h","klines":{}}`, 400, "invalid_request", "/klines", "list"},
		"row an object":       {`{"interval":"1h","klines":[{}]}`, 400, "invalid_request", "/klines/0", "row"},
		"row short":           {`{"interval":"1h","klines":[[1,2,3,4,5]]}`, 400, "invalid_request", "/klines/0", "6"},
		"row long":            {`{"interval":"1h","klines":[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]]}`, 400, "invalid_request", "-", "16"},
		"row with null":       {`{"interval":"1h","klines":[[1,2,3,null,5,6]]}`, 400, "invalid_request", "/klines/0/3", "number"},
		"row with NaN":        {`{"interval":"1h","klines":[[1,2,3,"NaN",5,6]]}`, 400, "invalid_request", "/klines/0/3", "NaN"},
		"row with bare NaN":   {`{"interval":"1h","klines":[[1,2,3,NaN,5,6]]}`, 400, "invalid_request", "/klines/0/3", "JSON"},
		"row with infinity":   {`{"interval":"1h","klines":[[1,2,1e999,2,2,6]]}`, 400, "invalid_request", "/klines/0/2", "number"},
		"row with hex":        {`{"interval":"1h","klines":[[1,2,"0x10",2,2,6]]}`, 400, "invalid_request", "/klines/0/2", "number"},
		"high below low":      {row(func(k *levels.Candle) { k.High = k.Low * 0.9 }), 400, "invalid_request", "/klines/3", "kline 3"},
		"price zero":          {row(func(k *levels.Candle) { k.Low = 0 }), 400, "invalid_request", "/klines/3", "positive"},
		"volume negative":     {row(func(k *levels.Candle) { k.Volume = -1 }), 400, "invalid_request", "/klines/3", "volume"},
		"repeated":            {row(func(k *levels.Candle) { k.OpenTime -= 3600_000 }), 400, "invalid_request", "/klines/3", "repeated"},
		"out of order":        {row(func(k *levels.Candle) { k.OpenTime -= 7200_000 }), 400, "invalid_request", "/klines/3", "order"},
		"too close":           {row(func(k *levels.Candle) { k.OpenTime -= 1000 }), 400, "invalid_request", "/klines/3", "less than one interval"},
		"too close, late interval": {strings.Replace(row(func(k *levels.Candle) { k.OpenTime -= 1800_000 }), `"interval":"1h",`, ``, 1)[:1] +
			strings.TrimSuffix(strings.Replace(row(func(k *levels.Candle) { k.OpenTime -= 1800_000 }), `{"interval":"1h",`, ``, 1), "}") + `,"interval":"1h"}`,
			400, "invalid_request", "/klines/3", "less than one interval"},
		"seconds, too close": {`{"interval":"1h","klines":[[1763823600,1,1,1,1,1],[1763827199,1,1,1,1,1]]}`, 400, "invalid_request", "/klines/1", "less than one interval"},
		"not whole":          {`{"interval":"1h","klines":[[1.5,1,1,1,1,1]]}`, 400, "invalid_request", "/klines/0", "milliseconds"},
		"still open":         {fmt.Sprintf(`{"interval":"1h","klines":[[%d,1,1,1,1,1]]}`, now), 400, "invalid_request", "-", "closed"},
		"future":             {fmt.Sprintf(`{"interval":"1h","klines":[[%d,1,1,1,1,1]]}`, now+1e11), 400, "invalid_request", "-", "in the future"},
		"too many klines":    {manyKlines(), 400, "invalid_request", "/klines/10000", "10000"},
		"long and no klines": {`{"symbols":["` + strings.Repeat(" ", 17<<10) + `"]}`, 400, "invalid_request", "/symbols", "klines"},
	} {
		rec := h.do("POST", "/analyze", c.body)
		if rec.Code != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, rec.Code, c.status, rec.Body)
			continue
		}
		p := problemOf(t, rec)
		pointer := "-"
		if len(p.Errors) > 0 {
			pointer = *p.Errors[0].Pointer
		}
		if p.Code != c.code || c.pointer != "-" && pointer != c.pointer || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s: want %s at %q saying %q: %s", name, c.code, c.pointer, c.says, rec.Body)
		}
	}
	if len(h.store.snaps) != 0 {
		t.Error("something refused was stored")
	}
}

func TestAnalyze_ALongBodyMustCarryKlines(t *testing.T) {
	rec := start(t).do("POST", "/analyze", `{"symbol":"BTCUSDT"`+strings.Repeat(" ", 20<<10)+`}`)
	if rec.Code != 400 || !strings.Contains(problemOf(t, rec).Detail, "klines") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestAnalyze_MediaTypes(t *testing.T) {
	h := start(t)
	for media, status := range map[string]int{
		"": 200, "application/json": 200, "application/json; charset=utf-8": 200, "application/vnd.x+json": 200,
		"application/x-www-form-urlencoded": 200, "text/plain": 415, "multipart/form-data; boundary=x": 415, "application/xml": 415, "/": 415,
	} {
		r := localRequest("POST", "/analyze", strings.NewReader(`{"symbol":"BTCUSDT"}`))
		if media != "" {
			r.Header.Set("Content-Type", media)
		}
		if rec := h.send(r); rec.Code != status {
			t.Errorf("%q: %d, want %d", media, rec.Code, status)
		}
	}
	want(t, h.do("POST", "/analyze?symbol=BTCUSDT", `{"symbol":"BTCUSDT"}`), 400)
}

// counting counts what is read of a body.
type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestAnalyze_ABodyOf10MiBIsRefusedUnread(t *testing.T) {
	h := start(t)
	long := []byte(`{"interval":"1h","klines":[`)
	for k := range slices.Values(klines(10_000)) { // with more behind them than any exchange has
		long = append(long, strings.TrimSuffix(string(appendKline(nil, k)), "]")...)
		long = append(append(append(long, `,"`...), strings.Repeat("0", 1000)...), `"],`...)
	}
	for _, declared := range []bool{true, false} {
		body := &counting{r: bytes.NewReader(long)}
		r := localRequest("POST", "/analyze", body)
		most := 0
		if r.ContentLength = 10<<20 + 30; !declared {
			r.ContentLength = -1
			most = defaultBodyBytes + 64<<10
		}
		rec := h.send(r)
		want(t, rec, 413)
		if problemOf(t, rec).Code != "body_too_large" || body.n > most {
			t.Errorf("declared %v: %d bytes were read: %s", declared, body.n, rec.Body)
		}
	}
	addr := serving(t, h, nil)
	res, err := http.Post("http://"+addr+"/analyze", "application/json", io.MultiReader(bytes.NewReader(long)))
	if err == nil { // the server may also hang up while the client still sends
		defer res.Body.Close()
		if res.StatusCode != 413 {
			t.Errorf("over a socket: %d", res.StatusCode)
		}
	}
}

// What uploads hold has a bound of its own, and those beyond it are not read.
func TestAnalyze_LargeBodiesWaitUnreadForTheMemoryOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := klinesBody(2000, true)
		h := start(t, func(c *Config, _ *service.Config) {
			c.UploadBytes = uploadBytes(int64(len(sent)), service.MaxKlineLimit)
		})
		upload := func(r io.Reader) *httptest.ResponseRecorder {
			req := localRequest("POST", "/analyze", r)
			req.ContentLength = int64(len(sent))
			return h.send(req)
		}
		open := make(chan struct{})
		first := make(chan int)
		go func() {
			first <- upload(io.MultiReader(strings.NewReader(sent[:50_000]), until(open), strings.NewReader(sent[50_000:]))).Code
		}()
		synctest.Wait()
		unread := &counting{r: strings.NewReader(sent)}
		if rec := upload(unread); rec.Code != 503 || problemOf(t, rec).Code != "busy" || rec.Header().Get("Retry-After") != "2" || unread.n > 0 {
			t.Errorf("beyond the bound: %d, %d bytes read, %v %s", rec.Code, unread.n, rec.Header(), rec.Body)
		}
		if refused := metric(t, h, `tidemark_http_held_refused_total`); refused != 1 {
			t.Errorf("%v refusals were counted", refused)
		}
		second := make(chan int)
		go func() { second <- upload(strings.NewReader(sent)).Code }()
		synctest.Wait()
		close(open)
		if one, two := <-first, <-second; one != 200 || two != 200 {
			t.Errorf("once there is room: %d and %d", one, two)
		}
		if held := h.api.uploads.inUse(); held != 0 {
			t.Errorf("%d bytes are still held", held)
		}
	})
}

// A body that stops half way keeps nobody waiting who has a slot to wait for.
func TestAnalyze_BodiesThatStopHoldNoSlot(t *testing.T) {
	h := start(t, func(_ *Config, s *service.Config) { s.Concurrency = 1 })
	h.api.uploadTimeout = time.Hour
	addr := serving(t, h, nil)
	for range 4 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		body := klinesBody(2000, true)
		fmt.Fprintf(c, "POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:len(body)/2])
	}
	for h.api.uploads.inUse() < 4*uploadBytes(0, 0) {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // for what they have sent to be read
	want(t, h.do("POST", "/analyze", klinesBody(2000, true)), 200)
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 200)
}

// No value of a body is held that is longer than one of a row can be.
func TestAnalyze_WhatIsNoKlineIsRefusedBeforeItIsRead(t *testing.T) {
	h := start(t)
	var keys strings.Builder
	for i := range 150_000 {
		fmt.Fprintf(&keys, `"k%d":0,`, i)
	}
	long := strings.Repeat("1", 1900<<10)
	for name, row := range map[string]string{
		"an object of 150,000 keys for a row":     `{` + keys.String() + `"k":0}`,
		"an object of 150,000 keys for a price":   `[1,{` + keys.String() + `"k":0}`,
		"an object of 150,000 keys behind":        `[1,1,1,1,1,1,{` + keys.String() + `"k":0}]`,
		"lists in lists":                          `[1,1,1,1,1,1,` + strings.Repeat("[", 9000),
		"white space":                             strings.Repeat(" \n\t\r", 500_000),
		"a long string for a price":               `[1,"` + long + `"`,
		"a long string behind":                    `[1,1,1,1,1,1,"` + long + `"`,
		"a long string of escapes":                `[1,1,1,1,1,1,"` + strings.Repeat(`\"`, 900<<10) + `"`,
		"a long number":                           `[` + long + `,`,
		"a long list of what is not used":         `[1,1,1,1,1,1` + strings.Repeat(`,""`, 500_000),
		"a long name where there should be a row": `"` + long + `"`,
	} {
		body := &counting{r: strings.NewReader(`{"interval":"1h","klines":[` + row + strings.Repeat(" ", 20<<10) + `]}`)}
		req := localRequest("POST", "/analyze", body)
		req.ContentLength = 1 << 20
		if rec := h.send(req); rec.Code != 400 {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
		if body.n > directBytes+64<<10 {
			t.Errorf("%s: %d bytes were read", name, body.n)
		}
	}
	body := &counting{r: strings.NewReader(`{"interval":"1h",` + strings.Repeat(" ", 1<<20) + `"klines":[]}`)}
	if rec := h.send(localRequest("POST", "/analyze", body)); rec.Code != 400 || body.n > 128<<10 {
		t.Errorf("white space before the klines: %d, %d bytes were read", rec.Code, body.n)
	}
}

// until is a reader that is empty, once it is closed.
type until chan struct{}

func (u until) Read([]byte) (int, error) {
	<-u
	return 0, io.EOF
}

func TestAnalyze_BeyondTheQueueItIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, func(_ *Config, s *service.Config) { s.Concurrency, s.QueueLimit = 1, 1 })
		open := make(chan struct{})
		h.exchange.CandlesFunc = slowly(h, open)
		replies := make(chan int, 2)
		for _, s := range []string{"BTCUSDT", "ETHUSDT"} {
			go func() { replies <- h.do("POST", "/analyze", `{"symbol":"`+s+`"}`).Code }()
			synctest.Wait()
		}
		rec := h.do("POST", "/analyze", `{"symbol":"PEPEUSDT"}`)
		want(t, rec, 503)
		if problemOf(t, rec).Code != "busy" || rec.Header().Get("Retry-After") != "2" {
			t.Errorf("%v %s", rec.Header(), rec.Body)
		}
		close(open)
		for range 2 {
			if code := <-replies; code != 200 {
				t.Errorf("status %d", code)
			}
		}
	})
}

func TestAnalyze_TheExchangesTroublesAreTold(t *testing.T) {
	h := start(t)
	for code, c := range map[string]struct {
		err    error
		status int
	}{
		"exchange_unavailable": {fmt.Errorf("%w: 5xx", service.ErrExchange), 502},
		"rate_limited":         {&service.RetryAfterError{Err: service.ErrRateLimited, Until: time.Now().Add(time.Minute)}, 503},
		"banned":               {&service.RetryAfterError{Err: service.ErrBanned, Until: time.Now().Add(time.Hour)}, 503},
	} {
		h.exchange.CandlesFunc = failing(c.err)
		for _, rec := range []*httptest.ResponseRecorder{h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), h.get("/klines/BTCUSDT")} {
			if rec.Code != c.status || problemOf(t, rec).Code != code {
				t.Errorf("%s: %d %s", code, rec.Code, rec.Body)
			}
			if after, _ := strconv.Atoi(rec.Header().Get("Retry-After")); c.status == 503 && after < 50 {
				t.Errorf("%s: Retry-After %d", code, after)
			}
		}
	}
	h.exchange.CandlesFunc = func(_ ctx, _ string, _ int64, _ *levels.Candles) error { panic("decoder") }
	want(t, h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`), 500)
}

func TestAnalyze_EqualInputGivesEqualBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		first := h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`).Body.String()
		time.Sleep(7 * time.Minute)
		second := h.do("POST", "/analyze", `{"symbol":"BTCUSDT"}`).Body.String()
		var a, b map[string]any
		json.Unmarshal([]byte(first), &a)
		json.Unmarshal([]byte(second), &b)
		if a["computed_at"] == b["computed_at"] {
			t.Fatal("the clock stands still; the test proves nothing")
		}
		at := func(m map[string]any) string { return `"computed_at":"` + m["computed_at"].(string) }
		if strings.Replace(first, at(a), "", 1) != strings.Replace(second, at(b), "", 1) {
			t.Errorf("%s\n%s", first, second)
		}
	})
}
