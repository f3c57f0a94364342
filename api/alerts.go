package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json"

	"tidemark/event"
	"tidemark/event/alert"
	"tidemark/service"
	"tidemark/wire"
)

// alertBytes bounds the body of a rule, a receiver, a silence or a watchlist, in bytes.
const alertBytes = 64 << 10

// readBody returns the whole JSON body of a request about alerts.
func readBody(w *reply, r *http.Request) ([]byte, error) {
	if err := jsonBody(r); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, alertBytes))
	if err != nil {
		return nil, bodyError(err, "")
	}
	return body, nil
}

// entries are the routes of rules, receivers, silences or watchlists: T is one of them, and
// L the list of all.
type entries[T, L any] struct {
	path   string // /rules
	list   func(context.Context) ([]T, error)
	listed func([]T) *L
	put    func(ctx context.Context, id string, body []byte) (T, error)
	remove func(ctx context.Context, id string) error
	id     func(*T) string
}

// handle registers the routes.
func (e entries[T, L]) handle(handle func(method, pattern string, h handler) http.HandlerFunc) {
	handle("GET", e.path, e.getAll)
	handle("POST", e.path, e.post)
	handle("GET", e.path+"/{id}", e.get)
	handle("PUT", e.path+"/{id}", e.replace)
	handle("DELETE", e.path+"/{id}", e.delete)
}

func (e entries[T, L]) getAll(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	all, err := e.list(r.Context())
	if err != nil {
		return err
	}
	if all == nil {
		all = []T{}
	}
	return sendJSON(w, e.listed(all))
}

func (e entries[T, L]) get(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	id := chi.URLParam(r, "id")
	all, err := e.list(r.Context())
	if err != nil {
		return err
	}
	for i := range all {
		if e.id(&all[i]) == id {
			return sendJSON(w, &all[i])
		}
	}
	return &problem{code: "not_found", detail: fmt.Sprintf("%s has none with the id %q", e.path, clip(id))}
}

func (e entries[T, L]) post(w *reply, r *http.Request) error {
	v, err := e.change(w, r, "")
	if err != nil {
		return err
	}
	h := w.Header()
	h["Location"] = []string{e.path + "/" + e.id(v)}
	h["Content-Type"], h["Cache-Control"] = contentJSON, noStore
	w.WriteHeader(http.StatusCreated)
	return write(w, append(appendJSON(nil, v), '\n'))
}

func (e entries[T, L]) replace(w *reply, r *http.Request) error {
	v, err := e.change(w, r, chi.URLParam(r, "id"))
	if err != nil {
		return err
	}
	return sendJSON(w, v)
}

func (e entries[T, L]) change(w *reply, r *http.Request, id string) (*T, error) {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	v, err := e.put(r.Context(), id, body)
	return &v, alertError(err)
}

func (e entries[T, L]) delete(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := e.remove(r.Context(), chi.URLParam(r, "id")); err != nil {
		return alertError(err)
	}
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// alertError converts an error of package alert.
func alertError(err error) error {
	var invalid *alert.Invalid
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		p := &problem{code: "invalid_request", detail: invalid.Error()}
		for _, one := range invalid.Problems {
			p.places = append(p.places, wire.ProblemPlace{Pointer: one.Pointer, Detail: one.Detail})
		}
		return p
	case errors.Is(err, alert.ErrUnknown):
		return &problem{code: "not_found", detail: err.Error()}
	case errors.Is(err, alert.ErrNoKey):
		return &problem{code: "no_secrets_key", detail: err.Error()}
	case errors.Is(err, alert.ErrTaken), errors.Is(err, alert.ErrInUse), errors.Is(err, alert.ErrFromFile), errors.Is(err, alert.ErrFinal), errors.Is(err, alert.ErrDisabled):
		return &problem{code: "conflict", detail: err.Error()}
	}
	return err
}

func (a *API) rules() entries[wire.Rule, wire.RuleList] {
	return entries[wire.Rule, wire.RuleList]{
		"/rules", a.Alerts.Rules, func(all []wire.Rule) *wire.RuleList { return &wire.RuleList{Rules: all} },
		a.Alerts.PutRule, a.Alerts.DeleteRule, func(r *wire.Rule) string { return r.ID },
	}
}

func (a *API) receivers() entries[wire.Receiver, wire.ReceiverList] {
	return entries[wire.Receiver, wire.ReceiverList]{
		"/receivers", a.Alerts.Receivers, func(all []wire.Receiver) *wire.ReceiverList { return &wire.ReceiverList{Receivers: all} },
		a.Alerts.PutReceiver, a.Alerts.DeleteReceiver, func(r *wire.Receiver) string { return r.ID },
	}
}

// handleAlerts registers the routes of rules and what belongs to them.
func (a *API) handleAlerts(handle func(method, pattern string, h handler) http.HandlerFunc) {
	s := a.Alerts
	a.rules().handle(handle)
	a.receivers().handle(handle)
	entries[wire.Silence, wire.SilenceList]{
		"/silences", s.Silences, func(all []wire.Silence) *wire.SilenceList { return &wire.SilenceList{Silences: all} },
		s.PutSilence, s.DeleteSilence, func(r *wire.Silence) string { return r.ID },
	}.handle(handle)
	entries[wire.Watchlist, wire.WatchlistList]{
		"/watchlists", s.Watchlists, func(all []wire.Watchlist) *wire.WatchlistList { return &wire.WatchlistList{Watchlists: all} },
		s.PutWatchlist, s.DeleteWatchlist, func(l *wire.Watchlist) string { return l.ID },
	}.handle(handle)
	handle("POST", "/rules/preview", a.postPreview)
	handle("POST", "/rules/{id}/replay", a.postReplay)
	handle("POST", "/receivers/{id}/test", a.postTest)
	handle("POST", "/receivers/{id}/enable", a.postEnable)
	handle("POST", "/receivers/{id}/rotate", a.postRotate)
	handle("GET", "/deliveries", a.getDeliveries)
	handle("GET", "/deliveries/{id}", a.getDelivery)
	handle("DELETE", "/deliveries/{id}", a.deleteDelivery)
	handle("POST", "/deliveries/{id}/resend", a.postResend)
}

// postPreview serves POST /rules/preview: what a rule would have sent in the last days. It
// keeps the processor busy for about a second, so there is one at a time.
func (a *API) postPreview(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "days")
	if err != nil {
		return err
	}
	days, err := q.integer("days", 1, event.MaxPreviewDays, event.PreviewDays)
	if err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	rule, err := a.Alerts.ParseRule(r.Context(), body)
	if err != nil {
		return alertError(err)
	}
	rule.Paused = false
	select {
	case a.previews <- struct{}{}:
		defer func() { <-a.previews }()
	default:
		return fmt.Errorf("%w: another preview is being made", service.ErrBusy)
	}
	markets, err := a.Store.Markets(r.Context())
	if err != nil {
		return err
	}
	w.wait(r)
	done, err := event.Preview(r.Context(), a.Analyzer, a.Store, event.PreviewQuery{
		Markets: markets, Days: days,
		Series: func(s *service.Series) bool {
			probe := wire.Event{Exchange: s.Exchange, Symbol: s.Symbol, Interval: string(s.Interval), Kind: "touched"}
			if s.Name != "" {
				probe.Name = &s.Name
			}
			if len(rule.Kinds) > 0 {
				probe.Kind = rule.Kinds[0]
			}
			_, why := rule.Match(&probe, alert.Env{})
			return why != alert.Exchange && why != alert.Interval && why != alert.Pair
		},
		Match: func(e *wire.Event) bool {
			ok, _ := rule.Match(e, alert.Env{Now: e.OccurredAt})
			return ok
		},
	})
	if err != nil {
		return err
	}
	if rule.MinQuoteVolume > 0 {
		done.Notes = append(done.Notes, "Past volumes of 24 hours are not stored: min_quote_volume leaves no pair out of a preview.")
	}
	return sendJSON(w, &done)
}

// postReplay serves POST /rules/{id}/replay: it sends a range of events again.
func (a *API) postReplay(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var q wire.ReplayRequest
	switch err := json.Unmarshal(body, &q, json.RejectUnknownMembers(true)); {
	case err != nil:
		return badField("", "the body must be an object with the numbers after and up_to: %v", err)
	case q.After < 0:
		return badField("/after", "must be 0 or more")
	case q.UpTo <= q.After:
		return badField("/up_to", "must be more than after")
	}
	done, err := a.Alerts.Replay(r.Context(), chi.URLParam(r, "id"), q.After, q.UpTo)
	if err != nil {
		return alertError(err)
	}
	return sendJSON(w, &done)
}

// postTest serves POST /receivers/{id}/test: it sends a message marked as a test.
func (a *API) postTest(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	w.wait(r)
	done, err := a.Alerts.TestReceiver(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		return alertError(err)
	}
	return sendJSON(w, &done)
}

// postEnable serves POST /receivers/{id}/enable.
func (a *API) postEnable(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	done, err := a.Alerts.EnableReceiver(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		return alertError(err)
	}
	return sendJSON(w, &done)
}

// postRotate serves POST /receivers/{id}/rotate: it gives a webhook another secret.
func (a *API) postRotate(w *reply, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	done, err := a.Alerts.RotateReceiver(r.Context(), chi.URLParam(r, "id"), body)
	if err != nil {
		return alertError(err)
	}
	return sendJSON(w, &done)
}

// getDeliveries serves GET /deliveries.
func (a *API) getDeliveries(w *reply, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "rule", "receiver", "state", "reason", "symbol", "before", "limit")
	if err != nil {
		return err
	}
	d := alert.DeliveryQuery{Rule: q.get("rule"), Receiver: q.get("receiver"), Symbol: q.get("symbol")}
	if d.States, err = q.list("state", alert.Gathering, alert.Pending, alert.Delivered, alert.Expired, alert.Failed, alert.Cancelled); err != nil {
		return err
	}
	if d.Reasons, err = q.list("reason", alert.ForEvent, alert.ForClose, alert.ForQuiet, alert.ForBudget, alert.ForReplay, alert.ForNotice); err != nil {
		return err
	}
	if d.Limit, err = q.integer("limit", 1, 500, 50); err != nil {
		return err
	}
	if text := q.get("before"); text != "" {
		if d.Before, err = strconv.ParseInt(text, 10, 64); err != nil || d.Before < 1 {
			return badParameter("before", "%q is not the id of a delivery", clip(text))
		}
	}
	all, err := a.Alerts.Deliveries(r.Context(), d)
	if err != nil {
		return alertError(err)
	}
	page := wire.DeliveryPage{Deliveries: all}
	if page.Deliveries == nil {
		page.Deliveries = []wire.Delivery{}
	}
	if len(all) == d.Limit {
		page.Next = &all[len(all)-1].ID
	}
	return sendJSON(w, &page)
}

// list returns the values of a list, a,b, of which each is one of those permitted; nil if
// none is given.
func (q *query) list(name string, values ...string) ([]string, error) {
	text := q.get(name)
	if text == "" {
		return nil, nil
	}
	all := strings.Split(text, ",")
	for _, v := range all {
		if !slices.Contains(values, v) {
			return nil, badParameter(name, "%q is none of %s", clip(v), strings.Join(values, ", "))
		}
	}
	return all, nil
}

// aDelivery answers with what do does to the delivery of the path.
func aDelivery[T any](w *reply, r *http.Request, do func(ctx context.Context, id int64) (T, error)) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	text := chi.URLParam(r, "id")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return &problem{code: "not_found", detail: fmt.Sprintf("%q is not the id of a delivery", clip(text))}
	}
	v, err := do(r.Context(), id)
	if err != nil {
		return alertError(err)
	}
	return sendJSON(w, &v)
}

// getDelivery serves GET /deliveries/{id}.
func (a *API) getDelivery(w *reply, r *http.Request) error { return aDelivery(w, r, a.Alerts.Delivery) }

// deleteDelivery serves DELETE /deliveries/{id}: it is not sent.
func (a *API) deleteDelivery(w *reply, r *http.Request) error {
	return aDelivery(w, r, a.Alerts.Cancel)
}

// postResend serves POST /deliveries/{id}/resend.
func (a *API) postResend(w *reply, r *http.Request) error { return aDelivery(w, r, a.Alerts.Resend) }
