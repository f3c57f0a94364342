package api

// These tests pin the routes of rules, receivers, silences, watchlists and deliveries: what
// they store, how they refuse, and that no secret is shown again. Their storage is a real
// database.

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"tidemark/event/alert"
	"tidemark/event/notify"
	"tidemark/repository"
	"tidemark/service"
	"tidemark/wire"
)

// nothing is a store of alerts that has none and keeps none.
type nothing struct{ alert.Store }

func (nothing) Configured(context.Context, int64) (alert.Configured, error) {
	return alert.Configured{}, nil
}
func (nothing) PutEntry(context.Context, alert.Entry) error { return nil }
func (nothing) Deliveries(context.Context, alert.DeliveryQuery) ([]alert.StoredDelivery, error) {
	return nil, nil
}
func (nothing) Delivery(context.Context, int64) (alert.StoredDelivery, []int64, error) {
	return alert.StoredDelivery{}, nil, alert.ErrUnknown
}
func (nothing) DeliveryTx(context.Context, int64, func(alert.Tx, *alert.StoredDelivery) error) error {
	return alert.ErrUnknown
}

// withoutAlerts returns alerts that has none and keeps none.
func withoutAlerts() *alert.Alerts {
	return alert.New(alert.Config{}, nothing{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
}

// withAlerts returns a harness whose alerts are kept in a database, without or with a key
// for secrets.
func withAlerts(t *testing.T, key string, more ...func(*Config)) (*harness, *repository.DB) {
	t.Helper()
	db, err := repository.Open(t.Context(), repository.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "alerts.db"), PoolSize: 1, History: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c := alert.Config{Exchanges: []string{"simulated"}, Sender: notify.NewSender(notify.Options{AllowPrivate: true})}
	if key != "" {
		if c.Sealer, err = notify.NewSealer(key); err != nil {
			t.Fatal(err)
		}
	}
	return start(t, func(a *Config, sc *service.Config) {
		sc.KlineLimit = 1000 // previews need candles before the period
		a.Alerts = alert.New(c, db, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		for _, change := range more {
			change(a)
		}
	}), db
}

const secretsKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// created sends a body and returns the path of what was created.
func created(t *testing.T, h *harness, path, body string) string {
	t.Helper()
	rec := h.do("POST", path, body)
	want(t, rec, 201)
	return rec.Header().Get("Location")
}

func TestAlerts_EntriesAreCreatedReadReplacedAndDeleted(t *testing.T) {
	h, _ := withAlerts(t, secretsKey)
	receiver := created(t, h, "/receivers", `{"name":"phone","kind":"webhook","config":{"url":"https://example.com/hook","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`)
	list := created(t, h, "/watchlists", `{"name":"majors","pairs":["BTC/USDT"]}`)
	rule := created(t, h, "/rules", `{"name":"mine","receivers":["phone"],"pairs":["@majors"],"kinds":["touched"]}`)
	silence := created(t, h, "/silences", `{"pairs":["BTC/USDT"],"until":"2099-01-01T00:00:00Z","comment":"quiet"}`)
	for path, member := range map[string]string{"/receivers": "receivers", "/watchlists": "watchlists", "/rules": "rules", "/silences": "silences"} {
		rec := h.get(path)
		want(t, rec, 200)
		var all map[string][]json.RawMessage
		if err := json.Unmarshal(rec.Body.Bytes(), &all); err != nil || len(all[member]) != 1 {
			t.Errorf("%s: %s", path, rec.Body)
		}
		if strings.Contains(rec.Body.String(), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") {
			t.Errorf("%s shows a secret: %s", path, rec.Body)
		}
	}
	want(t, h.get(rule), 200)
	rec := h.do("PUT", rule, `{"name":"ours","receivers":["phone"]}`)
	want(t, rec, 200)
	var got wire.Rule
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.Name != "ours" || len(got.Pairs) != 0 || got.MinEdge != 3 || !got.Inhibit {
		t.Errorf("replaced: %s", rec.Body)
	}
	want(t, h.do("DELETE", receiver, ""), 409) // the rule names it
	for _, path := range []string{rule, receiver, list, silence} {
		want(t, h.do("DELETE", path, ""), 204)
		want(t, h.get(path), 404)
		want(t, h.do("DELETE", path, ""), 404)
	}
}

func TestAlerts_AWebhookGetsAnotherSecret(t *testing.T) {
	h, _ := withAlerts(t, secretsKey)
	var signatures []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		signatures = strings.Fields(r.Header.Get("Webhook-Signature"))
	}))
	t.Cleanup(hook.Close)
	receiver := created(t, h, "/receivers", fmt.Sprintf(`{"name":"bot","kind":"webhook","config":{"url":%q,"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`, hook.URL))
	var before []string
	for n, c := range []struct{ body, signed string }{
		{`{}`, "v1 v1"}, {`{"signature":"v1a","overlap_hours":1}`, "v1 v1a v1"}, {`{"secret":"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD","overlap_hours":0}`, "v1 v1a v1"},
	} {
		rec := h.do("POST", receiver+"/rotate", c.body)
		want(t, rec, 200)
		got := decode[wire.Rotated](t, rec)
		if (got.Secret != nil) != (n == 0) || n == 0 && !strings.HasPrefix(*got.Secret, "whsec_") || n > 0 && !strings.HasPrefix(got.Receiver.Shown["public_key"], "whpk_") {
			t.Errorf("%s: %s", c.body, rec.Body)
		}
		want(t, h.do("POST", receiver+"/test", ""), 200)
		var kinds []string
		for _, s := range signatures {
			kind, _, _ := strings.Cut(s, ",")
			kinds = append(kinds, kind)
		}
		if strings.Join(kinds, " ") != c.signed || len(before) > 0 && signatures[0] == before[0] {
			t.Errorf("%s: signed %v", c.body, signatures)
		}
		before = signatures
		if n == 0 && strings.Contains(h.get("/receivers").Body.String(), *got.Secret) {
			t.Error("the secret is shown again")
		}
	}
	for _, body := range []string{`{"signature":"v2"}`, `{"secret":"whsk_x"}`, `{"secret":"whsec_short"}`, `{"overlap_hours":721}`, `{"until":1}`, `[]`} {
		want(t, h.do("POST", receiver+"/rotate", body), 400)
	}
	phone := created(t, h, "/receivers", `{"name":"phone","kind":"ntfy","config":{"topic":"levels-of-mine"}}`)
	want(t, h.do("POST", phone+"/rotate", `{}`), 400)
	want(t, h.do("POST", "/receivers/none/rotate", `{}`), 404)
}

func TestAlerts_ReceiversNeedTheKeyForSecrets(t *testing.T) {
	h, _ := withAlerts(t, "")
	rec := h.do("POST", "/receivers", `{"name":"phone","kind":"webhook","config":{"url":"https://example.com/hook","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`)
	want(t, rec, 409)
	if !strings.Contains(rec.Body.String(), `"code":"no_secrets_key"`) || !strings.Contains(rec.Body.String(), "SECRETS_KEY") {
		t.Errorf("%s", rec.Body)
	}
}

func TestAlerts_ARefusalNamesEveryMistake(t *testing.T) {
	h, _ := withAlerts(t, secretsKey)
	rec := h.do("POST", "/rules", `{"name":"","receivers":["nobody"],"kinds":["ringing"],"top":1000}`)
	want(t, rec, 400)
	var p wire.Problem
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || len(p.Errors) != 4 || p.Errors[0].Pointer == "" {
		t.Errorf("%s", rec.Body)
	}
	for path, body := range map[string]string{
		"/rules": `{"name":"a","rings":true}`, "/receivers": `{"name":"a","kind":"pigeon","config":{}}`, "/silences": `{}`, "/watchlists": `[]`,
		"/rules/x/replay": `{"after":5,"up_to":5}`,
	} {
		want(t, h.do("POST", path, body), 400)
	}
	want(t, h.do("POST", "/rules", "{}", "Content-Type", "text/plain"), 415)
	want(t, h.do("POST", "/rules", `{"name":"`+strings.Repeat("a", alertBytes)+`"}`), 413)
	want(t, h.do("POST", "/rules/x/replay", `{"after":1,"up_to":5}`), 404)
	want(t, h.do("POST", "/receivers/x/test", ""), 404)
	want(t, h.do("POST", "/receivers/x/enable", ""), 404)
	want(t, h.get("/deliveries/1"), 404)
	want(t, h.get("/deliveries/x"), 404)
	want(t, h.do("POST", "/deliveries/1/resend", ""), 404)
	want(t, h.do("DELETE", "/deliveries/1", ""), 404)
	want(t, h.get("/deliveries?state=lost"), 400)
	want(t, h.get("/deliveries?before=x"), 400)
}

func TestAlerts_ATestMessageIsSentAtOnce(t *testing.T) {
	var signature string
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { signature = r.Header.Get("webhook-signature") }))
	defer service.Close()
	h, _ := withAlerts(t, secretsKey)
	receiver := created(t, h, "/receivers", `{"name":"hook","kind":"webhook","config":{"url":"`+service.URL+`","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`)
	rec := h.do("POST", receiver+"/test", "")
	want(t, rec, 200)
	var got wire.Attempt
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.Outcome != "delivered" || got.Status != 200 || !strings.HasPrefix(signature, "v1,") {
		t.Errorf("%s, signature %q", rec.Body, signature)
	}
	want(t, h.do("POST", receiver+"/enable", ""), 200)
}

func TestAlerts_APreviewSaysWhatARuleWouldHaveSent(t *testing.T) {
	h, _ := withAlerts(t, secretsKey)
	created(t, h, "/receivers", `{"name":"hook","kind":"webhook","config":{"url":"https://example.com/hook","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`)
	for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
		want(t, h.do("POST", "/analyze", `{"symbol":"`+symbol+`"}`), 200)
	}
	keeps(h)
	const rule = `{"name":"mine","receivers":["hook"],"min_edge":0,"paused":true%s}`
	preview := func(target, more string) (p wire.Preview) {
		rec := h.do("POST", target, fmt.Sprintf(rule, more))
		want(t, rec, 200)
		if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	all := preview("/rules/preview?days=10", "")
	if all.Days != 10 || all.Series != 2 || len(all.ByDay) < 10 || all.Events == 0 || all.Messages > all.Events || all.Control.Text == "" {
		t.Errorf("%+v", all)
	}
	one := preview("/rules/preview?days=10", `,"pairs":["ETHUSDT"],"kinds":["touched"],"min_quote_volume":5`)
	if one.Series != 1 || one.Events != one.ByKind.Touched || one.Events >= all.Events || !strings.Contains(one.Notes[len(one.Notes)-1], "min_quote_volume") {
		t.Errorf("%+v", one)
	}
	want(t, h.do("POST", "/rules/preview?days=91", fmt.Sprintf(rule, "")), 400)
	want(t, h.do("POST", "/rules/preview", `{"name":"mine","receivers":["nobody"]}`), 400)
}
