package bybit

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

func TestClient_SendsNothingForTenMinutesAfterTooManyRequests(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 30, 7, 0, time.UTC)
	market := simulated.New(simulated.Options{Venue: "bybit", Pairs: 1, Now: func() time.Time { return now }, WeightLimit: 3})
	server := httptest.NewServer(market)
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var banned time.Time
	c := exchange.New(Spot, exchange.Config{BaseURL: base, OnBan: func(until time.Time) { banned = until }})
	defer c.Close()
	var dst levels.Candles
	for range 9 {
		dst.Reset("1h", 0)
		err = c.Candles(t.Context(), "BTCUSDT", now.Add(-9*time.Hour).UnixMilli(), &dst, make([]byte, 32<<10))
	}
	later, ok := errors.AsType[*service.RetryAfterError](err)
	if !ok || !errors.Is(err, service.ErrBanned) || time.Until(later.Until) < 9*time.Minute || time.Until(banned) < 9*time.Minute {
		t.Errorf("%v, banned until %v", err, banned)
	}
	if s := market.Stats(); s.Refused != 1 || s.EarlyCount != 0 {
		t.Errorf("%+v", s)
	}
}
