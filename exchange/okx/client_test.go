package okx

import (
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"tidemark/exchange"
	"tidemark/exchange/exchangetest"
	"tidemark/exchange/simulated"
	"tidemark/levels"
	"tidemark/service"
)

// A sweep reserves its requests, but not those for candles older than the newest 1,400.
func TestClient_VisitsReadOlderCandlesToo(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 30, 7, 0, time.UTC)
	server := httptest.NewServer(simulated.New(simulated.Options{
		Venue: "okx", Pairs: 30, Seed: 5, Now: func() time.Time { return now }, LimitTimes: 100,
	}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := exchange.New(Spot, exchange.Config{BaseURL: base, Group: exchangetest.Unlimited(Spot)})
	defer c.Close()
	from := now.Add(-1_777 * time.Hour).UnixMilli()
	v := c.Visit("BTCUSDT", "1h", 1_777)
	defer v.Close()
	ctx := service.Background(t.Context())
	if err := v.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if used := c.Status().Budgets[candles].Used; used != 5 {
		t.Errorf("%d requests are reserved, want 5", used)
	}
	var dst levels.Candles
	dst.Reset("1h", 0)
	if err := v.Candles(ctx, "BTC-USDT", from, &dst, make([]byte, 32<<10)); err != nil {
		t.Fatal(err)
	}
	if want := exchangetest.Read(t, c, "BTC-USDT", "1h", from); dst.Len() < 1_700 || dst.Len() != len(want) {
		t.Errorf("%d candles, want %d", dst.Len(), len(want))
	}
}
