// Package notify sends one message to one receiver: a webhook, a chat, a push service
// or a mailbox. It makes one attempt and reports what became of it; queues, retries and
// the choice of messages belong to the caller.
//
// Each kind of receiver is a small file. Notification libraries are not used: shoutrrr
// adds 3 MB to the binary, and none of those read checks addresses when it dials, bounds
// a response or reports for how long the receiver asks to wait.
package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Receiver is where messages go: a kind and its checked configuration. The zero Receiver
// is not valid; Parse makes one. It prints without its secrets.
type Receiver struct {
	Kind  string
	shape shape
}

// shape is the configuration of a kind. Its exported fields are the members of the JSON.
type shape interface {
	// check validates the members; nothing else is called before.
	check() error
	// masked returns what may be shown of the members.
	masked() map[string]string
	// secrets returns what no text may contain.
	secrets() []string
	// send makes one attempt to deliver m, which is valid.
	send(a *attempt, m Message) Result
}

// kinds make the empty configurations.
var kinds = map[string]func() shape{
	"webhook":  func() shape { return new(webhook) },
	"telegram": func() shape { return new(telegram) },
	"discord":  func() shape { return new(discord) },
	"slack":    func() shape { return new(slack) },
	"ntfy":     func() shape { return new(ntfy) },
	"matrix":   func() shape { return new(matrix) },
	"email":    func() shape { return new(email) },
}

// maxConfig is the most bytes of a configuration.
const maxConfig = 32 << 10

// Kinds returns the kinds of receivers, sorted.
func Kinds() []string {
	var names []string
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Parse reads the configuration of a receiver, a JSON object whose members depend on the
// kind:
//
//	webhook   url, secret (whsec_…), key (whsk_…), previous [{secret, until}], template,
//	          content_type, headers; secret or key or both
//	telegram  token, chat, server (https://api.telegram.org), template
//	discord   url, template
//	slack     url, template
//	ntfy      server (https://ntfy.sh), topic, token, template
//	matrix    server, room, token, template
//	email     server (host:port), security (starttls, tls or none), user, password, from, to,
//	          template
//
// The template of a webhook makes its body, that of another kind the title, which is its
// first line, and the text.
// Unknown members are refused. An error is one sentence for the author of the
// configuration; it never contains a secret.
func Parse(kind string, config []byte) (Receiver, error) {
	empty, ok := kinds[kind]
	if !ok {
		return Receiver{}, fmt.Errorf("unknown kind of receiver %.20q: it is one of %s", kind, strings.Join(Kinds(), ", "))
	}
	s := empty()
	if err := decode(config, s); err != nil {
		return Receiver{}, fmt.Errorf("%s: %w", kind, err)
	}
	err := s.check()
	if t, ok := s.(templated); ok && err == nil {
		err = t.compile()
	}
	if err != nil {
		return Receiver{}, fmt.Errorf("%s: %w", kind, err)
	}
	return Receiver{Kind: kind, shape: s}, nil
}

// decode reads one JSON object into v, strictly.
func decode(config []byte, v any) error {
	if len(config) > maxConfig {
		return fmt.Errorf("the configuration has %d bytes, more than %d", len(config), maxConfig)
	}
	if config = bytes.TrimSpace(config); len(config) == 0 || config[0] != '{' {
		return errors.New("the configuration must be a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(config))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var wrong *json.UnmarshalTypeError
	var when *time.ParseError
	switch {
	case errors.As(err, &when):
		return errors.New(`a time must be written as 2006-01-02T15:04:05Z`)
	case errors.As(err, &wrong):
		return fmt.Errorf("%q must be a %s", wrong.Field, jsonType(wrong))
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field "):
		return fmt.Errorf("unknown member %s", strings.TrimPrefix(err.Error(), "json: unknown field "))
	case err != nil:
		return errors.New("the configuration is not valid JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more than one JSON object")
	}
	return nil
}

// jsonType names the type that a member must have.
func jsonType(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind() {
	case reflect.Map, reflect.Struct:
		return "JSON object"
	case reflect.Slice:
		return "list"
	}
	return "string"
}

// Masked returns what may be shown of the configuration: hosts, identifiers and public
// keys, never a secret. Addresses with a token, such as those of Slack, are shown as
// their host.
func (r Receiver) Masked() map[string]string {
	if r.shape == nil {
		return nil
	}
	return r.shape.masked()
}

// String returns the kind and the host.
func (r Receiver) String() string { return strings.TrimSpace(r.Kind + " " + r.Masked()["host"]) }

// GoString returns the same as String.
func (r Receiver) GoString() string { return r.String() }

// Check reports whether r can render a message such as sample. Only a template can fail.
func (r Receiver) Check(sample Message) error {
	if r.shape == nil {
		return errors.New("the receiver is empty")
	}
	sample = sample.clean()
	if err := sample.check(); err != nil {
		return err
	}
	var err error
	switch s := r.shape.(type) {
	case *webhook:
		_, err = s.body(sample)
	case templated:
		_, err = s.apply(sample)
	}
	return err
}

// MaxBody is the most bytes of the body of a webhook, as Standard Webhooks advises.
const MaxBody = 20 << 10

// Message is what a receiver is sent. All of it comes from the caller; each kind formats
// and shortens it to the limits of its service.
type Message struct {
	// ID is the id of the event or the group, 1 to 128 of A-Z a-z 0-9 _ -. Every attempt of
	// a message has the same, so receivers can drop a repeated one.
	ID    string
	Type  string    // dotted, such as "level.touched"
	Title string    // one line
	Text  string    // short lines; may be empty
	Link  string    // http or https, at most 500 bytes; may be empty
	Time  time.Time // of the event
	// Body is the JSON that a webhook receives, at most MaxBody bytes. Templates read it as
	// .body.
	Body []byte
}

var (
	messageID   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	messageType = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$`)
)

// check returns the reason why no receiver can be sent m.
func (m Message) check() error {
	switch {
	case !messageID.MatchString(m.ID):
		return errors.New("the id of the message must be 1 to 128 of A-Z a-z 0-9 _ -")
	case !messageType.MatchString(m.Type):
		return errors.New("the type of the message must be words of A-Z a-z 0-9 _ with dots between them")
	case m.Title == "":
		return errors.New("the message has no title")
	case m.Time.IsZero():
		return errors.New("the message has no time")
	case len(m.Link) > maxLink:
		return fmt.Errorf("the link of the message has %d bytes, more than %d", len(m.Link), maxLink)
	case len(m.Body) > MaxBody:
		return fmt.Errorf("the body has %d bytes, more than %d", len(m.Body), MaxBody)
	}
	if u, err := url.Parse(m.Link); m.Link != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || !printable(m.Link) || strings.ContainsAny(m.Link, " <>|\"")) {
		return errors.New("the link of the message must be an http or https URL of ASCII characters")
	}
	return nil
}

// clean returns m with a title of one line and a text without control characters.
func (m Message) clean() Message {
	m.Title = oneLine(m.Title, maxTitle)
	m.Text = strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.TrimSpace(strings.ToValidUTF8(m.Text, "")))
	return m
}

// Outcome is what became of an attempt.
type Outcome string

const (
	// Delivered: the receiver accepted the message.
	Delivered Outcome = "delivered"
	// Retry: the attempt failed, and a later one may not.
	Retry Outcome = "retry"
	// Gone: the receiver wants no more messages, or does not exist any more. It is to be
	// disabled.
	Gone Outcome = "gone"
	// Refused: this message cannot be sent to this receiver as both are: a private address,
	// a redirect, a template that fails.
	Refused Outcome = "refused"
)

// Result is the result of one attempt.
type Result struct {
	Outcome Outcome
	Status  int           // of HTTP, or the reply code of SMTP; 0 without a response
	Latency time.Duration // of the whole attempt
	// RetryAfter is for how long the receiver asks to wait, at most a week; 0 if it does
	// not. It concerns all messages to this receiver.
	RetryAfter time.Duration
	// Error is a sentence about a failure, "" if delivered. It contains no secret and may
	// be shown.
	Error string
}
