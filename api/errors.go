package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tidemark/service"
	"tidemark/wire"
)

// problem is an error with more for the client than status gets from service.Code. The
// place of the fault is in pointer (RFC 6901, into the body) or in parameter (of path
// or query).
type problem struct {
	status             int
	code               string
	detail             string
	pointer, parameter string
	located            bool          // pointer or parameter is set ("" points to the whole body)
	retry              time.Duration // Retry-After, if positive
	header, value      string        // one more header of the reply
	choices            []wire.PairChoice
	places             []wire.ProblemPlace // instead of pointer and parameter, if there are several
}

func (p *problem) Error() string { return p.code + ": " + p.detail }

// badParameter returns an error for a parameter of the path or the query.
func badParameter(name, format string, args ...any) error {
	return &problem{status: 400, code: "invalid_request", detail: fmt.Sprintf(name+": "+format, args...), parameter: name, located: true}
}

// badField returns an error for a value in the body. The pointer is RFC 6901.
func badField(pointer, format string, args ...any) error {
	return &problem{status: 400, code: "invalid_request", detail: fmt.Sprintf(format, args...), pointer: pointer, located: true}
}

// statuses maps the names of service.Code to HTTP. Every code of the service has a
// line; a test checks that.
var statuses = map[string]struct {
	status int
	title  string
	retry  time.Duration // used if the error itself does not say when
}{
	"invalid_request":        {400, "Invalid request", 0},
	"unauthorized":           {401, "Key missing or unknown", 0},
	"forbidden_host":         {403, "Unknown host name", 0},
	"cross_origin":           {403, "Request from another origin", 0},
	"not_found":              {404, "No such resource", 0},
	"not_analyzed":           {404, "Not analyzed", 0},
	"unknown_level":          {404, "Unknown level", 0},
	"unknown_job":            {404, "Unknown job", 0},
	"method_not_allowed":     {405, "Method not allowed", 0},
	"job_finished":           {409, "Job has finished", 0},
	"not_explainable":        {409, "Not explainable", 0},
	"candles_not_kept":       {409, "Candles not kept", 0},
	"cancelled":              {409, "Cancelled", 0},
	"conflict":               {409, "Conflict", 0},
	"no_secrets_key":         {409, "No key for secrets", 0},
	"body_too_large":         {413, "Body too large", 0},
	"unsupported_media_type": {415, "Unsupported media type", 0},
	"ambiguous_symbol":       {409, "Ambiguous symbol", 0},
	"unknown_symbol":         {422, "Unknown symbol", 0},
	"unknown_exchange":       {422, "Unknown exchange", 0},
	"too_few_candles":        {422, "Too few candles", 0},
	"too_many_requests":      {429, "Too many requests", time.Second},
	"client_gone":            {499, "Client went away", 0}, // in the log only
	"internal":               {500, "Internal error", 0},
	"exchange_unavailable":   {502, "Exchange unavailable", 0},
	"busy":                   {503, "Busy", 2 * time.Second},
	"stopping":               {503, "Stopping", 5 * time.Second},
	"banned":                 {503, "Banned by the exchange", time.Minute},
	"rate_limited":           {503, "Rate limited by the exchange", 10 * time.Second},
	"storage_unavailable":    {503, "Storage unavailable", 5 * time.Second},
	"timeout":                {504, "Timeout", 0},
}

// status converts an error of a handler to what the client sees. It is the only place
// that does. r shows whether the client is still connected.
func status(r *http.Request, err error) problem {
	var p *problem
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		q := *p
		if q.status == 0 {
			q.status = statuses[q.code].status
		}
		if q.retry == 0 {
			q.retry = statuses[q.code].retry
		}
		return q
	case errors.As(err, &large):
		return tooLarge(large.Limit)
	case r.Context().Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, r.Context().Err())):
		return problem{status: 499, code: "client_gone", detail: "the client went away"}
	}
	code := service.Code(err)
	s, known := statuses[code]
	if !known {
		code, s = "internal", statuses["internal"]
	}
	q := problem{status: s.status, code: code, detail: err.Error(), retry: s.retry, choices: choicesOf(err)}
	switch {
	case errors.Is(err, service.ErrFull):
		q.detail = "the disk of the database is full; nothing is stored until there is room"
	case errors.Is(err, service.ErrGone):
		q.detail = "the file of the database was deleted or replaced while the service had it open; nothing is stored until it is back, or the service is started again"
	case code == "storage_unavailable" && errors.Is(err, context.DeadlineExceeded):
		q.detail = "the database does not answer"
	case code == "internal" || code == "storage_unavailable":
		// the chain is only for the log: it may name hosts, files and statements
		q.detail = "the log of the service has the details under this request_id"
	case code == "timeout":
		q.detail = "the work took longer than it may"
	}
	if after := (*service.RetryAfterError)(nil); errors.As(err, &after) && s.retry > 0 {
		q.retry = max(time.Until(after.Until), time.Second)
	}
	return q
}

func tooLarge(limit int64) problem {
	return problem{status: 413, code: "body_too_large", detail: fmt.Sprintf("the body is larger than %d bytes", limit)}
}

// contentProblem is the media type of RFC 9457.
var contentProblem = []string{"application/problem+json"}

// appendProblem appends p as a document of RFC 9457. The type is a reference into the
// API's own documentation.
func appendProblem(b []byte, p problem, instance, requestID string) []byte {
	w := wire.Problem{
		Type: "/docs#error-" + p.code, Title: statuses[p.code].title, Status: p.status, Detail: p.detail,
		Instance: instance, Code: p.code, RequestID: requestID, Choices: p.choices,
	}
	w.Errors = p.places
	if p.located {
		w.Errors = []wire.ProblemPlace{{Detail: p.detail, Parameter: p.parameter, Pointer: p.pointer}}
	}
	return append(appendJSON(b, &w), '\n')
}

// bodyError converts an error of the JSON decoder or the connection while reading a
// body with the named fields to an error for the client.
func bodyError(err error, fields string) error {
	var p *problem
	var where *json.SemanticError
	var syntax *jsontext.SyntacticError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p) || errors.As(err, &large) || errors.Is(err, errLongToken):
		return err
	case errors.As(err, &where) && where.Err == json.ErrUnknownName:
		return badField(string(where.JSONPointer), "unknown field: there are %s", fields)
	case where != nil:
		return badField(string(where.JSONPointer), "must be a %s", where.GoType)
	case errors.As(err, &syntax):
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return badField(string(syntax.JSONPointer), "the name %q is there twice", syntax.JSONPointer.LastToken())
		}
		return badField(string(syntax.JSONPointer), "the body is not valid JSON at byte %d: %v", syntax.ByteOffset, syntax.Err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return badField("", "the body did not arrive in time")
	}
	return badField("", "the body broke off")
}
