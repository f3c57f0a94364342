package notify

import (
	"cmp"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// webhook posts the body of a message, signed by the specification Standard Webhooks
// 1.0, https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type webhook struct {
	URL         string            `json:"url"`
	Secret      string            `json:"secret,omitempty"`
	Key         string            `json:"key,omitempty"`
	Previous    []previous        `json:"previous,omitempty"`
	Template    string            `json:"template,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`

	parsed *template.Template // nil without
}

// previous is a secret or a key that signs until receivers have changed to the next one.
type previous struct {
	Secret string    `json:"secret"`
	Until  time.Time `json:"until"`
}

const (
	symmetric  = "whsec_"
	asymmetric = "whsk_"
	public     = "whpk_"
)

// NewSecret returns a secret for HMAC-SHA256, whsec_…, of 32 random bytes.
func NewSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return symmetric + base64.StdEncoding.EncodeToString(b)
}

// NewKey returns a private key for ed25519, whsk_…. Masked shows its public key, whpk_….
func NewKey() string {
	b := make([]byte, ed25519.SeedSize)
	rand.Read(b)
	return asymmetric + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(b))
}

// Rotate returns the configuration of a webhook with another secret or key, by its
// prefix. The one it replaces signs too until then.
func Rotate(config []byte, secret string, until time.Time) ([]byte, error) {
	var w webhook
	if err := decode(config, &w); err != nil {
		return nil, err
	}
	old := &w.Secret
	if strings.HasPrefix(secret, asymmetric) {
		old = &w.Key
	}
	if *old != "" && *old != secret {
		w.Previous = append(w.Previous, previous{*old, until.UTC()})
	}
	*old = secret
	w.Previous = slices.DeleteFunc(w.Previous, func(p previous) bool { return p.Secret == secret })
	if n := len(w.Previous) - maxPrevious; n > 0 {
		w.Previous = w.Previous[n:]
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	return json.Marshal(w)
}

const (
	maxPrevious = 4
	maxHeaders  = 10
	maxHeader   = 2 << 10 // bytes of a value
)

// reserved are the headers that a configuration may not set. Those that begin with
// "Webhook-" neither.
var reserved = []string{"Connection", "Content-Length", "Content-Type", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

func (w *webhook) check() error {
	if err := checkURL("url", w.URL); err != nil {
		return err
	}
	if w.Secret == "" && w.Key == "" {
		return errors.New(`a "secret" (whsec_…) or a "key" (whsk_…) is missing`)
	}
	if w.Secret != "" && !strings.HasPrefix(w.Secret, symmetric) {
		return errors.New(`"secret" must begin with whsec_`)
	}
	if w.Key != "" && !strings.HasPrefix(w.Key, asymmetric) {
		return errors.New(`"key" must begin with whsk_`)
	}
	if len(w.Previous) > maxPrevious {
		return fmt.Errorf(`"previous" has more than %d secrets`, maxPrevious)
	}
	for _, s := range append([]previous{{Secret: w.Secret}, {Secret: w.Key}}, w.Previous...) {
		if s.Secret != "" {
			if _, err := parseSecret(s.Secret); err != nil {
				return err
			}
		}
	}
	for _, p := range w.Previous {
		if p.Secret == "" || p.Until.IsZero() {
			return errors.New(`each of "previous" needs a "secret" and an "until"`)
		}
	}
	if w.ContentType != "" {
		if _, _, err := mime.ParseMediaType(w.ContentType); err != nil || !printable(w.ContentType) {
			return errors.New(`"content_type" is not a media type`)
		}
		if w.Template == "" {
			return errors.New(`"content_type" needs a "template": the body is JSON without`)
		}
	}
	if len(w.Headers) > maxHeaders {
		return fmt.Errorf(`"headers" has more than %d headers`, maxHeaders)
	}
	for name, value := range w.Headers {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !token(name):
			return fmt.Errorf("%.40q is not a name of a header", name)
		case slices.Contains(reserved, canonical), strings.HasPrefix(canonical, "Webhook-"):
			return fmt.Errorf("the header %s cannot be set", canonical)
		case !printable(value), len(value) > maxHeader:
			return fmt.Errorf("the header %s must have a value of at most %d printable ASCII characters", canonical, maxHeader)
		}
	}
	if w.Template != "" {
		var err error
		w.parsed, err = parseTemplate(w.Template)
		return err
	}
	return nil
}

// token reports whether s is a token of RFC 9110 section 5.6.2.
func token(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// parseSecret returns the function that signs with a secret.
func parseSecret(text string) (func(content []byte) string, error) {
	prefix, encoded, _ := strings.Cut(text, "_")
	prefix += "_"
	b, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case prefix == symmetric && (err != nil || len(b) < 24 || len(b) > 64):
		return nil, errors.New("a whsec_ secret must be 24 to 64 bytes in base64")
	case prefix == symmetric:
		return func(content []byte) string {
			h := hmac.New(sha256.New, b)
			h.Write(content)
			return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
		}, nil
	case prefix == asymmetric && (err != nil || len(b) != ed25519.SeedSize && len(b) != ed25519.PrivateKeySize):
		return nil, errors.New("a whsk_ key must be an ed25519 private key of 64 bytes, or its seed of 32, in base64")
	case prefix == asymmetric:
		key := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
		if len(b) == ed25519.PrivateKeySize && !key.Equal(ed25519.PrivateKey(b)) {
			return nil, errors.New("the halves of a whsk_ key do not belong together")
		}
		return func(content []byte) string {
			return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(key, content))
		}, nil
	}
	return nil, errors.New("a secret must begin with whsec_ or whsk_")
}

// signatures returns the header webhook-signature of a body that is sent at a time.
func (w *webhook) signatures(id string, at time.Time, body []byte) string {
	content := slices.Concat([]byte(id), []byte{'.'}, strconv.AppendInt(nil, at.Unix(), 10), []byte{'.'}, body)
	var all []string
	for _, s := range append([]previous{{Secret: w.Secret}, {Secret: w.Key}}, w.Previous...) {
		if s.Secret == "" || !s.Until.IsZero() && !at.Before(s.Until) {
			continue
		}
		if sign, err := parseSecret(s.Secret); err == nil {
			all = append(all, sign(content))
		}
	}
	return strings.Join(all, " ")
}

func (w *webhook) masked() map[string]string {
	m := map[string]string{"host": host(w.URL), "content_type": w.media()}
	var signed []string
	if w.Secret != "" {
		signed = append(signed, "v1")
	}
	if b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(w.Key, asymmetric)); w.Key != "" && err == nil {
		signed = append(signed, "v1a")
		key := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize]).Public().(ed25519.PublicKey)
		m["public_key"] = public + base64.StdEncoding.EncodeToString(key)
	}
	m["signatures"] = strings.Join(signed, " ")
	if len(w.Headers) > 0 {
		m["headers"] = strings.Join(slices.Sorted(maps.Keys(w.Headers)), ", ")
	}
	var until time.Time
	for _, p := range w.Previous {
		if p.Until.After(until) {
			until = p.Until
		}
	}
	if !until.IsZero() {
		m["previous_until"] = until.UTC().Format(time.RFC3339)
	}
	return m
}

func (w *webhook) secrets() []string {
	all := append(urlSecrets(w.URL), w.Secret, strings.TrimPrefix(w.Secret, symmetric), w.Key, strings.TrimPrefix(w.Key, asymmetric))
	for _, p := range w.Previous {
		all = append(all, p.Secret, strings.TrimPrefix(strings.TrimPrefix(p.Secret, symmetric), asymmetric))
	}
	for _, value := range w.Headers {
		_, credentials, _ := strings.Cut(value, " ") // after "Bearer"
		all = append(all, value, credentials)
	}
	return all
}

func (w *webhook) media() string { return cmp.Or(w.ContentType, "application/json") }

// body returns what is posted for m.
func (w *webhook) body(m Message) ([]byte, error) {
	b := m.Body
	if w.parsed != nil {
		var err error
		if b, err = execute(w.parsed, m); err != nil {
			return nil, err
		}
	}
	if media, _, _ := mime.ParseMediaType(w.media()); (media == "application/json" || strings.HasSuffix(media, "+json")) && !json.Valid(b) {
		return nil, errors.New("the body is not valid JSON")
	}
	return b, nil
}

func (w *webhook) send(a *attempt, m Message) Result {
	body, err := w.body(m)
	if err != nil {
		return Result{Outcome: Refused, Error: err.Error()}
	}
	now := a.s.options.Now()
	header := map[string]string{
		"webhook-id":        m.ID,
		"webhook-timestamp": strconv.FormatInt(now.Unix(), 10),
		"webhook-signature": w.signatures(m.ID, now, body),
	}
	maps.Copy(header, w.Headers)
	return a.do(request{method: http.MethodPost, url: w.URL, header: header, body: body, media: w.media()})
}
