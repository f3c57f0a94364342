package api

// These tests pin how a body is read: a value is refused at its first token that is not
// as it must be, so that none of what follows is held.

import (
	"errors"
	"io"
	"strings"
	"testing"

	"tidemark/service"
)

// endless repeats a text after a beginning. It fails once more has been read than a
// decoder needs to see the beginning.
type endless struct {
	text string
	left int
}

var errReadOn = errors.New("it was read on")

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, errReadOn
	}
	n := copy(p, e.text)
	e.text = e.text[n/2:] + e.text[:n/2]
	e.left -= n
	return n, nil
}

func TestBody_IsRefusedAtTheFirstTokenThatIsWrong(t *testing.T) {
	for begin, pointer := range map[string]string{
		`[`:                              "",
		`{"symbol":[`:                    "/symbol",
		`{"symbols":[[`:                  "/symbols/0",
		`{"symbols":[{"a":[`:             "/symbols/0",
		`{"all":[`:                       "/all",
		`{"exchange":[`:                  "/exchange",
		`{"interval":[`:                  "/interval",
		`{"kline_limit":[`:               "/kline_limit",
		`{"store":[`:                     "/store",
		`{"klines":[[[`:                  "/klines/0/0",
		`{"klines":[[1,1,1,1,1,1,[`:      "/klines/0/6",
		`{"klines":{"a":[`:               "/klines",
		`{"nonsense":[`:                  "/nonsense",
		`{"symbol":"BTCUSDT","symbol":[`: "/symbol",
		`{"tick_size":[`:                 "/tick_size",
	} {
		in := io.MultiReader(strings.NewReader(begin), &endless{text: "1,1,1,1,", left: 64 << 10})
		_, err := decodeAnalyze(&tokens{r: in}, service.MaxKlineLimit)
		var p *problem
		if !errors.As(err, &p) || p.pointer != pointer || strings.Contains(p.detail, "broke off") {
			t.Errorf("%s…: %v, %+v", begin, err, p)
		}
	}
}

func TestBody_NullIsNoValue(t *testing.T) {
	for _, name := range []string{"symbol", "symbols", "all", "klines", "exchange", "interval", "kline_limit", "store", "tick_size"} {
		_, err := decodeAnalyze(strings.NewReader(`{"`+name+`":null}`), service.MaxKlineLimit)
		var p *problem
		if !errors.As(err, &p) || p.pointer != "/"+name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decodeAnalyze(strings.NewReader(`null`), service.MaxKlineLimit); err == nil || !strings.Contains(err.Error(), "object") {
		t.Errorf("null: %v", err)
	}
}
