package api

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"time"

	"tidemark/service"
)

// docsPage is the API reference, generated from openapi.yaml. TestDocsPage generates it
// again and compares; with -update it rewrites the file.
//
//go:embed docs.html
var docsPage []byte

var (
	contentHTML = []string{"text/html; charset=utf-8"}
	contentYAML = []string{"application/yaml"}
	hourly      = []string{"max-age=3600"}
	// the page has one inline style sheet and nothing else
	docsPolicy = []string{"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
)

// getDocs serves GET /docs.
func (a *API) getDocs(w *reply, _ *http.Request) error {
	h := w.Header()
	h["Content-Type"] = contentHTML
	h["Content-Security-Policy"] = docsPolicy
	h["Cache-Control"] = hourly
	return write(w, docsPage)
}

// getOpenAPI serves GET /openapi.yaml.
func (a *API) getOpenAPI(w *reply, _ *http.Request) error {
	h := w.Header()
	h["Content-Type"] = contentYAML
	h["Cache-Control"] = hourly
	return write(w, a.OpenAPI)
}

// getMetrics serves GET /metrics, one client at a time, since the reply is built in
// memory as a whole.
func (a *API) getMetrics(w *reply, r *http.Request) error {
	timer := time.NewTimer(roomWait)
	defer timer.Stop()
	select {
	case a.scraping <- struct{}{}:
		defer func() { <-a.scraping }()
	case <-timer.C:
		return fmt.Errorf("%w: others are being sent the metrics", service.ErrBusy)
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
	w.deadline(writeTimeout)
	a.prom.ServeHTTP(w, r)
	return nil
}
